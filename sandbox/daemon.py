"""The sandbox's daemon, started by `python -m sandbox.daemon`: serves the APIs of DigitalOcean and
GitHub, Git and the chart repository on one port, and runs the clusters as child processes.

It may be killed at any moment: its child processes are killed with it, and the next daemon
continues from the files.
"""

import asyncio
import base64
import contextlib
import fcntl
import hmac
import json
import logging
import os
import secrets
import socket
import sys
import tarfile
from collections.abc import AsyncIterator
from dataclasses import asdict
from datetime import timedelta
from functools import partial
from pathlib import Path

import httpx
import uvicorn
import yaml
from pydantic import ValidationError
from rich.console import Console
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from sandbox import toolchain
from sandbox.chart import PrivateCharts, build_chart, can_be_reached, next_patch, repository
from sandbox.chart.private import HELM_PATH, REGISTRY_PATH, USERNAME
from sandbox.cluster.backend import Clusters as Backend
from sandbox.cluster.supervise import Supervised
from sandbox.digitalocean import spaces
from sandbox.digitalocean.app import create_app
from sandbox.digitalocean.lifecycle import Clusters
from sandbox.digitalocean.state import AccountState
from sandbox.digitalocean.webhook import webhook_route
from sandbox.emulator import StateUnreadable
from sandbox.engine import MONOREPO, PROJECT, STACKS, cluster_of
from sandbox.faults import Fault
from sandbox.faults.requests import FaultMiddleware
from sandbox.git import GitServer
from sandbox.github.app import PERMISSIONS
from sandbox.github.app import create_app as create_github
from sandbox.github.control import control_routes
from sandbox.github.host import PREFIX, GitHub
from sandbox.github.state import OWNER
from sandbox.ingress import webhook_url, webhooks_of_argocd
from sandbox.paths import DAEMON_LOCK, REPOSITORY, Home, write_private
from sandbox.plugins import loaded
from sandbox.processes import Process, free_port, started_at
from sandbox.seed import images_in
from sandbox.status import clusters_of, status_of
from sandbox.tasks import BackgroundTask

PUBLIC_CHARTS = "https://argoproj.github.io/argo-helm"
"""The chart repository of stack files that name no other."""
REGISTRY = "microservices-demo"
"""The team's registry, which the account has before the first stack is deployed."""

_log = logging.getLogger(__name__)

_TOKEN_FILE = "token"  # noqa: S105 (a file's name)
_GITHUB_TOKEN_FILE = "github-token"  # noqa: S105 (a file's name)


