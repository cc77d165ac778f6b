"""Block storage: docs.digitalocean.com/reference/api/reference/block-storage, .../snapshots and
.../block-storage-actions. An action completes at once."""

import re
from collections.abc import Sequence
from typing import Literal
from uuid import uuid4

from starlette.responses import JSONResponse, Response

from sandbox.digitalocean.errors import ApiError, invalid, not_found
from sandbox.digitalocean.models import Volume, VolumeSnapshot
from sandbox.digitalocean.operations import Body, Call, Operation
from sandbox.digitalocean.validation import check_region, check_tags
from sandbox.digitalocean.views import volume_snapshot_view, volume_view
from sandbox.emulator import no_content

_NAME = re.compile(r"[a-z][a-z0-9-]{0,63}")
_LARGEST = 16 * 1024
"""GiB."""


class VolumeCreate(Body):
    name: str
    size_gigabytes: int = 0
    region: str = ""
    snapshot_id: str = ""
    description: str = ""
    filesystem_type: Literal["", "ext4", "xfs"] = ""
    filesystem_label: str = ""
    tags: Sequence[str] = ()


class Action(Body):
    type: Literal["attach", "detach", "resize"]
    droplet_id: int = 0
    region: str = ""
    size_gigabytes: int = 0


class SnapshotCreate(Body):
    name: str
    tags: Sequence[str] = ()


def _volume(call: Call) -> Volume:
    volume = call.account.data.volumes.get(call.path["volume_id"])
    if volume is None:
        raise not_found()
    return volume


def _snapshot(call: Call) -> VolumeSnapshot:
    snapshot = call.account.data.volume_snapshots.get(call.path["snapshot_id"])
    if snapshot is None:
        raise not_found()
    return snapshot


async def list_volumes(call: Call) -> Response:
    name, region = (call.request.query_params.get(key) for key in ("name", "region"))
    return call.page(
        "volumes",
        [
            volume_view(volume, with_tags=call.allows("tag:read"))
            for volume in call.account.data.volumes.values()
            if name in (None, volume.name) and region in (None, volume.region)
        ],
    )


async def create_volume(call: Call) -> Response:
    body = await call.body(VolumeCreate)
    account = call.account
    snapshot = account.data.volume_snapshots.get(body.snapshot_id)
    if body.snapshot_id and snapshot is None:
        raise not_found("snapshot not found")
    region = snapshot.region if snapshot else body.region
    if snapshot is not None and body.region not in ("", region):
        raise invalid(f"the snapshot is not available in region {body.region}")
    check_region(region, account)
    if not _NAME.fullmatch(body.name):
        raise invalid(
            "name must be lowercase letters, numbers and '-', begin with a letter, and have at"
            " most 64 characters"
        )
    if any((x.name, x.region) == (body.name, region) for x in account.data.volumes.values()):
        raise ApiError(409, "volume with same name already exists in this region")
    size = body.size_gigabytes or (snapshot.min_disk_size if snapshot else 0)
    if not (snapshot.min_disk_size if snapshot else 1) <= size <= _LARGEST:
        raise invalid("size_gigabytes is out of range")
    check_tags(body.tags)
    volume = account.add_volume(
        body.name,
        region,
        size,
        tags=body.tags,
        description=body.description,
        filesystem_type=body.filesystem_type,
        filesystem_label=body.filesystem_label,
        snapshot=snapshot,
    )
    return JSONResponse({"volume": volume_view(volume)}, 201)


async def get_volume(call: Call) -> Response:
    return JSONResponse({"volume": volume_view(_volume(call))})


async def delete_volume(call: Call) -> Response:
    volume = _volume(call)
    if volume.droplet_ids:
        raise ApiError(409, "failed to delete volume: it must be detached before deletion")
    call.account.remove_volume(volume.id)
    return no_content()


