"""The first node pool gives its place to a pool of another size, and the cluster stays."""

from collections.abc import Callable
from typing import Any

import yaml

from sandbox.drills.drill import DEV, NAMESPACE, Context, Drill
from sandbox.engine import PROJECT

_UP = ("pulumi", "up", "--stack", DEV, "--yes", "--skip-preview")
_CLUSTERS = "/v2/kubernetes/clusters"
_NEW: dict[str, Any] = {"name": "larger", "size": "s-4vcpu-8gb", "count": 1}
_RETIRED = {"key": "retired", "value": "true", "effect": "NoSchedule"}
_TAG, _OLD_TAG = "terraform:default-node-pool", "retired"

_Pools = list[dict[str, Any]]


def run(context: Context) -> None:
    context.bring_up()
    before = context.the_cluster()
    old = _pools(context)[0]["name"]
    _change(context, lambda pools: pools.append(_NEW))
    context.command(*_UP)
    _change(context, lambda pools: pools[0].update(taints=[_RETIRED], tags=[_OLD_TAG]))
    context.command(*_UP)
    _move_pods(context, old)

    context.lose(f"the place of the first pool {old}: its tag moves to {_NEW['name']}")
    for pool in _pools(context):
        tags = {old: [_OLD_TAG], _NEW["name"]: [_TAG]}[pool["name"]]
        context.api("PUT", f"{_CLUSTERS}/{before['id']}/node_pools/{pool['id']}", {"tags": tags})
    for command in (("pulumi", "preview", "--stack", DEV), _UP):
        refused = context.command(*command, fails=True)
        reason = f"its first node pool is {_NEW['name']}"
        context.check(reason in refused, f"no reason in:\n{refused}")
    context.recover()

    _change(context, lambda pools: pools.pop(0))
    context.command(*_UP)
    context.check([pool["name"] for pool in _pools(context)] == [_NEW["name"]], "a pool is left")
    context.check(context.the_cluster()["id"] == before["id"], "the cluster was replaced")
    context.unchanged()


def _pools(context: Context) -> _Pools:
    """The pools of the cluster in the account."""
    cluster = context.api("GET", f"{_CLUSTERS}/{context.the_cluster()['id']}").json()
    pools: _Pools = cluster["kubernetes_cluster"]["node_pools"]
    return pools


def _change(context: Context, change: Callable[[_Pools], object]) -> None:
    """Change the pools in the stack file."""
    file = context.pulumi.project / f"Pulumi.{DEV}.yaml"
    content = yaml.safe_load(file.read_text())
    change(content["config"][f"{PROJECT}:cluster"]["nodePools"])
    file.write_text(yaml.safe_dump(content, sort_keys=False))


def _move_pods(context: Context, pool: str) -> None:
    """Drain the nodes of the pool; the pods start again on other nodes."""
    context.kubectl(
        "drain", "--selector", f"doks.digitalocean.com/node-pool={pool}", "--ignore-daemonsets",
        "--delete-emptydir-data", "--timeout", "120s",
    )  # fmt: skip
    context.until("every application is Healthy on the new nodes", context.is_well)
    nodes = context.kubectl(
        "-n", NAMESPACE, "get", "pods", "-o", "jsonpath={.items[*].spec.nodeName}"
    )
    old = [node for node in nodes.split() if node.startswith(f"{pool}-")]
    context.check(not old, f"pods are left on {old}")


DRILL = Drill(
    "second-pool",
    "A pool of another size takes the place of the first one, and the cluster stays.",
    run,
)
