"""Whether a cluster has what the stack file says, after an update.

DigitalOcean's provider keeps the values of an update that the API has refused in the state. The
next `pulumi up` then sees no difference and sends nothing.
"""

from __future__ import annotations

import asyncio
import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi.output import contains_unknowns
from semver import Version

from doks_gitops.account import messages, options
from doks_gitops.account.check import resolve_version
from doks_gitops.account.client import AccountError, DigitalOceanClient
from doks_gitops.account.model import Account, RunningCluster, RunningPool
from doks_gitops.account.pools import unknown_pool_text, unknown_pools
from doks_gitops.account.replacement import replacement, running_cluster
from doks_gitops.account.responses import DEFAULT_POOL_TAG
from doks_gitops.settings import Settings
from doks_gitops.settings.base import Path
from doks_gitops.settings.errors import key_of, stack_file
from doks_gitops.settings.model import NAMESPACE, Adopt, NodePool

ATTEMPTS = 10
"""How often the account is read until it has what the stack file says."""
UPGRADE_ATTEMPTS = 60
"""The same while nothing but the version differs. The API answers an upgrade with 202: it is only
accepted, and the documentation promises no time at which the cluster is `upgrading`."""
PAUSE_SECONDS = 3
_VERSION: Path = ("cluster", "version")
_OWN_DOMAIN = "digitalocean.com/"
"""Domain of the labels that DigitalOcean sets."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A setting that the cluster does not have."""

    path: Path
    desired: object
    actual: object
    command: str | None = None
    """The command that sets the value, if the provider never sends it."""


def verify(
    settings: Settings,
    account: Account,
    cluster_id: pulumi.Output[str],
    *,
    after: pulumi.Output[Any],
) -> None:
    """Let the run fail if, when `after` is resolved, the cluster lacks what the stack file says.

    `account`: as it was before the update. A preview verifies nothing. Needs the scopes
    `kubernetes:read`, `vpc:read` if the stack creates a VPC, and `registry:read` if it creates the
    registry. Raises `AccountError` in the run.
    """
    if pulumi.runtime.is_dry_run():
        return
    version = Version.parse(resolve_version(settings, account))

    # Not blocking: meanwhile, Pulumi saves the outputs of the stack.
    async def compare(resolved: list[str]) -> str:
        cluster_id = resolved[0]
        with DigitalOceanClient.from_settings(settings.digitalocean) as client:
            for attempt in range(UPGRADE_ATTEMPTS):
                if attempt:
                    await asyncio.sleep(PAUSE_SECONDS)
                cluster = await asyncio.to_thread(_cluster, settings, client, cluster_id)
                lacking = (
                    *differences(settings, version, cluster),
                    *await asyncio.to_thread(_beside, settings, client, cluster),
                )
                if not lacking:
                    _warn(settings, cluster)
                    return cluster_id
                if attempt + 1 >= ATTEMPTS and {x.path for x in lacking} != {_VERSION}:
                    break
        raise _error(settings, cluster, lacking)

    # The annotation is for mypy, which infers no type for a coroutine.
    _verified: pulumi.Output[str] = pulumi.Output.all(cluster_id, after).apply(compare)


def _cluster(settings: Settings, client: DigitalOceanClient, cluster_id: str) -> RunningCluster:
    for cluster in client.clusters():
        if cluster.id == cluster_id:
            return cluster
    raise AccountError(
        f"The account does not have the cluster {cluster_id} any more.",
        f"bin/platform recover --stack {settings.stack}",
    )


def _beside(
    settings: Settings, client: DigitalOceanClient, cluster: RunningCluster
) -> tuple[Difference, ...]:
    """Returns what the stack's own VPC and registry lack of the settings."""
    lacking = []
    if settings.cluster.creates_vpc:
        name = settings.cluster.name
        own = (vpc for vpc in client.vpcs() if vpc.id == cluster.vpc and vpc.name != name)
        lacking += [Difference(("cluster", "name"), name, f"{vpc.name}, its VPC") for vpc in own]
    tier = settings.registry.tier
    if settings.registry.create and (subscribed := client.subscribed_tier()) != tier:
        lacking.append(Difference(("registry", "tier"), tier, subscribed))
    return tuple(lacking)


def _warn(settings: Settings, cluster: RunningCluster) -> None:
    for name in unknown_pools(settings, cluster):
        text = unknown_pool_text(settings, cluster, name)
        messages.warn(
            f"Pulumi's state does not have {text}. It stays in the account and is billed."
        )


def refuse_unexpected(settings: Settings, account: Account, cluster_id: pulumi.Output[str]) -> None:
    """Let a preview fail if it makes a new cluster although no setting replaces the running one:
    for a reason that `check_recorded` does not know, such as another version of the provider.

    In a preview, the ID of a new cluster is unknown. Raises `AccountError` in the run.
    """
    cluster = running_cluster(settings, account)
    if not pulumi.runtime.is_dry_run() or settings.adopt not in (None, Adopt()) or cluster is None:
        return
    # Without the tag of its first pool, what replaces the cluster is not known.
    if cluster.default_pool is None or replacement(settings, account) is not None:
        return

    def refuse(cluster_id: str) -> None:
        if contains_unknowns(cluster_id):
            raise AccountError(
                f"This update would make a new cluster in place of {cluster.name} ({cluster.id}),"
                " although no setting asks for that. Nothing was changed.",
                f"bin/platform recover --stack {settings.stack}; what it would change:"
                f" pulumi preview --diff --stack {settings.stack}",
            )

    cluster_id.apply(refuse, run_with_unknowns=True)


