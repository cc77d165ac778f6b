"""Argo CD's pods have nodes: taints, tolerations, labels and node selectors, as Kubernetes compares
them."""

from typing import Any

import pytest

from doks_gitops.settings import SettingsError
from tests.unit.stackfiles import CLUSTER, parsed

DEDICATED = {"key": "dedicated", "value": "x", "effect": "NoSchedule"}
FITTING = {"key": "dedicated", "operator": "Exists"}
OTHER = {"key": "other", "operator": "Exists"}
ALL = "controller, server, repoServer, applicationSet, notifications, dex, redis, redisSecretInit"
ALL_BUT_REDIS = ALL.replace(" redis,", "")


def pool(count: int, *taints: dict[str, str], **labels: str) -> dict[str, Any]:
    """A pool named after its number of nodes."""
    return {
        "name": f"pool-{count}", "size": "c-2", "count": count, "taints": list(taints),
        "labels": labels,
    }  # fmt: skip


def violations(
    pools: list[dict[str, Any]], values: dict[str, Any], chart: dict[str, str] | None = None, /,
    **argocd: Any,
) -> list[str]:  # fmt: skip
    """What is wrong with the pools and the chart's values."""
    section = {"chart": chart or {"version": "10.1.1"}, "values": values, **argocd}
    try:
        parsed(cluster={**CLUSTER, "nodePools": pools}, argocd=section)
    except SettingsError as refused:
        return [f"{finding.key}: {finding.got}" for finding in refused.findings]
    return []


def homeless(parts: str) -> str:
    return f"doks-gitops:argocd.values: values with which no node pool takes the pods of {parts}"


def too_few(nodes: int, pools: str = "all pools that take Redis") -> str:
    return f"doks-gitops:argocd.highAvailability: true (fewest nodes in {pools}: {nodes})"


@pytest.mark.parametrize(
    ("toleration", "is_tolerated"),
    [
        ({"key": "dedicated", "value": "x"}, True),
        ({"key": "dedicated", "operator": "Equal", "value": "x", "effect": "NoSchedule"}, True),
        (FITTING, True),
        ({"operator": "Exists"}, True),
        ({"operator": "Exists", "effect": "NoSchedule"}, True),
        ({"key": "dedicated", "operator": "Gt", "value": "1"}, True),
        ({"key": "dedicated"}, False),
        ({"key": "dedicated", "value": "y"}, False),
        ({"key": "dedicated", "operator": "Exists", "effect": "NoExecute"}, False),
        ({"operator": "Exists", "effect": "NoExecute"}, False),
        ({"value": "x"}, False),
        (OTHER, False),
    ],
)
def test_toleration_is_compared_with_the_taint(
    toleration: dict[str, str], is_tolerated: bool
) -> None:
    found = violations([pool(1, DEDICATED)], {"global": {"tolerations": [toleration]}})
    assert found == ([] if is_tolerated else [homeless(ALL)])


