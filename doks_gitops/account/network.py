"""Whether the networks of the stack's cluster fit the account.

https://docs.digitalocean.com/products/kubernetes/how-to/create-clusters/#create-with-vpc-native
"""

from __future__ import annotations

from collections.abc import Iterator

from doks_gitops.account.model import Account, RunningCluster
from doks_gitops.settings import Settings, network
from doks_gitops.settings.base import Path, Violation

GUIDE = "docs/upgrade.md#a-cluster-with-an-overlay-network"


def changes(settings: Settings, running: RunningCluster) -> Iterator[tuple[Path, str, str]]:
    """Yields the path, the value and the current value of each network setting that the running
    cluster does not have, and that can't be changed in place."""
    cluster = settings.cluster
    current = {"pods": running.cluster_subnet, "services": running.service_subnet}
    for key, text in network.declared(cluster).items():
        if text != current[key]:
            yield ("cluster", "network", key), text, current[key]
    if cluster.worker_subnet not in (None, running.worker_subnet):
        yield ("cluster", "workerSubnet"), str(cluster.worker_subnet), str(running.worker_subnet)
    if cluster.isolated_workers != running.isolated_workers:
        isolated = (cluster.isolated_workers, running.isolated_workers)
        value, actual = (str(flag).lower() for flag in isolated)
        yield ("cluster", "isolatedWorkers"), value, actual


def kept(settings: Settings, running: RunningCluster) -> Iterator[Violation]:
    """Yields the settings that would replace the running cluster if the stack file allowed it."""
    name = f'"{running.name}" ({running.id})'
    for path, value, current in changes(settings, running):
        overlay = path[1] == "network" and not running.vpc_native
        yield Violation(
            path,
            got=f'"{value}", but the cluster {name} has "{current}"'
            + (", an overlay network" if overlay else ""),
            expected=("no network" if overlay else f'"{current}"')
            + ": DigitalOcean can't change it in place. To replace the cluster and everything in"
            " it, set cluster.replace: true",
            example=None if overlay else current,
        )


def overlaps(settings: Settings, account: Account, replaced: str | None) -> Iterator[Violation]:
    """Yields the networks of a new cluster that another network in the account overlaps.

    `replaced`: ID of the cluster that the new one replaces.
    """
    cluster = settings.cluster
    ranges = network.ranges(cluster, settings.environment)
    declared = network.declared(cluster)
    others = [(f'the VPC "{vpc.name}" ({vpc.id})', vpc.ip_range) for vpc in account.vpcs]
    if cluster.vpc is not None and cluster.vpc.ip_range is not None:
        others.append(("cluster.vpc.ipRange", cluster.vpc.ip_range))
    for other in account.clusters:
        if other.vpc_native and other.id != replaced:
            name = f'the cluster "{other.name}" ({other.id})'
            others += [(name, other.cluster_subnet), (name, other.service_subnet)]
    taken = [ranges.pods, ranges.services, *(text for _, text in others if text)]
    for key, text in (("pods", ranges.pods), ("services", ranges.services)):
        for name, other_range in others:
            if network.overlap(text, other_range):
                free = network.free_range(text, taken)
                taken += [free] if free else []
                origin = "" if key in declared else f", the default of {settings.environment}"
                yield Violation(
                    ("cluster", "network", key),
                    got=f'"{text}"{origin}, which overlaps {name}, {other_range}',
                    expected="a range that overlaps no other network in the account",
                    example=free,
                )
                break


def no_gateway(settings: Settings, account: Account) -> Iterator[Violation]:
    """Yields a violation if the nodes of a new cluster could not reach the internet."""
    vpc = settings.cluster.vpc
    if settings.cluster.isolated_workers and vpc is not None and vpc.id not in account.gateways:
        yield Violation(
            ("cluster", "isolatedWorkers"),
            got=f"true, but no NAT gateway is attached to the VPC {vpc.id}",
            expected="a VPC with a NAT gateway (doctl compute vpc-nat-gateway list), or false",
            example="false",
        )


def advice(running: RunningCluster) -> str | None:
    """Returns what to know of a running cluster that is not VPC-native."""
    if running.vpc_native or not running.cluster_subnet:
        return None
    return (
        f"The cluster {running.name} ({running.id}) has an overlay network, which can't be changed:"
        " nothing outside reaches its pods, and DOKS's Gateway API and VPC peering are not there"
        f" for it. It stays as it is; a new cluster is VPC-native: {GUIDE}"
    )
