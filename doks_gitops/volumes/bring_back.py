"""Keeps the volumes of a cluster that is replaced, and brings them back into the new one, in the
program's own run."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace

import pulumi

from doks_gitops.account import (
    Account,
    AccountError,
    DigitalOceanClient,
    Volume,
    replacement,
)
from doks_gitops.errors import PlatformError
from doks_gitops.settings import Settings
from doks_gitops.volumes import cluster as volumes_cluster
from doks_gitops.volumes import copies
from doks_gitops.volumes.assignment import Choices, Holdings, assign
from doks_gitops.volumes.stacks import volumes_from_settings
from doks_gitops.volumes.tags import Claim

DETACH_SECONDS = 120
"""How long the Droplets of a deleted cluster may keep their volumes."""
_PAUSE_SECONDS = 2


def record_before_replacement(settings: Settings, account: Account) -> None:
    """Record the claims of the cluster that this run replaces, and let their volumes outlive them.

    Without it, Argo CD would delete the claims, and with them the volumes, before Pulumi deletes
    the cluster. Only for a stack with `volumes`; `bin/platform recover` plans without the old
    cluster. Raises `AccountError` if a claim can't be recorded: nothing is deleted then.
    """
    replaced = replacement(settings, account)
    planned = settings.adopt is not None and settings.adopt.volumes is not None
    if replaced is None or planned or pulumi.runtime.is_dry_run():
        return
    try:
        with volumes_from_settings(settings) as volumes:
            if volumes is not None:
                old = replace(replaced.cluster, mark=account.mark)
                if problems := volumes.record(old, retain=True).problems:
                    fix = f"bin/platform volumes record --stack {settings.stack}"
                    raise AccountError("\n".join(problems), fix)
    except PlatformError as error:
        raise AccountError(
            f"The cluster {replaced.cluster.name} is not replaced: {error.problem}", error.fix
        ) from None


def bring_back(
    settings: Settings,
    account: Account,
    cluster_id: pulumi.Output[str],
    kubeconfig: pulumi.Output[str],
    registry_endpoint: pulumi.Output[str],
) -> pulumi.Output[str]:
    """Returns `registry_endpoint`, resolved after the claims of a new cluster have their volumes.

    New is a cluster in which Argo CD has no Application yet: what waits for the returned endpoint,
    as Argo CD does, syncs nothing before. Only for a stack with `volumes`. The volumes are those
    that `bin/platform recover` has planned (`adopt.volumes`), or without a plan all that are
    recorded for the stack; then the endpoint raises `AccountError` if something has to be decided.
    Needs the scopes `block_storage:read` and `tag:read`, without a plan also `snapshot:read`.
    """
    if settings.volumes is None or pulumi.runtime.is_dry_run():
        return registry_endpoint

    def reserve(values: list[str]) -> str:
        endpoint, own_id, config = values
        token = settings.digitalocean.kubernetes_token.get_secret_value()
        try:
            with volumes_cluster.of_kubeconfig(config, token) as cluster:
                if not cluster.has_applications():
                    for claim, volume in _assigned(settings, account, own_id, cluster).items():
                        _give(settings, cluster, volume, claim)
        except PlatformError as error:
            raise AccountError(error.problem, error.fix) from None
        return endpoint

    # The kubeconfig makes it a secret.
    return pulumi.Output.unsecret(
        pulumi.Output.all(registry_endpoint, cluster_id, kubeconfig).apply(reserve)
    )


def _give(
    settings: Settings, cluster: volumes_cluster.Cluster, volume: Volume, claim: Claim
) -> None:
    """Reserve the volume for the claim; before that, restore the copy that is planned for it."""
    snapshot = settings.adopt.copies.get(volume.id) if settings.adopt is not None else None
    if snapshot is None:
        cluster.reserve(volume, claim)
    else:
        pulumi.log.info(f"The copy for the claim {claim} is being restored.")
        with DigitalOceanClient.from_settings(settings.digitalocean) as client:
            repository, bucket = (
                copies.repository_of(settings.stack, claim),
                copies.required(settings),
            )
            copies.fill(client, cluster, volume, claim, snapshot, repository, *bucket)
    pulumi.log.info(f"The claim {claim} gets the volume {volume.name}.")


def _assigned(
    settings: Settings, account: Account, own_id: str, cluster: volumes_cluster.Cluster
) -> Mapping[Claim, Volume]:
    with DigitalOceanClient.from_settings(settings.digitalocean) as client:
        if settings.adopt is not None and settings.adopt.volumes is not None:
            planned, existing = settings.adopt.volumes, {x.id: x for x in client.volumes()}
            if missing := sorted(planned.keys() - existing.keys()):
                raise AccountError(
                    f"The account has no volume {' and '.join(missing)} any more.",
                    f"bin/platform recover --stack {settings.stack}",
                )
            return {Claim.parse(claim): existing[id] for id, claim in planned.items()}
        persistent = cluster.persistent_volumes()
        snapshots, deadline = client.snapshots(), time.monotonic() + DETACH_SECONDS
        while True:
            holdings = Holdings(
                client.volumes(),
                settings.cluster.region,
                account.mark,
                snapshots,
                # Of those that were read before this run, one may be the cluster that it replaces.
                frozenset(known.id for known in client.clusters()) - {own_id},
                lost=frozenset(x.id for x in account.clusters if x.mark == account.mark) - {own_id},
                bound=frozenset(volume.volume for volume in persistent),
                bound_claims=frozenset(volume.claim for volume in persistent if volume.claim),
                copy_tag=copies.copy_tag_of(settings.volumes) if settings.volumes else None,
            )
            attached = any(
                volume.droplets and account.mark in volume.tags for volume in holdings.volumes
            )
            if not attached or time.monotonic() > deadline:
                break
            time.sleep(_PAUSE_SECONDS)
    assignment = assign(holdings, Choices(), settings.stack)
    for problem, claims in (
        ("gone, but they have snapshots", assignment.snapshots),
        ("in another region, but they have copies", assignment.copies),
    ):
        if claims:
            raise AccountError(
                f"The volumes of these claims are {problem}: {', '.join(map(str, claims))}.",
                f"bin/platform recover --stack {settings.stack}",
            )
    return assignment.volumes
