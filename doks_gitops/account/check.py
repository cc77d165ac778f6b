"""Checks settings against the account, and finds the Kubernetes version that they mean."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import replace

from semver import Version

from doks_gitops.account import network
from doks_gitops.account.model import Account, RunningCluster
from doks_gitops.account.pools import first_pool
from doks_gitops.account.replacement import (
    Replacement,
    other_default_vpc,
    own_default_vpc,
    replacement,
    running_cluster,
)
from doks_gitops.settings import Finding, Settings, SettingsError
from doks_gitops.settings.base import Path, Violation
from doks_gitops.settings.errors import closest, key_of, remove_command, set_command, stack_file
from doks_gitops.settings.model import NAMESPACE, Cluster

FIRST_POOL_GUIDE = "docs/recovery/second-pool.md"


def check(settings: Settings, account: Account) -> None:
    """Raises `SettingsError` with every setting that the account does not offer or allow."""
    findings = [
        *_region(settings, account),
        *_sizes(settings, account),
        *_registry(settings, account),
        *_running_clusters(settings, account),
        *_name(settings, account),
        *_first_pool(settings, account),
        *_kept_vpc(settings, account),
        *_vpc(settings, account),
        *_network(settings, account),
    ]
    version = _version(settings, account)
    if isinstance(version, Finding):
        findings.append(version)
    if findings:
        raise SettingsError(findings)


def resolve_version(settings: Settings, account: Account) -> str:
    """The full version slug for the stack's cluster.

    - No cluster has that name, or the settings replace it: the newest offered version that
      `cluster.version` begins.
    - `cluster.version` begins the running version: the running version, offered or not; with
      `cluster.upgrade`, the newest offered version that it begins.
    - The running version is an older patch, or the newest patch of the minor version before: the
      newest offered version that `cluster.version` begins, which upgrades the cluster
      (https://docs.digitalocean.com/products/kubernetes/how-to/upgrade-cluster/).

    Raises `SettingsError` if no such version is offered, if the version would be a downgrade (the
    provider would replace the cluster) or would skip a minor version or the newest patch, and if
    several clusters have that name.
    """
    version = _version(settings, account)
    if isinstance(version, Finding):
        raise SettingsError([version])
    return str(version)


def begins(prefix: str, version: Version) -> bool:
    """Whether the slug `version` is `prefix` ("1.34", "1.34.1", "1.34.1-do.0"), or a patch or
    revision of it."""
    slug = str(version)
    return slug == prefix or slug.startswith((f"{prefix}.", f"{prefix}-"))


def _version(settings: Settings, account: Account) -> Version | Finding:
    cluster = settings.cluster
    running = account.stack_clusters(cluster.name)
    if len(running) > 1:
        return _finding(
            settings,
            ("cluster", "name"),
            f'"{cluster.name}", the name of {len(running)} clusters in the account: '
            + " and ".join(other.id for other in running),
            "the name of one cluster; list them with: doctl kubernetes cluster list",
        )
    if running and replacement(settings, account) is None:
        return _version_of_running(settings, account, running[0])
    newest = _minor(account.versions[0]) if account.versions else None
    return _newest_offered(settings, account, newest)


def _version_of_running(
    settings: Settings, account: Account, running: RunningCluster
) -> Version | Finding:
    prefix, current = settings.cluster.version, running.version
    got = f'"{prefix}", but the cluster "{running.name}" ({running.id}) runs {current}'
    if begins(prefix, current):
        if not settings.cluster.upgrade:
            return current
        return max([current, *_offered(account, prefix)])
    lowest = Version.parse(prefix, optional_minor_and_patch=True)
    if lowest < current:
        return _finding(
            settings,
            ("cluster", "version"),
            got,
            f'"{_minor(current)}" or newer: Kubernetes can\'t be downgraded, so an older version'
            " would replace the cluster and everything in it. If that is what you want, destroy the"
            " stack first",
            _minor(current),
        )
    next_minor = current.bump_minor()
    if (lowest.major, lowest.minor) > (next_minor.major, next_minor.minor):
        return _finding(
            settings,
            ("cluster", "version"),
            got,
            f'"{_minor(next_minor)}" first: DOKS upgrades by one minor version at a time',
            _minor(next_minor),
        )
    newest_patch = max([current, *_offered(account, _minor(current))])
    if lowest.minor > current.minor and newest_patch > current:
        return _newest_patch_first(settings, got, newest_patch)
    return _newest_offered(settings, account, _minor(current))


def _newest_patch_first(settings: Settings, got: str, newest_patch: Version) -> Finding:
    version, upgrade = ("cluster", "version"), ("cluster", "upgrade")
    up = f"pulumi up --stack {settings.stack}"
    key, minor = key_of(NAMESPACE, version), _minor(newest_patch)
    set_upgrade = set_command(settings.stack, key_of(NAMESPACE, upgrade), "true")
    return _finding(
        settings,
        version,
        got,
        f'"{minor}" with cluster.upgrade: true first: DOKS upgrades to another minor version only'
        f" from the newest patch, which is {newest_patch}. Run the command below, then"
        f" {set_upgrade}, then {up}. When DigitalOcean has upgraded the cluster:"
        f" {set_command(settings.stack, key, settings.cluster.version)}, then {up}",
        minor,
    )


def _newest_offered(
    settings: Settings, account: Account, suggestion: str | None
) -> Version | Finding:
    prefix = settings.cluster.version
    if offered := _offered(account, prefix):
        return max(offered)
    return _finding(
        settings,
        ("cluster", "version"),
        f'"{prefix}", which DigitalOcean doesn\'t offer',
        f"one of {', '.join(map(str, account.versions))}, or the beginning of one",
        suggestion,
    )


def _offered(account: Account, prefix: str) -> list[Version]:
    return [version for version in account.versions if begins(prefix, version)]


def _minor(version: Version) -> str:
    return f"{version.major}.{version.minor}"


def _region(settings: Settings, account: Account) -> Iterator[Finding]:
    region = settings.cluster.region
    if region not in account.regions:
        yield _finding(
            settings,
            ("cluster", "region"),
            f'"{region}", which has no Kubernetes for this account',
            _one_of(region, account.regions),
        )


def _sizes(settings: Settings, account: Account) -> Iterator[Finding]:
    for index, pool in enumerate(settings.cluster.node_pools):
        if pool.size not in account.sizes:
            yield _finding(
                settings,
                ("cluster", "nodePools", index, "size"),
                f'"{pool.size}", which is no node size for this account',
                _one_of(pool.size, account.sizes),
            )


def _registry(settings: Settings, account: Account) -> Iterator[Finding]:
    registry, existing = settings.registry, account.registries
    if registry.name in existing:
        return
    account_has = f"the account has {' and '.join(existing) or 'none'}"
    if not registry.create:
        yield _finding(
            settings,
            ("registry", "name"),
            f'"{registry.name}", but {account_has}',
            "an existing registry, or registry.create: true in the one stack that is to own it",
            existing[0] if len(existing) == 1 else None,
        )
    elif existing and registry.tier != "professional":
        yield _finding(
            settings,
            ("registry", "name"),
            f'"{registry.name}" to create, but {account_has}',
            "the existing registry, with create: false; only the tier professional allows more "
            "than one",
            existing[0],
        )


def _running_clusters(settings: Settings, account: Account) -> Iterator[Finding]:
    cluster: Cluster = settings.cluster
    for running in account.stack_clusters(cluster.name):
        if running.failed:
            yield _finding(
                settings,
                ("cluster", "name"),
                f'"{running.name}" ({running.id}), which DigitalOcean could not make: '
                f"{running.message or 'without an explanation'}",
                "a free name, or this name after you have deleted the failed cluster, in which "
                f"nothing has run: doctl kubernetes cluster delete {running.id}",
            )
        if running.ha and not cluster.high_availability:
            yield _finding(
                settings,
                ("cluster", "highAvailability"),
                f'false, but the control plane of "{running.name}" ({running.id}) is HA',
                "true: high availability can't be turned off, so the cluster would be replaced",
                "true",
            )
        if running.options.get("sso", {}).get("required"):
            yield _only_sso(settings, running)
    replaced = replacement(settings, account)
    if cluster.protect and replaced is not None:
        yield from _protected(settings, replaced)


def _only_sso(settings: Settings, running: RunningCluster) -> Finding:
    url = f"{settings.digitalocean.api_endpoint.rstrip('/')}/v2/kubernetes/clusters/{running.id}"
    body = json.dumps({"name": running.name, "sso": {"required": False}})
    finding = _finding(
        settings,
        ("cluster", "sso", "required"),
        f'true in the account, for the cluster "{running.name}" ({running.id})',
        "false: the cluster refuses the API token, which is the only way in for this program",
    )
    command = (
        'curl --fail -X PUT -H "Authorization: Bearer $DIGITALOCEAN_TOKEN"'
        f' -H "Content-Type: application/json" -d {shlex.quote(body)} {url}'
    )
    return replace(finding, fix=command)


def _protected(settings: Settings, replaced: Replacement) -> Iterator[Finding]:
    protect = key_of(NAMESPACE, ("cluster", "protect"))
    running = replaced.cluster
    for change in replaced.changes:
        yield _finding(
            settings,
            change.path,
            f'"{change.value}", but the protected cluster "{running.name}" ({running.id}) was'
            f' created with "{change.current}"',
            f'"{change.current}": another value replaces the cluster and everything in it. If that'
            " is what you want, remove the protection first: "
            f"{set_command(settings.stack, protect, 'false')}",
            change.revert,
        )


def _name(settings: Settings, account: Account) -> Iterator[Finding]:
    """A new name for the running cluster that another one has."""
    running, name = running_cluster(settings, account), settings.cluster.name
    others = [x for x in account.clusters_named(name) if running is not None and x != running]
    if running is not None and others:
        yield _finding(
            settings,
            ("cluster", "name"),
            f'"{name}" for the cluster "{running.name}" ({running.id}), but the cluster'
            f" {others[0].id} has that name",
            f'"{running.name}", or a name that no cluster has',
            running.name,
        )


def _first_pool(settings: Settings, account: Account) -> Iterator[Finding]:
    """Settings that would give another pool's name to the pool that belongs to the cluster."""
    running = running_cluster(settings, account)
    if running is None or running.default_pool is None or replacement(settings, account):
        return
    index = first_pool(settings, running)
    name, current = settings.cluster.node_pools[index].name, running.default_pool
    if name != current and name in running.pools:
        yield _finding(
            settings,
            ("cluster", "nodePools", index, "name"),
            f'"{name}", but "{current}" is not in the list, the pool with which the cluster'
            f' "{running.name}" ({running.id}) was created',
            f'"{current}" at any place of the list: this pool is a part of the cluster. How another'
            f" pool can take its place: {FIRST_POOL_GUIDE}",
        )


def _kept_vpc(settings: Settings, account: Account) -> Iterator[Finding]:
    """Settings that would delete the stack's own VPC while its cluster stays in it."""
    running, recorded = running_cluster(settings, account), account.recorded
    vpc = settings.cluster.vpc
    if (
        running is None
        or settings.cluster.creates_vpc
        or recorded.vpc != running.vpc
        or running.vpc is None
        or replacement(settings, account) is not None
    ):
        return
    finding = _finding(
        settings,
        ("cluster", "vpc", "ipRange"),
        f'nothing, but the cluster "{running.name}" ({running.id}) is in the VPC {running.vpc},'
        " which this stack has created",
        f'"{recorded.vpc_range}"'
        + (" and no cluster.vpc.id" if vpc is not None else "")
        + ": without it, the VPC would be deleted",
        recorded.vpc_range,
    )
    if vpc is not None:
        remove = remove_command(settings.stack, key_of(NAMESPACE, ("cluster", "vpc", "id")))
        finding = replace(finding, fix=f"{remove} && {finding.fix}")
    yield finding


def _vpc(settings: Settings, account: Account) -> Iterator[Finding]:
    """Settings that would replace a VPC which DigitalOcean never deletes."""
    vpc, network = own_default_vpc(settings, account), settings.cluster.vpc
    if vpc is None or network is None or network.ip_range is None:
        return
    for path, value, current in (
        (("cluster", "region"), settings.cluster.region, vpc.region),
        (("cluster", "vpc", "ipRange"), network.ip_range, vpc.ip_range),
    ):
        if value != current:
            yield _finding(
                settings,
                path,
                f'"{value}", but the VPC "{vpc.name}" ({vpc.id}) has "{current}". It is the default'
                f" VPC of {vpc.region}, which DigitalOcean never deletes",
                f'"{current}". To replace the VPC, and the cluster in it, first make another VPC'
                f" the default: {other_default_vpc(vpc.region)}",
                current,
            )


def _network(settings: Settings, account: Account) -> Iterator[Finding]:
    """Settings of a running cluster's networks that would replace it without being allowed to, and
    networks of a new cluster that overlap others."""
    running = account.stack_clusters(settings.cluster.name)
    replaced = replacement(settings, account)
    violations: list[Violation] = []
    if replaced is None and running:
        for cluster in running:
            violations += network.kept(settings, cluster)
    else:
        violations += network.no_gateway(settings, account)
        violations += network.overlaps(settings, account, replaced.cluster.id if replaced else None)
    for violation in violations:
        yield _finding(
            settings,
            violation.at,
            violation.got or "",
            violation.expected,
            violation.example,
        )


def _finding(
    settings: Settings, path: Path, got: str, expected: str, example: str | None = None
) -> Finding:
    key = key_of(NAMESPACE, path)
    fix = set_command(settings.stack, key, example) if example else None
    return Finding(stack_file(settings.stack), key, got, expected, fix)


def _one_of(value: str, offered: Iterable[str]) -> str:
    names = tuple(offered)
    close = closest(value, names)
    return f"one of {', '.join(sorted(names))}" + (f"; did you mean {close}?" if close else "")
