"""The emulated API on a real HTTP server, with clusters that exist in memory only."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx
import uvicorn
from azure.core.pipeline.policies import HeadersPolicy
from pydo import Client
from starlette.applications import Starlette
from starlette.routing import Mount
from tenacity import Retrying, retry_if_not_result, stop_after_delay, wait_fixed

from sandbox.digitalocean.app import create_app
from sandbox.digitalocean.backend import ClusterAccess, ClusterSpec, Disturbance, NodeSpec
from sandbox.digitalocean.lifecycle import Clusters
from sandbox.digitalocean.state import AccountState
from sandbox.digitalocean.webhook import webhook_route
from sandbox.faults import Fault, Standing
from sandbox.faults.requests import Faulty
from sandbox.processes import free_port

T = TypeVar("T")


@dataclass
class InMemoryBackend:
    """Clusters that are there as soon as `gate` lets them, or fail with `failure`."""

    gate: threading.Event = field(default_factory=threading.Event)
    failure: str = ""
    specs: dict[str, ClusterSpec] = field(default_factory=dict)
    nodes: dict[str, Sequence[NodeSpec]] = field(default_factory=dict)
    disturbances: dict[str, Disturbance] = field(default_factory=dict)
    created: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.gate.set()

    async def _pass_gate(self) -> None:
        await asyncio.to_thread(self.gate.wait)
        if self.failure:
            raise RuntimeError(self.failure)

    async def create(self, spec: ClusterSpec) -> ClusterAccess:
        await self._pass_gate()
        self.created.append(spec.id)
        self.specs[spec.id] = spec
        return ClusterAccess("https://127.0.0.1:6443", "Y2VydGlmaWNhdGU=", "127.0.0.1")

    async def stop(self, cluster_id: str) -> None:
        await self._pass_gate()
        self.specs.pop(cluster_id, None)

    async def delete(self, cluster_id: str) -> None:
        await self._pass_gate()
        self.specs.pop(cluster_id, None)
        self.nodes.pop(cluster_id, None)

    async def disturb(self, cluster_id: str, disturbance: Disturbance) -> None:
        self.disturbances[cluster_id] = disturbance

    async def set_nodes(self, cluster_id: str, nodes: Sequence[NodeSpec]) -> None:
        await self._pass_gate()
        self.nodes[cluster_id] = nodes


@dataclass
class Emulator:
    """A served account."""

    url: str
    account: AccountState
    clusters: Clusters
    backend: InMemoryBackend
    loop: asyncio.AbstractEventLoop
    token: str

    def add_fault(self, kind: str, target: str = "*", **more: Any) -> Standing:
        """Returns when the clusters have felt it."""
        asked = {"kind": kind, **({} if target == "*" else {"target": target}), **more}
        fault = self.in_server(lambda: self.account.faults.add(Fault.model_validate(asked)))
        self._settle()
        return fault

    def clear_faults(self) -> None:
        """Returns when the clusters have got over them."""
        self.in_server(self.account.faults.clear)
        self._settle()

    def _settle(self) -> None:
        asyncio.run_coroutine_threadsafe(self.clusters.settle(), self.loop).result(10)

    def in_server(self, act: Callable[[], T]) -> T:
        """Run `act` where the server runs, since the account is its event loop's alone."""

        async def run() -> T:
            return act()

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(10)

    def token_with(self, *scopes: str) -> str:
        return self.in_server(lambda: self.account.add_token("scoped", scopes))

    def pydo(self, token: str | None = None) -> Client:
        """DigitalOcean's client. Its own bearer policy refuses addresses that are not HTTPS."""
        headers = {"Authorization": f"Bearer {token or self.token}"}
        policy = HeadersPolicy(base_headers=headers)
        return Client("", endpoint=self.url, authentication_policy=policy)

    def http(self, token: str | None = None) -> httpx.Client:
        headers = {"Authorization": f"Bearer {token or self.token}"}
        return httpx.Client(base_url=self.url, headers=headers)

    def create_cluster(self, **changes: object) -> dict[str, Any]:
        """Create a cluster and return it as it was answered."""
        answer = self.pydo().kubernetes.create_cluster(body=cluster_request(**changes))
        return dict(answer["kubernetes_cluster"])

    def cluster(self, cluster_id: str) -> dict[str, Any]:
        return dict(self.pydo().kubernetes.get_cluster(cluster_id)["kubernetes_cluster"])

    def until_state(self, cluster_id: str, state: str) -> dict[str, Any]:
        return until(lambda: self.cluster(cluster_id), lambda c: c["status"]["state"] == state)

    def running_cluster(self, **changes: object) -> dict[str, Any]:
        return self.until_state(self.create_cluster(**changes)["id"], "running")

    def until_gone(self, cluster_id: str) -> None:
        until(lambda: self.pydo().kubernetes.get_cluster(cluster_id), lambda c: "id" in c)


def until(read: Callable[[], T], holds: Callable[[T], bool]) -> T:
    """What `read` returns as soon as `holds` is true of it."""
    polling = Retrying(
        retry=retry_if_not_result(holds), wait=wait_fixed(0.05), stop=stop_after_delay(10)
    )
    return polling(read)


def cluster_request(**changes: object) -> dict[str, object]:
    return {
        "name": "microservices-demo",
        "region": "nyc1",
        "version": "1.34.11-do.0",
        "node_pools": [pool_request()],
        **changes,
    }


def pool_request(**changes: object) -> dict[str, object]:
    return {"name": "default", "size": "s-2vcpu-4gb", "count": 2, **changes}


def error_of(response: httpx.Response) -> tuple[int, str, str]:
    body: Mapping[str, str] = response.json()
    return response.status_code, body["id"], body["message"]


@contextmanager
def emulator(state_file: Path, backend: InMemoryBackend) -> Iterator[Emulator]:
    """Serve the account kept in `state_file`, taking up what was under way."""
    loop = asyncio.new_event_loop()
    ready: list[Emulator] = []
    web: list[uvicorn.Server] = []
    started = threading.Event()
    port = free_port()

    async def serve() -> None:
        account = AccountState.load(state_file)
        clusters = Clusters(account, backend)
        resumed = asyncio.create_task(clusters.settle())
        app = Starlette(
            routes=[webhook_route(account), Mount("", create_app(account, clusters))],
        )
        server = uvicorn.Server(
            uvicorn.Config(
                Faulty(app, account.faults),
                host="127.0.0.1",
                port=port,
                log_level="warning",
                lifespan="off",
            )
        )
        token = account.add_token("tests")
        url = f"http://127.0.0.1:{port}"
        ready.append(Emulator(url, account, clusters, backend, loop, token))
        web.append(server)
        started.set()
        await server.serve()
        await clusters.close()
        resumed.cancel()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert started.wait(10)
        until(lambda: web[0].started, bool)
        yield ready[0]
    finally:
        backend.gate.set()
        web[0].should_exit = True
        thread.join(20)
        loop.close()
