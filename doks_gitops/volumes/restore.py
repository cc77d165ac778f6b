"""Restores a snapshot for one claim of a running cluster, and touches nothing else in it."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

from doks_gitops.account import VolumeSnapshot
from doks_gitops.volumes.cluster import RETAIN, Cluster, PersistentVolume
from doks_gitops.volumes.snapshots import age_of, create_from_snapshot
from doks_gitops.volumes.stacks import StackVolumes, VolumesError
from doks_gitops.volumes.tags import USED, Claim, claim_tags, claims_in, storage_tag

PATIENCE_SECONDS = 300
"""How long the claim may take to come back."""
_PAUSE_SECONDS = 0.5


def restore(
    stack: StackVolumes,
    snapshot_name: str,
    claim: Claim | None,
    approve: Callable[[str], object],
    report: Callable[[str], object],
) -> None:
    """Give the claim a new volume that is made of the snapshot, by its ID or name.

    `claim`: default is the one that the snapshot was taken for. The volume that the claim has now
    stays in the account. Whoever owns the claim, a StatefulSet or Argo CD, creates it again, and
    with it the pods that use it. `approve` raises if the user does not agree. Raises
    `PlatformError`.
    """
    # Before the snapshots: a token that sees no tags is refused here.
    tags_of = {volume.id: volume.tags for volume in stack.client.volumes()}
    snapshot = _snapshot(stack, snapshot_name)
    claim = claim or _claim_of(snapshot)
    running = stack.running()
    assert running.mark is not None
    if running.region not in snapshot.regions:
        raise VolumesError(
            f"The snapshot {snapshot.name} is in {', '.join(snapshot.regions)}, and the cluster in"
            f" {running.region}. Nothing was changed.",
            f"bin/platform volumes list --stack {stack.stack}",
        )
    with stack.opened(running) as cluster:
        current = _current(cluster, claim, stack.stack)
        existing = cluster.claim(claim)
        assert existing is not None
        pods = ", ".join(cluster.pods_of(claim)) or "none"
        age = age_of(snapshot.created, datetime.now(UTC))
        approve(
            f"Give the claim {claim} of {stack.stack} what it was {age} ago (snapshot"
            f" {snapshot.name})? Its pods start again: {pods}. The volume that it has"
            f" now, {current.volume}, stays in the account."
        )
        tags = [running.mark, storage_tag(current.storage), *(snapshot.tags & {USED})]
        size = cluster.requested(claim)
        volume = create_from_snapshot(stack.client, snapshot, claim, running.region, tags, size)
        report(f"The volume {volume.name} ({volume.id}) is made of the snapshot {snapshot.name}.")
        if current.reclaim_policy != RETAIN:
            cluster.retain(current)
        # Before the claim goes: the next one of this name binds to it.
        cluster.reserve(volume, claim, current.storage)
        cluster.delete_claim(claim)
        for pod in cluster.pods_of(claim):
            cluster.delete_pod(claim.namespace, pod)
        _until_bound(cluster, claim, existing["metadata"]["uid"], volume.name, stack.stack)
        for tag in claim_tags(tags_of.get(current.volume, ()), claim):
            stack.client.untag_volumes(tag, [current.volume])
    report(f"The claim {claim} is bound to it. Its former volume is {current.volume}.")


def _snapshot(stack: StackVolumes, name: str) -> VolumeSnapshot:
    """Raises `VolumesError` if there is none, or if it is of another owner."""
    snapshots = [x for x in stack.client.snapshots() if name in (x.id, x.name)]
    fix = f"bin/platform volumes list --stack {stack.stack}"
    if len(snapshots) != 1:
        number = f"{len(snapshots)} snapshots" if snapshots else "no snapshot"
        raise VolumesError(f"The account has {number} {name} of a volume.", fix)
    if not stack.owns(snapshots[0]):
        raise VolumesError(
            f"The snapshot {name} is not one of the stack {stack.stack}. Nothing was changed.", fix
        )
    return snapshots[0]


def _claim_of(snapshot: VolumeSnapshot) -> Claim:
    claims = [claim for _, claim in claims_in(snapshot.tags)]
    if len(claims) != 1:
        raise VolumesError(
            f"The snapshot {snapshot.name} does not tell for which claim it was taken.",
            "name the claim: --claim NAMESPACE/NAME",
        )
    return claims[0]


def _current(cluster: Cluster, claim: Claim, stack: str) -> PersistentVolume:
    """The volume that the claim is bound to."""
    for volume in cluster.persistent_volumes():
        if volume.bound and volume.claim == claim:
            return volume
    raise VolumesError(
        f"The cluster has no claim {claim} with a volume of DigitalOcean. Nothing was changed.",
        f"kubectl get persistentvolumeclaims --all-namespaces; if the cluster is new:"
        f" bin/platform recover --stack {stack}",
    )


def _until_bound(cluster: Cluster, claim: Claim, former_uid: str, name: str, stack: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        existing = cluster.claim(claim)
        is_new = existing is not None and existing["metadata"]["uid"] != former_uid
        if is_new and existing is not None and existing["spec"].get("volumeName") == name:
            return
        if time.monotonic() > deadline:
            raise VolumesError(
                f"The claim {claim} was not created again within {PATIENCE_SECONDS} s, or not bound"
                f" to the volume {name}, which is reserved for it.",
                f"look at what owns the claim (bin/platform status --stack {stack}), or create the"
                " claim by hand",
            )
        time.sleep(_PAUSE_SECONDS)
