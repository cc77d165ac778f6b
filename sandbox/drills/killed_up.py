"""`pulumi up` is killed (SIGKILL) at many moments of a first deployment, of an update, and of
updates that replace the cluster, beside another stack's cluster."""

import asyncio
import copy
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import yaml

from sandbox.chart import next_patch
from sandbox.drills import moments
from sandbox.drills.drill import DEV, Context, Drill, Failed, Phase
from sandbox.drills.moments import Run
from sandbox.engine import PROJECT

_Config = dict[str, Any]
_CLUSTERS = "/v2/kubernetes/clusters"
_ACCOUNT = {
    "clusters": (_CLUSTERS, "kubernetes_clusters"),
    "load balancers": ("/v2/load_balancers", "load_balancers"),
    "volumes": ("/v2/volumes", "volumes"),
    "VPCs": ("/v2/vpcs", "vpcs"),
}
"""Where the account lists what it has, and the key of the list. Nodes are listed with their
clusters; the sandbox has no other Droplets."""
_NEIGHBOUR = "staging"
_REGION, _SIZE, _VPC = "fra1", "s-4vcpu-8gb", {"ipRange": "10.98.0.0/20"}
"""What a replacement changes to."""
_APPLICATION = """\
apiVersion: v1
kind: Service
metadata: {name: public}
spec: {type: LoadBalancer, selector: {app: public}, ports: [{port: 80}]}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: public}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: public}
spec:
  selector: {matchLabels: {app: public}}
  template:
    metadata: {labels: {app: public}}
    spec:
      containers: [{name: main, image: public, volumeMounts: [{name: data, mountPath: /data}]}]
      volumes: [{name: data, persistentVolumeClaim: {claimName: public}}]
"""
"""A load balancer and a volume, which a cluster does not take with it when it is deleted alone."""
_PROVISIONING = f"account: POST {_CLUSTERS} 201"
_HELM_WORKS = "helm: Deployment argocd-repo-server is created"
_UPGRADE_BEGINS = "helm: the release is pending-upgrade"


Holdings = dict[str, list[str]]
"""What the account has beside what was there before, or the URNs in the stack's state."""


