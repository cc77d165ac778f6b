"""Pull requests on the emulated GitHub: their labels, their events, and those of forks.

https://docs.github.com/en/rest/pulls, https://docs.github.com/en/rest/issues/labels,
https://docs.github.com/en/webhooks/webhook-events-and-payloads#pull_request
"""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from doks_gitops.github import PullRequest, Repository
from tests.contract.github_api import OWNER, REPO, Emulator, emulator
from tests.contract.test_github_pushes import propose


@pytest.fixture
def gh(tmp_path: Path) -> Iterator[Emulator]:
    with emulator(tmp_path) as emulated:
        yield emulated


def push_to_fork(gh: Emulator, branch: str) -> int:
    """Push the clone's branch to the fork of `stranger`; returns the pull request's number."""
    pushing = gh.github.push_to_fork("shop", "stranger", branch, "main", str(gh.folder))
    return asyncio.run_coroutine_threadsafe(pushing, gh.loop).result(10).number


def workflow(gh: Emulator) -> Repository:
    return Repository(f"{OWNER}/shop", gh.token, gh.api_url)


def test_every_change_of_a_pull_request_is_an_event(gh: Emulator) -> None:
    gh.add_hook(events=["pull_request"])
    pull = propose(gh, file="2")
    issue = f"{REPO}/issues/{pull['number']}"
    gh.call("POST", f"{issue}/labels", {"labels": ["preview", "preview"]}, status=200)
    commit = gh.commit(file="3")
    gh.push("HEAD:change")
    gh.call("DELETE", f"{issue}/labels/preview", status=200)
    gh.call("PATCH", f"{REPO}/pulls/{pull['number']}", {"state": "closed"}, status=200)
    gh.call("PATCH", f"{REPO}/pulls/{pull['number']}", {"state": "open"}, status=200)
    gh.push(":refs/heads/change")
    gh.receiver.wait_for("pull_request", 7)
    events = [delivery.payload for delivery in gh.receiver.of("pull_request")]
    actions = ("opened", "labeled", "synchronize", "unlabeled", "closed", "reopened", "closed")
    # GitHub, too, does not say in which order the events arrive.
    assert sorted(event["action"] for event in events) == sorted(actions)
    by_action: dict[str, Any] = {event["action"]: event for event in events}
    assert by_action["labeled"]["label"] == {"name": "preview"}
    assert by_action["labeled"]["pull_request"]["labels"] == [{"name": "preview"}]
    assert by_action["synchronize"]["pull_request"]["head"]["sha"] == commit
    assert by_action["closed"]["pull_request"]["state"] == "closed"
    # Argo CD compares it with the address of the API that it is given.
    assert by_action["opened"]["repository"]["url"] == f"{gh.api_url}{REPO}"


def test_a_label_needs_the_role_triage(gh: Emulator) -> None:
    pull = propose(gh, file="2")
    path, body = f"{REPO}/issues/{pull['number']}/labels", {"labels": ["preview"]}
    gh.call("POST", path, body, token=gh.token_of("reader", "read"), status=403)
    gh.call("POST", path, body, token=gh.token_of("triager", "triage"), status=200)
    gh.call("DELETE", f"{path}/other", status=404)
    reader = gh.token_of("argocd", "read", {"pull_requests": "read"})
    [listed] = gh.call("GET", f"{REPO}/pulls", token=reader, status=200)
    assert listed["labels"] == [{"name": "preview"}]


def test_the_workflow_sees_labels_branches_and_forks(gh: Emulator) -> None:
    pull = propose(gh, file="2")
    gh.call("POST", f"{REPO}/issues/{pull['number']}/labels", {"labels": ["preview"]}, status=200)
    commit = gh.commit(file="3")
    gh.git("branch", "patch")
    number = push_to_fork(gh, "patch")
    repository = workflow(gh)
    pulls = sorted(repository.open_pull_requests(), key=lambda item: item.number)
    labels, head = frozenset({"preview"}), pull["head"]["sha"]
    created = datetime.fromisoformat(pull["created_at"])
    assert pulls == [
        PullRequest(pull["number"], "change", head, labels, fork=None, created=created),
        PullRequest(number, "patch", commit, frozenset(), "stranger/shop", pulls[1].created),
    ]
    assert repository.branch_commit("change") == pull["head"]["sha"]
    assert repository.branch_commit("patch") is None
    since = repository.labeled_at(pull["number"], "preview")
    assert since is not None
    assert abs(datetime.now(UTC) - since) < timedelta(minutes=1)
    assert repository.labeled_at(number, "preview") is None
    repository.remove_label(pull["number"], "preview")
    repository.remove_label(pull["number"], "preview")
    assert all(not item.labels for item in repository.open_pull_requests())


def test_the_repository_has_the_commits_of_a_fork_but_in_no_branch(gh: Emulator) -> None:
    gh.add_hook(events=["pull_request"])
    gh.git("switch", "--quiet", "--create", "patch")
    gh.commit(file="2")
    number = push_to_fork(gh, "patch")
    commit = gh.commit(file="3")
    assert push_to_fork(gh, "patch") == number
    gh.receiver.wait_for("pull_request", 2)
    refs = gh.git("ls-remote", gh.clone_url()).split()
    assert f"refs/pull/{number}/head" in refs
    assert "refs/heads/patch" not in refs
    gh.git("fetch", "--quiet", gh.clone_url(), commit)
    # A branch of the same name in the repository is another one.
    gh.push("main:refs/heads/patch")
    [pull] = gh.call("GET", f"{REPO}/pulls", status=200)
    assert (pull["head"]["sha"], pull["head"]["label"]) == (commit, "stranger:patch")


def test_a_comment_is_updated_only_if_there_is_one(gh: Emulator) -> None:
    number, repository = propose(gh, file="2")["number"], workflow(gh)
    path = f"{REPO}/issues/{number}/comments"
    repository.update_comment(number, "environment", "one")
    assert gh.call("GET", path, status=200) == []
    repository.comment(number, "environment", "one")
    repository.update_comment(number, "environment", "two")
    [comment] = gh.call("GET", path, status=200)
    assert comment["body"].endswith("two")
