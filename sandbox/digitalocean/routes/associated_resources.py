"""Load balancers and volumes that clusters leave behind, and deleting clusters along with them.

docs.digitalocean.com/reference/api/reference/kubernetes (destroy_with_associated_resources),
.../load-balancers, .../block-storage
"""

from collections.abc import Sequence

from starlette.responses import JSONResponse, Response

from sandbox.digitalocean.errors import not_found
from sandbox.digitalocean.models import AccountData
from sandbox.digitalocean.operations import Body, Call, Operation, no_content
from sandbox.digitalocean.routes.kubernetes import cluster_of, start_deletion
from sandbox.digitalocean.views import load_balancer_view, volume_view


class Selection(Body):
    load_balancers: Sequence[str] = ()
    volumes: Sequence[str] = ()
    volume_snapshots: Sequence[str] = ()


def _associated(data: AccountData, cluster_id: str) -> dict[str, list[dict[str, str]]]:
    return {
        kind: [
            {"id": resource.id, "name": resource.name}
            for resource in resources
            if resource.cluster_id == cluster_id
        ]
        for kind, resources in (
            ("load_balancers", data.load_balancers.values()),
            ("volumes", data.volumes.values()),
        )
    } | {"volume_snapshots": []}


def _ids(resources: list[dict[str, str]]) -> tuple[str, ...]:
    return tuple(resource["id"] for resource in resources)


def _destroy(call: Call, selection: Selection) -> Response:
    cluster = cluster_of(call)
    with call.account.changing() as data:
        for load_balancer in selection.load_balancers:
            del data.load_balancers[load_balancer]
        for volume in selection.volumes:
            del data.volumes[volume]
    start_deletion(call, cluster)
    return no_content()


async def list_associated(call: Call) -> Response:
    return JSONResponse(_associated(call.account.data, cluster_of(call).id))


async def destroy_selective(call: Call) -> Response:
    selection = await call.body(Selection)
    present = _associated(call.account.data, cluster_of(call).id)
    for kind, resources in present.items():
        for unknown in set(getattr(selection, kind)) - set(_ids(resources)):
            raise not_found(f"{unknown} is not one of the {kind} of this cluster")
    return _destroy(call, selection)


async def destroy_dangerous(call: Call) -> Response:
    present = _associated(call.account.data, cluster_of(call).id)
    return _destroy(
        call,
        Selection(load_balancers=_ids(present["load_balancers"]), volumes=_ids(present["volumes"])),
    )


async def list_load_balancers(call: Call) -> Response:
    load_balancers = call.account.data.load_balancers.values()
    return call.page("load_balancers", [load_balancer_view(item) for item in load_balancers])


async def delete_load_balancer(call: Call) -> Response:
    if call.path["id"] not in call.account.data.load_balancers:
        raise not_found()
    call.account.remove_load_balancer(call.path["id"])
    return no_content()


async def list_volumes(call: Call) -> Response:
    volumes = call.account.data.volumes.values()
    return call.page("volumes", [volume_view(volume) for volume in volumes])


async def delete_volume(call: Call) -> Response:
    if call.path["id"] not in call.account.data.volumes:
        raise not_found()
    call.account.remove_volume(call.path["id"])
    return no_content()


_DESTROY = "/kubernetes/clusters/{cluster_id}/destroy_with_associated_resources"

OPERATIONS = (
    Operation("GET", _DESTROY, list_associated, ("kubernetes:read",)),
    Operation("DELETE", f"{_DESTROY}/selective", destroy_selective, ("kubernetes:delete",)),
    Operation("DELETE", f"{_DESTROY}/dangerous", destroy_dangerous, ("kubernetes:delete",)),
    Operation("GET", "/load_balancers", list_load_balancers, ("load_balancer:read",)),
    Operation("DELETE", "/load_balancers/{id}", delete_load_balancer, ("load_balancer:delete",)),
    Operation("GET", "/volumes", list_volumes, ("block_storage:read",)),
    Operation("DELETE", "/volumes/{id}", delete_volume, ("block_storage:delete",)),
)
