"""An HTTP server on loopback that answers what a test tells it to, and records the requests."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass
class FakeApi:
    """The server's answers by path, and the requests that it got."""

    url: str = ""
    answers: dict[str, list[tuple[int, Any, dict[str, str]]]] = field(default_factory=dict)
    """Status, body and headers of the answers to come, by path or by `path#page`."""
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    """Path and `Authorization` of every request."""
    bodies: list[Any] = field(default_factory=list)
    """Bodies of the requests that have one."""

    def answer(self, path: str, *answers: tuple[int, Any], **headers: str) -> None:
        """Answer requests for `path` with one answer after the other; the last is repeated."""
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answers[path] = [(status, body, names) for status, body in answers]

    def take(self, target: str) -> tuple[int, Any, dict[str, str]]:
        parts = urlsplit(target)
        page = parse_qs(parts.query).get("page", ["1"])[0]
        left = self.answers.get(f"{parts.path}#{page}") or self.answers[parts.path]
        return left.pop(0) if len(left) > 1 else left[0]


@contextmanager
def serve() -> Iterator[FakeApi]:
    api = FakeApi()

    class Handler(BaseHTTPRequestHandler):
        def respond(self) -> None:
            api.requests.append((self.path, self.headers["Authorization"]))
            if length := int(self.headers.get("Content-Length") or 0):
                content = self.rfile.read(length)
                binary = "grpc" in (self.headers["Content-Type"] or "")
                api.bodies.append(content if binary else json.loads(content))
            status, body, headers = api.take(self.path)
            text = body if isinstance(body, str | bytes) else json.dumps(body)
            content = text.encode() if isinstance(text, str) else text
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = respond

        def log_message(self, format: str, *args: object) -> None:
            """Prints nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    api.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
