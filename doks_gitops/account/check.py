"""Whether a stack's settings fit the account, and which Kubernetes version they mean in it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from doks_gitops.account.model import Account, RunningCluster
from doks_gitops.account.version import Version
from doks_gitops.settings import Finding, Settings, SettingsError
from doks_gitops.settings.base import Path
from doks_gitops.settings.errors import closest, key_of, set_command, stack_file
from doks_gitops.settings.model import NAMESPACE, Cluster


def check(settings: Settings, account: Account) -> None:
    """Raises `SettingsError` with everything in `settings` that the account doesn't offer."""
    findings = [
        *_region(settings, account),
        *_sizes(settings, account),
        *_registry(settings, account),
        *_running(settings, account),
    ]
    version = _version(settings, account)
    if isinstance(version, Finding):
        findings.append(version)
    if findings:
        raise SettingsError(findings)


def resolve_version(settings: Settings, account: Account) -> str:
    """The full version slug that the stack's cluster is to have.

    - no cluster of that name: the newest offered version that `cluster.version` begins
    - one that matches `cluster.version`: its own version, be it still offered or not; with
      `cluster.upgrade`, the newest offered that matches
    - one that is older, by one minor version at most: the newest offered that matches, which
      upgrades it (https://docs.digitalocean.com/products/kubernetes/how-to/upgrade-cluster/)

    Raises `SettingsError` if there is no such version, if it would be a step back (the provider
    would replace the cluster) or would skip a minor version, or if the name isn't unique.
    """
    version = _version(settings, account)
    if isinstance(version, Finding):
        raise SettingsError([version])
    return str(version)


def _version(settings: Settings, account: Account) -> Version | Finding:
    cluster = settings.cluster
    wanted = Version.of(cluster.version)
    running = account.clusters_named(cluster.name)
    if len(running) > 1:
        return _finding(
            settings,
            ("cluster", "name"),
            f'"{cluster.name}", the name of {len(running)} clusters in the account: '
            + " and ".join(each.id for each in running),
            "the name of one cluster; see which is which with: doctl kubernetes cluster list",
        )
    if running:
        return _version_of_running(settings, account, wanted, running[0])
    newest_minor = account.versions[0].minor_text if account.versions else None
    return _newest(settings, account, wanted, newest_minor)


def _version_of_running(
    settings: Settings, account: Account, wanted: Version, running: RunningCluster
) -> Version | Finding:
    now = running.version
    runs = f'"{wanted}", but the cluster "{running.name}" ({running.id}) runs {now}'
    if wanted.begins(now):
        if not settings.cluster.upgrade:
            return now
        newest = [each for each in account.versions if wanted.begins(each)]
        return max([now, *newest])
    if wanted.compared(now) < 0:
        return _finding(
            settings,
            ("cluster", "version"),
            runs,
            f'"{now.minor_text}" or newer: Kubernetes has no way back, so an older version would '
            "replace the cluster and all in it. If that is what you want, destroy the stack first",
            now.minor_text,
        )
    next_minor = f"{now.minor[0]}.{now.minor[1] + 1}"
    if wanted.minor > (now.minor[0], now.minor[1] + 1):
        return _finding(
            settings,
            ("cluster", "version"),
            runs,
            f'"{next_minor}" first: DOKS upgrades by one minor version at a time',
            next_minor,
        )
    return _newest(settings, account, wanted, now.minor_text)


def _newest(
    settings: Settings, account: Account, wanted: Version, instead: str | None
) -> Version | Finding:
    matching = [each for each in account.versions if wanted.begins(each)]
    if matching:
        return max(matching)
    return _finding(
        settings,
        ("cluster", "version"),
        f'"{wanted}", which DigitalOcean doesn\'t offer',
        f"one of {', '.join(map(str, account.versions))}, or the beginning of one",
        instead,
    )


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
    registry, present = settings.registry, account.registries
    if registry.name in present:
        return
    there = f"the account has {' and '.join(present)}" if present else "the account has none"
    if not registry.create:
        yield _finding(
            settings,
            ("registry", "name"),
            f'"{registry.name}", but {there}',
            "a registry that exists, or registry.create: true in the one stack that is to own it",
            present[0] if len(present) == 1 else None,
        )
    elif present and registry.tier != "professional":
        yield _finding(
            settings,
            ("registry", "name"),
            f'"{registry.name}" to create, but {there}',
            "the registry that exists, with create: false; only the tier professional allows more "
            "than one",
            present[0],
        )


def _running(settings: Settings, account: Account) -> Iterator[Finding]:
    cluster: Cluster = settings.cluster
    for running in account.clusters_named(cluster.name):
        if running.state == "error" and not running.endpoint:
            yield _finding(
                settings,
                ("cluster", "name"),
                f'"{running.name}" ({running.id}), which DigitalOcean could not make: '
                f"{running.message or 'it does not say why'}",
                "a name that is free; free this one, which nothing runs in, and run the command "
                f"again: doctl kubernetes cluster delete {running.id}",
            )
        if running.ha and not cluster.high_availability:
            yield _finding(
                settings,
                ("cluster", "highAvailability"),
                f'false, but the control plane of "{running.name}" ({running.id}) is HA',
                "true: DigitalOcean can't take it back, so the cluster would be replaced",
                "true",
            )
        if cluster.protect:
            yield from _replaced(settings, running)


def _replaced(settings: Settings, running: RunningCluster) -> Iterator[Finding]:
    """What would replace a cluster that is protected from it, told before anything is touched.

    Each of these is fixed when a cluster is made
    (https://www.pulumi.com/registry/packages/digitalocean/api-docs/kubernetescluster/).
    """
    cluster = settings.cluster
    fixed = [
        (("cluster", "region"), cluster.region, running.region),
        (
            ("cluster", "nodePools", 0, "size"),
            cluster.node_pools[0].size,
            running.default_pool_size,
        ),
    ]
    if cluster.vpc is not None and cluster.vpc.id is not None:
        fixed.append((("cluster", "vpc", "id"), cluster.vpc.id, running.vpc))
    protect = key_of(NAMESPACE, ("cluster", "protect"))
    for path, wanted, now in fixed:
        if now not in (None, wanted):
            yield _finding(
                settings,
                path,
                f'"{wanted}", but the protected cluster "{running.name}" ({running.id}) was made '
                f'with "{now}"',
                f'"{now}": anything else replaces the cluster and all in it. If that is what you '
                f"want, give up its protection first: "
                f"{set_command(settings.stack, protect, 'false')}",
                now,
            )


def _finding(
    settings: Settings, path: Path, got: str, expected: str, example: str | None = None
) -> Finding:
    key = key_of(NAMESPACE, path)
    fix = set_command(settings.stack, key, example) if example else None
    return Finding(stack_file(settings.stack), key, got, expected, fix)


def _one_of(given: str, offered: Iterable[str]) -> str:
    names = tuple(offered)
    close = closest(given, names)
    return f"one of {', '.join(sorted(names))}" + (f"; did you mean {close}?" if close else "")
