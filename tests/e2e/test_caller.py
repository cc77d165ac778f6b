"""Nothing that the caller has set for other programs changes what the sandbox's commands do."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.e2e.box import Sandbox, until


@contextmanager
def proxy() -> Iterator[tuple[str, list[str]]]:
    """A proxy that forwards nothing: its address, and the requests that reach it."""
    requests: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def refuse(self) -> None:
            requests.append(self.requestline)
            self.send_error(502)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_CONNECT = refuse

        def log_message(self, format: str, *args: object) -> None:
            """Prints nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", requests
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_hostile_variables_change_nothing_and_loopback_needs_no_proxy(tmp_path: Path) -> None:
    modules, nowhere = tmp_path / "modules", str(tmp_path / "nowhere")
    modules.mkdir()
    for module in ("yaml", "pulumi", "typing_extensions"):
        (modules / f"{module}.py").write_text("raise SystemExit('a module of the caller')")
    with proxy() as (address, requests):
        names = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
        variables = {
            **dict.fromkeys(names, address),
            **dict.fromkeys(("NO_PROXY", "no_proxy"), ""),
            **dict.fromkeys(("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"), nowhere),
            **dict.fromkeys(("PYTHONHOME", "KUBECONFIG", "PULUMI_DEBUG_GRPC"), nowhere),
            "PYTHONPATH": str(modules),
            "PULUMI_CONFIG_PASSPHRASE": "another",
            "PULUMI_BACKEND_URL": "https://backend.example.com",
            "DIGITALOCEAN_TOKEN": "another",
            "DIGITALOCEAN_ACCESS_TOKEN": "another",
            "GITHUB_TOKEN": "another",
            "HELM_DRIVER": "memory",
            "GOFLAGS": "-mod=vendor",
        }
        sandbox = Sandbox(tmp_path / "sandbox", variables)
        try:
            sandbox("up")
            sandbox("pulumi", "preview", "--stack", "dev", "--expect-no-changes")
            sandbox("clone", str(tmp_path / "clone"))
            repo = ("--repo", str(tmp_path / "clone"))
            sandbox("run", "bin/platform", "status", "--stack", "dev", "--json", *repo)
        finally:
            sandbox("reset", "--yes")
    until("no process is left", lambda: not sandbox.processes())
    # What is on the Internet, such as charts, may be asked for through the proxy.
    assert not [line for line in requests if "127.0.0.1" in line or "localhost" in line]
    assert not (tmp_path / "nowhere").exists()
