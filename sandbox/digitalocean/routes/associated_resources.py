"""Load balancers of clusters, and the deletion of clusters together with what they have made.

docs.digitalocean.com/reference/api/reference/kubernetes (destroy_with_associated_resources),
.../load-balancers
"""

from collections.abc import Sequence

from starlette.responses import JSONResponse, Response

from sandbox.digitalocean.errors import not_found
from sandbox.digitalocean.models import LoadBalancer, Volume, VolumeSnapshot
from sandbox.digitalocean.operations import Body, Call, Operation
from sandbox.digitalocean.routes.kubernetes import cluster_of, start_deletion
from sandbox.digitalocean.state import AccountState
from sandbox.digitalocean.views import load_balancer_view
from sandbox.emulator import no_content


class Selection(Body):
    load_balancers: Sequence[str] = ()
    volumes: Sequence[str] = ()
    volume_snapshots: Sequence[str] = ()


def _associated(account: AccountState, cluster_id: str) -> dict[str, list[dict[str, str]]]:
    data, volumes = account.data, account.associated_volumes(cluster_id)
    balancers = [x for x in data.load_balancers.values() if x.cluster_id == cluster_id]
    snapshots = [
        snapshot
        for snapshot in data.volume_snapshots.values()
        if snapshot.resource_id in {volume.id for volume in volumes}
    ]
    kinds: dict[str, Sequence[LoadBalancer | Volume | VolumeSnapshot]] = {
        "load_balancers": balancers,
        "volumes": volumes,
        "volume_snapshots": snapshots,
    }
    return {
        kind: [{"id": resource.id, "name": resource.name} for resource in resources]
        for kind, resources in kinds.items()
    }


def _ids(resources: list[dict[str, str]]) -> tuple[str, ...]:
    return tuple(resource["id"] for resource in resources)


def _destroy(call: Call, selection: Selection) -> Response:
    cluster = cluster_of(call)
    for load_balancer_id in selection.load_balancers:
        call.account.remove_load_balancer(load_balancer_id)
    for snapshot_id in selection.volume_snapshots:
        call.account.remove_volume_snapshot(snapshot_id)
    for volume_id in selection.volumes:
        call.account.remove_volume(volume_id)
    start_deletion(call, cluster)
    return no_content()


async def list_associated(call: Call) -> Response:
    return JSONResponse(_associated(call.account, cluster_of(call).id))


async def destroy_selective(call: Call) -> Response:
    selection = await call.body(Selection)
    associated = _associated(call.account, cluster_of(call).id)
    for kind, resources in associated.items():
        for unknown in set(getattr(selection, kind)) - set(_ids(resources)):
            raise not_found(f"{unknown} is not one of the {kind} of this cluster")
    return _destroy(call, selection)


async def destroy_dangerous(call: Call) -> Response:
    associated = _associated(call.account, cluster_of(call).id)
    ids = {kind: _ids(resources) for kind, resources in associated.items()}
    return _destroy(call, Selection(**ids))


async def list_load_balancers(call: Call) -> Response:
    balancers = call.account.data.load_balancers.values()
    return call.page("load_balancers", [load_balancer_view(balancer) for balancer in balancers])


async def delete_load_balancer(call: Call) -> Response:
    if call.path["id"] not in call.account.data.load_balancers:
        raise not_found()
    call.account.remove_load_balancer(call.path["id"])
    return no_content()


_DESTROY = "/kubernetes/clusters/{cluster_id}/destroy_with_associated_resources"

OPERATIONS = (
    Operation("GET", _DESTROY, list_associated, ("kubernetes:read",)),
    Operation("DELETE", f"{_DESTROY}/selective", destroy_selective, ("kubernetes:delete",)),
    Operation("DELETE", f"{_DESTROY}/dangerous", destroy_dangerous, ("kubernetes:delete",)),
    Operation("GET", "/load_balancers", list_load_balancers, ("load_balancer:read",)),
    Operation("DELETE", "/load_balancers/{id}", delete_load_balancer, ("load_balancer:delete",)),
)
