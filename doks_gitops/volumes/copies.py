"""Copies of the snapshots in another region: which are due, making one, and restoring one.

A snapshot of which the bucket has a copy has a tag that tells so (`copy_tag`), and with it all that
is known of the volume: its claim, its owner, its size and file system. The account's API knows the
tags of a region that is down, so what has to be restored is known without the bucket.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import NAMESPACE_URL, uuid4, uuid5

from doks_gitops.account import DigitalOceanClient, Volume, VolumeSnapshot
from doks_gitops.environments import short_name
from doks_gitops.errors import PlatformError, raise_all
from doks_gitops.settings import Settings
from doks_gitops.settings.model import NAMESPACE, Copies, CopyCredentials, Volumes
from doks_gitops.volumes import bucket
from doks_gitops.volumes.cluster import Cluster
from doks_gitops.volumes.jobs import (
    FOLDER,
    INCOMPLETE,
    LOCKED,
    NO_REPOSITORY,
    WRONG_PASSWORD,
    CommandFailed,
    CopyError,
    Restic,
    clear,
    restic,
    undone,
)
from doks_gitops.volumes.snapshots import TOLERANCE, age_of
from doks_gitops.volumes.stacks import StackVolumes
from doks_gitops.volumes.tags import (
    COPY,
    STORAGE,
    TEMPORARY,
    USED,
    Claim,
    claim_tag,
    claims_in,
    storage_in,
)


def copy_tag(copies: Copies, credentials: CopyCredentials) -> str:
    """The tag of a snapshot of which there is a copy in this bucket, with this password.

    It shows whether the settings are those of the copy. The password can't be calculated from it,
    only guessed and compared, as from the repository itself.
    """
    password = credentials.password.get_secret_value().encode()
    digest = hashlib.scrypt(password, salt=copies.url.encode(), n=2**14, r=8, p=1, dklen=8)
    return f"{COPY}{digest.hex()}"


def copy_tag_of(volumes: Volumes) -> str | None:
    """As `copy_tag`; None if the stack has no copies, or no credentials for them."""
    if volumes.copies is None or volumes.copies.credentials is None:
        return None
    return copy_tag(volumes.copies, volumes.copies.credentials)


def required(settings: Settings) -> tuple[Copies, CopyCredentials]:
    """The settings of the stack's copies. Raises `CopyError` if it has none."""
    copies = settings.volumes.copies if settings.volumes is not None else None
    if copies is None or copies.credentials is None:
        raise CopyError(
            f"The stack {settings.stack} has no copies, or no credentials for them.",
            "docs/volumes.md tells how they are set",
        )
    return copies, copies.credentials


def repository_of(stack: str, claim: Claim) -> str:
    """Path of the claim's repository in the bucket."""
    return f"{NAMESPACE}/{short_name(stack)}/{claim}"


def due_copies(
    volumes: Collection[Volume],
    snapshots: Collection[VolumeSnapshot],
    hours: int,
    tag: str,
    now: datetime,
) -> list[VolumeSnapshot]:
    """The newest snapshots of the recorded volumes whose newest copy is of a snapshot that is at
    least that many hours old, or of a time before the volume grew, or in another bucket. A volume
    without a file system has none."""
    due = []
    latest = now - timedelta(hours=hours) + TOLERANCE
    for volume in volumes:
        own = sorted(
            (x for x in snapshots if x.volume == volume.id and claims_in(x.tags)),
            key=lambda snapshot: snapshot.created,
        )
        copied = [x for x in own if tag in x.tags]
        is_due = (
            own
            and tag not in own[-1].tags
            and (not copied or copied[-1].created <= latest or copied[-1].disk < own[-1].disk)
        )
        if is_due and storage_in(volume.tags).volume_mode == "Filesystem":
            due.append(own[-1])
    return due


def copy(
    stack: StackVolumes, copies: Copies, credentials: CopyCredentials, *, at_once: bool = False
) -> Iterator[str]:
    """Copy the newest snapshots that are due (`at_once`: of all volumes) to the bucket; yields what
    was done. Raises `PlatformError` at the end if some could not be copied.

    A copy is made of a snapshot, not of the volume: so the application goes on, and what the copy
    has is what the volume was at one moment. Needs the scopes `kubernetes:read`,
    `kubernetes:access_cluster`, `block_storage:read`, `block_storage:create`,
    `block_storage:delete`, `snapshot:read`, `tag:read`, `tag:create` and `tag:delete`.
    """
    client, now = stack.client, datetime.now(UTC)
    volumes = stack.recorded()
    snapshots = [x for x in client.snapshots() if stack.owns(x)]
    tag = copy_tag(copies, credentials)
    hours = 0 if at_once else copies.every_hours
    due = due_copies(volumes, snapshots, hours, tag, now)
    left = [
        x
        for x in client.volumes()
        if stack.owns(x) and TEMPORARY in x.tags and not claims_in(x.tags)
    ]
    if not due and not left:
        yield "no copies are due"
        return
    running = stack.running()
    assert running.mark is not None
    # The stack file may name the region of the next cluster already.
    if copies.region == running.region:
        raise CopyError(
            f"The bucket {copies.bucket} is in {copies.region}, the region of the cluster: it would"
            " be lost together with the volumes. Nothing was copied.",
            "name a bucket in another region in doks-gitops:volumes.copies",
        )
    bucket.require(copies, credentials)
    failures: list[PlatformError] = []
    with stack.opened(running) as cluster:
        clear(cluster, client)
        for volume in left:
            try:
                client.delete_volume(volume.id)
                yield f"deleted the volume {volume.name} of a run that was killed"
            except PlatformError as error:
                # Its region may be down.
                failures.append(error)
        for snapshot in due:
            _, claim = claims_in(snapshot.tags)[0]
            try:
                repository = repository_of(stack.stack, claim)
                with (
                    _volume_of(snapshot, client, running.region, running.mark) as volume,
                    restic(cluster, client, volume, copies, credentials, repository) as commands,
                ):
                    _backup(commands, snapshot)
                    client.tag_snapshot(tag, snapshot.id)
                    # Before the copies are deleted: no tag may tell of one that is not there.
                    for former in _beyond(copies.keep, snapshot.volume, snapshots, tag):
                        client.untag_snapshot(tag, former.id)
                    _unlocked(commands, "forget", "--host", snapshot.volume, "--group-by", "host",
                              "--keep-last", str(copies.keep), "--prune")  # fmt: skip
                age = age_of(snapshot.created, now)
                yield f"{claim}: copied the snapshot {snapshot.name}, {age} old"
            except PlatformError as error:
                failures.append(PlatformError(f"{claim}: {error.problem}", error.fix))
    raise_all(failures)


