"""Creates and changes node pools and their nodes."""

import secrets
from collections.abc import Iterable
from typing import Literal
from uuid import uuid4

from pydantic import model_validator

from sandbox.digitalocean import fields
from sandbox.digitalocean.backend import Taint
from sandbox.digitalocean.models import Node, NodePool, NodeStatus
from sandbox.digitalocean.operations import Body
from sandbox.digitalocean.state import AccountState
from sandbox.digitalocean.validation import (
    check_count,
    check_labels,
    check_pool_name,
    check_size,
    check_tags,
)

_SUFFIX = "0123456789abcdefghijklmnopqrstuvwxyz"
_FIRST_DROPLET_ID = 205545370


class PoolTaint(Body):
    """A taint. The case of its names is ignored: godo sends `Key`, `Value` and `Effect`."""

    key: str
    value: str = ""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"]

    @model_validator(mode="before")
    @classmethod
    def _in_lower_case(cls, taint: object) -> object:
        return {str(k).lower(): v for k, v in taint.items()} if isinstance(taint, dict) else taint


class NodePoolUpdate(Body, extra="allow"):
    name: str | None = None
    count: int | None = None
    tags: list[str] | None = None
    labels: dict[str, str] | None = None
    taints: list[PoolTaint] | None = None
    auto_scale: bool | None = None
    min_nodes: int | None = None
    max_nodes: int | None = None


class NodePoolCreate(NodePoolUpdate):
    name: str
    size: str


def new_pool(
    account: AccountState, body: NodePoolCreate, other_names: Iterable[str], where: str
) -> NodePool:
    """A new pool as `body` describes it, with its nodes. Ends the request with 422 if `body` is
    invalid."""
    check_size(body.size, where)
    pool = NodePool(
        id=str(uuid4()),
        name="",
        size=body.size,
        count=0,
        tags=[],
        labels={},
        taints=[],
        auto_scale=False,
        min_nodes=0,
        max_nodes=0,
        nodes=[],
        features=fields.changed(fields.NODE_POOL, None, body.model_extra),
    )
    change_pool(account, pool, body, other_names, where)
    return pool


def change_pool(
    account: AccountState,
    pool: NodePool,
    body: NodePoolUpdate,
    other_names: Iterable[str],
    where: str,
) -> None:
    """Change the pool and its nodes as `body` describes. If `body` is invalid, ends the request
    with 422 before it changes anything. A new pool with autoscaling has its minimum of nodes."""
    name = pool.name if body.name is None else body.name
    auto_scale = pool.auto_scale if body.auto_scale is None else body.auto_scale
    least = most = 0
    if auto_scale:
        least = pool.min_nodes if body.min_nodes is None else body.min_nodes
        most = pool.max_nodes if body.max_nodes is None else body.max_nodes
    count = body.count
    if count is None or (count == 0 and auto_scale):
        count = min(max(pool.count, least), most) if auto_scale else pool.count
    labels = pool.labels if body.labels is None else body.labels
    taints = pool.taints
    if body.taints is not None:
        taints = [Taint(taint.key, taint.value, taint.effect) for taint in body.taints]
    tags = pool.tags if body.tags is None else body.tags
    features = fields.changed(fields.NODE_POOL, pool.features, body.model_extra)
    check_pool_name(name, other_names, where)
    check_count(count, auto_scale, least, most, where)
    check_labels(labels, taints, where)
    check_tags(tags)

    pool.name, pool.auto_scale, pool.min_nodes, pool.max_nodes = name, auto_scale, least, most
    pool.labels, pool.taints, pool.features = labels, taints, features
    pool.tags = [tag for tag in tags if tag != "k8s" and not tag.startswith("k8s:")]
    resize(account, pool, count)


def resize(account: AccountState, pool: NodePool, count: int) -> None:
    """Add nodes to the pool, or remove its latest ones, until it has `count`."""
    pool.count = count
    staying = pool.remaining()
    for node in staying[count:]:
        remove_node(account, node)
    for _ in range(count - len(staying)):
        pool.nodes.append(_new_node(account, pool))


def remove_node(account: AccountState, node: Node) -> None:
    node.status = NodeStatus(state="deleting")
    node.updated_at = account.clock.now()


def _new_node(account: AccountState, pool: NodePool) -> Node:
    now = account.clock.now()
    account.data.droplets += 1
    suffix = "".join(secrets.choice(_SUFFIX) for _ in range(5))
    return Node(
        id=str(uuid4()),
        name=f"{pool.name}-{suffix}",
        status=NodeStatus(state="provisioning"),
        droplet_id=str(_FIRST_DROPLET_ID + account.data.droplets),
        created_at=now,
        updated_at=now,
    )
