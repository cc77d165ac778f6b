"""Serves the emulated DigitalOcean API over HTTP, with clusters that exist only in memory."""

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
from sandbox.digitalocean.backend import ClusterAccess, ClusterFaults, ClusterSpec, NodeSpec
from sandbox.digitalocean.lifecycle import Clusters
from sandbox.digitalocean.state import AccountState
from sandbox.digitalocean.webhook import webhook_route
from sandbox.faults import ActiveFault, Fault
from sandbox.faults.requests import FaultMiddleware
from sandbox.processes import free_port

T = TypeVar("T")


@dataclass
class InMemoryBackend:
    """A backend without clusters. Its calls wait while `gate` is not set, and raise `failure` if it
    is not empty."""

    gate: threading.Event = field(default_factory=threading.Event)
    failure: str = ""
    specs: dict[str, ClusterSpec] = field(default_factory=dict)
    nodes: dict[str, Sequence[NodeSpec]] = field(default_factory=dict)
    cluster_faults: dict[str, ClusterFaults] = field(default_factory=dict)
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

    async def set_faults(self, cluster_id: str, faults: ClusterFaults) -> None:
        self.cluster_faults[cluster_id] = faults

    async def set_nodes(self, cluster_id: str, nodes: Sequence[NodeSpec]) -> None:
        await self._pass_gate()
        self.nodes[cluster_id] = nodes


@dataclass
class Emulator:
    """An emulated account on an HTTP server."""

    url: str
    account: AccountState
    clusters: Clusters
    backend: InMemoryBackend
    loop: asyncio.AbstractEventLoop
    token: str

    def add_fault(self, kind: str, target: str = "*", **options: Any) -> ActiveFault:
        """Inject a fault; returns when it is in effect in the clusters."""
        body = {"kind": kind, **({} if target == "*" else {"target": target}), **options}
        fault = self.in_server(lambda: self.account.faults.add(Fault.model_validate(body)))
        self.reconcile()
        return fault

    def clear_faults(self) -> None:
        """Clear all faults; returns when they are no longer in effect in the clusters."""
        self.in_server(self.account.faults.clear)
        self.reconcile()

    def reconcile(self) -> None:
        """Reconcile every cluster; returns when that is done."""
        asyncio.run_coroutine_threadsafe(self.clusters.reconcile_all(), self.loop).result(10)

    def in_server(self, function: Callable[[], T]) -> T:
        """Call `function` in the server's event loop, since the account is not thread-safe."""

        async def run() -> T:
            return function()

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(10)

    def token_with(self, *scopes: str) -> str:
        return self.in_server(lambda: self.account.add_token("scoped", scopes))

    def pydo(self, token: str | None = None) -> Client:
        """DigitalOcean's client, with a policy of its own: pydo's sends tokens only over HTTPS."""
        headers = {"Authorization": f"Bearer {token or self.token}"}
        policy = HeadersPolicy(base_headers=headers)
        return Client("", endpoint=self.url, authentication_policy=policy)

    def http(self, token: str | None = None) -> httpx.Client:
        headers = {"Authorization": f"Bearer {token or self.token}"}
        return httpx.Client(base_url=self.url, headers=headers)

    def create_cluster(self, **changes: object) -> dict[str, Any]:
        """Create a cluster and return it from the response."""
        response = self.pydo().kubernetes.create_cluster(body=cluster_request(**changes))
        return dict(response["kubernetes_cluster"])

    def cluster(self, cluster_id: str) -> dict[str, Any]:
        return dict(self.pydo().kubernetes.get_cluster(cluster_id)["kubernetes_cluster"])

    def until_state(self, cluster_id: str, state: str) -> dict[str, Any]:
        return until(lambda: self.cluster(cluster_id), lambda c: c["status"]["state"] == state)

    def running_cluster(self, **changes: object) -> dict[str, Any]:
        return self.until_state(self.create_cluster(**changes)["id"], "running")

    def until_deleted(self, cluster_id: str) -> None:
        until(lambda: self.pydo().kubernetes.get_cluster(cluster_id), lambda c: "id" in c)


def until(read: Callable[[], T], holds: Callable[[T], bool]) -> T:
    """Call `read` until `holds` is true for its result, and return the result."""
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
    """Serve the account in `state_file`, and finish its unfinished work."""
    loop = asyncio.new_event_loop()
    ready: list[Emulator] = []
    web: list[uvicorn.Server] = []
    started = threading.Event()
    port = free_port()

    async def serve() -> None:
        account = AccountState.load(state_file)
        clusters = Clusters(account, backend)
        reconciling = asyncio.create_task(clusters.reconcile_all())
        app = Starlette(
            routes=[webhook_route(account), Mount("", create_app(account, clusters))],
        )
        server = uvicorn.Server(
            uvicorn.Config(
                FaultMiddleware(app, account.faults),
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
        reconciling.cancel()

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