class TokenRequired:
    """Middleware that answers only requests with the sandbox's own token."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._authorization = f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        authorization = Headers(scope=scope).get("authorization", "")
        answers = hmac.compare_digest(authorization.encode(), self._authorization)
        refusal = PlainTextResponse("the sandbox's own token is needed", 401)
        await (self._app if answers else refusal)(scope, receive, send)


class Sandbox:
    """Everything that the daemon serves and runs."""

    def __init__(self, home: Home, tools: toolchain.Tools, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.tools = tools
        self.account = AccountState.load(home.root / "account.json")
        self.token = _account_token(home, self.account)
        self.spaces_key = spaces.key_of(home)
        self.git = GitServer(home.folder("git"))
        self.github = GitHub(home.root / "github.json", self.git, self.url)
        self.github_token = _github_token(home, self.github)
        self.backend = Backend(
            home.folder("clusters"),
            tools,
            authenticate_url=lambda cluster: f"{self.url}/webhook/authenticate/{cluster}",
            account=self.account,
        )
        self.clusters = Clusters(self.account, self.backend)
        self.charts = home.folder("charts")
        self.private_charts = PrivateCharts(home.folder("private-charts"))
        self._home = home
        self._plugins = Supervised(
            "plugins",
            partial(
                Process.start,
                "plugins",
                [sys.executable, "-P", "-m", loaded.MODULE, str(home.root)],
                log=home.folder("logs") / "plugins.log",
                env=os.environ,
                cwd=home.root,
            ),
        )
        self._uses_public_chart = False
        self._preparing = asyncio.Lock()
        self._is_prepared = False

    @property
    def app(self) -> Starlette:
        control = [
            Route("/ready", self._get_ready),
            Route("/status", self._get_status),
            Route("/clusters", self._get_clusters),
            Route("/config", self._get_config),
            Mount("/github", routes=control_routes(self.github)),
            Route("/webhooks", self._set_webhooks, methods=["POST"]),
            Route("/repository", self._get_repository, methods=["GET"]),
            Route("/repository", self._set_repository, methods=["POST"]),
            Route("/clock", self._move_clock, methods=["POST"]),
            Route("/images", self._push_image, methods=["POST"]),
            Route("/charts", self._push_chart, methods=["POST"]),
            Route("/tokens", self._add_token, methods=["POST"]),
            Route("/tokens/revoke", self._revoke_token, methods=["POST"]),
            Route("/requests", self._follow_requests),
            Route("/faults", self._get_faults),
            Route("/faults", self._add_fault, methods=["POST"]),
            Route("/faults/clear", self._clear_faults, methods=["POST"]),
        ]
        return Starlette(
            routes=[
                Mount(
                    "/sandbox",
                    routes=control,
                    middleware=[Middleware(TokenRequired, token=self.token)],
                ),
                Mount("/git", self.git.app),
                Mount(PREFIX, create_github(self.github)),
                Mount("/charts", repository(self.charts)),
                *self.private_charts.routes,
                *webhooks_of_argocd(self.account, self.backend),
                webhook_route(self.account),
                # Last, because it answers every other path with DigitalOcean's 404.
                Mount("/", create_app(self.account, self.clusters)),
            ],
            lifespan=self._lifespan,
        )

    @contextlib.asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        # Clusters send this server their TokenReviews, so it must serve while they start.
        starting = BackgroundTask()
        starting.start(self._start(), name="start")
        await self._plugins.start()
        try:
            yield
        finally:
            await starting.stop()
            await self._plugins.stop(seconds=3)
            await self.github.webhooks.close()
            await self.clusters.close()
            await self.backend.stop_all()

    async def _start(self) -> None:
        try:
            await self._make_ready()
        except Exception:
            # Such as a full disk. Whoever asks for /ready tries again, and is told.
            _log.exception("the sandbox is not ready")

    async def _make_ready(self) -> None:
        """Start every cluster that ran before, and those that could not be started last time."""
        async with self._preparing:
            if not self._is_prepared:
                await self._ensure_registry()
                self._uses_public_chart = await self._choose_chart()
                if not self._uses_public_chart:
                    await asyncio.to_thread(self._ensure_charts)
                self._is_prepared = True
            await self.clusters.reconcile_all()

    async def _ensure_registry(self) -> None:
        transport = httpx.ASGITransport(create_app(self.account, self.clusters))
        headers = {"Authorization": f"Bearer {self.token}"}
        async with httpx.AsyncClient(transport=transport, base_url=self.url) as api:
            if (await api.get("/v2/registry", headers=headers)).status_code == 404:
                body = {"name": REGISTRY, "subscription_tier_slug": "basic", "region": "nyc3"}
                (await api.post("/v2/registry", headers=headers, json=body)).raise_for_status()

    async def _choose_chart(self) -> bool:
        """Whether the public chart is used. Decided once, when the sandbox is new: a later change
        of chart would change what is deployed."""
        choice = self._home.root / "chart"
        if not choice.exists():
            public = await can_be_reached(PUBLIC_CHARTS)
            write_private(choice, b"public" if public else b"stand-in")
        return choice.read_text() == "public"

    def _ensure_charts(self) -> None:
        for version in _chart_versions():
            build_chart(self.tools.argocd_manifests, version, self.charts)

    async def _get_ready(self, request: Request) -> JSONResponse:
        """Answers when every cluster that ran before runs again. Status 503: something failed."""
        try:
            await self._make_ready()
        except Exception as error:
            raise HTTPException(503, f"the sandbox is not ready: {error!r}") from error
        return JSONResponse({})

    async def _get_status(self, request: Request) -> JSONResponse:
        return JSONResponse(await status_of(self.account, self.backend))

    async def _get_clusters(self, request: Request) -> JSONResponse:
        return JSONResponse(await clusters_of(self.account, self.backend))

    async def _get_config(self, request: Request) -> JSONResponse:
        """What the stack files have in the sandbox besides their own content. By stack: `values`,
        the config of the program's namespace, and `secrets`, by the path of their key."""
        return JSONResponse({stack: self._config_of(stack) for stack in STACKS})

    def _config_of(self, stack: str) -> dict[str, object]:
        access = self.git.access(MONOREPO) if MONOREPO in self.git else None
        repository = {
            "url": f"{self.url}/git/{MONOREPO}.git",
            "credentials": {"username": access.username if access else ""},
        }
        password = access.token if access else ""
        secret_values = {f"repositories.{MONOREPO}.credentials.password": password}
        argocd: dict[str, object] = {}
        values: dict[str, object] = {"repositories": {MONOREPO: repository}, "argocd": argocd}
        if not self._uses_public_chart:
            argocd["chart"] = {"repository": f"{self.url}/charts"}
        if self._webhook_secret.exists():
            values["github"] = {
                "owner": OWNER,
                "repository": MONOREPO,
                "baseUrl": f"{self.url}/",
                "webhook": {"url": webhook_url(self.url, cluster_of(stack))},
            }
            secret_values["argocd.webhookSecret"] = self._webhook_secret.read_text()
        else:
            # Without a webhook Argo CD polls the repository; poll more often than by default.
            polling = {"timeout.reconciliation": "10s", "timeout.reconciliation.jitter": "0s"}
            argocd["values"] = {"configs": {"cm": polling}}
        return {"values": values, "secrets": secret_values}

    @property
    def _webhook_secret(self) -> Path:
        """The file with the webhook's secret; webhooks are on while it exists."""
        return self._home.root / "webhook-secret"

    async def _set_webhooks(self, request: Request) -> JSONResponse:
        """Turn Argo CD's webhooks on or off, from the next `pulumi up` on."""
        if not (await request.json())["on"]:
            self._webhook_secret.unlink(missing_ok=True)
        elif not self._webhook_secret.exists():
            write_private(self._webhook_secret, secrets.token_urlsafe(24).encode())
        return JSONResponse({})

    async def _get_repository(self, request: Request) -> JSONResponse:
        access = self.git.access(MONOREPO)
        return JSONResponse(
            {
                "url": f"{self.url}/git/{MONOREPO}.git",
                "username": access.username,
                "password": access.token,
            }
        )

    async def _set_repository(self, request: Request) -> JSONResponse:
        """Create the monorepo from `source` (null: the example) unless it exists."""
        source = (await request.json())["source"]
        if source is None:
            await self.git.ensure_example(MONOREPO)
        elif MONOREPO in self.git:
            raise HTTPException(
                409,
                "The sandbox has a monorepo already; another one needs a new sandbox:"
                " bin/sandbox reset",
            )
        else:
            await self.git.import_from(source, MONOREPO)
        await self._push_images()
        return await self._get_repository(request)

    async def _push_images(self) -> None:
        """Push the images that the monorepo's manifests use into the team's registry."""
        path = self._home.root / "git" / f"{MONOREPO}.git"
        for registry, image, tag in await asyncio.to_thread(images_in, path):
            if registry == REGISTRY and not self.account.has_image(registry, image, tag):
                self.account.push_image(image, tag)

    async def _push_image(self, request: Request) -> JSONResponse:
        """Push `repository`:`tag` into the team's registry."""
        body = await request.json()
        return JSONResponse({"image": self.account.push_image(body["repository"], body["tag"])})

    async def _push_chart(self, request: Request) -> JSONResponse:
        """Add the packaged chart in base64 `package` (null: none) to the team's private charts.
        Answers how they are read."""
        package, name = (await request.json())["package"], None
        if package is not None:
            try:
                name = self.private_charts.push(base64.b64decode(package))
            except (tarfile.TarError, ValueError, KeyError, yaml.YAMLError) as error:
                raise HTTPException(422, f"no packaged chart: {error}") from None
        return JSONResponse(
            {
                "chart": name,
                "helm": f"{self.url}{HELM_PATH}",
                "registry": f"{self.url.removeprefix('http://')}/{REGISTRY_PATH}",
                "username": USERNAME,
                "password": self.private_charts.password,
            }
        )

    async def _move_clock(self, request: Request) -> JSONResponse:
        seconds = (await request.json())["seconds"]
        now = self.account.advance_clock(timedelta(seconds=seconds))
        return JSONResponse({"now": now.isoformat()})

    async def _add_token(self, request: Request) -> JSONResponse:
        scopes = [str(scope) for scope in (await request.json())["scopes"]]
        return JSONResponse({"token": self.account.add_token(" ".join(scopes), scopes)})

    async def _revoke_token(self, request: Request) -> JSONResponse:
        self.account.revoke_token((await request.json())["token"])
        return JSONResponse({})

    async def _follow_requests(self, request: Request) -> StreamingResponse:
        """Stream the requests that the account answers, one JSON object a line. The first line is
        empty; every later request is in the stream."""

        async def lines() -> AsyncIterator[str]:
            async for record in self.account.journal.follow():
                yield f"{json.dumps(asdict(record), default=str) if record else ''}\n"

        return StreamingResponse(lines(), media_type="application/x-ndjson")

    async def _get_faults(self, request: Request) -> JSONResponse:
        return JSONResponse([fault.as_json() for fault in self.account.faults.all()])

    async def _add_fault(self, request: Request) -> JSONResponse:
        """Answers when the fault is in effect in the clusters."""
        try:
            fault = Fault.model_validate_json(await request.body())
        except ValidationError as error:
            reasons = "; ".join(detail["msg"] for detail in error.errors(include_url=False))
            raise HTTPException(422, reasons) from None
        active = self.account.faults.add(fault)
        await self.clusters.reconcile_all()
        return JSONResponse(active.as_json())

    async def _clear_faults(self, request: Request) -> JSONResponse:
        """Clear the faults of the number or kind `which` (null: all). Answers when they are no
        longer in effect in the clusters."""
        cleared = self.account.faults.clear((await request.json())["which"])
        await self.clusters.reconcile_all()
        return JSONResponse([fault.as_json() for fault in cleared])


