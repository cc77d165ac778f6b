"""Snapshots of the volumes: which are due, which are too many, and volumes made from one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from uuid import uuid4

from doks_gitops.account import DigitalOceanClient, Volume, VolumeSnapshot
from doks_gitops.volumes.tags import CLAIM, COPY, Claim, claim_tag

TOLERANCE = timedelta(minutes=10)
"""How much earlier than due a snapshot may be taken: a workflow does not start to the minute."""


def due(
    volumes: Collection[Volume], snapshots: Collection[VolumeSnapshot], hours: int, now: datetime
) -> list[Volume]:
    """The volumes whose newest recorded snapshot is at least that many hours old, or is of a time
    before they grew: a volume made of that would be too small for its claim."""
    newest: dict[str, VolumeSnapshot] = {}
    for snapshot in sorted(filter(is_recorded, snapshots), key=lambda snapshot: snapshot.created):
        newest[snapshot.volume] = snapshot
    latest = now - timedelta(hours=hours) + TOLERANCE
    return [
        volume
        for volume in volumes
        if (last := newest.get(volume.id)) is None
        or last.created <= latest
        or last.disk < volume.size
    ]


def surplus(
    volumes: Collection[Volume], snapshots: Collection[VolumeSnapshot], keep: int
) -> list[VolumeSnapshot]:
    """The recorded snapshots beyond the `keep` newest ones of each volume that still exists. Those
    that somebody has taken by hand are not counted, and neither are those of a volume that is gone:
    they are all that is left of it. The newest one with a copy stays: its tags tell of the copy."""
    of_volume: defaultdict[str, list[VolumeSnapshot]] = defaultdict(list)
    existing = {volume.id for volume in volumes}
    for snapshot in filter(is_recorded, snapshots):
        if snapshot.volume in existing:
            of_volume[snapshot.volume].append(snapshot)
    old = []
    for group in of_volume.values():
        group.sort(key=lambda snapshot: snapshot.created, reverse=True)
        copied = next(filter(is_copied, group), None)
        old += [snapshot for snapshot in group[keep:] if snapshot is not copied]
    return old


def is_recorded(snapshot: VolumeSnapshot) -> bool:
    """Whether it has the tags that `bin/platform volumes snapshot` gives."""
    return any(tag.startswith(CLAIM) for tag in snapshot.tags)


def is_copied(snapshot: VolumeSnapshot) -> bool:
    """Whether there is a copy of it in another region."""
    return any(tag.startswith(COPY) for tag in snapshot.tags)


def create_from_snapshot(
    client: DigitalOceanClient,
    snapshot: VolumeSnapshot,
    claim: Claim,
    region: str,
    tags: Sequence[str],
    size: int = 0,
) -> Volume:
    """Create a volume from the snapshot, recorded as the claim's. Raises `AccountError`.

    `size`: GiB that the claim requests, if they are known. Kubernetes binds no smaller volume to
    it, also if that is reserved for the claim.
    """
    name = str(uuid4())
    # In one request with the volume: without it, it would be nobody's after a failure.
    tag = claim_tag(name, claim)
    return client.create_volume(
        f"pvc-{name}", region, snapshot, max(size, snapshot.disk), [*tags, *([tag] if tag else [])]
    )


def age_of(created: datetime, now: datetime) -> str:
    """The age in its two largest units, such as `5 h 3 min`."""
    minutes = max(0, int((now - created).total_seconds() // 60))
    days, hours, rest = minutes // 1440, minutes // 60 % 24, minutes % 60
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {rest} min" if hours else f"{rest} min"