async def act(call: Call) -> Response:
    volume, body = _volume(call), await call.body(Action)
    if body.region not in ("", volume.region):
        raise invalid(f"the volume is in region {volume.region}")
    if body.type == "resize":
        if not volume.size_gigabytes <= body.size_gigabytes <= _LARGEST:
            raise invalid("volumes may only be resized upwards")
        with call.account.changing():
            volume.size_gigabytes = body.size_gigabytes
    elif body.type == "attach":
        _check_droplet(call, volume, body.droplet_id)
        with call.account.changing():
            volume.droplet_ids = [body.droplet_id]
    else:
        if body.droplet_id not in volume.droplet_ids:
            raise invalid("Attachment not found")
        with call.account.changing():
            volume.droplet_ids = []
    now = call.account.clock.now().isoformat()
    action = {
        "id": uuid4().int % 10**9,
        "status": "completed",
        "type": f"{body.type}_volume",
        "started_at": now,
        "completed_at": now,
        "resource_id": None,
        "resource_type": "backend",
        "region_slug": volume.region,
    }
    return JSONResponse({"action": action}, 202)


def _check_droplet(call: Call, volume: Volume, droplet: int) -> None:
    regions = {
        droplet_id: cluster.region
        for cluster in call.account.data.clusters.values()
        for droplet_id in call.account.droplets_of(cluster)
    }
    if droplet not in regions:
        raise not_found("droplet not found")
    if volume.droplet_ids:
        raise invalid("This volume is already attached")
    if regions[droplet] != volume.region:
        raise invalid("the Droplet and the volume must be in the same region")


async def create_snapshot(call: Call) -> Response:
    volume, body = _volume(call), await call.body(SnapshotCreate)
    check_tags(body.tags)
    snapshot = call.account.snapshot_volume(volume, body.name, body.tags)
    return JSONResponse({"snapshot": volume_snapshot_view(snapshot)}, 201)


async def list_volume_snapshots(call: Call) -> Response:
    volume = _volume(call)
    return _page(call, [x for x in _newest_first(call) if x.resource_id == volume.id])


async def list_snapshots(call: Call) -> Response:
    """Of Droplets there are no snapshots."""
    kind = call.request.query_params.get("resource_type")
    if kind not in (None, "droplet", "volume"):
        raise invalid("resource_type must be droplet or volume")
    return _page(call, [] if kind == "droplet" else _newest_first(call))


def _newest_first(call: Call) -> list[VolumeSnapshot]:
    snapshots = call.account.data.volume_snapshots.values()
    return sorted(snapshots, key=lambda snapshot: snapshot.created_at, reverse=True)


def _page(call: Call, snapshots: list[VolumeSnapshot]) -> Response:
    with_tags = call.allows("tag:read")
    views = [volume_snapshot_view(snapshot, with_tags=with_tags) for snapshot in snapshots]
    return call.page("snapshots", views)


async def get_snapshot(call: Call) -> Response:
    return JSONResponse({"snapshot": volume_snapshot_view(_snapshot(call))})


async def delete_snapshot(call: Call) -> Response:
    call.account.remove_volume_snapshot(_snapshot(call).id)
    return no_content()


_VOLUME = "/volumes/{volume_id}"
_READ = ("block_storage:read",)
_SNAPSHOT = "block_storage_snapshot"
_TAGS = ("tag:create",)
"""For the tags of a request, which the program always sends."""

OPERATIONS = (
    Operation("GET", "/volumes", list_volumes, _READ),
    Operation("POST", "/volumes", create_volume, ("block_storage:create", *_TAGS)),
    # Before the volumes' own paths, which match these too.
    Operation("GET", "/volumes/snapshots/{snapshot_id}", get_snapshot, (f"{_SNAPSHOT}:read",)),
    Operation(
        "DELETE", "/volumes/snapshots/{snapshot_id}", delete_snapshot, (f"{_SNAPSHOT}:delete",)
    ),
    Operation("GET", _VOLUME, get_volume, _READ),
    Operation("DELETE", _VOLUME, delete_volume, ("block_storage:delete",)),
    Operation("POST", f"{_VOLUME}/actions", act, ("block_storage_action:create",)),
    Operation("GET", f"{_VOLUME}/snapshots", list_volume_snapshots, (f"{_SNAPSHOT}:read",)),
    Operation("POST", f"{_VOLUME}/snapshots", create_snapshot, (f"{_SNAPSHOT}:create", *_TAGS)),
    Operation("GET", "/snapshots", list_snapshots, ("snapshot:read",)),
    Operation("DELETE", "/snapshots/{snapshot_id}", delete_snapshot, ("snapshot:delete",)),
)
