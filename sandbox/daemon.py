"""The sandbox's one process: serves DigitalOcean's API, Git and the chart repository on a port of
its own, and runs the clusters as its children. `python -m sandbox.daemon` starts it.

It can be killed at any moment: its children die with it, and the next one takes up from the files.
"""

import asyncio
import contextlib
import fcntl
import hmac
import json
import logging
import os
import secrets
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

import httpx
import psutil
import uvicorn
import yaml
from pydantic import ValidationError
from rich.console import Console
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Mount, Route

from sandbox import toolchain
from sandbox.chart import build_chart, can_be_reached, next_patch, repository
from sandbox.cluster.backend import Clusters as Backend
from sandbox.cluster.controlplane import starter
from sandbox.cluster.supervise import Supervised
from sandbox.digitalocean.app import create_app
from sandbox.digitalocean.lifecycle import Clusters
from sandbox.digitalocean.state import AccountState
from sandbox.digitalocean.webhook import webhook_route
from sandbox.engine import MONOREPO, PROJECT, STACKS, cluster_of
from sandbox.faults import Fault
from sandbox.faults.requests import Faulty
from sandbox.git import GitServer
from sandbox.github.app import PERMISSIONS
from sandbox.github.app import create_app as create_github
from sandbox.github.control import control_routes
from sandbox.github.host import BASE, GitHub
from sandbox.github.operations import PREFIX
from sandbox.github.state import OWNER
from sandbox.ingress import webhook_of_argocd, webhook_url
from sandbox.paths import REPOSITORY, Home, write_private
from sandbox.plugins import loaded
from sandbox.processes import free_port
from sandbox.seed import images_in
from sandbox.status import clusters_of, status_of
from sandbox.tasks import end

PUBLIC_CHARTS = "https://argoproj.github.io/argo-helm"
"""Where the stack files' chart comes from unless they say otherwise."""
REGISTRY = "microservices-demo"
"""The team's registry, which is in the account before the first stack is."""

_TOKEN_FILE = "token"  # noqa: S105 (a file's name)
_GITHUB_TOKEN_FILE = "github-token"  # noqa: S105 (a file's name)


