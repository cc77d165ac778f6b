"""Argo CD upgraded from Git, and a repository of argocd-autopilot taken as it is."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from sandbox.chart import next_patch
from tests.e2e.box import REPOSITORY, temporary, until
from tests.e2e.team import APP, Team

REAL = REPOSITORY.parent / "shared" / "data" / "autopilot-repo"
URL = "https://git.example.com/team/microservices-demo.git"
"""Where the repository was when argocd-autopilot wrote it."""
SELF_MANAGED = "microservices-demo-staging"


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory, monorepo: Path) -> Iterator[Team]:
    """A team whose dev was laid out by argocd-autopilot, and whose staging manages its Argo CD."""
    with temporary(tmp_path_factory.mktemp("sandbox")) as sandbox:
        team = Team.begins(sandbox, tmp_path_factory.mktemp("team") / "clone", monorepo)
        laid_out = team.clone / "argocd"
        source = REAL if REAL.is_dir() else Path(__file__).parent / "autopilot-repo"
        shutil.copytree(source / "argocd", laid_out)
        for file in laid_out.rglob("*"):
            if file.is_file():
                here = team.git("remote", "get-url", "origin")
                file.write_text(file.read_text().replace(URL, here))
        team.push("As argocd-autopilot wrote it")
        managed = ("--stack", "staging", "--path", "doks-gitops:argocd.managedBy", "git")
        sandbox("pulumi", "config", "set", *managed)
        team.gitops("layout", "--stack", "staging")
        for stack in ("dev", "staging"):
            team.follow_git(stack)
        sandbox("up", "dev", "staging")
        yield team


def nothing_changes(team: Team, stack: str) -> None:
    words = ("--stack", stack, "--yes", "--skip-preview", "--refresh", "--expect-no-changes")
    team.sandbox("pulumi", "up", *words)


def test_a_repository_of_argocd_autopilot_comes_back_on_a_new_cluster_with_no_commit(
    team: Team,
) -> None:
    head = team.git("rev-parse", "HEAD")
    team.wait_for(f"dev-{APP}", revision=head)
    assert team.git("ls-remote", "origin", "refs/heads/main").split()[0] == head
    found = {
        name: (each["sync"], each["health"])
        for (cluster, name), each in team.applications().items()
        if cluster == "microservices-demo-dev"
    }
    # Argo CD is the stack's: not one of them is argo-cd.
    assert found == dict.fromkeys(
        ("platform-bootstrap", "root", "cluster-resources-in-cluster", f"dev-{APP}"),
        ("Synced", "Healthy"),
    )
    nothing_changes(team, "dev")


def test_argo_cd_upgrades_itself_by_a_commit_and_pulumi_leaves_it_alone(team: Team) -> None:
    bootstrap = team.clone / "argocd" / "staging" / "bootstrap"
    application = (bootstrap / "argo-cd.yaml").read_text()
    [version] = {
        source["targetRevision"]
        for each in yaml.safe_load_all(application)
        for source in each["spec"].get("sources", ())
        if "chart" in source
    }
    (bootstrap / "argo-cd.yaml").write_text(application.replace(version, next_patch(version)))
    values = yaml.safe_load((bootstrap / "argo-cd" / "values.yaml").read_text())
    values["configs"]["cm"]["timeout.reconciliation"] = "97s"
    (bootstrap / "argo-cd" / "values.yaml").write_text(yaml.safe_dump(values))
    team.push("Argo CD's next version")

    def is_well() -> bool:
        found = team.applications().get((SELF_MANAGED, "argo-cd"), {})
        return (found.get("sync"), found.get("health")) == ("Synced", "Healthy")

    def charts() -> set[str]:
        get = "get deployments,statefulsets --output json"
        kubectl = f"kubectl --context do-nyc1-{SELF_MANAGED} --namespace argocd"
        return {
            each["metadata"]["labels"]["helm.sh/chart"]
            for each in json.loads(team.sandbox.shell(f"{kubectl} {get}"))["items"]
        }

    upgraded = {f"argo-cd-{next_patch(version)}"}
    until(180, "Argo CD is upgraded", lambda: charts() == upgraded and is_well())
    get = f"kubectl --context do-nyc1-{SELF_MANAGED} --namespace argocd get configmap argocd-cm"
    assert json.loads(team.sandbox.shell(f"{get} --output json"))["data"][
        "timeout.reconciliation"
    ] == "97s"  # fmt: skip
    nothing_changes(team, "staging")
    assert charts() == upgraded
    # It still is the one that deploys.
    team.wait_for(f"staging-{APP}", revision=team.git("rev-parse", "HEAD"))
