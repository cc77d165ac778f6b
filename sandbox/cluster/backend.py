"""Runs the clusters of the emulated account."""

import asyncio
import base64
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psutil

from sandbox.cluster import cloud, images, volumes
from sandbox.cluster.api import Api
from sandbox.cluster.cloud import CloudController
from sandbox.cluster.controlplane import ControlPlane
from sandbox.cluster.images import ImagePuller
from sandbox.cluster.kubelet import Kubelet
from sandbox.cluster.nodes import MANAGER, NodePlan, is_ready, provider_id
from sandbox.cluster.refusal import refuse_statefulsets
from sandbox.cluster.relay import Relay
from sandbox.cluster.roles import Role
from sandbox.cluster.tools import ClusterTools
from sandbox.cluster.volumes import VolumeDriver
from sandbox.digitalocean.backend import ClusterAccess, ClusterFaults, ClusterSpec, NodeSpec
from sandbox.paths import remove_tree
from sandbox.processes import ProcessFailed

_NODES = "/api/v1/nodes"
_READY_WITHIN = 60.0
"""Seconds."""


@dataclass(frozen=True)
class ProcessInfo:
    """One process of a cluster."""

    cluster_id: str
    name: str
    """Such as `kube-apiserver`, or `NAMESPACE/POD` for a pod that runs as a process."""
    pid: int
    memory: int
    """Bytes, as proportional set size: shared memory is divided among the processes."""
    restarts: int
    log: Path


@dataclass
class _Cluster:
    plane: ControlPlane
    entrance: Relay
    """The API's port for clients outside the cluster; stopped while the cluster is unreachable."""
    kubelet: Kubelet
    nodes: NodePlan
    controllers: tuple[CloudController, ImagePuller, VolumeDriver]
    refuses_statefulsets: bool | None = None
    """None: unknown, since an earlier daemon may have set it."""

    async def stop(self) -> None:
        await self.entrance.stop()
        for controller in self.controllers:
            await controller.stop()
        await self.kubelet.stop()
        await self.plane.stop()


class Account(cloud.Account, images.Account, volumes.Account, Protocol):
    """What the clusters need of their account."""


