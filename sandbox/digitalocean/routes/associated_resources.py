"""Load balancers and volumes of clusters, and the deletion of clusters together with them.

docs.digitalocean.com/reference/api/reference/kubernetes (destroy_with_associated_resources),
.../load-balancers, .../block-storage
"""

from collections.abc import Callable, Sequence
from typing import Any

from starlette.responses import JSONResponse, Response

from sandbox.digitalocean.errors import not_found
from sandbox.digitalocean.models import AccountData
from sandbox.digitalocean.operations import Body, Call, Operation
from sandbox.digitalocean.routes.kubernetes import cluster_of, start_deletion
from sandbox.digitalocean.views import load_balancer_view, volume_view
from sandbox.emulator import no_content


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
        for load_balancer_id in selection.load_balancers:
            del data.load_balancers[load_balancer_id]
        for volume_id in selection.volumes:
            del data.volumes[volume_id]
    start_deletion(call, cluster)
    return no_content()


async def list_associated(call: Call) -> Response:
    return JSONResponse(_associated(call.account.data, cluster_of(call).id))


async def destroy_selective(call: Call) -> Response:
    selection = await call.body(Selection)
    associated = _associated(call.account.data, cluster_of(call).id)
    for kind, resources in associated.items():
        for unknown in set(getattr(selection, kind)) - set(_ids(resources)):
            raise not_found(f"{unknown} is not one of the {kind} of this cluster")
    return _destroy(call, selection)


async def destroy_dangerous(call: Call) -> Response:
    associated = _associated(call.account.data, cluster_of(call).id)
    ids = {kind: _ids(resources) for kind, resources in associated.items()}
    return _destroy(call, Selection(**ids))


def _operations(
    kind: str, view: Callable[[Any], dict[str, Any]], scope: str
) -> tuple[Operation, Operation]:
    """The operations that list and delete resources of that kind."""

    async def list_all(call: Call) -> Response:
        resources = getattr(call.account.data, kind).values()
        return call.page(kind, [view(resource) for resource in resources])

    async def delete(call: Call) -> Response:
        with call.account.changing() as data:
            if getattr(data, kind).pop(call.path["id"], None) is None:
                raise not_found()
        return no_content()

    return (
        Operation("GET", f"/{kind}", list_all, (f"{scope}:read",)),
        Operation("DELETE", f"/{kind}/{{id}}", delete, (f"{scope}:delete",)),
    )


_DESTROY = "/kubernetes/clusters/{cluster_id}/destroy_with_associated_resources"

OPERATIONS = (
    Operation("GET", _DESTROY, list_associated, ("kubernetes:read",)),
    Operation("DELETE", f"{_DESTROY}/selective", destroy_selective, ("kubernetes:delete",)),
    Operation("DELETE", f"{_DESTROY}/dangerous", destroy_dangerous, ("kubernetes:delete",)),
    *_operations("load_balancers", load_balancer_view, "load_balancer"),
    *_operations("volumes", volume_view, "block_storage"),
)
