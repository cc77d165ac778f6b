"""From nothing to three environments, and what a team then does to them: all of it by commits."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.box import IMAGE, temporary, until
from tests.e2e.team import APP, STACKS, Team

KUBECTL = "kubectl --context do-nyc1-microservices-demo-dev"


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    """A team whose repository and account are empty at first; these tests build on each other."""
    empty, clone = tmp_path_factory.mktemp("empty"), tmp_path_factory.mktemp("team") / "clone"
    subprocess.run(["git", "init", "--quiet", "--bare", "-b", "main", str(empty)], check=True)
    with temporary(tmp_path_factory.mktemp("sandbox")) as sandbox:
        yield Team.begins(sandbox, clone, empty)


def overlay(team: Team, environment: str) -> Path:
    return team.clone / "kustomize" / environment / "kustomization.yaml"


def image(team: Team, environment: str) -> tuple[str, str]:
    """The first image of an overlay, and its tag."""
    name, tag = IMAGE.findall(overlay(team, environment).read_text())[0]
    return name, tag


def deploy(team: Team, tag: str) -> str:
    """Give the first image that tag in dev, by a commit; what then runs."""
    name, old = image(team, "dev")
    text = overlay(team, "dev").read_text()
    overlay(team, "dev").write_text(text.replace(f"newTag: {old}", f"newTag: {tag}", 1))
    team.push(f"{name} {tag}")
    return f"/{name}:{tag}"


def standing(team: Team) -> dict[str, dict[str, Any]]:
    """What `bin/platform status` says of the application, by environment."""
    found = json.loads(team.gitops("status", "--json"))["applications"]
    return {each["environment"]: each for each in found if each["application"] == APP}


def test_an_empty_repository_and_account_become_three_environments_synced_from_git(
    team: Team, monorepo: Path
) -> None:
    shutil.copytree(monorepo / "kustomize", team.clone / "kustomize")
    _, everywhere = image(team, "dev")
    for stack in STACKS:
        text = overlay(team, stack).read_text()
        overlay(team, stack).write_text(re.sub(r"newTag: .*", f"newTag: {everywhere}", text))
    team.push("The team's manifests")
    team.gitops("layout", "--stack", "dev")
    team.gitops("layout", "--stack", "staging")
    proposed = team.gitops("layout", "--stack", "prod", "--pull-request")
    # Asked again, it is still one.
    assert team.gitops("layout", "--stack", "prod", "--pull-request") == proposed
    assert not (team.clone / "argocd" / "prod").exists()
    team.merge()
    for stack in STACKS:
        team.follow_git(stack)
    team.sandbox("up", *STACKS, seconds=600)
    for stack in STACKS:
        team.wait_for(f"{stack}-{APP}", revision=team.git("rev-parse", "HEAD"))
    assert {
        (each["sync"], each["health"]) for each in team.applications().values()
    } == {("Synced", "Healthy")}  # fmt: skip
    assert {name for _, name in team.applications()} == {
        "platform-bootstrap", "root", "cluster-resources-in-cluster",
        *(f"{stack}-{APP}" for stack in STACKS),
    }  # fmt: skip


def test_an_application_comes_and_goes_by_commits_alone(team: Team) -> None:
    (folder := team.clone / "kustomize" / "greeting").mkdir()
    (folder / "kustomization.yaml").write_text("resources: [greeting.yaml]\n")
    greeting = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "greeting"}}
    (folder / "greeting.yaml").write_text(json.dumps(greeting))
    project = team.clone / "argocd" / "dev" / "projects" / "dev.yaml"
    destination = f"    - {{server: https://kubernetes.default.svc, namespace: {APP}-dev}}\n"
    more = destination.replace(f"{APP}-dev", "greeting")
    project.write_text(project.read_text().replace(destination, destination + more))
    allowed = team.push("A namespace for the greeting")
    dev = ("microservices-demo-dev", "root")
    until(60, "it is allowed", lambda: team.applications()[dev]["revision"] == allowed)
    team.gitops("layout", "--stack", "dev", "--app", "greeting", "kustomize/greeting", "greeting")
    team.wait_for("dev-greeting")
    get = f"{KUBECTL} --namespace greeting get configmap --ignore-not-found --output name greeting"
    assert team.sandbox.shell(get) == "configmap/greeting\n"

    shutil.rmtree(team.clone / "argocd" / "dev" / "apps" / "greeting")
    team.push("No greeting any more")
    until(60, "the application is gone", lambda: team.application("dev-greeting") is None)
    assert team.sandbox.shell(get) == ""
    assert team.is_well(f"dev-{APP}")


def test_a_change_is_promoted_through_the_environments(team: Team) -> None:
    name, old = image(team, "dev")
    team.sandbox("push-image", f"{name}:v9.1.0")
    runs = deploy(team, "v9.1.0")
    team.wait_for(f"dev-{APP}", image=runs)
    table = team.gitops("status")
    assert re.search(rf"{APP} +staging .* dev: {name} {re.escape(old)} → v9\.1\.0\n", table)
    assert re.search(rf"{APP} +prod .* staging: level\n", table)

    text = overlay(team, "staging").read_text()
    shown = team.gitops("promote", APP, "--from", "dev", "--to", "staging")
    assert "+    newTag: v9.1.0" in shown
    assert overlay(team, "staging").read_text() == text.replace(old, "v9.1.0", 1)
    team.wait_for(f"staging-{APP}", image=runs)

    proposal = ("promote", APP, "--from", "staging", "--to", "prod", "--pull-request")
    assert "/pull/" in team.gitops(*proposal)
    assert image(team, "prod") == (name, old)
    [pull] = team.github("GET", "/pulls")
    assert pull["title"] == f"Promote {APP} from staging to prod"
    team.merge()
    team.wait_for(f"prod-{APP}", image=runs)
    assert "has these image tags already" in team.gitops(*proposal)
    by_environment = standing(team)
    for environment, before in zip(STACKS, (None, *STACKS), strict=False):
        found = by_environment[environment]
        assert (found["sync"], found["health"]) == ("Synced", "Healthy")
        assert found["revision"] == team.git("rev-parse", "HEAD")
        assert any(each.endswith(runs) for each in found["images"])
        level = {"environment": before, "commits": 0, "tags": {}} if before else None
        assert found["behind"] == level


def test_a_bad_image_goes_no_further_than_dev_and_is_taken_back(team: Team) -> None:
    good = image(team, "dev")
    runs = deploy(team, "v9.9.9")

    def is_deployed() -> bool:
        found = team.application(f"dev-{APP}") or {"images": [], "sync": ""}
        return found["sync"] == "Synced" and any(each.endswith(runs) for each in found["images"])

    until(60, "it is deployed", is_deployed)
    refused = team.gitops("promote", APP, "--from", "dev", "--to", "staging", fails=True)
    assert "only what is Synced and Healthy is promoted" in refused
    assert image(team, "staging") == good
    team.gitops("revert-images", APP, "--stack", "dev")
    assert image(team, "dev") == good
    team.wait_for(f"dev-{APP}", image=f"/{good[0]}:{good[1]}")


def test_a_preview_is_one_comment_on_the_pull_request_updated_in_place(team: Team) -> None:
    team.git("commit", "--quiet", "--allow-empty", "--message", "A change of the platform")
    team.git("push", "--quiet", "origin", "HEAD:refs/heads/platform")
    team.git("reset", "--quiet", "--hard", "origin/main")
    pull = team.github("POST", "/pulls", {"title": "Platform", "head": "platform", "base": "main"})
    comments = f"/issues/{pull['number']}/comments"

    def preview(*stacks: str, fails: bool = False) -> str:
        options = [word for stack in stacks for word in ("--stack", stack)]
        comment = ("--comment", str(pull["number"]))
        team.sandbox("run", "bin/platform", "preview", *options, *comment, fails=fails)
        [comment] = team.github("GET", comments)
        text: str = comment["body"]
        return text

    setting = ("--path", "--stack", "prod", "doks-gitops:cluster.destroyAssociatedResources")
    team.sandbox("pulumi", "config", "set", *setting, "true")
    text = preview("dev", "prod", fails=True)
    assert "| `dev` | no changes | ✅ kept |" in text
    assert re.search(r"\| `prod` \| 1 to update, \d+ unchanged \| ❌ forbidden \|", text)
    assert "- prod-cluster-keeps-its-data (prod, cluster): " in text
    assert "destroyAllAssociatedResources: false → true" in text
    [before] = team.github("GET", comments)
    team.sandbox("pulumi", "config", "rm", *setting)
    assert "| `prod` | no changes | ✅ kept |" in preview("prod")
    [after] = team.github("GET", comments)
    assert (after["id"], after["created_at"]) == (before["id"], before["created_at"])


def test_drift_is_one_issue_until_nothing_differs_any_more(team: Team) -> None:
    project = f"{KUBECTL} --namespace argocd patch appproject platform --type merge --patch"

    def change(description: str) -> None:
        team.sandbox.shell(f"{project} '{json.dumps({'spec': {'description': description}})}'")

    def drift() -> list[dict[str, str]]:
        team.sandbox("run", "bin/platform", "drift", "--stack", "dev", "--issue")
        issues = team.github("GET", "/issues?state=all")
        return [each for each in issues if "pull_request" not in each]

    known = team.sandbox.shell(f"{project.replace('patch', 'get', 1).partition(' --type')[0]}"
                               " --output jsonpath={.spec.description}")  # fmt: skip
    change("By hand")
    [opened] = drift()
    assert opened["title"] == "Drift in dev"
    assert '"By hand"' in opened["body"]
    change("By hand again")
    [updated] = drift()
    assert updated["number"] == opened["number"]
    assert '"By hand again"' in updated["body"]
    change(known)
    [closed] = drift()
    assert (updated["state"], closed["state"]) == ("open", "closed")