def _account_token(home: Home, account: AccountState) -> str:
    """The DigitalOcean token of the sandbox's user; created with the account."""
    path = home.root / _TOKEN_FILE
    if path.exists() and account.find_token(token := path.read_text()):
        return token
    token = account.add_token("sandbox")
    write_private(path, token.encode())
    return token


def _github_token(home: Home, github: GitHub) -> str:
    """The GitHub token of the organization's owner, with every permission."""
    path = home.root / _GITHUB_TOKEN_FILE
    if path.exists() and github.state.find_token(token := path.read_text()):
        return token
    token = github.state.add_token(OWNER, dict.fromkeys(PERMISSIONS, "write"))
    write_private(path, token.encode())
    return token


def _chart_versions() -> set[str]:
    """The chart versions that the stack files pin, and the next patch of each, to upgrade to."""
    versions = set()
    for stack in STACKS:
        config = yaml.safe_load((REPOSITORY / f"Pulumi.{stack}.yaml").read_text())["config"]
        pinned = config[f"{PROJECT}:argocd"]["chart"]["version"]
        versions |= {pinned, next_patch(pinned)}
    return versions


def _listen(home: Home) -> socket.socket:
    """A socket on the sandbox's port of the last time, or on a free one if that port is taken."""
    path = home.root / "port"
    # ValueError: the file is not a number.
    with contextlib.suppress(OSError, OverflowError, ValueError):
        return _bind(int(path.read_text()))
    listener = _bind(free_port())
    write_private(path, str(listener.getsockname()[1]).encode())
    return listener


