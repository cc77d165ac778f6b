"""Brings the clusters to what the account says they are, in the background.

Every change of a cluster is followed by `changed`. What it does depends only on the account's data,
so it is the same after a crash (`settle`) as after a request.
"""

import asyncio
import logging
from collections import defaultdict

from sandbox.digitalocean.backend import ClusterBackend, ClusterSpec, Disturbance, NodeSpec
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
    """DigitalOcean can't make the cluster; the text is the message of its status."""


def node_specs(cluster: Cluster, faults: Faults) -> list[NodeSpec]:
    """The nodes that the cluster has as soon as it can, labelled as DOKS labels them
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
        if node.status.state == "running" or not faults.stand("no-capacity", pool.size)
    ]


class Clusters:
    """Runs the account's clusters on a backend.

    Make it once in a process, `settle` it, and `close` it before the loop ends.
    """

    def __init__(self, account: AccountState, backend: ClusterBackend) -> None:
        self._account = account
        self._backend = backend
        self._tasks: set[asyncio.Task[None]] = set()
        self._one_at_a_time: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._running: dict[str, ClusterSpec] = {}

    async def settle(self) -> None:
        """Make every cluster what the account and its faults say. In a new process that takes up
        what was under way when the last one ended: every cluster that was there is started, those
        that were being deleted are ended. Returns when all that is done."""
        tasks = [
            self.changed(cluster.id)
            for cluster in self._account.data.clusters.values()
            if cluster.status.state != "error"
        ]
        await asyncio.gather(*tasks)

    async def close(self) -> None:
        """Stop working; what is unfinished is for `settle`. Clusters themselves are not ended."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def changed(self, cluster_id: str) -> asyncio.Task[None]:
        """See to it, in the background, that the cluster becomes what the account says."""
        task = asyncio.create_task(self._settle(cluster_id), name=f"cluster {cluster_id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _settle(self, cluster_id: str) -> None:
        async with self._one_at_a_time[cluster_id]:
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
        if faults.stand("region-down", cluster.region):
            await self._lose_region(cluster)
            return
        if not cluster.endpoint and faults.strike("cluster-error", cluster.name):
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
        disturbance = Disturbance(
            unreachable=faults.stand("cluster-unreachable", cluster.name),
            refuses_statefulsets=faults.stand("helm-fails", cluster.name),
        )
        await self._backend.disturb(cluster.id, disturbance)
        nodes = node_specs(cluster, faults)
        await self._backend.set_nodes(cluster.id, nodes)
        with self._account.changing():
            self._settle_nodes(cluster, {node.id for node in nodes})
            # Requests that came meanwhile have a task of their own waiting.
            if cluster.status.state != "deleting" and cluster_spec(cluster) == spec:
                cluster.version = spec.version
                cluster.upgrading_to = None
                cluster.status = self._status(cluster)
                cluster.updated_at = self._account.clock.now()

    def _status(self, cluster: Cluster) -> ClusterStatus:
        if self._account.faults.stand("cluster-degraded", cluster.name):
            return ClusterStatus(state="degraded", message="the control plane is degraded")
        return ClusterStatus(state="running")

    async def _lose_region(self, cluster: Cluster) -> None:
        await self._backend.stop(cluster.id)
        self._running.pop(cluster.id, None)
        if cluster.status.state != "deleting":
            message = f"region {cluster.region} is not available"
            with self._account.changing():
                cluster.status = ClusterStatus(state="degraded", message=message)

    def _settle_nodes(self, cluster: Cluster, ready: set[str]) -> None:
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
                known for known in data.credentials if known.cluster_id != cluster.id
            ]

    def _fail(self, cluster: Cluster, error: Exception) -> None:
        message = str(error) or type(error).__name__
        with self._account.changing():
            if cluster.status.state == "deleting":
                cluster.status = ClusterStatus(state="deleting", message=message)
            else:
                state = "degraded" if cluster.endpoint else "error"
                cluster.status = ClusterStatus.model_validate({"state": state, "message": message})
