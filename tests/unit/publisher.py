"""A publisher of releases: an HTTPS server on loopback, and a proxy that leads to it."""

import contextlib
import hashlib
import io
import select
import socket
import ssl
import tarfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import trustme

HOST = "releases.test"
"""A name that nobody can look up: only the proxy reaches it."""


@dataclass
class Publisher:
    """What the server has, and what it was asked for."""

    port: int
    authority: Path
    """The certificate of its authority, for REQUESTS_CA_BUNDLE."""
    files: dict[str, bytes | int | str] = field(default_factory=dict)
    """By path: the content; a status of an error; or the address of a redirect."""
    cut_off: dict[str, int] = field(default_factory=dict)
    """How many of the next transfers of a path end half-way."""
    requests: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def publish(self, path: str, content: bytes) -> None:
        """Release a file and its checksum."""
        self.files[path] = content
        self.files[f"{path}.sha256"] = hashlib.sha256(content).hexdigest().encode()


def script(output: str) -> bytes:
    """A program that prints `output`."""
    return f"#!/bin/sh\necho '{output}'\n".encode()


def archive(files: Mapping[str, bytes]) -> bytes:
    """A compressed tar archive of these files, by path."""
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w:gz") as content:
        for path, data in files.items():
            member = tarfile.TarInfo(path)
            member.size = len(data)
            content.addfile(member, io.BytesIO(data))
    return output.getvalue()


@contextmanager
def serve(folder: Path) -> Iterator[Publisher]:
    """A publisher whose authority's certificate is in `folder`."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", HOST).configure_cert(context)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            publisher.requests.append(self.path)
            answer = publisher.files.get(self.path, 404)
            if isinstance(answer, int):
                self.send_error(answer)
            elif isinstance(answer, str):
                self.send_response(302)
                self.send_header("Location", answer)
                self.send_header("Content-Length", "0")
                self.end_headers()
            else:
                self.send_response(200)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                half = publisher.cut_off.get(self.path, 0) > 0
                if half:
                    publisher.cut_off[self.path] -= 1
                self.wfile.write(answer[: len(answer) // 2] if half else answer)

        def log_message(self, format: str, *args: object) -> None:
            """Prints nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # refused certificates
    server.socket = context.wrap_socket(server.socket, server_side=True)
    publisher = Publisher(server.server_port, folder / "authority.pem")
    with _running(server):
        yield publisher


@contextmanager
def proxy(publisher: Publisher, *, silent: bool = False) -> Iterator[tuple[str, list[str]]]:
    """The address of a proxy that leads to the publisher, and the targets that it was asked for.

    If it is `silent`, it accepts connections and does not respond.
    """
    targets: list[str] = []
    released = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_CONNECT(self) -> None:
            targets.append(self.path)
            if silent:
                released.wait()
                return
            with socket.create_connection(("127.0.0.1", publisher.port)) as upstream:
                self.send_response(200)
                self.end_headers()
                ends = {self.connection: upstream, upstream: self.connection}
                with contextlib.suppress(OSError):
                    while all(
                        (data := end.recv(1 << 16)) and not ends[end].sendall(data)
                        for end in select.select(list(ends), [], [])[0]
                    ):
                        pass

        def log_message(self, format: str, *args: object) -> None:
            """Prints nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    with _running(server):
        try:
            yield f"http://127.0.0.1:{server.server_port}", targets
        finally:
            released.set()


@contextmanager
def _running(server: ThreadingHTTPServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