@contextmanager
def _volume_of(
    snapshot: VolumeSnapshot, client: DigitalOceanClient, region: str, mark: str
) -> Iterator[Volume]:
    """A volume that is made of the snapshot, and deleted at the end. No claim is recorded on it."""
    tags = [mark, TEMPORARY, *(tag for tag in snapshot.tags if tag.startswith((STORAGE, USED)))]
    # A name that no other volume has: an existing one of that name would be taken, and deleted.
    name = f"copy-{uuid4()}"
    volume = client.create_volume(name, region, snapshot, snapshot.disk, tags)
    with undone(lambda: client.delete_volume(volume.id)):
        yield volume


def _beyond(
    keep: int, volume: str, snapshots: Collection[VolumeSnapshot], tag: str
) -> list[VolumeSnapshot]:
    """The snapshots of the volume whose copies are beyond `keep` after another copy was made."""
    copied = [x for x in snapshots if x.volume == volume and tag in x.tags]
    copied.sort(key=lambda snapshot: snapshot.created, reverse=True)
    return copied[keep - 1 :]


def _backup(commands: Restic, snapshot: VolumeSnapshot) -> None:
    """Make the copy. Its host is the volume: a claim's former volume has copies of its own."""
    own = ("--host", snapshot.volume, "--tag", snapshot.id)
    try:
        try:
            _unlocked(commands, "backup", FOLDER, *own)
        except CommandFailed as failed:
            if failed.code != NO_REPOSITORY:
                raise
            commands.run("init")
            _unlocked(commands, "backup", FOLDER, *own)
    except CommandFailed as failed:
        if failed.code == INCOMPLETE:
            # What could be read is a copy all the same. If it can't be deleted, it is at least not
            # the latest one of the snapshot after the next run.
            with suppress(CopyError):
                _unlocked(commands, "forget", *own, "--unsafe-allow-remove-all")
        raise


def _unlocked(commands: Restic, command: str, *arguments: str) -> None:
    """Run a command, without a lock of one that was killed. Restic removes no lock of a command
    that still runs."""
    try:
        commands.run(command, *arguments)
    except CommandFailed as failed:
        if failed.code == WRONG_PASSWORD:
            raise CopyError(
                "The bucket has copies of this claim, but the copies have another password than"
                " doks-gitops:volumes.copies.",
                "set the password that they were made with, or name another bucket",
            ) from None
        if failed.code != LOCKED:
            raise
        commands.run("unlock")
        try:
            commands.run(command, *arguments)
        except CommandFailed as second:
            if second.code != LOCKED:
                raise
            raise CopyError(
                second.problem,
                "a killed command has left its lock, or a command in another cluster still works:"
                " run the command again 30 minutes after its end, when restic removes the lock",
            ) from None


def empty_volume(
    client: DigitalOceanClient,
    snapshot: VolumeSnapshot,
    claim: Claim,
    region: str,
    tags: Collection[str],
    size: int,
) -> Volume:
    """Create the volume of `size` GiB for the copy of a snapshot, or find that of a run that was
    killed. It is recorded for its claim only when it has all data. Raises `PlatformError`."""
    # The same in each run, so that a repeated one finds the volume of the one before.
    name = f"pvc-{uuid5(NAMESPACE_URL, f'{snapshot.id}/{region}/{claim}')}"
    volume = client.create_volume(name, region, None, size, tags)
    if USED in volume.tags:
        raise CopyError(
            f"The volume {volume.name} ({volume.id}) was restored from the copy of the snapshot"
            f" {snapshot.name} before, and may have been in use since.",
            f"bin/platform recover with --volume {volume.id}={claim} gives it to the claim as it"
            f" is; to restore the copy again, delete it: doctl compute volume delete {volume.id}",
        )
    return volume


def fill(
    client: DigitalOceanClient,
    cluster: Cluster,
    volume: Volume,
    claim: Claim,
    snapshot: str,
    repository: str,
    copies: Copies,
    credentials: CopyCredentials,
) -> None:
    """Restore the copy of a snapshot (its ID) into the volume, and give it to the claim. Raises
    `PlatformError`; then it may be repeated."""
    with restic(cluster, client, volume, copies, credentials, repository) as commands:
        # Without the files of an attempt that was killed, and without a lock: that of a killed
        # command would bar it for half an hour, and nothing deletes the newest copies.
        _unlocked(commands, "restore", "latest", "--tag", snapshot, "--target", ".",
                  "--include", f"/{FOLDER}", "--delete", "--verify", "--no-lock")  # fmt: skip
    # From here on, it is never filled again.
    client.tag_volumes(USED, [volume.id])
    cluster.reserve(replace(volume, tags=volume.tags | {USED}), claim)
    if (tag := claim_tag(volume.id, claim)) is not None:
        client.tag_volumes(tag, [volume.id])