class Clusters:
    """A `sandbox.digitalocean.backend.ClusterBackend` that runs real control planes.

    Each cluster has a folder in `folder`, named by its ID. `authenticate_url` returns the URL that
    answers the TokenReviews of the cluster with that ID. `account` has the load balancers, the
    registry and the volumes.
    """

    def __init__(
        self,
        folder: Path,
        tools: ClusterTools,
        authenticate_url: Callable[[str], str],
        account: Account,
    ) -> None:
        self._folder = folder
        self._tools = tools
        self._authenticate_url = authenticate_url
        self._account = account
        self._clusters: dict[str, _Cluster] = {}

    async def create(self, spec: ClusterSpec) -> ClusterAccess:
        """See `ClusterBackend.create`. Raises ProcessFailed if a process does not become ready."""
        cluster = self._clusters.get(spec.id)
        if cluster is None:
            plane = ControlPlane(
                self._folder / spec.id,
                self._tools,
                authenticate_url=self._authenticate_url(spec.id),
                service_subnet=spec.service_subnet,
            )
            kubelet = Kubelet(
                plane,
                self._tools,
                cluster_subnet=spec.cluster_subnet,
                volume=self._account.volume_folder,
            )
            driver = VolumeDriver(spec.id, spec.region, self._account)
            controllers = (
                CloudController(spec.id, self._account),
                ImagePuller(spec.id, self._account),
                driver,
            )
            async with AsyncExitStack() as undo:
                await plane.start()
                undo.push_async_callback(plane.stop)
                await kubelet.start()
                undo.push_async_callback(kubelet.stop)
                port = await asyncio.to_thread(plane.ports.choose, "entrance")
                entrance = Relay(port, lambda: plane.port)
                await driver.install(plane.api)
                await entrance.start()
                undo.pop_all()
            for controller in controllers:
                controller.start(plane.api)
            nodes = NodePlan(spec.cluster_subnet)
            cluster = _Cluster(plane, entrance, kubelet, nodes, controllers)
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
        # A cluster that could not be started has files too.
        await asyncio.to_thread(remove_tree, self._folder / cluster_id)

    async def set_faults(self, cluster_id: str, faults: ClusterFaults) -> None:
        """See `ClusterBackend.set_faults`."""
        cluster = self._clusters[cluster_id]
        if cluster.refuses_statefulsets != faults.refuses_statefulsets:
            await refuse_statefulsets(cluster.plane.api, faults.refuses_statefulsets)
            cluster.refuses_statefulsets = faults.refuses_statefulsets
        if faults.unreachable:
            await cluster.entrance.stop()
        else:
            await cluster.entrance.start()

    async def set_nodes(self, cluster_id: str, nodes: Sequence[NodeSpec]) -> None:
        """See `ClusterBackend.set_nodes`. The pods of a removed node are deleted with it.

        Raises ProcessFailed if the nodes are not ready within a minute.
        """
        cluster = self._clusters[cluster_id]
        api = cluster.plane.api
        present = {node["metadata"]["name"]: node for node in await api.items(_NODES)}
        specs = {spec.name: spec for spec in nodes}
        for name, node in list(present.items()):
            # Another Droplet with the same name is another node.
            if name not in specs or node["spec"]["providerID"] != provider_id(specs[name]):
                await api.delete(f"{_NODES}/{name}")
                del present[name]
        for name, spec in specs.items():
            node, status = cluster.nodes.place(spec, present)
            if name not in present:
                # kwok invents a status for an annotated node without one: annotate it afterwards.
                unannotated = {**node, "metadata": {**node["metadata"], "annotations": {}}}
                await api.apply(f"{_NODES}/{name}", unannotated, manager=MANAGER)
            present[name] = await api.merge(f"{_NODES}/{name}/status", {"status": status})
            await api.apply(f"{_NODES}/{name}", node, manager=MANAGER)
        deadline = time.monotonic() + _READY_WITHIN
        while not_ready := [node for node in await api.items(_NODES) if not is_ready(node)]:
            if time.monotonic() > deadline:
                names = ", ".join(node["metadata"]["name"] for node in not_ready)
                log = cluster.plane.log("kwok")
                raise ProcessFailed(
                    f"nodes not ready within {_READY_WITHIN:g} s: {names}; see {log}"
                )
            await asyncio.sleep(0.05)

    def url_of(self, cluster_id: str, role: Role) -> str | None:
        """URL of a part of Argo CD in that cluster; None while it is not ready."""
        cluster = self._clusters.get(cluster_id)
        return cluster.kubelet.url_of(role) if cluster else None

    def api(self, cluster_id: str) -> Api | None:
        """The API of that cluster as administrator; None if the cluster is not running."""
        cluster = self._clusters.get(cluster_id)
        return cluster.plane.api if cluster else None

    async def stop_all(self) -> None:
        """Stop all processes of all clusters; the clusters' data is kept."""
        clusters, self._clusters = list(self._clusters.values()), {}
        await asyncio.gather(*(cluster.stop() for cluster in clusters))

    def processes(self) -> list[ProcessInfo]:
        """The processes that are running."""
        infos = []
        for cluster_id, cluster in self._clusters.items():
            plane = cluster.plane
            running = [
                *((part.name, part.process, part.restarts, plane.log(part.name))
                  for part in plane.processes),
                *((f"{run.namespace}/{run.name}", run.process, run.restarts, run.log)
                  for run in cluster.kubelet.runs),
            ]  # fmt: skip
            for name, process, restarts, log in running:
                if process is not None and process.running:
                    memory = _memory(process.pid)
                    infos.append(ProcessInfo(cluster_id, name, process.pid, memory, restarts, log))
        return infos


def _memory(pid: int) -> int:
    try:
        memory: int = psutil.Process(pid).memory_full_info().pss
    except psutil.NoSuchProcess:
        return 0
    return memory
