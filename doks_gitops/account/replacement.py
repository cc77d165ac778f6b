"""Whether settings replace the stack's running cluster, and what is lost with it.

DigitalOcean can't change these settings of a cluster in place:
https://www.pulumi.com/registry/packages/digitalocean/api-docs/kubernetescluster/
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pulumi

from doks_gitops.account import messages, network
from doks_gitops.account.model import Account, RunningCluster, Vpc
from doks_gitops.account.pools import (
    NOT_IN_STATE,
    first_pool,
    replaced_pools,
    unknown_pool_text,
    unknown_pools,
)
from doks_gitops.settings import Settings
from doks_gitops.settings.base import Path
from doks_gitops.settings.errors import key_of
from doks_gitops.settings.model import NAMESPACE

GUIDE = "docs/upgrade.md#changes-that-replace-the-cluster"


@dataclass(frozen=True, slots=True)
class Change:
    """A setting with another value than the running cluster was created with."""

    path: Path
    value: str
    current: str
    revert: str | None = None
    """Value of the setting that keeps the cluster; None: no value does, the setting must go."""


@dataclass(frozen=True, slots=True)
class Replacement:
    """A running cluster that the settings replace."""

    cluster: RunningCluster
    changes: tuple[Change, ...]
    """At least one."""


def replacement(settings: Settings, account: Account) -> Replacement | None:
    """Returns the replacement of the stack's running cluster; None if the cluster stays, or there
    is none."""
    cluster = running_cluster(settings, account)
    changes = replacing_changes(settings, account, cluster) if cluster is not None else ()
    return Replacement(cluster, changes) if cluster is not None and changes else None


def running_cluster(settings: Settings, account: Account) -> RunningCluster | None:
    """Returns the stack's cluster in the account; None if there is none, or several."""
    clusters = account.stack_clusters(settings.cluster.name)
    return clusters[0] if len(clusters) == 1 else None


def replacing_changes(
    settings: Settings, account: Account, cluster: RunningCluster
) -> tuple[Change, ...]:
    """Returns the settings that replace `cluster`. A VPC of the stack's own is compared only if
    `account` was read with VPCs."""
    return tuple(_changes(settings, account, cluster))


def _changes(settings: Settings, account: Account, running: RunningCluster) -> Iterator[Change]:
    cluster = settings.cluster
    first = first_pool(settings, running)
    size, current_size = cluster.node_pools[first].size, running.default_pool_size
    if cluster.region != running.region:
        yield Change(("cluster", "region"), cluster.region, running.region, running.region)
    if current_size not in (None, size):
        yield Change(("cluster", "nodePools", first, "size"), size, current_size, current_size)
    mode, current_mode = cluster.node_pools[first].gpu_partition_mode, running.default_pool_mode
    if current_size is not None and (mode or "") != (current_mode or ""):
        path: Path = ("cluster", "nodePools", first, "gpuPartitionMode")
        yield Change(path, mode or "nothing", current_mode or "nothing", current_mode)
    if cluster.replace:
        for path, value, current in network.changes(settings, running):
            yield Change(path, value, current, current)
    if cluster.vpc is None or running.vpc is None:
        return
    if cluster.vpc.id is not None and cluster.vpc.id != running.vpc:
        yield Change(("cluster", "vpc", "id"), cluster.vpc.id, running.vpc, running.vpc)
    if (ip_range := cluster.vpc.ip_range) is not None:
        vpc = account.own_vpc
        own_range = vpc.ip_range if vpc and vpc.id == running.vpc else None
        if own_range != ip_range:
            current_range = own_range or f"the VPC {running.vpc}"
            yield Change(("cluster", "vpc", "ipRange"), ip_range, current_range, own_range)


def own_default_vpc(settings: Settings, account: Account) -> Vpc | None:
    """Returns the VPC that the stack has created if it is its region's default: DigitalOcean never
    deletes that. https://docs.digitalocean.com/products/networking/vpc/how-to/create/
    """
    if not settings.cluster.creates_vpc:
        return None
    vpc = account.own_vpc
    return vpc if vpc and vpc.default else None


