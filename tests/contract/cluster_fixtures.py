"""A cluster of the sandbox and its account, for the tests of clusters."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from sandbox.cluster.api import Api
from sandbox.cluster.backend import Clusters
from sandbox.digitalocean.backend import ClusterAccess, ClusterSpec, NodeSpec
from sandbox.processes import free_port
from tests.contract.built_tools import tools

SPEC = ClusterSpec(
    id=str(uuid4()),
    name="dev",
    region="nyc1",
    version="1.34.1-do.0",
    cluster_subnet="10.244.0.0/16",
    service_subnet="10.245.0.0/16",
    ha=False,
)


def node(name: str) -> NodeSpec:
    return NodeSpec(
        id=str(uuid4()),
        name=name,
        pool_id="pool-id",
        pool_name="default",
        region="nyc1",
        size="s-4vcpu-8gb",
        vcpus=4,
        memory=8192,
        disk=160,
        version=SPEC.version,
        labels={"doks.digitalocean.com/node-pool": "default", "tier": "web"},
    )


NODES = (node("default-a"), node("default-b"))


@dataclass
class LoadBalancer:
    id: str
    name: str


@dataclass
class Volume:
    id: str
    name: str
    size_gigabytes: int
    node: str | None = None
    """The node that it is attached to."""


@dataclass
class Account:
    """What a cluster needs of its account: TokenReviews, load balancers, images and volumes."""

    tokens: set[str] = field(default_factory=set)
    images: set[str] = field(default_factory=set)
    load_balancers: dict[str, LoadBalancer] = field(default_factory=dict)
    volumes: dict[str, Volume] = field(default_factory=dict)
    """By their IDs."""

    def add_load_balancer(self, cluster_id: str, name: str, ip: str) -> LoadBalancer:
        load_balancer = LoadBalancer(str(uuid4()), name)
        self.load_balancers[load_balancer.id] = load_balancer
        return load_balancer

    def pull_error(self, cluster_id: str, image: str) -> str | None:
        return None if image in self.images else f"{image}: not found"

    def remove_load_balancer(self, load_balancer_id: str) -> None:
        self.load_balancers.pop(load_balancer_id, None)

    def provide_volume(self, cluster_id: str, name: str, size_gigabytes: int) -> Volume:
        """The volume of that name: the driver may ask twice."""
        known = next((volume for volume in self.volumes.values() if volume.name == name), None)
        volume = known or Volume(str(uuid4()), name, size_gigabytes)
        return self.volumes.setdefault(volume.id, volume)

    def volume_folder(self, volume_id: str) -> Path:
        raise KeyError(volume_id)

    def attach_to_node(self, cluster_id: str, volume_id: str, node: str) -> str | None:
        if (volume := self.volumes.get(volume_id)) is None:
            return f"{volume_id}: not found"
        volume.node = node
        return None

    def detach_from_cluster(self, cluster_id: str, volume_id: str) -> None:
        if volume := self.volumes.get(volume_id):
            volume.node = None

    def remove_volume(self, volume_id: str) -> None:
        self.volumes.pop(volume_id, None)

    async def authenticate(self, request: Request) -> JSONResponse:
        review = await request.json()
        status: dict[str, object] = {"authenticated": review["spec"]["token"] in self.tokens}
        if status["authenticated"]:
            status["user"] = {"username": "team", "groups": ["system:masters"]}
        return JSONResponse({**review, "status": status})


@dataclass
class Running:
    """A backend that runs the cluster `SPEC` with the nodes `NODES`."""

    folder: Path
    account: Account
    clusters: Clusters
    access: ClusterAccess

    @property
    def kubeconfig(self) -> Path:
        """The kubeconfig of an administrator."""
        return self.folder / SPEC.id / "admin.kubeconfig"

    @property
    def api(self) -> Api:
        api = self.clusters.api(SPEC.id)
        assert api is not None
        return api


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Running]:
    account = Account()
    app = Starlette(routes=[Route("/{cluster}", account.authenticate, methods=["POST"])])
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning", lifespan="off"))
    serving = asyncio.create_task(server.serve())
    clusters = Clusters(folder, tools(), lambda id: f"http://127.0.0.1:{port}/{id}", account)
    try:
        access = await clusters.create(SPEC)
        await clusters.set_nodes(SPEC.id, NODES)
        yield Running(folder, account, clusters, access)
    finally:
        await clusters.stop_all()
        server.should_exit = True
        await serving


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def cluster(
    anyio_backend: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Running]:
    async with running(tmp_path_factory.mktemp("clusters")) as cluster:
        yield cluster


async def until(condition: Callable[[], Awaitable[bool]], *, seconds: float = 30) -> None:
    """Wait until the condition holds; a refused connection counts as false."""
    async with asyncio.timeout(seconds):
        while True:
            try:
                if await condition():
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.1)