def _bind(port: int) -> socket.socket:
    listener = socket.socket()
    # Connections of the previous daemon may linger on the port.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
        # From here on connections wait until the server is up instead of being refused.
        listener.listen(128)
    except OSError:
        listener.close()
        raise
    return listener


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    home = Home.default()
    # Opened without emptying it: the file may be that of a running daemon.
    with (home.folder() / DAEMON_LOCK).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit(f"a daemon is already running for {home.root}")
        lock.truncate(0)
        print(os.getpid(), started_at(os.getpid()), file=lock, flush=True)
        tools = toolchain.ensure(Console(file=sys.stderr))
        os.environ["PATH"] = os.pathsep.join([str(tools.bin_dir), os.environ["PATH"]])
        listener = _listen(home)
        try:
            sandbox = Sandbox(home, tools, listener.getsockname()[1])
        except StateUnreadable as error:
            sys.exit(str(error))
        config = uvicorn.Config(
            spaces.Dispatch(
                FaultMiddleware(sandbox.app, sandbox.account.faults),
                spaces.create_app(home.folder("spaces"), sandbox.spaces_key),
            ),
            log_level="warning",
            timeout_graceful_shutdown=3,
        )
        _announce(home, sandbox)
        uvicorn.Server(config).run([listener])


def _announce(home: Home, sandbox: Sandbox) -> None:
    record = {
        "pid": os.getpid(),
        "url": sandbox.url,
        "token": sandbox.token,
        "spaces": sandbox.spaces_key.model_dump(),
        "github": {
            "api": f"{sandbox.url}{PREFIX}",
            "repository": f"{OWNER}/{MONOREPO}",
            "token": sandbox.github_token,
        },
    }
    write_private(home.root / "daemon.json", json.dumps(record).encode())


if __name__ == "__main__":
    main()
