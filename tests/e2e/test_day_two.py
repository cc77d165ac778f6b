"""From nothing to three environments, and what a team then does to them: all of it by commits."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.box import IMAGE, Sandbox, until
from tests.e2e.team import APP, STACKS, Team

KUBECTL = "kubectl --context do-nyc1-microservices-demo-dev"


@pytest.fixture(scope="module")
def team(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Team:
    """A team whose repository and account are empty at first; these tests build on each other."""
    empty = tmp_path_factory.mktemp("empty")
    subprocess.run(["git", "init", "--quiet", "--bare", "-b", "main", str(empty)], check=True)
    return Team.start(sandbox, tmp_path_factory.mktemp("team") / "clone", empty)


def overlay(team: Team, environment: str) -> Path:
    return team.clone / "kustomize" / environment / "kustomization.yaml"


def image(team: Team, environment: str) -> tuple[str, str]:
    """The first image of an overlay: its name and its tag."""
    name, tag = IMAGE.findall(overlay(team, environment).read_text())[0]
    return name, tag


def deploy(team: Team, tag: str) -> str:
    """Give the first image of dev that tag by a commit; returns the end of the image's new name."""
    name, old_tag = image(team, "dev")
    text = overlay(team, "dev").read_text()
    overlay(team, "dev").write_text(text.replace(f"newTag: {old_tag}", f"newTag: {tag}", 1))
    team.push(f"{name} {tag}")
    return f"/{name}:{tag}"


def statuses(team: Team) -> dict[str, dict[str, Any]]:
    """The status of the application by `bin/platform status`, by environment."""
    rows = json.loads(team.platform("status", "--json"))["applications"]
    return {row["environment"]: row for row in rows if row["application"] == APP}


