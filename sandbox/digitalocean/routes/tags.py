"""Tags of volumes and of their snapshots: docs.digitalocean.com/reference/api/reference/tags

Those of clusters and node pools come and go with requests about these."""

from collections.abc import Iterator, Sequence
from typing import Any

from starlette.responses import JSONResponse, Response

from sandbox.digitalocean.errors import invalid, not_found
from sandbox.digitalocean.models import AccountData, Volume, VolumeSnapshot
from sandbox.digitalocean.operations import Body, Call, Operation
from sandbox.digitalocean.validation import check_tags
from sandbox.emulator import no_content


class TagCreate(Body):
    name: str


class Resource(Body):
    resource_id: str
    resource_type: str


class Resources(Body):
    resources: Sequence[Resource]


def _tagged(data: AccountData) -> Iterator[Volume | VolumeSnapshot]:
    yield from data.volumes.values()
    yield from data.volume_snapshots.values()


def _names(data: AccountData) -> list[str]:
    """The tags that exist. Their case is ignored."""
    names = [*data.tags, *(tag for resource in _tagged(data) for tag in resource.tags)]
    return list({name.lower(): name for name in reversed(names)}.values())


def _view(name: str, data: AccountData) -> dict[str, Any]:
    def count(resources: Sequence[Volume | VolumeSnapshot]) -> int:
        return sum(_has(resource, name) for resource in resources)

    volumes, snapshots = [*data.volumes.values()], [*data.volume_snapshots.values()]
    counts = {"volumes": count(volumes), "volume_snapshots": count(snapshots)}
    resources = {kind: {"count": number} for kind, number in counts.items()}
    return {"name": name, "resources": {"count": sum(counts.values()), **resources}}


def _has(resource: Volume | VolumeSnapshot, name: str) -> bool:
    return name.lower() in {tag.lower() for tag in resource.tags}


async def list_tags(call: Call) -> Response:
    data = call.account.data
    return call.page("tags", [_view(name, data) for name in _names(data)])


async def create_tag(call: Call) -> Response:
    name = (await call.body(TagCreate)).name
    check_tags([name])
    if name.lower() not in {known.lower() for known in _names(call.account.data)}:
        with call.account.changing() as data:
            data.tags.append(name)
    return JSONResponse({"tag": _view(name, call.account.data)}, 201)


async def _resources(call: Call) -> tuple[str, list[Volume | VolumeSnapshot]]:
    """The tag that the path names, as it is written, and the resources in the body."""
    data, requested = call.account.data, (await call.body(Resources)).resources
    names = {name.lower(): name for name in _names(data)}
    name = names.get(call.path["tag"].lower())
    if name is None:
        raise not_found("tag not found")
    resources: list[Volume | VolumeSnapshot] = []
    for resource in requested:
        if resource.resource_type not in ("volume", "volume_snapshot"):
            raise invalid(f"resources of the type {resource.resource_type} can not be tagged here")
        kind = data.volumes if resource.resource_type == "volume" else data.volume_snapshots
        if resource.resource_id not in kind:
            raise not_found()
        resources.append(kind[resource.resource_id])
    return name, resources


async def tag_resources(call: Call) -> Response:
    name, resources = await _resources(call)
    with call.account.changing():
        for resource in resources:
            if not _has(resource, name):
                resource.tags = [*resource.tags, name]
    return no_content()


async def untag_resources(call: Call) -> Response:
    name, resources = await _resources(call)
    with call.account.changing() as data:
        # A tag stays when its last resource loses it.
        data.tags = [*dict.fromkeys([*data.tags, name])]
        for resource in resources:
            resource.tags = [tag for tag in resource.tags if tag.lower() != name.lower()]
    return no_content()


async def delete_tag(call: Call) -> Response:
    name = call.path["tag"].lower()
    if name not in {known.lower() for known in _names(call.account.data)}:
        raise not_found("tag not found")
    with call.account.changing() as data:
        data.tags = [tag for tag in data.tags if tag.lower() != name]
        for resource in _tagged(data):
            resource.tags = [tag for tag in resource.tags if tag.lower() != name]
    return no_content()


_RESOURCES = "/tags/{tag}/resources"

OPERATIONS = (
    Operation("GET", "/tags", list_tags, ("tag:read",)),
    Operation("POST", "/tags", create_tag, ("tag:create",)),
    Operation("DELETE", "/tags/{tag}", delete_tag, ("tag:delete",)),
    Operation("POST", _RESOURCES, tag_resources, ("tag:create",)),
    Operation("DELETE", _RESOURCES, untag_resources, ("tag:delete",)),
)
