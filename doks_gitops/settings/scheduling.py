"""Whether the node pools take the pods of Argo CD, by their taints and labels.

https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/
https://github.com/argoproj/argo-helm/blob/main/charts/argo-cd/values.yaml
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from doks_gitops.settings.base import Violation
from doks_gitops.settings.model import NAMESPACE, Argocd, Cluster, NodePool, Taint

REDIS_NODES = 3
"""Nodes for a highly available Redis: three replicas, each on a node of its own
(https://argo-cd.readthedocs.io/en/stable/operator-manual/high_availability/)."""

_PARTS = (
    *("controller", "server", "repoServer", "applicationSet", "notifications", "dex"),
    *("redis", "redisSecretInit"),
)
"""Parts of Argo CD by their keys in the chart's values. Each has the `tolerations` and the
`nodeSelector` under its key, or else those under `global`. `redis-ha`, which is another chart, does
not inherit those of `global`: https://github.com/argoproj/argo-helm/issues/3807"""
_POOLS = f"{NAMESPACE}:cluster.nodePools"


def violations(cluster: Cluster, argocd: Argocd) -> Iterator[Violation]:
    """Violations between the node pools and the chart's values.

    Affinities are not evaluated. Neither are taints and labels if the chart is a folder: it may
    have other defaults than the published one.
    """
    published = argocd.chart.path is None
    redis = _mapping(argocd.values, "redis-ha")
    replicated = redis.get("enabled", argocd.high_availability)
    if argocd.high_availability and replicated:
        yield from _too_few_nodes(cluster, redis, published=published)
    homeless = [
        part
        for part in _PARTS
        if published
        and _is_used(part, argocd.values, replicated_redis=replicated)
        and not _pools(cluster, _mapping(argocd.values, part), _mapping(argocd.values, "global"))
    ]
    if homeless:
        yield Violation(
            at=("argocd", "values"),
            got=f"values with which no node pool takes the pods of {', '.join(homeless)}",
            expected="tolerations and a nodeSelector, under global or under these keys, that fit a"
            f" pool in {_POOLS}; or a pool without taints",
        )


def _too_few_nodes(
    cluster: Cluster, redis: Mapping[str, Any], *, published: bool
) -> Iterator[Violation]:
    # Another affinity replaces the one that keeps the replicas apart.
    if redis.get("hardAntiAffinity") is False or redis.get("affinity"):
        return
    pools = _pools(cluster, redis, {}) if published else list(cluster.node_pools)
    nodes = sum(pool.fewest for pool in pools)
    if nodes >= REDIS_NODES:
        return
    name, remedy = "all pools", ""
    if len(pools) < len(cluster.node_pools):
        name = "all pools that take Redis"
        remedy = " that fit tolerations and nodeSelector under redis-ha in values"
    yield Violation(
        at=("argocd", "highAvailability"),
        got=f"true (fewest nodes in {name}: {nodes})",
        expected=f"at least {REDIS_NODES} nodes in {_POOLS} (count, or autoscale.min){remedy}:"
        " each replica of Redis needs a node of its own; or false",
        example="false",
    )


def _is_used(part: str, values: Mapping[str, Any], *, replicated_redis: bool) -> bool:
    own = _mapping(values, part)
    if part in ("redis", "redisSecretInit") and _mapping(values, "externalRedis").get("host"):
        return False
    if part == "redis" and replicated_redis:
        return False
    return own.get("enabled") is not False and own.get("replicas") != 0


def _pools(cluster: Cluster, own: Mapping[str, Any], common: Mapping[str, Any]) -> list[NodePool]:
    """The pools that take pods with the `tolerations` and the `nodeSelector` of `own`, or else with
    those of `common`."""
    tolerations = own.get("tolerations") or common.get("tolerations")
    selector = _mapping(own, "nodeSelector") or _mapping(common, "nodeSelector")
    pool_labels = {key for pool in cluster.node_pools for key in pool.labels}

    def has_label(pool: NodePool, key: str, value: object) -> bool:
        labels = {
            **pool.labels,
            "doks.digitalocean.com/node-pool": pool.name,
            "node.kubernetes.io/instance-type": pool.size,
            "topology.kubernetes.io/region": cluster.region,
        }
        # DOKS and operators, such as that of a GPU, set further labels, which have a prefix.
        is_unknown = "/" in key and key not in {*labels, *pool_labels}
        return is_unknown or labels.get(key) == value

    return [
        pool
        for pool in cluster.node_pools
        if all(_is_tolerated(taint, tolerations) for taint in pool.taints)
        and all(has_label(pool, key, value) for key, value in selector.items())
    ]


def _is_tolerated(taint: Taint, tolerations: object) -> bool:
    """Whether a pod with the tolerations can be scheduled on a node with the taint."""
    if taint.effect == "PreferNoSchedule":
        return True
    items = tolerations if isinstance(tolerations, list) else []
    return any(_tolerates(item, taint) for item in items if isinstance(item, Mapping))


def _tolerates(toleration: Mapping[str, Any], taint: Taint) -> bool:
    key, operator = toleration.get("key") or "", toleration.get("operator") or "Equal"
    if (toleration.get("effect") or taint.effect) != taint.effect:
        return False
    if not key:
        return bool(operator == "Exists")
    # Operators that compare numbers are taken to match.
    return bool(
        key == taint.key and (operator != "Equal" or (toleration.get("value") or "") == taint.value)
    )


def _mapping(values: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = values.get(key)
    return value if isinstance(value, Mapping) else {}