def left_vpc(settings: Settings, account: Account) -> Vpc | None:
    """Returns the VPC that the stack has created if the state does not have it: that of a destroyed
    stack, which DigitalOcean keeps as the default of its region, or of a killed run, or of a state
    that was lost. It has the name, the region and the range of the stack's."""
    cluster, running = settings.cluster, running_cluster(settings, account)
    if cluster.vpc is None or account.recorded.vpc is not None:
        return None
    # An update that renames a cluster renames its VPC too.
    vpc = account.vpc_named(cluster.name, running.name if running is not None else cluster.name)
    is_own = vpc and (vpc.region, vpc.ip_range) == (cluster.region, cluster.vpc.ip_range)
    return vpc if is_own else None


def creates_default_vpc(settings: Settings, account: Account) -> bool:
    """Whether the stack will create the first VPC of its region, which becomes the default."""
    region = settings.cluster.region
    return settings.cluster.creates_vpc and not any(vpc.region == region for vpc in account.vpcs)


def other_default_vpc(region: str) -> str:
    """Returns the commands that make another VPC the region's default."""
    return (
        f"doctl vpcs create --name default-{region} --region {region}, then"
        " doctl vpcs update ID --default=true with the ID of the new VPC"
    )


def warn(settings: Settings, account: Account) -> None:
    """Warn, in previews too, of what can't be undone after this update."""
    if (replaced := replacement(settings, account)) is not None:
        messages.warn(_replaced_text(settings, replaced))
    elif (vpc := own_default_vpc(settings, account)) is not None:
        messages.warn(
            f"The VPC {vpc.name} ({vpc.id}) is the default VPC of {vpc.region}, which DigitalOcean"
            " never deletes: `pulumi destroy` leaves it in the account. To let it be deleted, make"
            f" another VPC the default: {other_default_vpc(vpc.region)}."
        )
    copies = settings.volumes.copies if settings.volumes is not None else None
    if copies is not None and copies.region == settings.cluster.region:
        messages.warn(
            f"The bucket {copies.bucket} of the volumes' copies is in {copies.region}, the region"
            " of the cluster. `bin/platform volumes copy` copies nothing before"
            " doks-gitops:volumes.copies names one in another region."
        )
    running = running_cluster(settings, account)
    if replaced is None and running is not None:
        if (advice := network.advice(running)) is not None:
            messages.info(advice)
        for text in replaced_pools(settings, running):
            messages.warn(text)
        for name in unknown_pools(settings, running) if pulumi.runtime.is_dry_run() else ():
            messages.warn(f"{NOT_IN_STATE} {unknown_pool_text(settings, running, name)}.")
    if creates_default_vpc(settings, account):
        region = settings.cluster.region
        messages.warn(
            f"The account has no VPC in {region}. The one that this update creates becomes the"
            " region's default, which DigitalOcean never deletes: `pulumi destroy` will leave it in"
            " the account. To avoid that, first create another one: doctl vpcs create --name"
            f" default-{region} --region {region}"
        )


def _replaced_text(settings: Settings, replaced: Replacement) -> str:
    cluster = replaced.cluster
    changes = " and ".join(
        f"{key_of(NAMESPACE, change.path)} changes from {change.current} to {change.value}"
        for change in replaced.changes
    )
    volumes = "Volumes are deleted too, except those whose StorageClass retains them."
    if settings.volumes is not None:
        volumes = (
            "The volumes of its claims stay in the account, and the claims of the new cluster get"
            f" them back if they are in {settings.cluster.region}; if one is not, the update ends"
            " before Argo CD is installed, and names it."
        )
    elif settings.cluster.destroy_associated_resources:
        volumes = (
            "All volumes and snapshots of the cluster are deleted too"
            " (cluster.destroyAssociatedResources: true)."
        )
    return (
        f"This update replaces the cluster {cluster.name} ({cluster.id}): {changes}, which"
        " DigitalOcean can't do in place. Everything in the cluster is deleted: the applications,"
        " their load balancers with their IP addresses, Argo CD with its generated password, and"
        f" whatever is not in Git. {volumes} Argo CD then deploys the applications from Git into"
        f" the new cluster. How to keep the data, or the cluster: {GUIDE}"
    )
