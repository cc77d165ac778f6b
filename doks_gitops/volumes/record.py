"""Records in the account whose claim each volume of a cluster is."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from doks_gitops.account import DigitalOceanClient, Volume
from doks_gitops.account.marks import mark_in, same_stack
from doks_gitops.volumes.cluster import RETAIN, Cluster, PersistentVolume
from doks_gitops.volumes.tags import (
    CLAIM,
    USED,
    Claim,
    claim_tag,
    claim_tags,
    claims_in,
    own_tags,
    storage_tag,
)


@dataclass(frozen=True)
class Recorded:
    """What a record has found and changed."""

    claims: dict[Claim, Volume]
    """The volumes that are recorded now."""
    changed: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    """What could not be recorded."""


@dataclass(frozen=True)
class _Tags:
    """The tags of one volume to add and to remove."""

    added: frozenset[str]
    removed: frozenset[str]


def record(client: DigitalOceanClient, cluster: Cluster, mark: str, *, retain: bool) -> Recorded:
    """Tag the volume of each bound claim with the claim, its storage and the owner's `mark`.

    With `retain`, the volumes outlive their claims from now on. A volume whose claim is gone keeps
    the tags that it has. Needs the scopes `block_storage:read`, `tag:read` and `tag:create`, and
    `tag:delete` if a tag is wrong by now. Raises `AccountError` and `Unreachable`.
    """
    present = cluster.persistent_volumes()
    persistent = [volume for volume in present if volume.bound]
    existing = {volume.id: volume for volume in client.volumes()}
    claims: dict[Claim, Volume] = {}
    changed: list[str] = []
    problems: list[str] = []
    added: defaultdict[str, list[str]] = defaultdict(list)
    removed: defaultdict[str, list[str]] = defaultdict(list)
    for bound in persistent:
        assert bound.claim is not None
        if retain and bound.reclaim_policy != RETAIN:
            cluster.retain(bound)
            changed.append(f"The volume of the claim {bound.claim} outlives the claim from now on.")
        tags = _tags_of(bound, existing.get(bound.volume), mark.lower())
        if isinstance(tags, str):
            problems.append(f"The claim {bound.claim} is not recorded: {tags}.")
            continue
        claims[bound.claim] = existing[bound.volume]
        for tag in tags.added:
            added[tag].append(bound.volume)
        for tag in tags.removed:
            removed[tag].append(bound.volume)
        if tags.added or tags.removed:
            changed.append(f"The volume {bound.volume} is recorded for the claim {bound.claim}.")
    for reserved in present:
        if reserved.claim not in claims or reserved.bound or reserved.released:
            continue
        if reserved.size < cluster.requested(reserved.claim):
            problems.append(
                f"The claim {reserved.claim} requests more than the {reserved.size} GiB of the"
                f" volume {reserved.volume}, which is reserved for it. So Kubernetes gave it"
                f" another one, which was empty: {claims[reserved.claim].id}."
            )
    # One that is reserved for a claim, as for one that is being restored, is no former one.
    in_use = {volume.volume for volume in present if not volume.released}
    for former in existing.values():
        if former.id in in_use or not _is_of(mark, former):
            continue
        for _, claim in claims_in(former.tags):
            if claim in claims:
                for former_tag in claim_tags(former.tags, claim):
                    removed[former_tag].append(former.id)
                changed.append(f"The volume {former.id} is the claim {claim}'s no longer.")
    for tag, volumes in removed.items():
        client.untag_volumes(tag, volumes)
    # The claims last: a volume with a claim has all its tags.
    for tag in sorted(added, key=lambda tag: tag.startswith(CLAIM)):
        client.tag_volumes(tag, added[tag])
    return Recorded(claims, tuple(changed), tuple(problems))


def _tags_of(bound: PersistentVolume, volume: Volume | None, mark: str) -> _Tags | str:
    """The tags to add and to remove, or why the volume can't be tagged."""
    assert bound.claim is not None
    if volume is None:
        return f"the account has no volume {bound.volume}"
    claim = claim_tag(volume.id, bound.claim)
    if claim is None:
        return f"a tag would be too long for its name; its volume is {volume.id}"
    if (owner := mark_in(volume.tags)) is not None and not _is_of(mark, volume):
        return f"its volume {volume.id} belongs to another owner: {owner}"
    wanted = {mark, claim, storage_tag(bound.storage)}
    if volume.droplets or USED in volume.tags:
        wanted.add(USED)
    return _Tags(frozenset(wanted - volume.tags), own_tags(volume.tags) - wanted)


def _is_of(mark: str, volume: Volume) -> bool:
    """Whether a state of the mark's stack owns the volume."""
    owner = mark_in(volume.tags) or ""
    return same_stack(owner, mark)