class _Rehearsal:
    """Deploys and changes the stack repeatedly, and compares what exists afterwards."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._file = context.pulumi.project / f"Pulumi.{DEV}.yaml"
        self._original = self._file.read_text()
        self.first = _with_everything(yaml.safe_load(self._original))
        self.failures: list[str] = []
        self._others = self._default_vpcs()
        """IDs of what is not the stack's."""

    def restore(self) -> None:
        """Remove the stacks and restore the stack file, for the drills that follow."""
        self._others = self._default_vpcs()
        self.clear()
        self._file.write_text(self._original)

    def prepare(self) -> None:
        """Remove the stack, and create what it must leave alone: another stack's cluster with a
        load balancer and a volume, and the regions' default VPCs. Without them, the stack's VPC
        would become the default, which can't be deleted."""
        self.clear()
        context = self._context
        home = self.first["config"][f"{PROJECT}:cluster"]["region"]
        regions = {vpc["region"] for vpc in self._every("VPCs") if vpc["default"]}
        for region in {home, _REGION} - regions:
            context.api("POST", "/v2/vpcs", {"name": f"default-{region}", "region": region})
        neighbour = replace(context, stack=_NEIGHBOUR)
        options = context.api("GET", "/v2/kubernetes/options").json()["options"]
        body = {
            "name": context.pulumi.cluster_name(_NEIGHBOUR),
            "region": home,
            "version": options["versions"][0]["slug"],
            "node_pools": [{"name": "default", "size": "s-2vcpu-4gb", "count": 1}],
        }
        cluster = context.api("POST", _CLUSTERS, body).json()["kubernetes_cluster"]
        volume = {"name": "neighbour", "region": home, "size_gigabytes": 1}
        context.api("POST", "/v2/volumes", {**volume, "tags": [f"k8s:{cluster['id']}"]})
        context.until(
            "the other stack's cluster runs",
            lambda: neighbour.the_cluster()["state"] == "running",
        )
        neighbour.kubectl("create", "service", "loadbalancer", "neighbour", "--tcp=80")
        context.until("it has a load balancer", lambda: len(self._own("load balancers")) == 1)
        self._others = {resource["id"] for kind in _ACCOUNT for resource in self._own(kind)}
        self._others |= self._default_vpcs()

    def clear(self) -> None:
        """Remove the stack's resources and empty its state, faster than `pulumi destroy`."""
        context = self._context
        context.pulumi.release_stale_lock(DEV)
        for cluster in self._own("clusters"):
            path = f"{_CLUSTERS}/{cluster['id']}/destroy_with_associated_resources/dangerous"
            context.api("DELETE", path)
        context.until("the clusters are deleted", lambda: not self._own("clusters"))
        for kind in ("load balancers", "volumes", "VPCs"):
            for resource in self._own(kind):
                context.api("DELETE", f"{_ACCOUNT[kind][0]}/{resource['id']}")
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
        """What the account has beside what others have, and what others have lost."""
        clusters = self._own("clusters")
        ids = {resource["id"] for kind in _ACCOUNT for resource in self._every(kind)}
        owners = {f"k8s:{cluster['id']}": cluster["name"] for cluster in clusters}

        def made_by(kind: str) -> list[str]:
            """The cluster that has made each resource, by the tag with its ID."""
            tags = [{x.get("tag"), *x.get("tags", ())} & {*owners} for x in self._own(kind)]
            return sorted(owners[min(tag)] if tag else "a cluster that is gone" for tag in tags)

        return {
            "clusters": sorted(f"{cluster['name']} in {cluster['region']}" for cluster in clusters),
            "nodes": sorted(
                f"{pool['name']}: {len(pool['nodes'])} of {pool['size']}"
                for cluster in clusters
                for pool in cluster["node_pools"]
            ),
            "VPCs": sorted(f"{vpc['ip_range']} in {vpc['region']}" for vpc in self._own("VPCs")),
            "load balancers": made_by("load balancers"),
            "volumes": made_by("volumes"),
            "lost by others": sorted(self._others - ids),
        }

    def state(self) -> Holdings:
        state = json.loads(self._context.pulumi.run("stack", "export", "--stack", DEV))
        deployment = state["deployment"]
        return {
            "resources": sorted(resource["urn"] for resource in deployment["resources"]),
            "pending": sorted(
                operation["resource"]["urn"]
                for operation in deployment.get("pending_operations") or []
            ),
        }

    def kill(self, config: _Config, moment: str, complete: Holdings) -> bool:
        """Kill a run at that moment, recover, and return whether the account has what the config
        says, and the state what `complete` says. The drill's time is that of the slowest recovery.
        """
        context = self._context
        try:
            run = self._up(config, kill_at=moment)
            errors = run.errors or "without an error"
            context.check(run.killed, f"the run ended before that moment: {errors}")
            context.lose(f"the run, killed when {moment}")
            # Without `context.recover`, which would slow down many recoveries by its polling.
            context.platform_recover("--cancel")
            ended = context.elapsed
            context.until("the stack is healthy", context.is_well)
            self._record(ended, context.elapsed)
            expected = expected_holdings(config) | complete
            try:
                context.until(
                    "account and state are as after a complete run",
                    lambda: self.holdings() | self.state() == expected,
                )
            except Failed as failure:
                got = self.holdings() | self.state()
                raise Failed(f"{failure}: got {got}, expected {expected}") from None
        except Failed as failure:
            context.say(f"failed: {failure}")
            self.failures.append(f"killed when {moment}: {failure}")
            return False
        return True

    def kill_in_turn(
        self, steps: Sequence[_Config], kinds: int, count: int, first: str | None = None
    ) -> None:
        """Kill `count` updates to the configs `steps` in turn, and recover each. The moments are
        spread evenly from the beginning of an update to its end; but the first one is `first`.

        `kinds`: after so many steps, the same happens again as in the steps before.
        """
        if not count:
            return
        context = self._context
        complete = [(self.undisturbed(step).happenings, self.state()) for step in steps[:kinds]]
        for happenings, _ in complete:
            context.say(f"{len(happenings)} things happen in an update")
        for number in range(count):
            step, (happenings, state) = (
                steps[(kinds + number) % len(steps)],
                complete[number % kinds],
            )
            moment = happenings[(2 * number + 1) * len(happenings) // (2 * count)]
            if not self.kill(step, first if first and not number else moment, state):
                self.clear()
                self.undisturbed(step)
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

    def _every(self, kind: str) -> list[dict[str, Any]]:
        """What the account has of that kind."""
        path, key = _ACCOUNT[kind]
        page = self._context.api("GET", f"{path}?per_page=200").json()
        resources: list[dict[str, Any]] = page[key]
        return resources

    def _own(self, kind: str) -> list[dict[str, Any]]:
        """What the account has of that kind beside what others have."""
        return [resource for resource in self._every(kind) if resource["id"] not in self._others]

    def _default_vpcs(self) -> set[str]:
        """IDs of the regions' default VPCs, which can't be deleted."""
        return {vpc["id"] for vpc in self._every("VPCs") if vpc["default"]}


@contextmanager
def _application(context: Context) -> Iterator[None]:
    """The stack's application has a load balancer and a volume inside the block."""
    with context.clone() as clone:
        overlay = clone / "kustomize" / DEV
        kustomization = overlay / "kustomization.yaml"
        former = kustomization.read_text()
        (overlay / "public.yaml").write_text(_APPLICATION)
        kustomization.write_text(former.replace("resources:\n", "resources:\n  - public.yaml\n", 1))
        context.push(clone, "Add a load balancer and a volume")
        try:
            yield
        finally:
            kustomization.write_text(former)
            (overlay / "public.yaml").unlink()
            context.push(clone, "The drill is over")


def expected_holdings(config: _Config) -> Holdings:
    """What the account has of a stack with that config and the drill's application: see
    `_Rehearsal.holdings`."""
    cluster = config["config"][f"{PROJECT}:cluster"]
    name, region = cluster["name"], cluster["region"]
    return {
        "clusters": [f"{name} in {region}"],
        "nodes": sorted(
            f"{pool['name']}: {pool['count']} of {pool['size']}" for pool in cluster["nodePools"]
        ),
        "VPCs": [f"{cluster['vpc']['ipRange']} in {region}"],
        "load balancers": [name],
        "volumes": [name],
        "lost by others": [],
    }


def _with_everything(config: _Config) -> _Config:
    """The stack's config with all kinds of resources that it can have in the account. The
    cluster's deletion alone would leave what the applications have made."""
    config = copy.deepcopy(config)
    cluster = config["config"][f"{PROJECT}:cluster"]
    cluster["vpc"] = {"ipRange": "10.99.0.0/20"}
    cluster["destroyAssociatedResources"] = False
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


def _replacements(config: _Config) -> list[_Config]:
    """Configs each of which replaces the cluster of the one before: another region, another size of
    the first pool, another VPC, and then the same back to `config`."""
    former = config["config"][f"{PROJECT}:cluster"]
    first_pool, *pools = former["nodePools"]
    there = {"region": _REGION, "nodePools": [{**first_pool, "size": _SIZE}, *pools], "vpc": _VPC}
    steps = [config]
    for values in (there, {key: former[key] for key in there}):
        for key, value in values.items():
            steps.append(copy.deepcopy(steps[-1]))
            steps[-1]["config"][f"{PROJECT}:cluster"][key] = value
    return steps[1:]


def run(context: Context) -> None:
    rehearsal = _Rehearsal(context)
    config, total = rehearsal.first, int(context.options["moments"])
    updates = total // 2
    with _application(context):
        try:
            rehearsal.prepare()
            happenings, state = rehearsal.undisturbed(config).happenings, rehearsal.state()
            context.say(f"{len(happenings)} things happen in a first deployment")
            rehearsal.kill_in_turn([_changed(config), config], 2, updates, _UPGRADE_BEGINS)
            rehearsal.kill_in_turn(_replacements(config), 3, int(context.options["replacements"]))
            included = [_PROVISIONING, _HELM_WORKS] if total else []
            for moment in moments.spread(happenings, total - updates, included):
                rehearsal.clear()
                rehearsal.kill(config, moment, state)
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
