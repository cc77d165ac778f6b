"""The repositories over HTTP: Git's own `git http-backend` as CGI behind ASGI.

See https://git-scm.com/docs/git-http-backend and https://git-scm.com/docs/http-protocol.
"""

import asyncio
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

from sandbox.emulator import basic_credentials
from sandbox.git.repositories import Repositories
from sandbox.git.rules import NO_COMMIT, VARIABLE, Rules

OnPush = Callable[[str, str, str, str, str], Awaitable[None]]
"""Called for each ref that a push has moved: repository, user, ref, old object, new object."""


@dataclass(frozen=True)
class GitUser:
    """A user with a token of another system, such as GitHub."""

    name: str
    may_read: bool
    may_write: bool


class Authorizer(Protocol):
    """Knows further users, and the rules for their pushes."""

    def user_of(self, repository: str, token: str) -> GitUser | None:
        """The user who has the token; None if it is unknown."""

    def rules(self, repository: str, user: str) -> Rules | None:
        """The rules for a push of that user; None if there are none."""


class GitServer(Repositories):
    """The repositories below `root`, served by `app`.

    `on_push` is awaited for each ref that a push has moved, right after the response to its client.
    `authorizer`, if set, accepts tokens besides the repositories' own ones.
    """

    def __init__(self, root: Path, on_push: OnPush | None = None) -> None:
        super().__init__(root)
        self.on_push = on_push
        self.authorizer: Authorizer | None = None
        self._notified_refs: dict[str, dict[str, str]] = {}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    @property
    def app(self) -> Starlette:
        """Serves every repository at `/<name>.git` with Git's smart protocol; can be mounted at any
        path."""
        endpoint = _Endpoint(self)
        return Starlette(
            routes=[
                Route("/{name}.git/{command:path}", endpoint, methods=["GET", "POST"]),
            ]
        )

    async def record_refs(self, name: str) -> None:
        """Before a push: remember the refs, to find those that the push moves."""
        if self.on_push is None:
            return
        async with self._locks[name]:
            if name not in self._notified_refs:
                self._notified_refs[name] = await self.refs(name)

    async def notify(self, name: str, user: str) -> None:
        """After a push of `user`: call `on_push` for each ref that has moved."""
        if self.on_push is None:
            return
        # Pushes may overlap; the lock reports each move once and in order.
        async with self._locks[name]:
            old, new = self._notified_refs[name], await self.refs(name)
            self._notified_refs[name] = new
            for ref in sorted(old.keys() | new.keys()):
                before, after = old.get(ref, NO_COMMIT), new.get(ref, NO_COMMIT)
                if before != after:
                    await self.on_push(name, user, ref, before, after)


class _Endpoint:
    """One HTTP request to a repository.

    An ASGI application itself, since request and response are streamed at the same time.
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
        user = self._authenticate(request, name, service)
        if isinstance(user, Response):
            await user(scope, receive, send)
            return
        pushing = command == "git-receive-pack"
        if pushing:
            await self._server.record_refs(name)
        try:
            await self._run(request, name, command, user, send)
        finally:
            if pushing:
                await self._server.notify(name, user)

    def _authenticate(self, request: Request, name: str, service: str | None) -> str | Response:
        """The user's name, empty for an anonymous reader; or a response that denies access."""
        if name not in self._server:
            return PlainTextResponse(f"there is no repository {name!r} here\n", 404)
        if service not in ("git-upload-pack", "git-receive-pack"):
            return PlainTextResponse("only Git's smart HTTP protocol is served here\n", 403)
        access = self._server.access(name)
        authorization = request.headers.get("authorization")
        reading = service == "git-upload-pack"
        if access.public and reading and not authorization:
            return ""
        user, token = basic_credentials(authorization)
        if hmac.compare_digest(
            f"{user}:{token}".encode(), f"{access.username}:{access.token}".encode()
        ):
            return access.username
        authorizer = self._server.authorizer
        git_user = authorizer.user_of(name, token) if authorizer else None
        if git_user is None:
            return PlainTextResponse(
                f"{name} wants the user and token of this repository\n",
                401,
                headers={"WWW-Authenticate": f'Basic realm="{name}", charset="UTF-8"'},
            )
        if git_user.may_read if reading else git_user.may_write:
            return git_user.name
        return PlainTextResponse(f"Permission to {name} denied to {git_user.name}.\n", 403)

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
            await _respond(git.stdout, send)
            await git.wait()
        finally:
            body.cancel()
            if git.returncode is None:
                # SIGTERM, on which Git removes its lock files.
                git.terminate()
                await git.wait()

    def _environment(self, request: Request, name: str, command: str, user: str) -> dict[str, str]:
        """The CGI variables that http-backend uses (https://www.rfc-editor.org/rfc/rfc3875)."""
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
            # Git accepts pushes only with a remote user.
            environment["REMOTE_USER"] = user
        authorizer = self._server.authorizer
        pushing = command == "git-receive-pack"
        if authorizer and pushing and (rules := authorizer.rules(name, user)):
            environment[VARIABLE] = rules.to_json()
        return environment


async def _feed(request: Request, stdin: asyncio.StreamWriter) -> None:
    """Copy the request's body to Git's input, which ends with the body or the connection."""
    try:
        async for chunk in request.stream():
            stdin.write(chunk)
            await stdin.drain()
    except (ClientDisconnect, ConnectionError):
        pass
    finally:
        stdin.close()


async def _respond(stdout: asyncio.StreamReader, send: Send) -> None:
    """Send Git's CGI output: header lines, one of them with the status, an empty line, the body."""
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
