"""The recorded volumes of a stack and their snapshots, in the account alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from doks_gitops.account import AccountError
from doks_gitops.errors import PlatformError, raise_all
from doks_gitops.settings.model import Snapshots
from doks_gitops.volumes.snapshots import age_of, due, is_copied, surplus
from doks_gitops.volumes.stacks import StackVolumes
from doks_gitops.volumes.tags import claims_in, own_tags


def listing(stack: StackVolumes) -> list[dict[str, Any]]:
    """One row for each recorded volume and for each volume that only has snapshots left."""
    snapshots = [x for x in stack.client.snapshots() if stack.owns(x)]
    volumes = {x.id: x for x in stack.client.volumes() if stack.owns(x)}
    gone = {x.volume: x for x in snapshots if x.volume not in volumes}
    now, rows = datetime.now(UTC), []
    for id in sorted({*volumes, *gone}):
        own = sorted((x for x in snapshots if x.volume == id), key=lambda x: x.created)
        volume = volumes.get(id)
        tags = volume.tags if volume else gone[id].tags
        rows.append(
            {
                "stack": stack.stack,
                "claim": ", ".join(str(claim) for _, claim in claims_in(tags)),
                "volume": id,
                "gibibytes": volume.size if volume else None,
                "region": volume.region if volume else ", ".join(gone[id].regions),
                "state": "gone" if volume is None else "attached" if volume.droplets else "free",
                "snapshots": [
                    {
                        "id": x.id,
                        "name": x.name,
                        "age": age_of(x.created, now),
                        "copied": is_copied(x),
                    }
                    for x in own
                ],
            }
        )
    return rows


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows for a terminal."""
    lines = []
    for row in rows:
        size = f"{row['gibibytes']} GiB, " if row["gibibytes"] else ""
        claim = row["claim"] or "no claim"
        lines.append(
            f"{row['stack']}  {claim}  {row['volume']}  {size}{row['region']}, {row['state']}"
        )
        lines += [
            f"    {x['id']}  {x['name']}, {x['age']} old{', copied' if x['copied'] else ''}"
            for x in row["snapshots"]
        ]
    return "\n".join(lines) or "No volumes are recorded."


def take(stack: StackVolumes, settings: Snapshots, *, at_once: bool = False) -> Iterator[str]:
    """Take the snapshots that are due (`at_once`: of all volumes), then delete those beyond the
    number; yields what was done. Raises `PlatformError` at the end if DigitalOcean refused some.

    Needs the scopes `kubernetes:read`, `block_storage:read`, `snapshot:read`,
    `block_storage_snapshot:create`, `block_storage_snapshot:delete`, `tag:read` and `tag:create`.
    """
    client, now = stack.client, datetime.now(UTC)
    failures: list[PlatformError] = []
    volumes = stack.recorded()
    snapshots = [x for x in client.snapshots() if stack.owns(x)]
    if not volumes:
        yield "0 volumes are recorded"
    for volume in volumes if at_once else due(volumes, snapshots, settings.every_hours, now):
        name = f"{volume.name}-{now:%Y%m%d-%H%M%S}"
        claims = ", ".join(str(claim) for _, claim in claims_in(volume.tags))
        try:
            snapshots.append(client.create_snapshot(volume.id, name, own_tags(volume.tags)))
            yield f"{claims}: snapshot {name}"
        except AccountError as error:
            failures.append(PlatformError(f"{claims}: {error.problem}", error.fix))
    for snapshot in surplus(volumes, snapshots, settings.keep):
        try:
            client.delete_snapshot(snapshot.id)
            yield f"deleted the snapshot {snapshot.name}"
        except AccountError as error:
            failures.append(error)
    raise_all(failures)