def test_an_empty_repository_and_account_become_three_environments_synced_from_git(
    team: Team, monorepo: Path
) -> None:
    shutil.copytree(monorepo / "kustomize", team.clone / "kustomize")
    _, tag = image(team, "dev")
    for stack in STACKS:
        text = overlay(team, stack).read_text()
        overlay(team, stack).write_text(re.sub(r"newTag: .*", f"newTag: {tag}", text))
    team.push("The team's manifests")
    team.platform("layout", "--stack", "dev")
    team.platform("layout", "--stack", "staging")
    output = team.platform("layout", "--stack", "prod", "--pull-request")
    # A second run finds the pull request of the first.
    assert team.platform("layout", "--stack", "prod", "--pull-request") == output
    assert not (team.clone / "argocd" / "prod").exists()
    team.merge()
    for stack in STACKS:
        team.follow_git(stack)
    team.sandbox("up", *STACKS)
    for stack in STACKS:
        team.sandbox.wait_for(f"{stack}-{APP}", revision=team.git("rev-parse", "HEAD"))
    applications = team.sandbox.applications()
    assert {
        (application["sync"], application["health"]) for application in applications.values()
    } == {("Synced", "Healthy")}
    assert {name for _, name in applications} == {
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
    kind = f'    - {{group: "", kind: Namespace, name: {APP}-dev}}\n'
    text = project.read_text()
    for line in (destination, kind):
        text = text.replace(line, line + line.replace(f"{APP}-dev", "greeting"))
    project.write_text(text)
    revision = team.push("A namespace for the greeting")
    root = ("microservices-demo-dev", "root")
    until(
        "the project allows the namespace",
        lambda: team.sandbox.applications()[root]["revision"] == revision,
    )
    app = ("--app", "greeting", "kustomize/greeting", "greeting")
    team.platform("layout", "--stack", "dev", *app)
    team.sandbox.wait_for("dev-greeting")
    get = f"{KUBECTL} --namespace greeting get configmap --ignore-not-found --output name greeting"
    assert team.sandbox.shell(get) == "configmap/greeting\n"

    shutil.rmtree(team.clone / "argocd" / "dev" / "apps" / "greeting")
    team.push("No greeting any more")
    until("the application is gone", lambda: team.sandbox.application("dev-greeting") is None)
    assert team.sandbox.shell(get) == ""
    assert team.sandbox.is_healthy(f"dev-{APP}")


def test_a_broken_application_is_told_and_the_others_go_on(team: Team) -> None:
    folder = team.clone / "argocd" / "dev" / "apps" / "broken" / "overlays" / "dev"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{")
    revision = team.push("A broken application")
    assert "broken/overlays/dev/config.json is not JSON" in team.platform(
        "layout", "--stack", "dev", "--check", fails=True
    )

    def is_told() -> bool:
        status = team.platform("status", "--stack", "dev")
        return "dev: the ApplicationSet dev creates no new application: " in status

    until("the error is told", is_told)
    team.sandbox.wait_for(f"dev-{APP}", revision=revision)
    shutil.rmtree(folder.parents[1])
    team.push("No broken application any more")
    until("the error is gone", lambda: not is_told())


def test_a_change_is_promoted_through_the_environments(team: Team) -> None:
    name, old_tag = image(team, "dev")
    team.sandbox("push-image", f"{name}:v9.1.0")
    new_image = deploy(team, "v9.1.0")
    team.sandbox.wait_for(f"dev-{APP}", image=new_image)
    table = team.platform("status")
    assert re.search(rf"{APP} +staging .* dev: {name} {re.escape(old_tag)} → v9\.1\.0\n", table)
    assert re.search(rf"{APP} +prod .* staging: level\n", table)

    text = overlay(team, "staging").read_text()
    output = team.platform("promote", APP, "--from", "dev", "--to", "staging")
    assert "+    newTag: v9.1.0" in output
    assert overlay(team, "staging").read_text() == text.replace(old_tag, "v9.1.0", 1)
    team.sandbox.wait_for(f"staging-{APP}", image=new_image)

    promote = ("promote", APP, "--from", "staging", "--to", "prod", "--pull-request")
    assert "/pull/" in team.platform(*promote)
    assert image(team, "prod") == (name, old_tag)
    [pull] = team.github("GET", "/pulls")
    assert pull["title"] == f"Promote {APP} from staging to prod"
    team.merge()
    team.sandbox.wait_for(f"prod-{APP}", image=new_image)
    assert "has these image tags already" in team.platform(*promote)
    by_environment = statuses(team)
    for environment, before in zip(STACKS, (None, *STACKS), strict=False):
        status = by_environment[environment]
        assert (status["sync"], status["health"]) == ("Synced", "Healthy")
        assert status["revision"] == team.git("rev-parse", "HEAD")
        assert any(image.endswith(new_image) for image in status["images"])
        level = {"environment": before, "commits": 0, "tags": {}} if before else None
        assert status["behind"] == level


def test_a_bad_image_goes_no_further_than_dev_and_is_taken_back(team: Team) -> None:
    good_image = image(team, "dev")
    bad_image = deploy(team, "v9.9.9")

    def is_deployed() -> bool:
        application = team.sandbox.application(f"dev-{APP}") or {"images": [], "sync": ""}
        names = application["images"]
        return application["sync"] == "Synced" and any(name.endswith(bad_image) for name in names)

    until("the bad image is deployed", is_deployed)
    output = team.platform("promote", APP, "--from", "dev", "--to", "staging", fails=True)
    assert "only what is Synced and Healthy is promoted" in output
    assert image(team, "staging") == good_image
    team.platform("revert-images", APP, "--stack", "dev")
    assert image(team, "dev") == good_image
    team.sandbox.wait_for(f"dev-{APP}", image=f"/{good_image[0]}:{good_image[1]}")


def test_a_preview_is_one_comment_on_the_pull_request_updated_in_place(team: Team) -> None:
    team.git("commit", "--quiet", "--allow-empty", "--message", "A change of the platform")
    team.git("push", "--quiet", "origin", "HEAD:refs/heads/platform")
    team.git("reset", "--quiet", "--hard", "origin/main")
    pull = team.github("POST", "/pulls", {"title": "Platform", "head": "platform", "base": "main"})
    comments = f"/issues/{pull['number']}/comments"

    def preview(*stacks: str, fails: bool = False) -> str:
        """Run the preview; returns the one comment that the pull request then has."""
        words = [word for stack in stacks for word in ("--stack", stack)]
        comment = ("--comment", str(pull["number"]))
        team.sandbox("run", "bin/platform", "preview", *words, *comment, fails=fails)
        [posted] = team.github("GET", comments)
        text: str = posted["body"]
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
    kubectl = f"{KUBECTL} --namespace argocd"

    def change(description: str) -> None:
        patch = json.dumps({"spec": {"description": description}})
        command = f"{kubectl} patch appproject platform --type merge"
        team.sandbox.shell(f"{command} --patch '{patch}'")

    def drift() -> list[dict[str, str]]:
        """Look for drift; returns all issues."""
        team.sandbox("run", "bin/platform", "drift", "--stack", "dev", "--issue")
        issues = team.github("GET", "/issues?state=all")
        return [issue for issue in issues if "pull_request" not in issue]

    get = f"{kubectl} get appproject platform --output jsonpath={{.spec.description}}"
    description = team.sandbox.shell(get)
    change("By hand")
    [opened] = drift()
    assert opened["title"] == "Drift in dev"
    assert '"By hand"' in opened["body"]
    change("By hand again")
    [updated] = drift()
    assert updated["number"] == opened["number"]
    assert '"By hand again"' in updated["body"]
    change(description)
    [closed] = drift()
    assert (updated["state"], closed["state"]) == ("open", "closed")
