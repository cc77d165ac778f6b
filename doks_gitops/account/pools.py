"""Which pool is the cluster's first one, which pools an update replaces, and which Pulumi does not
know."""

from __future__ import annotations

from collections.abc import Iterator

from doks_gitops.account.model import RunningCluster
from doks_gitops.settings import Settings
from doks_gitops.settings.errors import stack_file

NOT_IN_STATE = "Unless this update deletes it, Pulumi's state does not have"
"""Beginning of the warning of what exists beside the stack."""


def first_pool(settings: Settings, running: RunningCluster | None) -> int:
    """Returns the index of the pool in the stack file that belongs to the cluster's own resource.

    DigitalOcean creates it together with the cluster, and its provider tags it: in a running
    cluster it is the tagged pool, wherever it is in the stack file. Otherwise it is the first one.
    """
    names = [pool.name for pool in settings.cluster.node_pools]
    tagged = running.default_pool if running is not None else None
    return names.index(tagged) if tagged in names else 0


def unknown_pools(settings: Settings, running: RunningCluster) -> Iterator[str]:
    """Yields the names of the cluster's pools that are not in the stack file. A first pool that is
    to be renamed is not among them."""
    known = {pool.name for pool in settings.cluster.node_pools}
    return (name for name in running.pools if name not in known | {running.default_pool})


def unknown_pool_text(settings: Settings, running: RunningCluster, name: str) -> str:
    """Returns what the pool is, and the commands that delete and adopt it."""
    pool = running.pools[name]
    return (
        f"the node pool {name} ({pool.id}, {pool.count} x {pool.size}) of the cluster"
        f" {running.name}, which is not in {stack_file(settings.stack)}. To delete it: doctl"
        f" kubernetes cluster node-pool delete {running.id} {pool.id}. To keep it: add it to"
        f" cluster.nodePools, then bin/platform recover --stack {settings.stack}, which adopts it"
    )


def replaced_pools(settings: Settings, running: RunningCluster) -> Iterator[str]:
    """Yields what an update does to each pool that it replaces, without the first one, which is
    replaced with the cluster."""
    for pool in settings.cluster.node_pools:
        current = running.pools.get(pool.name)
        if current is None or pool.name == running.default_pool:
            continue
        mode = current.options.get("gpu_partition_mode") or None
        changes = [
            f"{key} changes from {before or 'nothing'} to {after or 'nothing'}"
            for key, before, after in (
                ("size", current.size, pool.size),
                ("gpuPartitionMode", mode, pool.gpu_partition_mode),
            )
            if before != after
        ]
        if changes:
            yield (
                f"This update replaces the node pool {pool.name} of the cluster {running.name}:"
                f" {' and '.join(changes)}, which DigitalOcean can't do in place. Its nodes are"
                " deleted before there are new ones: their pods stop, and what is on the nodes'"
                " disks is lost. To avoid that, add another pool first, and remove this one when"
                " the pods have moved."
            )
