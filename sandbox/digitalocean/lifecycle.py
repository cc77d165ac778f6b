"""Reconciles the running clusters with the account's data, in the background.

`reconcile` must be called after every change of a cluster. It depends only on the account's data,
so it does the same after a crash as after a request.
"""

import asyncio
import logging
from collections import defaultdict

from sandbox.digitalocean.backend import ClusterBackend, ClusterFaults, ClusterSpec, NodeSpec
from sandbox.digitalocean.catalogue import SIZES
from sandbox.digitalocean.models import Cluster, ClusterStatus, NodeStatus
from sandbox.digitalocean.state import AccountState
from sandbox.faults import Faults

_log = logging.getLogger(__name__)


def cluster_spec(cluster: Cluster) -> ClusterSpec:
    return ClusterSpec(
        id=cluster.id,
        name=cluster.name,
        region=cluster.region,
        version=cluster.upgrading_to or cluster.version,
        cluster_subnet=cluster.cluster_subnet,
        service_subnet=cluster.service_subnet,
        ha=cluster.ha,
    )


class ClusterFailed(Exception):
    """The cluster can't be created; the text is the message of its status."""


def node_specs(cluster: Cluster, faults: Faults) -> list[NodeSpec]:
    """The nodes that the cluster should have, with the labels that DOKS adds
    (docs.digitalocean.com/products/kubernetes/details/managed/#automatic-application-of-labels)."""
    version = cluster.upgrading_to or cluster.version
    return [
        NodeSpec(
            id=node.id,
            name=node.name,
            pool_id=pool.id,
            pool_name=pool.name,
            region=cluster.region,
            size=pool.size,
            vcpus=SIZES[pool.size].vcpus,
            memory=SIZES[pool.size].memory,
            disk=SIZES[pool.size].disk,
            version=version,
            labels={
                **pool.labels,
                "doks.digitalocean.com/managed": "true",
                "doks.digitalocean.com/node-id": node.id,
                "doks.digitalocean.com/node-pool": pool.name,
                "doks.digitalocean.com/node-pool-id": pool.id,
                "doks.digitalocean.com/version": version,
                "node.kubernetes.io/instance-type": pool.size,
                "topology.kubernetes.io/region": cluster.region,
            },
            taints=tuple(pool.taints),
        )
        for pool in cluster.node_pools
        for node in pool.remaining()
        if node.status.state == "running" or not faults.is_active("no-capacity", pool.size)
    ]


class Clusters:
    """Runs the account's clusters on a backend.

    Create only one in a process, call `reconcile_all`, and `close` it before the event loop ends.
    """

    def __init__(self, account: AccountState, backend: ClusterBackend) -> None:
        self._account = account
        self._backend = backend
        self._tasks: set[asyncio.Task[None]] = set()
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._running: dict[str, ClusterSpec] = {}

    async def reconcile_all(self) -> None:
        """Reconcile every cluster with the account and its faults; returns when that is done. In a
        new process this starts the existing clusters and finishes unfinished deletions."""
        tasks = [
            self.reconcile(cluster.id)
            for cluster in self._account.data.clusters.values()
            if cluster.status.state != "error"
        ]
        await asyncio.gather(*tasks)

    async def close(self) -> None:
        """Cancel the background tasks; the next `reconcile_all` does their work. Clusters are not
        stopped."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def reconcile(self, cluster_id: str) -> asyncio.Task[None]:
        """Reconcile the cluster with the account, in the background."""
        task = asyncio.create_task(self._reconcile(cluster_id), name=f"cluster {cluster_id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _reconcile(self, cluster_id: str) -> None:
        async with self._locks[cluster_id]:
            cluster = self._account.data.clusters.get(cluster_id)
            if cluster is None:
                return
            try:
                if cluster.status.state == "deleting":
                    await self._delete(cluster)
                else:
                    await self._run(cluster)
            except Exception as error:
                _log.exception("cluster %s (%s)", cluster.name, cluster_id)
                self._fail(cluster, error)

    async def _run(self, cluster: Cluster) -> None:
        faults = self._account.faults
        if faults.is_active("region-down", cluster.region):
            await self._stop_with_region(cluster)
            return
        if not cluster.endpoint and faults.hit("cluster-error", cluster.name):
            raise ClusterFailed("the control plane could not be provisioned")
        spec = cluster_spec(cluster)
        if self._running.get(cluster.id) != spec:
            access = await self._backend.create(spec)
            self._running[cluster.id] = spec
            with self._account.changing():
                cluster.endpoint = access.endpoint
                cluster.ca_certificate = access.ca_certificate
                # docs.digitalocean.com/reference/api: not set for a highly available cluster.
                cluster.ipv4 = "" if cluster.ha else access.ipv4
        cluster_faults = ClusterFaults(
            unreachable=faults.is_active("cluster-unreachable", cluster.name),
            refuses_statefulsets=faults.is_active("helm-fails", cluster.name),
        )
        await self._backend.set_faults(cluster.id, cluster_faults)
        nodes = node_specs(cluster, faults)
        await self._backend.set_nodes(cluster.id, nodes)
        with self._account.changing():
            self._update_nodes(cluster, {node.id for node in nodes})
            # If a request has changed the cluster meanwhile, its own task is waiting.
            if cluster.status.state != "deleting" and cluster_spec(cluster) == spec:
                cluster.version = spec.version
                cluster.upgrading_to = None
                cluster.status = self._status(cluster)
                cluster.updated_at = self._account.clock.now()
        self._account.detach_missing_droplets()

    def _status(self, cluster: Cluster) -> ClusterStatus:
        if self._account.faults.is_active("cluster-degraded", cluster.name):
            return ClusterStatus(state="degraded", message="the control plane is degraded")
        return ClusterStatus(state="running")

    async def _stop_with_region(self, cluster: Cluster) -> None:
        await self._backend.stop(cluster.id)
        self._running.pop(cluster.id, None)
        if cluster.status.state != "deleting":
            message = f"region {cluster.region} is not available"
            with self._account.changing():
                cluster.status = ClusterStatus(state="degraded", message=message)

    def _update_nodes(self, cluster: Cluster, ready: set[str]) -> None:
        now = self._account.clock.now()
        for pool in cluster.node_pools:
            pool.nodes = [
                node
                for node in pool.nodes
                if node.id in ready or node.status.state == "provisioning"
            ]
            for node in pool.nodes:
                if node.id in ready and node.status.state == "provisioning":
                    node.status = NodeStatus(state="running")
                    node.updated_at = now
        cluster.node_pools = [
            pool for pool in cluster.node_pools if pool.nodes or not pool.deleting
        ]

    async def _delete(self, cluster: Cluster) -> None:
        await self._backend.delete(cluster.id)
        self._running.pop(cluster.id, None)
        with self._account.changing() as data:
            del data.clusters[cluster.id]
            data.credentials = [
                credential for credential in data.credentials if credential.cluster_id != cluster.id
            ]
        self._account.detach_missing_droplets()

    def _fail(self, cluster: Cluster, error: Exception) -> None:
        message = str(error) or type(error).__name__
        try:
            with self._account.changing():
                if cluster.status.state == "deleting":
                    cluster.status = ClusterStatus(state="deleting", message=message)
                else:
                    state = "degraded" if cluster.endpoint else "error"
                    cluster.status = ClusterStatus.model_validate(
                        {"state": state, "message": message}
                    )
        except OSError as unsaved:
            # The disk is full, say. The next change saves this one, too.
            _log.error("the account can't be saved: %s", unsaved)