@pytest.mark.parametrize(
    ("pools", "values", "parts"),
    [
        ([pool(1, DEDICATED)], {}, ALL),
        ([pool(1, DEDICATED), pool(2)], {}, None),
        ([pool(1, DEDICATED | {"effect": "PreferNoSchedule"})], {}, None),
        ([pool(1, DEDICATED | {"effect": "NoExecute"})], {}, ALL),
        # A pool's taints must all be tolerated, by one pool's.
        ([pool(1, DEDICATED, {"key": "gpu", "effect": "NoSchedule"})],
         {"global": {"tolerations": [FITTING]}}, ALL),
        ([pool(1, DEDICATED)], {"global": {"tolerations": [OTHER, FITTING]}}, None),
        # A part's own tolerations replace those of `global`, and an empty list does not.
        ([pool(1, DEDICATED)], {"global": {"tolerations": [FITTING]},
                                "server": {"tolerations": [OTHER]}}, "server"),
        ([pool(1, DEDICATED)], {"global": {"tolerations": [FITTING]},
                                "server": {"tolerations": []}}, None),
        ([pool(1, DEDICATED)], {part: {"tolerations": [FITTING]} for part in ALL.split(", ")},
         None),
        # Parts without pods need no node.
        ([pool(1, DEDICATED)],
         {part: {"tolerations": [FITTING]} for part in ALL.split(", ") if part != "dex"}
         | {"dex": {"enabled": False}}, None),
        ([pool(1, DEDICATED)],
         {"global": {"tolerations": [FITTING]}, "redis": {"tolerations": [OTHER]},
          "externalRedis": {"host": "redis.test"}}, None),
        # Labels: those of the pools, of DOKS, and of others.
        ([pool(1)], {"global": {"nodeSelector": {"team": "argo"}}}, ALL),
        ([pool(1, team="web")], {"global": {"nodeSelector": {"team": "argo"}}}, ALL),
        ([pool(1, team="argo")], {"global": {"nodeSelector": {"team": "argo"}}}, None),
        ([pool(1, team="argo")], {"server": {"nodeSelector": {"team": "web"}}}, "server"),
        ([pool(1), pool(2, DEDICATED, team="argo")],
         {"global": {"nodeSelector": {"team": "argo"}}}, ALL),
        ([pool(1)], {"global": {"nodeSelector": {"doks.digitalocean.com/node-pool": "pool-1"}}},
         None),
        ([pool(1)], {"global": {"nodeSelector": {"doks.digitalocean.com/node-pool": "web"}}}, ALL),
        ([pool(1)], {"global": {"nodeSelector": {
            "node.kubernetes.io/instance-type": "c-2", "topology.kubernetes.io/region": "nyc1",
            "kubernetes.io/os": "linux", "doks.digitalocean.com/version": "1.34.1",
            "nvidia.com/gpu.present": "true"}}}, None),
        ([pool(1)], {"global": {"nodeSelector": {"topology.kubernetes.io/region": "fra1"}}}, ALL),
    ],
)  # fmt: skip
def test_argo_cd_without_a_node_for_a_part_is_refused_and_no_other(
    pools: list[dict[str, Any]], values: dict[str, Any], parts: str | None
) -> None:
    assert violations(pools, values) == ([homeless(parts)] if parts else [])


@pytest.mark.parametrize(
    ("pools", "values", "expected"),
    [
        ([pool(3)], {}, []),
        ([pool(2)], {}, [too_few(2, "all pools")]),
        ([pool(2), pool(1, DEDICATED)], {}, [too_few(2)]),
        ([pool(2), pool(1, DEDICATED)], {"redis-ha": {"tolerations": [FITTING]}}, []),
        ([pool(2), pool(1, DEDICATED)], {"redis-ha": {"tolerations": [OTHER]}}, [too_few(2)]),
        # Redis inherits nothing of `global`.
        ([pool(2), pool(1, DEDICATED)], {"global": {"tolerations": [OTHER]}}, [too_few(2)]),
        ([pool(2), pool(1, DEDICATED)], {"global": {"tolerations": [FITTING]}}, [too_few(2)]),
        ([pool(2), pool(1, team="argo")], {"global": {"nodeSelector": {"team": "argo"}}}, []),
        ([pool(3), pool(1, team="argo")], {"redis-ha": {"nodeSelector": {"team": "argo"}}},
         [too_few(1)]),
        ([pool(3, DEDICATED)], {"redis-ha": {"tolerations": [FITTING]}},
         [homeless(ALL_BUT_REDIS)]),
        # Without the affinity that keeps the replicas apart.
        ([pool(2)], {"redis-ha": {"affinity": "nodeAffinity: {}"}}, []),
        ([pool(2)], {"redis-ha": {"hardAntiAffinity": False}}, []),
    ],
)  # fmt: skip
def test_each_replica_of_a_highly_available_redis_needs_a_node(
    pools: list[dict[str, Any]], values: dict[str, Any], expected: list[str]
) -> None:
    assert violations(pools, values, highAvailability=True) == expected


def test_chart_in_a_folder_may_have_other_defaults() -> None:
    chart = {"path": "./charts/argo-cd"}
    tainted = [pool(3, DEDICATED)]
    assert violations(tainted, {}, chart, highAvailability=True) == []
    assert violations([pool(2)], {}, chart, highAvailability=True) == [too_few(2, "all pools")]
