"""`pulumi up` is killed (SIGKILL) at many moments of a first deployment, of an update, and of an
update that replaces the cluster."""

import asyncio
import copy
import json
from dataclasses import dataclass
from typing import Any, Final

import yaml

from sandbox.chart import next_patch
from sandbox.drills import moments
from sandbox.drills.drill import DEV, Context, Drill, Failed, Phase
from sandbox.drills.moments import Run
from sandbox.engine import PROJECT

MOMENTS: Final = 20
"""Default number of moments; half of them are in a first deployment."""
REPLACEMENTS: Final = 10
"""Default number of moments in replacements of the cluster."""

_Config = dict[str, Any]
_CLUSTERS = "/v2/kubernetes/clusters"
_PROVISIONING = f"account: POST {_CLUSTERS} 201"
_HELM_WORKS = "helm: Deployment argocd-repo-server is created"
_UPGRADE_BEGINS = "helm: the release is pending-upgrade"


Holdings = dict[str, list[str]]
"""The names of the stack's resources in the account, and the URNs in its state."""


@dataclass(frozen=True)
class _Target:
    """A config to deploy, what exists when it is deployed, and when to kill the deployment."""

    config: _Config
    holdings: Holdings
    moments: list[str]


class _Rehearsal:
    """Deploys and changes the stack repeatedly, and compares what exists afterwards."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._file = context.pulumi.project / f"Pulumi.{DEV}.yaml"
        self._original = self._file.read_text()
        self.first = _with_everything(yaml.safe_load(self._original))
        self.changed = _changed(self.first)
        self.replaced = _replaced(self.first)
        self.failures: list[str] = []

    def restore(self) -> None:
        """Remove the stack and restore its file, for the drills that follow."""
        self.clear()
        self._file.write_text(self._original)

    def prepare(self) -> None:
        """Remove the stack, and create the region's default VPC: otherwise the stack's VPC would
        become the default, which can't be deleted."""
        self.clear()
        region = self.first["config"][f"{PROJECT}:cluster"]["region"]
        vpcs = self._context.api("GET", "/v2/vpcs").json()["vpcs"]
        if not any(vpc["region"] == region and vpc["default"] for vpc in vpcs):
            self._context.api("POST", "/v2/vpcs", {"name": f"default-{region}", "region": region})

    def clear(self) -> None:
        """Remove the stack's resources and empty its state, faster than `pulumi destroy`."""
        context = self._context
        context.pulumi.release_stale_lock(DEV)
        for cluster in self._clusters():
            context.api("DELETE", f"{_CLUSTERS}/{cluster['id']}")
        context.until("the clusters are deleted", lambda: not self._clusters())
        for vpc in self._vpcs():
            context.api("DELETE", f"/v2/vpcs/{vpc['id']}")
        context.pulumi.run(
            "stack", "import", "--stack", DEV, stdin='{"version": 3, "deployment": {}}'
        )

    def undisturbed(self, config: _Config) -> Run:
        """A complete run, to learn what happens in it."""
        run = self._up(config)
        if run.exit_code:
            raise Failed(f"a run that was not killed failed: {run.errors}")
        self._context.until("the stack is healthy", self._context.is_well)
        return run

    def holdings(self) -> Holdings:
        clusters = self._clusters()
        state = json.loads(self._context.pulumi.run("stack", "export", "--stack", DEV))
        deployment = state["deployment"]
        associated = [
            self._context.api(
                "GET", f"{_CLUSTERS}/{cluster['id']}/destroy_with_associated_resources"
            ).json()
            for cluster in clusters
        ]
        return {
            "clusters": sorted(cluster["name"] for cluster in clusters),
            "node pools": sorted(
                pool["name"] for cluster in clusters for pool in cluster["node_pools"]
            ),
            "VPCs": sorted(vpc["name"] for vpc in self._vpcs()),
            "load balancers": sorted(
                balancer["name"] for kinds in associated for balancer in kinds["load_balancers"]
            ),
            "volumes": sorted(
                volume["name"] for kinds in associated for volume in kinds["volumes"]
            ),
            "resources": sorted(resource["urn"] for resource in deployment["resources"]),
            "pending": sorted(
                operation["resource"]["urn"]
                for operation in deployment.get("pending_operations") or []
            ),
        }

    def kill(self, config: _Config, moment: str, expected: Holdings) -> bool:
        """Kill a run at that moment, recover, and return whether everything is as after a complete
        run. The drill's time is that of the slowest recovery."""
        context = self._context
        try:
            run = self._up(config, kill_at=moment)
            errors = run.errors or "without an error"
            context.check(run.killed, f"the run ended before that moment: {errors}")
            context.lose(f"the run, killed when {moment}")
            # Without `context.recover`, which would slow down many recoveries by its polling.
            context.command("bin/platform", "recover", "--stack", DEV, "--yes", "--cancel")
            ended = context.elapsed
            context.until("the stack is healthy", context.is_well)
            self._record(ended, context.elapsed)
            try:
                context.until(
                    "account and state are as after a complete run",
                    lambda: self.holdings() == expected,
                )
            except Failed as failure:
                raise Failed(f"{failure}: got {self.holdings()}, expected {expected}") from None
        except Failed as failure:
            context.say(f"failed: {failure}")
            self.failures.append(f"killed when {moment}: {failure}")
            return False
        return True

    def kill_in_turn(self, there: _Config, back: _Config, count: int, required: list[str]) -> None:
        """Kill `count` updates to the two configs in turn, the first half of them at `required`
        moments among others, and recover each."""
        if not count:
            return
        context = self._context
        runs = self.undisturbed(there), self.holdings(), self.undisturbed(back), self.holdings()
        there_run, there_holdings, back_run, back_holdings = runs
        there_moments = moments.spread(there_run.happenings, (count + 1) // 2, required)
        happenings = len(there_run.happenings) + len(back_run.happenings)
        context.say(f"{happenings} things happen in an update and its reverse")
        targets = (
            _Target(there, there_holdings, there_moments),
            _Target(back, back_holdings, moments.spread(back_run.happenings, count // 2, [])),
        )
        for number in range(count):
            target = targets[number % 2]
            moment = target.moments[number // 2]
            if not self.kill(target.config, moment, target.holdings):
                self.clear()
                self.undisturbed(target.config)
        context.unchanged()

    def _record(self, ended: float, healthy: float) -> None:
        context = self._context
        context.say(f"healthy after {healthy:.1f} s")
        if context.seconds is None or healthy > context.seconds:
            context.seconds = healthy
            context.phases = [Phase("recovery", 0, ended), Phase("applications", ended, healthy)]

    def _up(self, config: _Config, kill_at: str | None = None) -> Run:
        self._file.write_text(yaml.safe_dump(config, sort_keys=False))
        context = self._context
        return asyncio.run(moments.up(context.pulumi, context.daemon, DEV, kill_at=kill_at))

    def _clusters(self) -> list[dict[str, Any]]:
        response = self._context.api("GET", _CLUSTERS).json()
        clusters: list[dict[str, Any]] = response["kubernetes_clusters"]
        return clusters

    def _vpcs(self) -> list[dict[str, Any]]:
        """The VPCs other than the regions' defaults, which DigitalOcean creates."""
        vpcs = self._context.api("GET", "/v2/vpcs").json()["vpcs"]
        return [vpc for vpc in vpcs if not vpc["default"]]


def _with_everything(config: _Config) -> _Config:
    """The stack's config with all kinds of resources that it can have in the account."""
    config = copy.deepcopy(config)
    cluster = config["config"][f"{PROJECT}:cluster"]
    cluster["vpc"] = {"ipRange": "10.99.0.0/20"}
    cluster["nodePools"].append({"name": "extra", "size": "s-2vcpu-4gb", "count": 1})
    return config


def _changed(config: _Config) -> _Config:
    """The config of an update that changes the cluster, its pools, the chart and a project."""
    config = copy.deepcopy(config)
    values = config["config"]
    cluster = values[f"{PROJECT}:cluster"]
    cluster["maintenance"] = {"day": "sunday", "startTime": "05:00"}
    cluster["nodePools"].append({"name": "burst", "size": "s-2vcpu-4gb", "count": 1})
    chart = values[f"{PROJECT}:argocd"]["chart"]
    chart["version"] = next_patch(chart["version"])
    values[f"{PROJECT}:project"]["description"] = "Changed"
    return config


def _replaced(config: _Config) -> _Config:
    """The config of an update that replaces the cluster and its VPC."""
    config = copy.deepcopy(config)
    config["config"][f"{PROJECT}:cluster"]["vpc"] = {"ipRange": "10.98.0.0/20"}
    return config


def run(context: Context) -> None:
    rehearsal = _Rehearsal(context)
    total = int(context.options.get("moments", MOMENTS))
    replacements = int(context.options.get("replacements", REPLACEMENTS))
    updates = total // 2
    try:
        rehearsal.prepare()
        first = rehearsal.undisturbed(rehearsal.first)
        first_holdings = rehearsal.holdings()
        context.say(f"{len(first.happenings)} things happen in a first deployment")
        rehearsal.kill_in_turn(rehearsal.changed, rehearsal.first, updates, [_UPGRADE_BEGINS])
        rehearsal.kill_in_turn(rehearsal.replaced, rehearsal.first, replacements, [])
        included = [_PROVISIONING, _HELM_WORKS] if total else []
        for moment in moments.spread(first.happenings, total - updates, included):
            rehearsal.clear()
            rehearsal.kill(rehearsal.first, moment, first_holdings)
        context.unchanged()
    finally:
        rehearsal.restore()
    if rehearsal.failures:
        raise Failed("\n".join(rehearsal.failures))


DRILL = Drill(
    "killed-up",
    "A run killed at any moment, of a first deployment or an update, is completed by one command.",
    run,
)
