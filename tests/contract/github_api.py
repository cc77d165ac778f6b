"""Serves the emulated GitHub over HTTP, with a Git clone and a receiver of webhooks."""

import asyncio
import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route

from sandbox.git import GitServer
from sandbox.github.app import PERMISSIONS, create_app
from sandbox.github.host import PREFIX, GitHub
from sandbox.github.models import Level, Role
from sandbox.processes import free_port

T = TypeVar("T")

OWNER = "sandbox"
ALL: Mapping[str, Level] = dict.fromkeys(PERMISSIONS, "write")
REPO = f"/repos/{OWNER}/shop"


@dataclass
class Received:
    """A delivery that the receiver got."""

    headers: Mapping[str, str]
    body: bytes

    @property
    def event(self) -> str:
        return self.headers["x-github-event"]

    @property
    def payload(self) -> dict[str, Any]:
        payload: dict[str, Any] = json.loads(self.body)
        return payload


@dataclass
class Receiver:
    """The target of webhooks; it responds with `status`."""

    url: str = ""
    status: int = 200
    received: list[Received] = field(default_factory=list)

    async def take(self, request: Request) -> Response:
        self.received.append(Received(dict(request.headers), await request.body()))
        return PlainTextResponse("received", self.status)

    def wait_for(self, event: str, count: int = 1) -> Received:
        """Wait for that many deliveries of the event, and return the last one."""
        wait_until(lambda: len(self.of(event)) >= count, f"{count} of {event} delivered")
        return self.of(event)[-1]

    def of(self, event: str) -> list[Received]:
        return [delivery for delivery in self.received if delivery.event == event]


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, f"not within 10 s: {what}"
        time.sleep(0.02)


@dataclass
class Emulator:
    """An emulated organization. Its repository `shop` has one commit and is cloned in `folder`."""

    url: str
    github: GitHub
    loop: asyncio.AbstractEventLoop
    folder: Path
    receiver: Receiver
    token: str = ""

    def in_server(self, function: Callable[[], T]) -> T:
        """Call `function` in the server's event loop, since the state is not thread-safe."""

        async def run() -> T:
            return function()

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(10)

    def token_of(
        self, login: str, role: Role = "write", permissions: Mapping[str, Level] = ALL
    ) -> str:
        """A new token of a user with that role."""
        state = self.github.state
        self.in_server(lambda: state.add_user(login, role))
        return self.in_server(lambda: state.add_token(login, permissions))

    @property
    def base_url(self) -> str:
        """The provider's `baseUrl`."""
        return f"{self.url}/"

    @property
    def api_url(self) -> str:
        return f"{self.url}{PREFIX}"

    def call(
        self, method: str, path: str, body: object = None, *, token: str | None = None, status: int
    ) -> Any:
        """Send a request, assert the status of the response, and return its JSON."""
        headers = {"Authorization": f"Bearer {token or self.token}"}
        response = httpx.request(method, self.api_url + path, json=body, headers=headers)
        assert response.status_code == status, response.text
        return response.json() if response.content else None

    def clone_url(self, token: str | None = None, repository: str = "shop") -> str:
        host = self.url.removeprefix("http://")
        return f"http://any:{token or self.token}@{host}/git/{repository}.git"

    def git(self, *args: str, fails: bool = False) -> str:
        """Run Git in the clone, and return standard output and error."""
        environment = {
            "PATH": os.environ["PATH"],
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            **{f"GIT_{role}_NAME": "t" for role in ("AUTHOR", "COMMITTER")},
            **{f"GIT_{role}_EMAIL": "t@localhost" for role in ("AUTHOR", "COMMITTER")},
        }
        result = subprocess.run(
            ["git", *args], cwd=self.folder, env=environment, text=True, timeout=60,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
        assert (result.returncode != 0) == fails, result.stdout
        return result.stdout

    def commit(self, **files: str) -> str:
        """Commit those files, and return the commit."""
        for name, content in files.items():
            (self.folder / name).write_text(content)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", f"change {' '.join(files)}")
        return self.git("rev-parse", "HEAD").strip()

    def push(self, refspec: str = "HEAD:main", *, token: str | None = None, fails: bool = False,
             force: bool = False) -> str:  # fmt: skip
        options = ["--force"] if force else []
        return self.git("push", *options, self.clone_url(token), refspec, fails=fails)

    def add_hook(self, *, status: int = 201, **changes: object) -> Any:
        config = {"url": self.receiver.url, "content_type": "json", "secret": "s3cret" * 4}
        body = {"name": "web", "events": ["push"], "active": True, "config": config}
        return self.call("POST", f"{REPO}/hooks", body | changes, status=status)


@contextmanager
def emulator(folder: Path) -> Iterator[Emulator]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    loops: list[asyncio.AbstractEventLoop] = []
    receiver = Receiver(f"{url}/receiver")
    git = GitServer(folder / "git")
    github = GitHub(folder / "github.json", git, url)

    async def started(_: Request) -> Response:
        loops.append(asyncio.get_running_loop())
        return PlainTextResponse("")

    app = Starlette(
        routes=[
            Route("/started", started),
            Route("/receiver", receiver.take, methods=["POST"]),
            Mount("/git", git.app),
            Mount(PREFIX, create_app(github)),
        ]
    )
    web = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning"))
    thread = threading.Thread(target=web.run)
    thread.start()
    try:
        wait_until(lambda: web.started, "the server started")
        httpx.get(f"{url}/started")
        clone = folder / "shop"
        clone.mkdir()
        gh = Emulator(url, github, loops[0], clone, receiver)
        gh.token = gh.token_of(OWNER, "admin")
        gh.call("POST", f"/orgs/{OWNER}/repos", {"name": "shop", "private": True}, status=201)
        gh.git("init", "--quiet", "--initial-branch", "main")
        gh.commit(file="1")
        gh.push()
        yield gh
    finally:
        web.should_exit = True
        thread.join()
