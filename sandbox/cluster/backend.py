"""The clusters of the emulated account: a control plane of its own for each, and its pods."""

import asyncio
import base64
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psutil

from sandbox.cluster import cloud, images
from sandbox.cluster.api import Api
from sandbox.cluster.cloud import CloudController
from sandbox.cluster.controlplane import ControlPlane
from sandbox.cluster.images import ImagePuller
from sandbox.cluster.kubelet import Kubelet
from sandbox.cluster.nodes import MANAGER, NodePlan, is_ready, provider_id
from sandbox.cluster.refusal import set_refusal
from sandbox.cluster.relay import Relay
from sandbox.cluster.tools import ClusterTools
from sandbox.digitalocean.backend import ClusterAccess, ClusterSpec, Disturbance, NodeSpec
from sandbox.paths import remove_tree
from sandbox.processes import ProcessFailed

_NODES = "/api/v1/nodes"
_READY_WITHIN = 60.0
"""Seconds for the nodes of a cluster."""


@dataclass(frozen=True)
class ProcessInfo:
    """One process of a cluster."""

    cluster_id: str
    name: str
    """As `kube-apiserver`, or `NAMESPACE/POD` for a pod that is run for real."""
    pid: int
    memory: int
    """In bytes; what several processes share is divided among them (proportional set size)."""
    restarts: int
    log: Path


@dataclass
class _Cluster:
    plane: ControlPlane
    entrance: Relay
    """Where the API is reached from outside, and can be cut off."""
    kubelet: Kubelet
    nodes: NodePlan
    cloud: CloudController | None
    images: ImagePuller | None
    refuses_statefulsets: bool | None = None
    """None: what an earlier process left it with is not known."""

    async def stop(self) -> None:
        await self.entrance.stop()
        if self.cloud is not None:
            await self.cloud.stop()
        if self.images is not None:
            await self.images.stop()
        await self.kubelet.stop()
        await self.plane.stop()


class Account(cloud.Account, images.Account, Protocol):
    """What clusters need of the account that they are in."""


