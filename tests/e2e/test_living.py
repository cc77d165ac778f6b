"""What changes in a cluster that lives, and what must not hang or get lost then.

The tests build on each other."""

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from sandbox import session
from sandbox.drills import moments
from sandbox.paths import Home
from tests.e2e.box import REPOSITORY, Sandbox, until
from tests.e2e.team import Team

pytestmark = pytest.mark.weekly

APPLICATION = "dev-microservices-demo"
UP = ("pulumi", "up", "--stack", "dev", "--yes")
CREATES_POOL = "account: POST /v2/kubernetes/clusters/ID/node_pools 201"
POOL = {"name": "extra", "size": "s-2vcpu-4gb", "count": 1}
SYNC_SECONDS = 20
"""Limit of a sync; by default it is some minutes."""

FORBIDDEN = """\
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: demo}
rules: []
"""
NEVER_HEALTHY = """\
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: demo, annotations: {argocd.argoproj.io/sync-wave: "-1"}}
spec:
  accessModes: [ReadWriteOnce]
  storageClassName: missing
  resources: {requests: {storage: 1Gi}}
"""
"""A claim that stays unbound, because its StorageClass does not exist. The sync waits for it before
it goes on to the next wave."""


@pytest.fixture(scope="module")
def team(sandbox: Sandbox, monorepo: Path, tmp_path_factory: pytest.TempPathFactory) -> Team:
    shutil.copytree(REPOSITORY / "sandbox" / "example", monorepo, dirs_exist_ok=True)
    team = Team.start(sandbox, tmp_path_factory.mktemp("team") / "clone", monorepo)

    def settings(config: dict[str, Any]) -> None:
        limit = {"controller.sync.timeout.seconds": str(SYNC_SECONDS)}
        config["argocd"]["values"] = {"configs": {"params": limit}}
        config["applications"]["microservices-demo"]["sync"] = {"retry": {"limit": 0}}
        config["cluster"]["nodePools"].append(POOL)

    change(team, settings)
    team.sandbox(*UP, "--skip-preview")
    team.sandbox.wait_for(APPLICATION)
    return team


def change(team: Team, edit: Callable[[dict[str, Any]], None]) -> None:
    """Change the sections of the stack file, by their names without the namespace."""
    file = team.sandbox.home / "project" / "Pulumi.dev.yaml"
    content = yaml.safe_load(file.read_text())
    config = content["config"]
    sections = {
        key.removeprefix("doks-gitops:"): value
        for key, value in config.items()
        if key.startswith("doks-gitops:") and isinstance(value, dict)
    }
    edit(sections)
    file.write_text(yaml.safe_dump(content, sort_keys=False))


def cluster(team: Team) -> dict[str, Any]:
    with team.sandbox.api() as api:
        [only] = api.get("/v2/kubernetes/clusters").raise_for_status().json()["kubernetes_clusters"]
    return dict(only)


def operation(team: Team) -> str:
    """The phase of the application's sync."""
    context = f"do-{cluster(team)['region']}-{cluster(team)['name']}"
    return team.sandbox.shell(
        f"kubectl --context {context} --namespace argocd get application {APPLICATION}"
        " --output jsonpath='{.status.operationState.phase}'"
    )


def add(team: Team, manifest: str) -> None:
    overlay = team.clone / "kustomize" / "dev"
    (overlay / "added.yaml").write_text(manifest)
    file = overlay / "kustomization.yaml"
    if "added.yaml" not in file.read_text():
        file.write_text(file.read_text().replace("resources:\n", "resources:\n  - added.yaml\n", 1))
    team.push("Another object")


def test_a_new_name_and_another_order_of_the_pools_are_changes_in_place(team: Team) -> None:
    before = cluster(team)
    pools = {pool["id"] for pool in before["node_pools"]}
    # With its old name again, the cluster gets webhooks.
    for name in ("renamed", before["name"]):

        def rename(config: dict[str, Any], name: str = name) -> None:
            config["cluster"]["name"] = name
            config["cluster"]["nodePools"].reverse()

        change(team, rename)
        team.sandbox(*UP)
        after = cluster(team)
        assert (after["name"], after["id"]) == (name, before["id"])
        assert {pool["id"] for pool in after["node_pools"]} == pools
        team.sandbox("pulumi", "preview", "--stack", "dev", "--expect-no-changes")


def test_a_pool_that_pulumi_does_not_know_is_named_until_it_is_gone(team: Team) -> None:
    change(team, lambda config: config["cluster"]["nodePools"].append(POOL | {"name": "burst"}))
    daemon, engine = session.start(Home(team.sandbox.home), None, Console(quiet=True))
    run = asyncio.run(moments.up(engine, daemon, "dev", kill_at=CREATES_POOL))
    assert run.killed, run.errors
    change(team, lambda config: config["cluster"]["nodePools"].pop())
    [burst] = [pool for pool in cluster(team)["node_pools"] if pool["name"] == "burst"]
    recovery = team.sandbox("run", "bin/platform", "recover", "--stack", "dev", "--cancel", "--yes")
    outputs = {
        "recover": recovery,
        "preview": team.sandbox("pulumi", "preview", "--stack", "dev"),
        "up": team.sandbox(*UP, "--skip-preview"),
        "drift": team.sandbox("run", "bin/platform", "drift", "--stack", "dev"),
    }
    for command, output in outputs.items():
        text = " ".join(output.split())
        assert f"the node pool burst ({burst['id']}" in text, command
        assert f"doctl kubernetes cluster node-pool delete {cluster(team)['id']}" in text, command
    with team.sandbox.api() as api:
        path = f"/v2/kubernetes/clusters/{cluster(team)['id']}/node_pools/{burst['id']}"
        api.delete(path).raise_for_status()
        until("the pool is gone", lambda: api.get(path).status_code == 404)
    assert "burst" not in team.sandbox("pulumi", "preview", "--stack", "dev")


def test_a_sync_that_the_project_refused_is_tried_again_after_the_project_has_changed(
    team: Team,
) -> None:
    add(team, FORBIDDEN)
    until("the sync has failed", lambda: operation(team) == "Failed")
    kind = {"group": "rbac.authorization.k8s.io", "kind": "ClusterRole"}
    change(
        team,
        lambda config: (
            config["project"].setdefault("clusterResources", [{"kind": "Namespace"}]).append(kind)
        ),
    )
    team.sandbox(*UP, "--skip-preview")
    revision = team.git("rev-parse", "HEAD")
    team.sandbox.wait_for(APPLICATION, revision=revision)


def test_destroy_ends_although_a_sync_waits_for_something_that_never_becomes_healthy(
    team: Team,
) -> None:
    add(team, NEVER_HEALTHY)
    until("the sync waits", lambda: operation(team) == "Running")
    output = team.sandbox("pulumi", "destroy", "--stack", "dev", "--yes", "--skip-preview")
    assert "The resources in the stack have been deleted" in output
