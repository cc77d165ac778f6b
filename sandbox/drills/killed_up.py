"""`pulumi up` is killed with -9 at many moments, of a first deployment and of an update."""

import asyncio
import copy
import json
from typing import Any, Final

import yaml

from sandbox.chart import next_patch
from sandbox.drills import moments
from sandbox.drills.drill import DEV, Context, Drill, Failed, Phase
from sandbox.drills.moments import Run
from sandbox.engine import PROJECT

MOMENTS: Final = 20
"""How many unless the command line says otherwise; half of them in a first deployment."""

_Config = dict[str, Any]
_CLUSTERS = "/v2/kubernetes/clusters"
_PROVISIONING = f"account: POST {_CLUSTERS} 201"
_HELM_WORKS = "helm: Deployment argocd-repo-server is made"
_UPGRADE_BEGINS = "helm: the release is pending-upgrade"


Holdings = dict[str, list[str]]
"""What the account has because of the stack, by name; and what the stack's state has, by URN."""


class _Rehearsal:
    """The stack, deployed from nothing or changed again and again, and what is left of it."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._file = context.pulumi.project / f"Pulumi.{DEV}.yaml"
        self._original = self._file.read_text()
        self.first = _with_everything(yaml.safe_load(self._original))
        self.changed = _changed(self.first)
        self.failures: list[str] = []

    def restore(self) -> None:
        """Leave no trace: the drills that follow deploy the stack as its file was."""
        self.clear()
        self._file.write_text(self._original)

    def prepare(self) -> None:
        """Begin with nothing, in a region that has its default VPC: the first one becomes that, and
        could not be deleted with the stack."""
        self.clear()
        region = self.first["config"][f"{PROJECT}:cluster"]["region"]
        vpcs = self._context.api("GET", "/v2/vpcs").json()["vpcs"]
        if not any(vpc["region"] == region and vpc["default"] for vpc in vpcs):
            self._context.api("POST", "/v2/vpcs", {"name": f"default-{region}", "region": region})

    def clear(self) -> None:
        """Forget the stack, and what it has in the account, faster than by `pulumi destroy`."""
        context = self._context
        context.pulumi.release_stale_lock(DEV)
        for cluster in self._clusters():
            context.api("DELETE", f"{_CLUSTERS}/{cluster['id']}")
        context.until("the clusters are gone", lambda: not self._clusters())
        for vpc in self._vpcs():
            context.api("DELETE", f"/v2/vpcs/{vpc['id']}")
        context.pulumi.run(
            "stack", "import", "--stack", DEV, stdin='{"version": 3, "deployment": {}}'
        )

    def undisturbed(self, config: _Config) -> Run:
        """A whole run, to know what happens in one."""
        run = self._up(config)
        if run.exit_code:
            raise Failed(f"a run that nobody disturbed failed: {run.errors}")
        self._context.until("the stack is well", self._context.is_well)
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
            "clusters": sorted(each["name"] for each in clusters),
            "node pools": sorted(pool["name"] for each in clusters for pool in each["node_pools"]),
            "VPCs": sorted(each["name"] for each in self._vpcs()),
            "load balancers": sorted(
                each["name"] for of in associated for each in of["load_balancers"]
            ),
            "volumes": sorted(each["name"] for of in associated for each in of["volumes"]),
            "resources": sorted(each["urn"] for each in deployment["resources"]),
            "pending": sorted(
                each["resource"]["urn"] for each in deployment.get("pending_operations") or []
            ),
        }

    def kill(self, config: _Config, moment: str, expected: Holdings) -> bool:
        """Kill a run at that moment, recover, and check that all is as after a whole run; whether
        it is. The drill's time is that of the slowest recovery."""
        context = self._context
        try:
            run = self._up(config, kill_at=moment)
            context.check(run.killed, f"it ended before that: {run.errors or 'without an error'}")
            context.lose(f"the run, killed when {moment}")
            # Not by `context.recover`: to watch all the while is work, twenty times over.
            context.command("bin/platform", "recover", "--stack", DEV, "--yes", "--cancel")
            ended = context.elapsed
            context.until("the stack is well", context.is_well)
            self._note(ended, context.elapsed)
            try:
                context.until(
                    "account and state have what a run that nobody disturbed leaves",
                    lambda: self.holdings() == expected,
                )
            except Failed as failure:
                raise Failed(f"{failure}: {self.holdings()} in place of {expected}") from None
        except Failed as failure:
            context.say(f"failed: {failure}")
            self.failures.append(f"killed when {moment}: {failure}")
            return False
        return True

    def _note(self, command: float, well: float) -> None:
        context = self._context
        context.say(f"all well after {well:.1f} s")
        if context.seconds is None or well > context.seconds:
            context.seconds = well
            context.phases = [Phase("recovery", 0, command), Phase("applications", command, well)]

    def _up(self, config: _Config, kill_at: str | None = None) -> Run:
        self._file.write_text(yaml.safe_dump(config, sort_keys=False))
        context = self._context
        return asyncio.run(moments.up(context.pulumi, context.daemon, DEV, kill_at=kill_at))

    def _clusters(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._context.api("GET", _CLUSTERS).json()[
            "kubernetes_clusters"
        ]
        return found

    def _vpcs(self) -> list[dict[str, Any]]:
        """Those that are not a region's default, which DigitalOcean makes by itself."""
        found = self._context.api("GET", "/v2/vpcs").json()["vpcs"]
        return [vpc for vpc in found if not vpc["default"]]


def _with_everything(config: _Config) -> _Config:
    """The stack with all kinds of resources that it can have in the account."""
    config = copy.deepcopy(config)
    cluster = config["config"][f"{PROJECT}:cluster"]
    cluster["vpc"] = {"ipRange": "10.99.0.0/20"}
    cluster["nodePools"].append({"name": "extra", "size": "s-2vcpu-4gb", "count": 1})
    return config


def _changed(config: _Config) -> _Config:
    """An update that touches everything: the cluster, its pools, the chart, a project."""
    config = copy.deepcopy(config)
    values = config["config"]
    cluster = values[f"{PROJECT}:cluster"]
    cluster["maintenance"] = {"day": "sunday", "startTime": "05:00"}
    cluster["nodePools"].append({"name": "burst", "size": "s-2vcpu-4gb", "count": 1})
    chart = values[f"{PROJECT}:argocd"]["chart"]
    chart["version"] = next_patch(chart["version"])
    values[f"{PROJECT}:project"]["description"] = "Changed"
    return config


def run(context: Context) -> None:
    rehearsal = _Rehearsal(context)
    total = int(context.options.get("moments", MOMENTS))
    updates = total // 2
    try:
        rehearsal.prepare()
        first = rehearsal.undisturbed(rehearsal.first)
        had_first = rehearsal.holdings()
        update = rehearsal.undisturbed(rehearsal.changed)
        had_update = rehearsal.holdings()
        back = rehearsal.undisturbed(rehearsal.first)
        context.say(
            f"undisturbed, {len(first.happenings)} things happen in a first deployment,"
            f" {len(update.happenings)} and {len(back.happenings)} in an update and its reverse"
        )
        there = moments.spread(update.happenings, (updates + 1) // 2, [_UPGRADE_BEGINS])
        again = moments.spread(back.happenings, updates // 2, [])
        for number in range(updates):
            forth = number % 2 == 0
            config, expected, at = (
                (rehearsal.changed, had_update, there[number // 2])
                if forth
                else (rehearsal.first, had_first, again[number // 2])
            )
            if not rehearsal.kill(config, at, expected):
                rehearsal.clear()
                rehearsal.undisturbed(config)
        context.unchanged()
        for at in moments.spread(first.happenings, total - updates, [_PROVISIONING, _HELM_WORKS]):
            rehearsal.clear()
            rehearsal.kill(rehearsal.first, at, had_first)
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