class Clusters:
    """Runs the clusters as a `sandbox.digitalocean.backend.ClusterBackend`.

    Each has a folder in `folder`, by its id. `authenticate_url` gives, for a cluster's id, the URL
    that answers its TokenReviews. Load balancers are made in `account`, and images pulled from its
    registry; without one, Services of type LoadBalancer and pods with such images wait for ever.
    """

    def __init__(
        self,
        folder: Path,
        tools: ClusterTools,
        authenticate_url: Callable[[str], str],
        account: Account | None = None,
    ) -> None:
        self._folder = folder
        self._tools = tools
        self._authenticate_url = authenticate_url
        self._account = account
        self._clusters: dict[str, _Cluster] = {}

    async def create(self, spec: ClusterSpec) -> ClusterAccess:
        """See `ClusterBackend.create`. Raises ProcessFailed if it does not become ready."""
        cluster = self._clusters.get(spec.id)
        if cluster is None:
            plane = ControlPlane(
                self._folder / spec.id,
                self._tools,
                authenticate_url=self._authenticate_url(spec.id),
                service_subnet=spec.service_subnet,
            )
            kubelet = Kubelet(plane, self._tools, cluster_subnet=spec.cluster_subnet)
            cloud = CloudController(spec.id, self._account) if self._account else None
            images = ImagePuller(spec.id, self._account) if self._account else None
            async with AsyncExitStack() as undo:
                await plane.start()
                undo.push_async_callback(plane.stop)
                await kubelet.start()
                undo.push_async_callback(kubelet.stop)
                port = await asyncio.to_thread(plane.ports.settle, "entrance")
                entrance = Relay(port, lambda: plane.port)
                await entrance.start()
                undo.pop_all()
            if cloud is not None:
                cloud.start(plane.api)
            if images is not None:
                images.start(plane.api)
            nodes = NodePlan(spec.cluster_subnet)
            cluster = _Cluster(plane, entrance, kubelet, nodes, cloud, images)
            self._clusters[spec.id] = cluster
        return ClusterAccess(
            endpoint=f"https://127.0.0.1:{cluster.entrance.port}",
            ca_certificate=base64.b64encode(cluster.plane.certificates.ca_pem).decode(),
            ipv4="127.0.0.1",
        )

    async def stop(self, cluster_id: str) -> None:
        """See `ClusterBackend.stop`."""
        cluster = self._clusters.pop(cluster_id, None)
        if cluster is not None:
            await cluster.stop()

    async def delete(self, cluster_id: str) -> None:
        """See `ClusterBackend.delete`."""
        await self.stop(cluster_id)
        # One that could not be started has left files, too.
        await asyncio.to_thread(remove_tree, self._folder / cluster_id)

    async def disturb(self, cluster_id: str, disturbance: Disturbance) -> None:
        """See `ClusterBackend.disturb`."""
        cluster = self._clusters[cluster_id]
        if cluster.refuses_statefulsets != disturbance.refuses_statefulsets:
            await set_refusal(cluster.plane.api, disturbance.refuses_statefulsets)
            cluster.refuses_statefulsets = disturbance.refuses_statefulsets
        if disturbance.unreachable:
            await cluster.entrance.stop()
        else:
            await cluster.entrance.start()

    async def set_nodes(self, cluster_id: str, nodes: Sequence[NodeSpec]) -> None:
        """See `ClusterBackend.set_nodes`. A node that leaves takes its pods with it.

        Raises ProcessFailed if they are not ready within a minute.
        """
        cluster = self._clusters[cluster_id]
        api = cluster.plane.api
        present = {node["metadata"]["name"]: node for node in await api.items(_NODES)}
        wanted = {spec.name: spec for spec in nodes}
        for name, node in list(present.items()):
            # Another machine of the same name is another node.
            if name not in wanted or node["spec"]["providerID"] != provider_id(wanted[name]):
                await api.delete(f"{_NODES}/{name}")
                del present[name]
        for name, spec in wanted.items():
            node, status = cluster.nodes.place(spec, present)
            if name not in present:
                # kwok would make up the status of a node that it knows and that has none.
                hidden = {**node, "metadata": {**node["metadata"], "annotations": {}}}
                await api.apply(f"{_NODES}/{name}", hidden, manager=MANAGER)
            present[name] = await api.merge(f"{_NODES}/{name}/status", {"status": status})
            await api.apply(f"{_NODES}/{name}", node, manager=MANAGER)
        deadline = time.monotonic() + _READY_WITHIN
        while lacking := [node for node in await api.items(_NODES) if not is_ready(node)]:
            if time.monotonic() > deadline:
                names = ", ".join(node["metadata"]["name"] for node in lacking)
                log = cluster.plane.log("kwok")
                raise ProcessFailed(
                    f"nodes not ready within {_READY_WITHIN:g} s: {names}; see {log}"
                )
            await asyncio.sleep(0.05)

    def server_url(self, cluster_id: str) -> str | None:
        """Where Argo CD's API listens in that cluster; None while it doesn't."""
        cluster = self._clusters.get(cluster_id)
        return cluster.kubelet.server_url() if cluster else None

    def admin_kubeconfig(self, cluster_id: str) -> Path | None:
        """A kubeconfig that needs no account; None if the cluster does not run."""
        cluster = self._clusters.get(cluster_id)
        return cluster.plane.kubeconfig("admin") if cluster else None

    def api(self, cluster_id: str) -> Api | None:
        """The API of that cluster as the sandbox's administrator; None if it does not run."""
        cluster = self._clusters.get(cluster_id)
        return cluster.plane.api if cluster else None

    async def stop_all(self) -> None:
        """End all processes of all clusters; what the clusters hold is kept."""
        clusters, self._clusters = list(self._clusters.values()), {}

        await asyncio.gather(*(cluster.stop() for cluster in clusters))

    def processes(self) -> list[ProcessInfo]:
        """Every process that runs at this moment."""
        found = []
        for cluster_id, cluster in self._clusters.items():
            plane = cluster.plane
            running = [
                *((each.name, each.process, each.restarts, plane.log(each.name))
                  for each in plane.processes),
                *((f"{run.namespace}/{run.name}", run.process, run.restarts, run.log)
                  for run in cluster.kubelet.runs),
            ]  # fmt: skip
            for name, process, restarts, log in running:
                if process is not None and process.running:
                    memory = _memory(process.pid)
                    found.append(ProcessInfo(cluster_id, name, process.pid, memory, restarts, log))
        return found


def _memory(pid: int) -> int:
    try:
        memory: int = psutil.Process(pid).memory_full_info().pss
    except psutil.NoSuchProcess:
        return 0
    return memory
