"""Argo CD upgraded from Git, a repository of argocd-autopilot taken as it is, and what Argo CD
renders of both."""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from rich.console import Console

from doks_gitops.diff import environment
from doks_gitops.diff.render import Renderer, Rendering
from doks_gitops.diff.revisions import checked_out
from sandbox import toolchain
from sandbox.chart import next_patch
from tests.e2e import corpus
from tests.e2e.box import REPOSITORY, Sandbox, until
from tests.e2e.team import APP, Team

pytestmark = pytest.mark.weekly

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


@contextmanager
def argocd(team: Team, stack: str, cluster: str) -> Iterator[httpx.Client]:
    """A client of the stack's Argo CD, as its admin."""
    [status] = [item for item in team.sandbox.status()["clusters"] if item["name"] == cluster]
    output = ("pulumi", "stack", "output", "--stack", stack, "--show-secrets")
    password = team.sandbox(*output, "argocdAdminPassword").strip()
    # Its certificate is self-signed, and the connection stays on loopback.
    with httpx.Client(
        base_url=status["argocd_url"], verify=False, trust_env=False, timeout=60
    ) as client:
        session = client.post(
            "/api/v1/session", json={"username": "admin", "password": password}
        ).raise_for_status()
        client.headers["Authorization"] = f"Bearer {session.json()['token']}"
        yield client


def rendered_before_the_merge(team: Team, stack: str) -> Rendering:
    """All Applications of the stack, as `bin/platform diff` renders them."""
    env = environment.read(stack, team.sandbox.home / "project")
    assert env is not None
    with (
        checked_out(team.clone, "origin/main", "HEAD") as revisions,
        Renderer(revisions, env.monorepos) as renderer,
    ):
        return renderer.both(None, env)[1]


def masked(manifest: Mapping[str, Any]) -> str:
    """The JSON of an object; the values of a Secret are what Argo CD shows for them."""
    if manifest["kind"] == "Secret" and "data" in manifest:
        manifest = {**manifest, "data": dict.fromkeys(manifest["data"], "++++++++")}
    return json.dumps(manifest)


def test_diff_renders_byte_for_byte_what_argo_cd_does_after_the_merge(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(REPOSITORY / "sandbox" / "example", team.clone / "example")
    for name, text in corpus.files(team.git("remote", "get-url", "origin")).items():
        (team.clone / name).parent.mkdir(parents=True, exist_ok=True)
        (team.clone / name).write_text(text)
    head = team.commit("Sources of every kind")
    tools = toolchain.ensure(Console(quiet=True)).bin_dir
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    clusters = {"dev": "microservices-demo-dev", "staging": SELF_MANAGED}
    renderings = {stack: rendered_before_the_merge(team, stack) for stack in clusters}
    team.git("push", "--quiet")
    for stack, rendering in renderings.items():
        assert rendering.notes == []

        def has_all(stack: str = stack, rendering: Rendering = rendering) -> bool:
            return {
                name for cluster, name in team.sandbox.applications() if cluster == clusters[stack]
            } == rendering.declared.keys()

        until(f"{stack} has the same applications", has_all)
        with argocd(team, stack, clusters[stack]) as client:
            for name, application in rendering.applications.items():
                assert application.error is None, name
                sources = [
                    str(number)
                    for number, source in enumerate(application.declared.sources, 1)
                    if "chart" not in source
                ]
                # Branches are in Argo CD's cache.
                query = {"revision": head, "revisions": [head] * len(sources)}
                answer = client.get(
                    f"/api/v1/applications/{name}/manifests",
                    params={**query, "sourcePositions": sources},
                ).raise_for_status()
                manifests = map(json.loads, answer.json().get("manifests", ()))
                assert list(map(masked, application.objects)) == list(map(masked, manifests)), name


@pytest.fixture
def reader(team: Team) -> Callable[[], dict[str, Any]]:
    """Compares a commit with what runs in dev, with a token that may only read."""
    kubectl = "kubectl --context do-nyc1-microservices-demo-dev --namespace argocd patch configmap"
    for name, data in (
        ("argocd-cm", {"accounts.reader": "apiKey"}),
        ("argocd-rbac-cm", {"policy.csv": "g, reader, role:readonly"}),
    ):
        team.sandbox.shell(f"{kubectl} {name} --patch '{json.dumps({'data': data})}'")
    with argocd(team, "dev", "microservices-demo-dev") as admin:
        path = "/api/v1/account/reader"
        until("the account is there", lambda: admin.get(path).is_success)
        token = admin.post(f"{path}/token", json={}).raise_for_status().json()["token"]
        url = str(admin.base_url)

    def compare() -> dict[str, Any]:
        words = f"{REPOSITORY}/bin/platform diff --against live --argocd {url} --stack dev --json"
        output = team.sandbox.shell(
            f"{words} --base origin/main --repo {team.clone} 2>&1 || true", ARGOCD_AUTH_TOKEN=token
        )
        _, start, content = output.partition("[\n")
        assert start, output
        results, _ = json.JSONDecoder().raw_decode(start + content)
        return dict(results[0])

    return compare


def test_commit_is_compared_with_what_runs_without_the_noise_of_the_cluster(
    team: Team, reader: Callable[[], dict[str, Any]]
) -> None:
    service = team.clone / "kustomize" / "base" / "paymentservice.yaml"
    service.write_text(service.read_text().replace("cpu: 100m", "cpu: 150m"))
    team.commit("More for payments")
    applications = {application["name"]: application for application in reader()["applications"]}
    changes = applications[f"dev-{APP}"]["changes"]
    assert [(change["operation"], change["kind"]) for change in changes] == [
        ("update", "Deployment")
    ]
    changed = [line.split() for line in changes[0]["diff"] if line[0] in "+-"]
    assert changed == [["-", "cpu:", "100m"], ["+", "cpu:", "150m"]]
