"""Argo CD upgraded from Git, and a repository of argocd-autopilot taken as it is."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from sandbox.chart import next_patch
from tests.e2e.box import REPOSITORY, Sandbox, until
from tests.e2e.team import APP, Team

AUTOPILOT = REPOSITORY / "tests" / "data" / "autopilot-repo" / "argocd"
URL = "https://git.example.com/team/microservices-demo.git"
"""The address of the repository for which argocd-autopilot wrote these files."""
SELF_MANAGED = "microservices-demo-staging"


@pytest.fixture(scope="module")
def team(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory, monorepo: Path) -> Team:
    """A team whose dev was laid out by argocd-autopilot, and whose staging manages its Argo CD."""
    team = Team.start(sandbox, tmp_path_factory.mktemp("team") / "clone", monorepo)
    shutil.copytree(AUTOPILOT, team.clone / "argocd")
    url = team.git("remote", "get-url", "origin")
    for file in (team.clone / "argocd").rglob("*"):
        if file.is_file():
            file.write_text(file.read_text().replace(URL, url))
    team.push("As argocd-autopilot wrote it")
    managed_by = ("--stack", "staging", "--path", "doks-gitops:argocd.managedBy", "git")
    sandbox("pulumi", "config", "set", *managed_by)
    team.platform("layout", "--stack", "staging")
    for stack in ("dev", "staging"):
        team.follow_git(stack)
    sandbox("up", "dev", "staging")
    return team


def nothing_changes(team: Team, stack: str) -> None:
    words = ("--stack", stack, "--yes", "--skip-preview", "--refresh", "--expect-no-changes")
    team.sandbox("pulumi", "up", *words)


def test_a_repository_of_argocd_autopilot_comes_back_on_a_new_cluster_with_no_commit(
    team: Team,
) -> None:
    head = team.git("rev-parse", "HEAD")
    team.sandbox.wait_for(f"dev-{APP}", revision=head)
    assert team.git("ls-remote", "origin", "refs/heads/main").split()[0] == head
    applications = {
        name: (application["sync"], application["health"])
        for (cluster, name), application in team.sandbox.applications().items()
        if cluster == "microservices-demo-dev"
    }
    # The stack installs Argo CD, so there is no application argo-cd.
    assert applications == dict.fromkeys(
        ("platform-bootstrap", "root", "cluster-resources-in-cluster", f"dev-{APP}"),
        ("Synced", "Healthy"),
    )
    nothing_changes(team, "dev")


def test_argo_cd_upgrades_itself_by_a_commit_and_pulumi_leaves_it_alone(team: Team) -> None:
    bootstrap = team.clone / "argocd" / "staging" / "bootstrap"
    text = (bootstrap / "argo-cd.yaml").read_text()
    [version] = {
        source["targetRevision"]
        for application in yaml.safe_load_all(text)
        for source in application["spec"].get("sources", ())
        if "chart" in source
    }
    (bootstrap / "argo-cd.yaml").write_text(text.replace(version, next_patch(version)))
    values = yaml.safe_load((bootstrap / "argo-cd" / "values.yaml").read_text())
    values["configs"]["cm"]["timeout.reconciliation"] = "97s"
    (bootstrap / "argo-cd" / "values.yaml").write_text(yaml.safe_dump(values))
    team.push("Argo CD's next version")
    kubectl = f"kubectl --context do-nyc1-{SELF_MANAGED} --namespace argocd"

    def is_healthy() -> bool:
        application = team.sandbox.applications().get((SELF_MANAGED, "argo-cd"), {})
        return (application.get("sync"), application.get("health")) == ("Synced", "Healthy")

    def charts() -> set[str]:
        workloads = team.sandbox.shell(f"{kubectl} get deployments,statefulsets --output json")
        return {
            workload["metadata"]["labels"]["helm.sh/chart"]
            for workload in json.loads(workloads)["items"]
        }

    upgraded = {f"argo-cd-{next_patch(version)}"}
    until("Argo CD is upgraded", lambda: charts() == upgraded and is_healthy())
    settings = json.loads(team.sandbox.shell(f"{kubectl} get configmap argocd-cm --output json"))
    assert settings["data"]["timeout.reconciliation"] == "97s"
    nothing_changes(team, "staging")
    assert charts() == upgraded
    # The upgraded Argo CD still deploys.
    team.sandbox.wait_for(f"staging-{APP}", revision=team.git("rev-parse", "HEAD"))
