"""GitHub around the monorepo: Argo CD hears of pushes, branches are protected, forgeries fail."""

import json
import re
import time
from pathlib import Path

import httpx
import pytest

from tests.e2e.box import Sandbox, until
from tests.e2e.team import Team

APPLICATION = "dev-microservices-demo"
COMMITS = 3


@pytest.fixture(scope="module")
def team(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory, monorepo: Path) -> Team:
    """A team whose Argo CD looks for commits once an hour: by itself, it finds none in time."""
    team = Team.start(sandbox, tmp_path_factory.mktemp("team") / "clone", monorepo)
    interval = 'doks-gitops:argocd.values.configs.cm["timeout.reconciliation"]'
    sandbox("pulumi", "config", "set", "--stack", "dev", "--path", interval, "1h")
    sandbox("up", "dev", "--webhooks")
    return team


def commit(team: Team) -> str:
    """Commit a change of what is deployed; returns the revision."""
    overlay = team.clone / "kustomize" / "dev"
    kustomization = overlay / "kustomization.yaml"
    text = kustomization.read_text()
    if "- change.yaml" not in text:
        first = re.compile(r"resources:\n( *- )")
        kustomization.write_text(first.sub(r"resources:\n\1change.yaml\n\1", text, count=1))
    change = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "change"},
        "data": {"time": f"{time.time_ns()}"},
    }
    (overlay / "change.yaml").write_text(json.dumps(change))
    return team.commit("A change")


def wait_for(team: Team, revision: str) -> None:
    def is_synced() -> bool:
        application = team.sandbox.application(APPLICATION)
        assert application is not None
        return (application["revision"], application["sync"]) == (revision, "Synced")

    until(f"{revision} is synced", is_synced)


def test_commits_are_synced_by_webhook(team: Team) -> None:
    for _ in range(COMMITS):
        revision = commit(team)
        team.git("push", "--quiet")
        wait_for(team, revision)
    [hook] = team.github("GET", "/hooks")
    deliveries = team.github("GET", f"/hooks/{hook['id']}/deliveries?per_page=100")
    pushes = [delivery for delivery in deliveries if delivery["event"] == "push"]
    assert [delivery["status_code"] for delivery in pushes] == [200] * COMMITS


@pytest.mark.parametrize("signature", ["sha256=" + "0" * 64, None])
def test_a_forged_webhook_is_refused(team: Team, signature: str | None) -> None:
    [hook] = team.github("GET", "/hooks")
    path = f"/hooks/{hook['id']}/deliveries"
    deliveries = team.github("GET", path)
    [genuine, *_] = [delivery for delivery in deliveries if delivery["event"] == "push"]
    payload = team.github("GET", f"{path}/{genuine['id']}")["request"]["payload"]
    headers = {"X-GitHub-Event": "push"} | ({"X-Hub-Signature-256": signature} if signature else {})
    response = httpx.post(hook["config"]["url"], json=payload, headers=headers)
    assert (response.status_code, response.text) == (400, "Webhook processing failed\n")
    # With its signature, Argo CD accepts the same payload.
    team.github("POST", f"{path}/{genuine['id']}/attempts")
    until(
        "the push is delivered again",
        lambda: team.github("GET", path)[0]["id"] > deliveries[0]["id"],
    )
    again = team.github("GET", path)[0]
    assert (again["guid"], again["status_code"]) == (genuine["guid"], 200)


def test_a_protected_branch_takes_nothing_but_an_approved_pull_request(team: Team) -> None:
    setting = ("--stack", "dev", "--path", "doks-gitops:github.ruleset.approvals")
    team.sandbox("pulumi", "config", "set", *setting, "1")
    up = ("pulumi", "up", "--stack", "dev", "--yes", "--skip-preview")
    team.sandbox(*up)
    revision = commit(team)
    assert "Changes must be made through a pull request." in team.git("push", fails=True)
    team.git("push", "--quiet", "origin", "HEAD:refs/heads/change")
    pull = team.github("POST", "/pulls", {"title": "Change", "head": "change", "base": "main"})
    path = f"/pulls/{pull['number']}"
    reviewer = {"login": "ada", "role": "write", "permissions": {"pull_requests": "write"}}
    with team.sandbox.api() as api:
        response = api.post("/sandbox/github/tokens", json=reviewer)
    token = response.raise_for_status().json()["token"]
    team.github("POST", f"{path}/reviews", {"event": "APPROVE"}, token=token)
    merged = team.github("PUT", f"{path}/merge", {"merge_method": "squash"})["sha"]
    assert merged != revision
    wait_for(team, merged)
    team.sandbox("pulumi", "config", "rm", *setting[:2], "--path", "doks-gitops:github.ruleset")
    team.sandbox(*up)
    team.git("fetch", "--quiet")
    team.git("reset", "--quiet", "--hard", "origin/main")
    commit(team)
    team.git("push", "--quiet")


def test_nothing_is_left_on_github_once_the_stack_does_without(team: Team) -> None:
    team.sandbox("up", "dev", "--no-webhooks")
    assert team.github("GET", "/hooks") == []
    team.sandbox("pulumi", "preview", "--stack", "dev", "--expect-no-changes")
