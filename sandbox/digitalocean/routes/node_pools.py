"""Node pools and nodes: docs.digitalocean.com/reference/api/reference/kubernetes"""

from starlette.responses import JSONResponse, Response

from sandbox.digitalocean.errors import ApiError, not_found
from sandbox.digitalocean.models import Cluster, NodePool
from sandbox.digitalocean.operations import Call, Operation, accepted
from sandbox.digitalocean.pools import (
    NodePoolCreate,
    NodePoolUpdate,
    change_pool,
    new_pool,
    remove_node,
    resize,
)
from sandbox.digitalocean.routes.kubernetes import check_not_deleting, cluster_of
from sandbox.digitalocean.validation import check_droplet_limit
from sandbox.digitalocean.views import node_pool_view
from sandbox.emulator import no_content

_WHERE = "worker_node_pool_spec"


def _pool_of(call: Call, cluster: Cluster) -> NodePool:
    for pool in cluster.node_pools:
        if pool.id == call.path["pool_id"]:
            return pool
    raise not_found("node pool not found")


def _names(cluster: Cluster, without: NodePool | None = None) -> list[str]:
    return [pool.name for pool in cluster.node_pools if pool is not without and not pool.deleting]


def _changeable(call: Call) -> tuple[Cluster, NodePool]:
    cluster = cluster_of(call)
    pool = _pool_of(call, cluster)
    check_not_deleting(cluster)
    if pool.deleting:
        raise ApiError(409, "node pool is being deleted")
    return cluster, pool


async def list_pools(call: Call) -> Response:
    cluster = cluster_of(call)
    return call.page("node_pools", [node_pool_view(cluster, pool) for pool in cluster.node_pools])


async def create_pool(call: Call) -> Response:
    cluster = cluster_of(call)
    body = await call.body(NodePoolCreate)
    check_not_deleting(cluster)
    pool = new_pool(call.account, body, _names(cluster), _WHERE)
    check_droplet_limit(pool.count, call.account)
    with call.account.changing():
        cluster.node_pools = [*cluster.node_pools, pool]
    call.clusters.reconcile(cluster.id)
    return JSONResponse({"node_pool": node_pool_view(cluster, pool)}, 201)


async def get_pool(call: Call) -> Response:
    cluster = cluster_of(call)
    return JSONResponse({"node_pool": node_pool_view(cluster, _pool_of(call, cluster))})


async def update_pool(call: Call) -> Response:
    body = await call.body(NodePoolUpdate)
    cluster, pool = _changeable(call)
    if body.count is not None:
        check_droplet_limit(body.count - pool.count, call.account)
    with call.account.changing():
        change_pool(call.account, pool, body, _names(cluster, without=pool), _WHERE)
    call.clusters.reconcile(cluster.id)
    return JSONResponse({"node_pool": node_pool_view(cluster, pool)}, 202)


async def delete_pool(call: Call) -> Response:
    cluster, pool = _changeable(call)
    if len(_names(cluster)) == 1:
        raise ApiError(422, "validation error: a cluster must have at least one node pool")
    with call.account.changing():
        pool.deleting = True
        resize(call.account, pool, 0)
    call.clusters.reconcile(cluster.id)
    return no_content()


async def delete_node(call: Call) -> Response:
    cluster, pool = _changeable(call)
    node = next((node for node in pool.remaining() if node.id == call.path["node_id"]), None)
    if node is None:
        raise not_found("node not found")
    replace = call.flag("replace")
    if not replace and pool.count == 1:
        raise ApiError(422, f"validation error: {_WHERE}.count must be greater than or equal to 1")
    with call.account.changing():
        remove_node(call.account, node)
        resize(call.account, pool, pool.count if replace else pool.count - 1)
    call.clusters.reconcile(cluster.id)
    return accepted()


_POOLS = "/kubernetes/clusters/{cluster_id}/node_pools"
_POOL = f"{_POOLS}/{{pool_id}}"

OPERATIONS = (
    Operation("GET", _POOLS, list_pools, ("kubernetes:read",)),
    Operation("POST", _POOLS, create_pool, ("kubernetes:update",)),
    Operation("GET", _POOL, get_pool, ("kubernetes:read",)),
    Operation("PUT", _POOL, update_pool, ("kubernetes:update",)),
    Operation("DELETE", _POOL, delete_pool, ("kubernetes:update",)),
    Operation("DELETE", f"{_POOL}/nodes/{{node_id}}", delete_node, ("kubernetes:update",)),
)