class Sandbox:
    """All that the daemon serves and runs."""

    def __init__(self, home: Home, tools: toolchain.Tools, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.tools = tools
        self.account = AccountState.load(home.root / "account.json")
        self.token = _account_token(home, self.account)
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
        self._home = home
        self._plugins = Supervised(
            "plugins",
            starter(
                "plugins",
                [sys.executable, "-m", loaded.MODULE, str(home.root)],
                log=home.folder("logs") / "plugins.log",
                env=os.environ,
                cwd=home.root,
            ),
        )
        self._uses_public_chart = False
        self._ready = asyncio.Event()

    @property
    def app(self) -> Starlette:
        control = [
            Route("/ready", self._get_ready),
            Route("/status", self._get_status),
            Route("/clusters", self._get_clusters),
            Route("/config", self._get_config),
            Mount("/github", routes=control_routes(self.github.state, self._authorize)),
            Route("/webhooks", self._set_webhooks, methods=["POST"]),
            Route("/repository", self._get_repository, methods=["GET"]),
            Route("/repository", self._set_repository, methods=["POST"]),
            Route("/clock", self._move_clock, methods=["POST"]),
            Route("/images", self._push_image, methods=["POST"]),
            Route("/tokens", self._add_token, methods=["POST"]),
            Route("/requests", self._follow_requests),
            Route("/faults", self._get_faults),
            Route("/faults", self._add_fault, methods=["POST"]),
            Route("/faults/clear", self._clear_faults, methods=["POST"]),
        ]
        return Starlette(
            routes=[
                Mount("/sandbox", routes=control),
                Mount("/git", self.git.app),
                Mount(BASE, create_github(self.github)),
                Mount("/charts", repository(self.charts)),
                webhook_of_argocd(self.account, self.backend),
                webhook_route(self.account),
                # Last, since it answers whatever else is asked as DigitalOcean does.
                Mount("/", create_app(self.account, self.clusters)),
            ],
            lifespan=self._lifespan,
        )

    @contextlib.asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        # Clusters ask this server whether a token is good, so it must serve while they start.
        starting = asyncio.create_task(self._start())
        await self._plugins.start()
        try:
            yield
        finally:
            await end(starting)
            await self._plugins.stop(seconds=3)
            await self.github.webhooks.close()
            await self.clusters.close()
            await self.backend.stop_all()

    async def _start(self) -> None:
        await self._ensure_registry()
        self._uses_public_chart = await self._choose_chart()
        if not self._uses_public_chart:
            await asyncio.to_thread(self._ensure_charts)
        await self.clusters.settle()
        self._ready.set()

    async def _ensure_registry(self) -> None:
        transport = httpx.ASGITransport(create_app(self.account, self.clusters))
        headers = {"Authorization": f"Bearer {self.token}"}
        async with httpx.AsyncClient(transport=transport, base_url=self.url) as api:
            if (await api.get("/v2/registry", headers=headers)).status_code == 404:
                body = {"name": REGISTRY, "subscription_tier_slug": "basic", "region": "nyc3"}
                (await api.post("/v2/registry", headers=headers, json=body)).raise_for_status()

    async def _choose_chart(self) -> bool:
        """Whether the public chart is used. What was found when the sandbox was new holds for its
        whole life: another chart would change what is deployed."""
        choice = self._home.root / "chart"
        if not choice.exists():
            public = await can_be_reached(PUBLIC_CHARTS)
            choice.write_text("public" if public else "stand-in")
        return choice.read_text() == "public"

    def _ensure_charts(self) -> None:
        for version in _chart_versions():
            build_chart(self.tools.argocd_manifests, version, self.charts)

    def _authorize(self, request: Request) -> None:
        given = request.headers.get("authorization", "")
        if not hmac.compare_digest(given.encode(), f"Bearer {self.token}".encode()):
            raise HTTPException(401, "the sandbox's own token is needed")

    async def _get_ready(self, request: Request) -> JSONResponse:
        """Answers when every cluster runs again that ran before."""
        self._authorize(request)
        await self._ready.wait()
        return JSONResponse({})

    async def _get_status(self, request: Request) -> JSONResponse:
        self._authorize(request)
        return JSONResponse(await status_of(self.account, self.backend))

    async def _get_clusters(self, request: Request) -> JSONResponse:
        self._authorize(request)
        return JSONResponse(await clusters_of(self.account, self.backend))

    async def _get_config(self, request: Request) -> JSONResponse:
        """What differs in the stack files here, by stack: the config of the program's namespace,
        as `values`, and as `secrets` the secrets in it by the path of their key."""
        self._authorize(request)
        return JSONResponse({stack: self._config_of(stack) for stack in STACKS})

    def _config_of(self, stack: str) -> dict[str, object]:
        access = self.git.access(MONOREPO) if MONOREPO in self.git else None
        repository = {
            "url": f"{self.url}/git/{MONOREPO}.git",
            "credentials": {"username": access.username if access else ""},
        }
        hidden = {f"repositories.{MONOREPO}.credentials.password": access.token if access else ""}
        argocd: dict[str, object] = {}
        values: dict[str, object] = {"repositories": {MONOREPO: repository}, "argocd": argocd}
        if not self._uses_public_chart:
            argocd["chart"] = {"repository": f"{self.url}/charts"}
        if self._webhook_secret.exists():
            values["github"] = {
                "owner": OWNER,
                "repository": MONOREPO,
                "baseUrl": f"{self.url}{BASE}/",
                "webhook": {"url": webhook_url(self.url, cluster_of(stack))},
            }
            hidden["argocd.webhookSecret"] = self._webhook_secret.read_text()
        else:
            # No webhook tells Argo CD of a commit; it asks more often instead.
            asks = {"timeout.reconciliation": "10s", "timeout.reconciliation.jitter": "0s"}
            argocd["values"] = {"configs": {"cm": asks}}
        return {"values": values, "secrets": hidden}

    @property
    def _webhook_secret(self) -> Path:
        """The file whose being there means that Argo CD is told of commits by webhook."""
        return self._home.root / "webhook-secret"

    async def _set_webhooks(self, request: Request) -> JSONResponse:
        """Whether, from the next `pulumi up` on, Argo CD is told of commits by webhook."""
        self._authorize(request)
        if not (await request.json())["on"]:
            self._webhook_secret.unlink(missing_ok=True)
        elif not self._webhook_secret.exists():
            write_private(self._webhook_secret, secrets.token_urlsafe(24).encode())
        return JSONResponse({})

    async def _get_repository(self, request: Request) -> JSONResponse:
        self._authorize(request)
        access = self.git.access(MONOREPO)
        return JSONResponse(
            {
                "url": f"{self.url}/git/{MONOREPO}.git",
                "username": access.username,
                "password": access.token,
            }
        )

    async def _set_repository(self, request: Request) -> JSONResponse:
        """Fill the monorepo from `source` (none: the example) if it is not there yet."""
        self._authorize(request)
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
        """What the monorepo's manifests ask of the team's registry is in it, as in real life."""
        path = self._home.root / "git" / f"{MONOREPO}.git"
        for registry, image, tag in await asyncio.to_thread(images_in, path):
            if registry == REGISTRY and not self.account.has_image(registry, image, tag):
                self.account.push_image(image, tag)

    async def _push_image(self, request: Request) -> JSONResponse:
        """Put an image into the team's registry: `repository` and `tag`."""
        self._authorize(request)
        body = await request.json()
        return JSONResponse({"image": self.account.push_image(body["repository"], body["tag"])})

    async def _move_clock(self, request: Request) -> JSONResponse:
        self._authorize(request)
        seconds = (await request.json())["seconds"]
        now = self.account.advance_clock(timedelta(seconds=seconds))
        return JSONResponse({"now": now.isoformat()})

    async def _add_token(self, request: Request) -> JSONResponse:
        self._authorize(request)
        scopes = [str(scope) for scope in (await request.json())["scopes"]]
        return JSONResponse({"token": self.account.add_token(" ".join(scopes), scopes)})

    async def _follow_requests(self, request: Request) -> StreamingResponse:
        """The requests that the account answers from now on, one JSON object a line; an empty line
        comes first, when none is missed any more."""
        self._authorize(request)

        async def lines() -> AsyncIterator[str]:
            async for record in self.account.journal.follow():
                yield f"{json.dumps(asdict(record), default=str) if record else ''}\n"

        return StreamingResponse(lines(), media_type="application/x-ndjson")

    async def _get_faults(self, request: Request) -> JSONResponse:
        self._authorize(request)
        return JSONResponse([fault.as_json() for fault in self.account.faults.all()])

    async def _add_fault(self, request: Request) -> JSONResponse:
        """Answers when the clusters have felt it."""
        self._authorize(request)
        try:
            fault = Fault.model_validate_json(await request.body())
        except ValidationError as error:
            reasons = "; ".join(each["msg"] for each in error.errors(include_url=False))
            raise HTTPException(422, reasons) from None
        standing = self.account.faults.add(fault)
        await self.clusters.settle()
        return JSONResponse(standing.as_json())

    async def _clear_faults(self, request: Request) -> JSONResponse:
        """Clear those of the number or kind `which` (none: all); answers when the clusters have
        got over them."""
        self._authorize(request)
        cleared = self.account.faults.clear((await request.json())["which"])
        await self.clusters.settle()
        return JSONResponse([fault.as_json() for fault in cleared])


def _account_token(home: Home, account: AccountState) -> str:
    """The token of whoever uses the sandbox; made with the account."""
    path = home.root / _TOKEN_FILE
    if path.exists() and account.find_token(token := path.read_text()):
        return token
    token = account.add_token("sandbox")
    write_private(path, token.encode())
    return token


def _github_token(home: Home, github: GitHub) -> str:
    """The token of the organization's owner on GitHub, who may do everything."""
    path = home.root / _GITHUB_TOKEN_FILE
    if path.exists() and github.state.find_token(token := path.read_text()):
        return token
    token = github.state.add_token(OWNER, dict.fromkeys(PERMISSIONS, "write"))
    write_private(path, token.encode())
    return token


def _chart_versions() -> set[str]:
    """The chart versions that the stack files pin, and the patch after each: one to upgrade to."""
    versions = set()
    for stack in STACKS:
        config = yaml.safe_load((REPOSITORY / f"Pulumi.{stack}.yaml").read_text())["config"]
        pinned = config[f"{PROJECT}:argocd"]["chart"]["version"]
        versions |= {pinned, next_patch(pinned)}
    return versions


def _listen(home: Home) -> socket.socket:
    """A socket on the port that the sandbox has always had, or on a free one if that is taken."""
    path = home.root / "port"
    for port in [int(path.read_text())] if path.exists() else []:
        with contextlib.suppress(OSError):
            return _bind(port)
    listening = _bind(free_port())
    path.write_text(str(listening.getsockname()[1]))
    return listening


def _bind(port: int) -> socket.socket:
    listening = socket.socket()
    # The connections of the daemon before this one may linger on the port.
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(("127.0.0.1", port))
        # From here on who connects waits until the server is up, and is not turned away.
        listening.listen(128)
    except OSError:
        listening.close()
        raise
    return listening


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    home = Home.default()
    with (home.folder() / "daemon.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit(f"a daemon runs already in {home.root}")
        tools = toolchain.ensure(Console(file=sys.stderr))
        os.environ["PATH"] = os.pathsep.join([str(tools.bin_dir), os.environ["PATH"]])
        listening = _listen(home)
        sandbox = Sandbox(home, tools, listening.getsockname()[1])
        config = uvicorn.Config(
            Faulty(sandbox.app, sandbox.account.faults),
            log_level="warning",
            timeout_graceful_shutdown=3,
        )
        _announce(home, sandbox)
        uvicorn.Server(config).run([listening])


def _announce(home: Home, sandbox: Sandbox) -> None:
    me = psutil.Process()
    said = {
        "pid": me.pid,
        "started": me.create_time(),
        "url": sandbox.url,
        "token": sandbox.token,
        "github": {
            "api": f"{sandbox.url}{BASE}{PREFIX}",
            "repository": f"{OWNER}/{MONOREPO}",
            "token": sandbox.github_token,
        },
    }
    write_private(home.root / "daemon.json", json.dumps(said).encode())


if __name__ == "__main__":
    main()
