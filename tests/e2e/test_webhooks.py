"""GitHub around the monorepo: pushes are told to Argo CD, branches hold, forgeries fail."""

import json
import re
import statistics
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.box import Sandbox, until

APPLICATION = "dev-microservices-demo"
COMMITS, POLLED = 20, 3
LIMIT = 5.0
"""Seconds from a push to Synced, in the median."""


@dataclass
class Team:
    """A clone of the monorepo, and GitHub's API as its workflows have it."""

    sandbox: Sandbox
    clone: Path
    api: str
    repository: str
    token: str = field(repr=False)
    changes: int = 0

    def call(self, method: str, path: str, body: object = None) -> Any:
        answer = httpx.request(
            method,
            f"{self.api}/repos/{self.repository}{path}",
            json=body,
            headers={"Authorization": f"Bearer {self.token}"},
        )
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    def git(self, *args: str, fails: bool = False) -> str:
        who = ("-c", "user.name=test", "-c", "user.email=test@localhost")
        done = subprocess.run(
            ["git", "-C", str(self.clone), *who, *args], text=True, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert (done.returncode != 0) == fails, done.stdout
        return done.stdout

    def commit(self) -> str:
        """A commit that changes what is deployed; its id."""
        self.changes += 1
        overlay = self.clone / "kustomize" / "dev"
        kustomization = overlay / "kustomization.yaml"
        text = kustomization.read_text()
        if "- change.yaml" not in text:
            first = re.compile(r"resources:\n( *- )")
            kustomization.write_text(first.sub(r"resources:\n\1change.yaml\n\1", text, count=1))
        change = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "change"},
            "data": {"number": f"{self.changes}"},
        }
        (overlay / "change.yaml").write_text(json.dumps(change))
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", f"change {self.changes}")
        return self.git("rev-parse", "HEAD").strip()

    def seconds_to_synced(self) -> float:
        """Commit and push; the seconds from then until Argo CD has synced it."""
        commit = self.commit()
        start = time.monotonic()
        self.git("push", "--quiet")
        self.wait_for(commit)
        return time.monotonic() - start

    def wait_for(self, commit: str) -> None:
        daemon = json.loads((self.sandbox.home / "daemon.json").read_text())
        headers = {"Authorization": f"Bearer {daemon['token']}"}

        def synced() -> bool:
            status = httpx.get(f"{daemon['url']}/sandbox/status", headers=headers).json()
            [application] = [
                each
                for cluster in status["clusters"]
                for each in cluster["applications"]
                if each["name"] == APPLICATION
            ]
            return (application["revision"], application["sync"]) == (commit, "Synced")

        until(60, f"{commit} is synced", synced)


@pytest.fixture(scope="module")
def team(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Team:
    sandbox("up", "dev")
    clone = tmp_path_factory.mktemp("team") / "clone"
    sandbox("clone", str(clone))
    words = sandbox.shell("echo $GITHUB_API_URL $GITHUB_REPOSITORY $GITHUB_TOKEN")
    api, repository, token = words.split()
    return Team(sandbox, clone, api, repository, token)


def test_a_commit_is_synced_within_seconds_by_webhook(team: Team) -> None:
    polled = [team.seconds_to_synced() for _ in range(POLLED)]
    # Argo CD's own interval from here on, which is minutes: nothing is found by polling.
    team.sandbox("up", "dev", "--webhooks")
    told = [team.seconds_to_synced() for _ in range(COMMITS)]
    print(f"polled every 10 s: {polled}\nby webhook: {told}")
    assert statistics.median(told) <= LIMIT
    assert statistics.median(told) < statistics.median(polled)
    [hook] = team.call("GET", "/hooks")
    pushes = [
        each
        for each in team.call("GET", f"/hooks/{hook['id']}/deliveries?per_page=100")
        if each["event"] == "push"
    ]
    assert [each["status_code"] for each in pushes] == [200] * COMMITS


@pytest.mark.parametrize("signature", ["sha256=" + "0" * 64, None])
def test_a_forged_webhook_is_refused(team: Team, signature: str | None) -> None:
    [hook] = team.call("GET", "/hooks")
    deliveries = team.call("GET", f"/hooks/{hook['id']}/deliveries")
    [real, *_] = [each for each in deliveries if each["event"] == "push"]
    path = f"/hooks/{hook['id']}/deliveries"
    payload = team.call("GET", f"{path}/{real['id']}")["request"]["payload"]
    headers = {"X-GitHub-Event": "push"} | ({"X-Hub-Signature-256": signature} if signature else {})
    forged = httpx.post(hook["config"]["url"], json=payload, headers=headers)
    assert (forged.status_code, forged.text) == (400, "Webhook processing failed\n")
    # With the right signature, Argo CD takes the very same.
    team.call("POST", f"{path}/{real['id']}/attempts")
    until(
        10, "it is delivered again", lambda: team.call("GET", path)[0]["id"] > deliveries[0]["id"]
    )
    again = team.call("GET", path)[0]
    assert (again["guid"], again["status_code"]) == (real["guid"], 200)


def test_a_protected_branch_takes_nothing_but_an_approved_pull_request(team: Team) -> None:
    setting = ("--stack", "dev", "--path", "doks-gitops:github.ruleset.approvals")
    team.sandbox("pulumi", "config", "set", *setting, "1")
    up = ("pulumi", "up", "--stack", "dev", "--yes", "--skip-preview")
    team.sandbox(*up)
    commit = team.commit()
    assert "Changes must be made through a pull request." in team.git("push", fails=True)
    team.git("push", "--quiet", "origin", "HEAD:refs/heads/change")
    body = {"title": "Change", "head": "change", "base": "main"}
    path = f"/pulls/{team.call('POST', '/pulls', body)['number']}"
    daemon = json.loads((team.sandbox.home / "daemon.json").read_text())
    reviewer = httpx.post(
        f"{daemon['url']}/sandbox/github/tokens",
        json={"login": "ada", "role": "write", "permissions": {"pull_requests": "write"}},
        headers={"Authorization": f"Bearer {daemon['token']}"},
    ).json()["token"]
    approve = httpx.post(
        f"{team.api}/repos/{team.repository}{path}/reviews",
        json={"event": "APPROVE"},
        headers={"Authorization": f"Bearer {reviewer}"},
    )
    assert approve.is_success, approve.text
    merged = team.call("PUT", f"{path}/merge", {"merge_method": "squash"})["sha"]
    assert merged != commit
    team.wait_for(merged)
    team.sandbox("pulumi", "config", "rm", *setting[:2], "--path", "doks-gitops:github.ruleset")
    team.sandbox(*up)
    team.git("fetch", "--quiet")
    team.git("reset", "--quiet", "--hard", "origin/main")
    team.commit()
    team.git("push", "--quiet")


def test_nothing_is_left_on_github_once_the_stack_does_without(team: Team) -> None:
    team.sandbox("up", "dev", "--no-webhooks")
    assert team.call("GET", "/hooks") == []
    team.sandbox("pulumi", "preview", "--stack", "dev", "--expect-no-changes")
