"""What Pulumi's state has of the stack, compared with the account before anything is declared.

Where both differ, Pulumi would replace the running cluster, although no setting asks for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from semver import Version

from doks_gitops.account.check import resolve_version
from doks_gitops.account.client import AccountError
from doks_gitops.account.model import Account, Recorded, RunningCluster
from doks_gitops.account.replacement import left_vpc, replacement, running_cluster
from doks_gitops.settings import Settings, SettingsError

CLUSTER = "digitalocean:index/kubernetesCluster:KubernetesCluster"
VPC = "digitalocean:index/vpc:Vpc"


def of_export(export: Mapping[str, Any]) -> Recorded:
    """Returns what a state has that `pulumi stack export` has printed."""
    resources = (export.get("deployment") or {}).get("resources") or []
    # An interrupted replacement leaves resources that are deleted, or still to be deleted.
    kept = (x for x in resources if not (x.get("delete") or x.get("pendingReplacement")))
    by_type = {resource["type"]: resource for resource in kept}
    cluster, vpc = by_type.get(CLUSTER, {}), by_type.get(VPC, {})
    outputs = cluster.get("outputs") or {}
    version = outputs.get("version")
    return Recorded(
        cluster=cluster.get("id"),
        version=Version.parse(version) if version else None,
        first_pool=(outputs.get("nodePool") or {}).get("id"),
        vpc=vpc.get("id"),
        vpc_range=(vpc.get("outputs") or {}).get("ipRange", ""),
    )


async def with_recorded(
    settings: Settings, account: Account, export: Callable[[], Mapping[str, Any]]
) -> Account:
    """Returns `account` with what the state has, and what a recovery adopts into it.

    `export` reads the state. It is called only if the account has something that the state may
    know.
    """
    recorded = Recorded()
    has_vpcs = settings.cluster.creates_vpc and account.vpcs
    if running_cluster(settings, account) is not None or has_vpcs:
        recorded = of_export(await asyncio.to_thread(export))
    if (adopt := settings.adopt) is not None:
        recorded = replace(
            recorded, cluster=adopt.cluster or recorded.cluster, vpc=adopt.vpc or recorded.vpc
        )
    return replace(account, recorded=recorded)


def check_recorded(settings: Settings, account: Account) -> None:
    """Raises `AccountError` if the state lacks the running cluster or the stack's VPC, or has
    another first pool or a newer version of the cluster.

    A run of `bin/platform recover` has compared and mended the cluster itself, and reads it anew.
    """
    running = running_cluster(settings, account)
    if settings.cluster.creates_vpc:
        _check_vpc(settings, account)
    # A failed one has to go first, as `check` says.
    if running is not None and not running.failed and settings.adopt is None:
        _check_cluster(settings, account, running)


def _check_vpc(settings: Settings, account: Account) -> None:
    name = settings.cluster.name
    if (left := left_vpc(settings, account)) is not None:
        raise AccountError(
            f"The account has the VPC {left.name} ({left.id}) of this stack, but Pulumi's state"
            " does not. Nothing was changed.",
            _recover(settings),
        )
    vpc = account.vpc_named(name)
    if vpc is not None and vpc != account.own_vpc:
        raise AccountError(
            f"The stack's own VPC gets the name of its cluster, {name}, but another VPC of the"
            f" account has that name: {vpc.id} in {vpc.region}, {vpc.ip_range}. Nothing was"
            " changed.",
            f"Choose another cluster.name, or rename that VPC: doctl vpcs update {vpc.id} --name"
            " NAME",
        )


def _check_cluster(settings: Settings, account: Account, running: RunningCluster) -> None:
    recorded = account.recorded
    if recorded.cluster != running.id:
        known = f"the cluster {recorded.cluster}" if recorded.cluster else "no cluster"
        raise _new_cluster(settings, running, f"Pulumi's state has {known}")
    if replacement(settings, account) is not None:
        return
    # Without its tag, the first pool is not known; nor is it to the state after a creation that has
    # failed half-way, which the next update completes.
    first = running.pools.get(running.default_pool or "")
    if first is not None and recorded.first_pool not in (None, first.id):
        raise _new_cluster(
            settings,
            running,
            f"its first node pool is {running.default_pool} ({first.id}) now, but Pulumi's state"
            f" has {recorded.first_pool}",
        )
    try:
        version = Version.parse(resolve_version(settings, account))
    except SettingsError:
        # `check` raises it, together with all others.
        return
    if recorded.version is not None and running.version < version < recorded.version:
        raise _new_cluster(
            settings,
            running,
            f"it runs {running.version}, but after a refused upgrade Pulumi's state has"
            f" {recorded.version}, from which {version} is a step back",
        )


def _new_cluster(settings: Settings, running: RunningCluster, reason: str) -> AccountError:
    return AccountError(
        f"This update would make a new cluster in place of {running.name} ({running.id}): {reason}."
        " Nothing was changed.",
        _recover(settings),
    )


def _recover(settings: Settings) -> str:
    return f"bin/platform recover --stack {settings.stack}"