def differences(
    settings: Settings, version: Version, cluster: RunningCluster
) -> tuple[Difference, ...]:
    """Returns what `cluster` lacks of the settings, `version` or a newer one included.

    Nothing while DigitalOcean still changes the cluster.
    """
    if cluster.state != "running":
        return ()
    return tuple(_differences(settings, version, cluster))


def _differences(
    settings: Settings, version: Version, running: RunningCluster
) -> Iterator[Difference]:
    desired = settings.cluster
    if running.name != desired.name:
        yield Difference(("cluster", "name"), desired.name, running.name)
    if running.version < version:
        yield Difference(_VERSION, str(version), str(running.version))
    # The client of the provider leaves out what is empty or false.
    command = _put(
        settings,
        running.id,
        name=desired.name,
        auto_upgrade=desired.auto_upgrade,
        surge_upgrade=desired.surge_upgrade,
    )
    if desired.high_availability and not running.ha:
        yield Difference(("cluster", "highAvailability"), True, False)
    if desired.auto_upgrade != running.auto_upgrade:
        path = ("cluster", "autoUpgrade")
        yield Difference(path, desired.auto_upgrade, running.auto_upgrade)
    if desired.surge_upgrade != running.surge_upgrade:
        path = ("cluster", "surgeUpgrade")
        surge = desired.surge_upgrade
        yield Difference(path, surge, running.surge_upgrade, None if surge else command)
    # The mark of the owner is always among the tags, so they are never empty.
    tags = sorted(_tags(running.tags) - {running.mark})
    if sorted(_tags(desired.tags)) != tags:
        yield Difference(("cluster", "tags"), list(desired.tags), tags)
    for option_path, value, actual in options.missing(desired, running.options):
        yield Difference(option_path, value, actual)
    for index, pool in enumerate(desired.node_pools):
        pool_path: Path = ("cluster", "nodePools", index)
        if (running_pool := running.pools.get(pool.name)) is None:
            yield Difference((*pool_path, "name"), pool.name, f"only {', '.join(running.pools)}")
            continue
        # The first pool always has the tag of the provider, so its tags are never empty.
        own_tags = [DEFAULT_POOL_TAG] if pool.name == running.default_pool else []
        request = _request(pool, own_tags)
        command = _put(settings, f"{running.id}/node_pools/{running_pool.id}", **request)
        for name, value, actual in _pool_values(pool, running_pool):
            if value != actual:
                left_out = not value and (name == "labels" or (name == "tags" and not own_tags))
                yield Difference((*pool_path, name), value, actual, command if left_out else None)


def _pool_values(pool: NodePool, running: RunningPool) -> Iterator[tuple[str, object, object]]:
    """Yields the name of each setting, its value in the stack file, and that in the account."""
    yield "size", pool.size, running.size
    bounds = [*running.autoscale] if running.autoscale else None
    if pool.autoscale is not None:
        yield "autoscale", [pool.autoscale.min, pool.autoscale.max], bounds
    else:
        yield "count", pool.count, running.count if bounds is None else f"{bounds}, autoscaled"
    labels = {key: value for key, value in running.labels.items() if _OWN_DOMAIN not in key}
    yield "labels", dict(pool.labels), labels
    taints = {(taint.key, taint.value, taint.effect) for taint in pool.taints}
    yield "taints", sorted(taints), sorted(running.taints)
    yield "tags", sorted(_tags(pool.tags)), sorted(running.tags)


def _tags(tags: tuple[str, ...]) -> frozenset[str]:
    """Returns the tags in lower case: their case has no meaning."""
    return frozenset(tag.lower() for tag in tags)


def _request(pool: NodePool, own_tags: list[str]) -> dict[str, object]:
    """Returns the request that sets everything that a pool can be changed to. `own_tags`: those of
    the provider."""
    size: dict[str, object] = {"count": pool.count}
    if pool.autoscale is not None:
        size = {"min_nodes": pool.autoscale.min, "max_nodes": pool.autoscale.max}
    return {
        "name": pool.name,
        "auto_scale": pool.autoscale is not None,
        **size,
        "labels": dict(pool.labels),
        "tags": [*pool.tags, *own_tags],
    }


def _put(settings: Settings, path: str, **body: object) -> str:
    """Returns the command that sends `body` to the cluster or node pool at `path`.

    doctl leaves out empty values as the provider does.
    https://docs.digitalocean.com/reference/api/reference/kubernetes/
    """
    url = f"{settings.digitalocean.api_endpoint.rstrip('/')}/v2/kubernetes/clusters/{path}"
    return (
        'curl --fail -X PUT -H "Authorization: Bearer $DIGITALOCEAN_TOKEN"'
        f' -H "Content-Type: application/json" -d {shlex.quote(json.dumps(body))} {url}'
    )


def _error(
    settings: Settings, cluster: RunningCluster, lacking: tuple[Difference, ...]
) -> AccountError:
    lines = [
        f"  {key_of(NAMESPACE, difference.path)}: {json.dumps(difference.actual)},"
        f" but {json.dumps(difference.desired)} in {stack_file(settings.stack)}"
        for difference in lacking
    ]
    commands = dict.fromkeys(difference.command for difference in lacking if difference.command)
    refresh = f"pulumi up --refresh --stack {settings.stack}"
    reason = (
        "The provider never sends some of these values, because they are empty or false."
        if commands
        else "An earlier update was refused, or the cluster was changed by hand. Pulumi's state"
        " does not show it without a refresh, which sends the update again."
    )
    return AccountError(
        f"The cluster {cluster.name} ({cluster.id}) does not have what the stack file says:\n"
        + "\n".join([*lines, reason]),
        "\n".join([*commands, refresh]),
    )
