"""The repositories over HTTP: Git's own `git http-backend` as CGI behind ASGI.

See https://git-scm.com/docs/git-http-backend and https://git-scm.com/docs/http-protocol.
"""

import asyncio
import base64
import binascii
import hmac
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from sandbox.git.repositories import Repositories
from sandbox.git.rules import NO_COMMIT, VARIABLE, Rules

OnPush = Callable[[str, str, str, str, str], Awaitable[None]]
"""Called with repository, user, ref, old and new object of a ref that the user's push has moved."""


@dataclass(frozen=True)
class Visitor:
    """Somebody with a token that is not the repository's own."""

    name: str
    reads: bool
    writes: bool


class Guard(Protocol):
    """What a host knows of its users and of what they may do to branches."""

    def visitor(self, repository: str, token: str) -> Visitor | None:
        """Whose token it is; None if nobody's."""

    def rules(self, repository: str, user: str) -> Rules | None:
        """What a push of that user must hold to; None if there is nothing."""


class GitServer(Repositories):
    """The repositories below `root`, served by `app`.

    `on_push`, if given, is awaited for each ref that a push has moved, right after its client was
    answered. A `guard`, if set, lets in more than the repositories' own tokens do.
    """

    def __init__(self, root: Path, on_push: OnPush | None = None) -> None:
        super().__init__(root)
        self.on_push = on_push
        self.guard: Guard | None = None
        self._told: dict[str, dict[str, str]] = {}
        self._telling: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    @property
    def app(self) -> Starlette:
        """Serves `/<name>.git` of every repository by Git's smart protocol; mount it anywhere."""
        endpoint = _Endpoint(self)
        return Starlette(
            routes=[
                Route("/{name}.git/{command:path}", endpoint, methods=["GET", "POST"]),
            ]
        )

    async def watch(self, name: str) -> None:
        """Before a push: take the refs as they are for what `on_push` knows."""
        if self.on_push is None:
            return
        async with self._telling[name]:
            if name not in self._told:
                self._told[name] = await self.refs(name)

    async def tell(self, name: str, user: str) -> None:
        """After a push of `user`: tell `on_push` of each ref that moved since it was last told."""
        if self.on_push is None:
            return
        # Pushes run side by side; each ref's moves are told once and in their order.
        async with self._telling[name]:
            old, new = self._told[name], await self.refs(name)
            self._told[name] = new
            for ref in sorted(old.keys() | new.keys()):
                before, after = old.get(ref, NO_COMMIT), new.get(ref, NO_COMMIT)
                if before != after:
                    await self.on_push(name, user, ref, before, after)


class _Endpoint:
    """One HTTP request to a repository.

    An ASGI application of its own, since request and response are streamed at the same time.
    """

    def __init__(self, server: GitServer) -> None:
        self._server = server

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        name, command = request.path_params["name"], request.path_params["command"]
        match request.method, command:
            case "GET", "info/refs":
                service = request.query_params.get("service")
            case "POST", "git-upload-pack" | "git-receive-pack":
                service = command
            case _:
                service = None
        user = self._admit(request, name, service)
        if isinstance(user, Response):
            await user(scope, receive, send)
            return
        pushing = command == "git-receive-pack"
        if pushing:
            await self._server.watch(name)
        try:
            await self._run(request, name, command, user, send)
        finally:
            if pushing:
                await self._server.tell(name, user)

    def _admit(self, request: Request, name: str, service: str | None) -> str | Response:
        """Who asks, empty for anybody; or the answer to a request that Git must not see."""
        if name not in self._server:
            return PlainTextResponse(f"there is no repository {name!r} here\n", 404)
        if service not in ("git-upload-pack", "git-receive-pack"):
            return PlainTextResponse("only Git's smart HTTP protocol is served here\n", 403)
        access = self._server.access(name)
        authorization = request.headers.get("authorization")
        reading = service == "git-upload-pack"
        if access.public and reading and not authorization:
            return ""
        user, token = _credentials(authorization)
        if hmac.compare_digest(
            f"{user}:{token}".encode(), f"{access.username}:{access.token}".encode()
        ):
            return access.username
        guard = self._server.guard
        visitor = guard.visitor(name, token) if guard else None
        if visitor is None:
            return PlainTextResponse(
                f"{name} wants the user and token of this repository\n",
                401,
                headers={"WWW-Authenticate": f'Basic realm="{name}", charset="UTF-8"'},
            )
        if visitor.reads if reading else visitor.writes:
            return visitor.name
        return PlainTextResponse(f"Permission to {name} denied to {visitor.name}.\n", 403)

    async def _run(self, request: Request, name: str, command: str, user: str, send: Send) -> None:
        with self._server.log.open("ab") as log:
            git = await asyncio.create_subprocess_exec(
                "git",
                "http-backend",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env=self._environment(request, name, command, user),
            )
        assert git.stdin is not None
        assert git.stdout is not None
        body = asyncio.create_task(_feed(request, git.stdin))
        try:
            await _answer(git.stdout, send)
            await git.wait()
        finally:
            body.cancel()
            if git.returncode is None:
                # Not killed: Git removes its lock files when it is asked to end.
                git.terminate()
                await git.wait()

    def _environment(self, request: Request, name: str, command: str, user: str) -> dict[str, str]:
        """The CGI variables of https://www.rfc-editor.org/rfc/rfc3875 that http-backend reads."""
        headers = {
            "CONTENT_TYPE": "content-type",
            "CONTENT_LENGTH": "content-length",
            "HTTP_CONTENT_ENCODING": "content-encoding",
            "GIT_PROTOCOL": "git-protocol",
        }
        environment = self._server.environment() | {
            "GIT_PROJECT_ROOT": str(self._server.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "REQUEST_METHOD": request.method,
            "PATH_INFO": f"/{name}.git/{command}",
            "QUERY_STRING": request.url.query,
        }
        for variable, header in headers.items():
            if value := request.headers.get(header):
                environment[variable] = value
        if user:
            # Git lets nobody push without it.
            environment["REMOTE_USER"] = user
        guard = self._server.guard
        if guard and command == "git-receive-pack" and (rules := guard.rules(name, user)):
            environment[VARIABLE] = rules.to_json()
        return environment


def _credentials(authorization: str | None) -> tuple[str, str]:
    """User and password, empty if there are none that can be read."""
    scheme, _, encoded = (authorization or "").partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    try:
        user, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return user, password


async def _feed(request: Request, stdin: asyncio.StreamWriter) -> None:
    """Give Git the request's body. Its end, or the client's, is the end of Git's input."""
    try:
        async for chunk in request.stream():
            stdin.write(chunk)
            await stdin.drain()
    except (ClientDisconnect, ConnectionError):
        pass
    finally:
        stdin.close()


async def _answer(stdout: asyncio.StreamReader, send: Send) -> None:
    """Send what Git answers: header lines with the status among them, an empty line, the body."""
    try:
        head = await stdout.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        head = b"Status: 500 Internal Server Error\r\n\r\n"
    status, headers = 200, []
    for line in head.split(b"\r\n"):
        key, _, value = line.partition(b":")
        if key.lower() == b"status":
            status = int(value.split()[0])
        elif key:
            headers.append((key.lower(), value.strip()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    while chunk := await stdout.read(65536):
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
