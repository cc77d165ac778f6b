"""What a commit of an application team can't do to the platform. The tests share one sandbox, in
which dev takes its applications from the stack file."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.e2e.box import Sandbox, until
from tests.e2e.team import APP, Team

KUBECTL = "kubectl --context do-nyc1-microservices-demo-dev"
PROJECT = {
    "apiVersion": "argoproj.io/v1alpha1",
    "kind": "AppProject",
    "metadata": {"name": "admins", "namespace": "argocd"},
    "spec": {
        "sourceRepos": ["*"],
        "destinations": [{"server": "*", "namespace": "*"}],
        "clusterResourceWhitelist": [{"group": "*", "kind": "*"}],
    },
}

MARKER = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "marker", "namespace": f"{APP}-dev"},
}


@pytest.fixture(scope="module")
def team(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory, monorepo: Path) -> Team:
    team = Team.start(sandbox, tmp_path_factory.mktemp("team") / "clone", monorepo)
    # A refused sync is not repeated for minutes.
    retries = f"doks-gitops:applications.{APP}.sync.retry.limit"
    sandbox("pulumi", "config", "set", "--stack", "dev", "--path", retries, "0")
    sandbox("up", "dev")
    return team


def argocd_namespace(team: Team) -> str:
    """The identity of Argo CD's namespace, and since when it is being deleted."""
    fields = "{.metadata.uid}{.metadata.deletionTimestamp}"
    return team.sandbox.shell(f"{KUBECTL} get namespace argocd --output 'jsonpath={fields}'")


def operation(team: Team) -> tuple[str, str, str]:
    """The revision, the phase and the messages of the application's last sync."""
    output = team.sandbox.shell(
        f"{KUBECTL} --namespace argocd get application dev-{APP} --output json"
    )
    state = json.loads(output)["status"].get("operationState") or {}
    result = state.get("syncResult") or {}
    messages = [resource.get("message", "") for resource in result.get("resources") or []]
    return (
        result.get("revision", ""),
        state.get("phase", ""),
        " ".join([state.get("message", ""), *messages]),
    )


NAMESPACE = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "argocd"}}


def attack(team: Team, manifest: Mapping[str, object]) -> str:
    """Commit the manifest to the application, beside a ConfigMap; returns the revision."""
    overlay, inner = (team.clone / "kustomize" / name for name in ("dev", "inner"))
    # The overlay would give its own namespace to the manifest.
    overlay.rename(inner)
    overlay.mkdir()
    (overlay / "kustomization.yaml").write_text("resources: [../inner, attack.yaml, marker.yaml]")
    (overlay / "attack.yaml").write_text(json.dumps(manifest))
    (overlay / "marker.yaml").write_text(json.dumps(MARKER))
    return team.push("Reach for Argo CD")


def take_back(team: Team) -> str:
    """Revert the last commit; returns the revision."""
    team.git("revert", "--no-edit", "HEAD")
    team.git("push", "--quiet")
    return team.git("rev-parse", "HEAD")


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        (NAMESPACE, "resource :Namespace is not permitted in project dev"),
        (PROJECT, "resource argoproj.io:AppProject is not permitted in project dev"),
    ],
    ids=["namespace", "project"],
)
def test_a_commit_that_reaches_for_argo_cd_is_refused_and_its_revert_deletes_nothing(
    team: Team, manifest: Mapping[str, object], message: str
) -> None:
    before = argocd_namespace(team)
    revision = attack(team, manifest)
    until("the sync is refused", lambda: operation(team)[:2] == (revision, "Failed"))
    assert message in operation(team)[2]
    marker = (
        f"{KUBECTL} --namespace {APP}-dev get configmap --ignore-not-found --output name marker"
    )
    assert team.sandbox.shell(marker) == "", "nothing of the commit is deployed"
    team.sandbox.wait_for(f"dev-{APP}", revision=take_back(team))
    assert argocd_namespace(team) == before


def test_a_project_that_allows_everything_does_not_delete_argo_cd(team: Team) -> None:
    """Its namespace says that it is never pruned."""
    everything = {
        "clusterResourceWhitelist": [{"group": "*", "kind": "*"}], "clusterResourceBlacklist": None,
    }  # fmt: skip
    patch = json.dumps({"spec": everything})
    team.sandbox.shell(
        f"{KUBECTL} --namespace argocd patch appproject dev --type merge --patch '{patch}'"
    )
    before = argocd_namespace(team)
    revision = attack(team, NAMESPACE)
    until("it is deployed", lambda: operation(team)[:2] == (revision, "Succeeded"))
    revision = take_back(team)
    until("it is taken back", lambda: operation(team)[:2] == (revision, "Succeeded"))
    assert argocd_namespace(team) == before
