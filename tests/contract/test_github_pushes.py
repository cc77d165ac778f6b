"""What the emulated GitHub makes of pushes and merges: rulesets, webhooks, tokens."""

import hashlib
import hmac
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from sandbox.git.rules import NO_COMMIT, Ruleset, Update, violations
from tests.contract.github_api import OWNER, REPO, Emulator, emulator, wait_until
from tests.contract.test_github_api import ruleset


@pytest.fixture
def gh(tmp_path: Path) -> Iterator[Emulator]:
    with emulator(tmp_path) as served:
        yield served


def protect(gh: Emulator, *rules: str, **changes: object) -> dict[str, Any]:
    wanted = ruleset(rules=[{"type": each} for each in rules], **changes)
    made: dict[str, Any] = gh.call("POST", f"{REPO}/rulesets", wanted, status=201)
    return made


def head(gh: Emulator, branch: str = "main") -> str:
    commit: str = gh.call("GET", f"{REPO}/branches/{branch}", status=200)["commit"]["sha"]
    return commit


def propose(gh: Emulator, **files: str) -> dict[str, Any]:
    """A pull request of those files."""
    gh.git("switch", "--quiet", "--create", "change")
    gh.commit(**files)
    gh.push("HEAD:refs/heads/change")
    body = {"title": "Change", "head": "change", "base": "main"}
    pull: dict[str, Any] = gh.call("POST", f"{REPO}/pulls", body, status=201)
    return pull


def test_a_token_opens_the_repository_as_far_as_it_may(gh: Emulator) -> None:
    gh.commit(file="2")
    reader = gh.token_of("reader", permissions={"contents": "read"})
    gh.git("ls-remote", gh.clone_url(reader))
    assert "403" in gh.push(token=reader, fails=True)
    guest = gh.token_of("guest", "read")
    assert "403" in gh.push(token=guest, fails=True)
    blind = gh.token_of("blind", permissions={"issues": "write"})
    assert "403" in gh.git("ls-remote", gh.clone_url(blind), fails=True)
    assert "Authentication failed" in gh.git("ls-remote", gh.clone_url("wrong"), fails=True)
    gh.push(token=gh.token_of("writer"))
    assert head(gh) == gh.git("rev-parse", "HEAD").strip()


def test_a_push_to_a_branch_that_takes_pull_requests_is_refused(gh: Emulator) -> None:
    protect(gh, "pull_request")
    before = head(gh)
    gh.commit(file="2")
    said = gh.push(fails=True)
    assert "GH013: Repository rule violations found for refs/heads/main" in said
    assert "Changes must be made through a pull request." in said
    assert head(gh) == before
    gh.push("HEAD:refs/heads/other")


def test_a_first_push_needs_no_rule_to_be_switched_off(gh: Emulator) -> None:
    gh.call("POST", f"/orgs/{OWNER}/repos", {"name": "new"}, status=201)
    rules = ruleset(rules=[{"type": "pull_request"}, {"type": "deletion"}])
    gh.call("POST", f"/repos/{OWNER}/new/rulesets", rules, status=201)
    gh.git("push", gh.clone_url(repository="new"), "HEAD:main")


def test_history_can_be_protected_from_force_and_deletion(gh: Emulator) -> None:
    protect(gh, "non_fast_forward", "deletion")
    gh.git("commit", "--quiet", "--amend", "--message", "other")
    assert "Cannot force-push to this branch" in gh.push(force=True, fails=True)
    assert "Cannot delete this branch" in gh.push(":refs/heads/main", fails=True)


def test_a_disabled_ruleset_holds_nobody(gh: Emulator) -> None:
    protect(gh, "pull_request", enforcement="disabled")
    gh.commit(file="2")
    gh.push()


@pytest.mark.parametrize("kind", ["User", "Team", "OrganizationAdmin", "RepositoryRole"])
def test_who_is_named_may_bypass_and_is_told(gh: Emulator, kind: str) -> None:
    administers = kind in ("OrganizationAdmin", "RepositoryRole")
    token = gh.token_of("bot", "admin" if administers else "write")
    team = gh.in_server(lambda: gh.github.state.add_team("robots", ["bot"]))
    user = gh.call("GET", "/users/bot", status=200)
    number = {"User": user["id"], "Team": team.id, "RepositoryRole": 5}.get(kind)
    actor = {"actor_id": number, "actor_type": kind, "bypass_mode": "always"}
    protect(gh, "pull_request", bypass_actors=[actor])
    gh.commit(file="2")
    said = gh.push(token=gh.token_of("writer"), fails=True)
    assert "GH013" in said
    assert "Bypassed rule violations for refs/heads/main" in gh.push(token=token)


def test_being_allowed_to_bypass_in_pull_requests_is_not_to_push(gh: Emulator) -> None:
    actor = {"actor_id": None, "actor_type": "OrganizationAdmin", "bypass_mode": "pull_request"}
    reviewed = {"type": "pull_request", "parameters": {"required_approving_review_count": 1}}
    wanted = ruleset(rules=[reviewed], bypass_actors=[actor])
    gh.call("POST", f"{REPO}/rulesets", wanted, status=201)
    pull = propose(gh, file="2")
    assert "GH013" in gh.push(fails=True)
    gh.call("PUT", f"{REPO}/pulls/{pull['number']}/merge", {}, status=200)


def test_a_pull_request_is_merged_once_it_has_what_the_ruleset_asks(gh: Emulator) -> None:
    rules = [
        {"type": "pull_request", "parameters": {"required_approving_review_count": 1}},
        {
            "type": "required_status_checks",
            "parameters": {"required_status_checks": [{"context": "tests"}]},
        },
    ]
    gh.call("POST", f"{REPO}/rulesets", ruleset(rules=rules), status=201)
    author = gh.token_of("author")
    pull = propose(gh, file="2")
    path = f"{REPO}/pulls/{pull['number']}"
    refused = gh.call("PUT", f"{path}/merge", {}, status=405)
    assert "At least 1 approving review is required" in refused["message"]
    assert 'Required status check "tests" is expected.' in refused["message"]
    gh.call("POST", f"{path}/reviews", {"event": "APPROVE"}, status=422)
    gh.call("POST", f"{path}/reviews", {"event": "APPROVE"}, token=author, status=200)
    said = {"state": "success", "context": "tests"}
    gh.call("POST", f"{REPO}/statuses/{pull['head']['sha']}", said, status=201)
    merged = gh.call("PUT", f"{path}/merge", {}, status=200)
    assert merged["sha"] == head(gh)
    assert gh.call("GET", path, status=200)["merged"]
    gh.call("PUT", f"{path}/merge", {}, status=405)


@pytest.mark.parametrize(("method", "parents"), [("merge", 2), ("squash", 1), ("rebase", 1)])
def test_a_merge_is_of_the_asked_kind(gh: Emulator, method: str, parents: int) -> None:
    pull = propose(gh, file="2")
    gh.git("switch", "--quiet", "main")
    gh.commit(other="x")
    gh.push()
    path = f"{REPO}/pulls/{pull['number']}/merge"
    commit = gh.call("PUT", path, {"merge_method": method}, status=200)["sha"]
    gh.git("fetch", "--quiet", gh.clone_url(), "main")
    assert len(gh.git("rev-list", "--parents", "-1", commit).split()) == 1 + parents
    assert gh.git("show", f"{commit}:file") == "2"
    assert gh.git("show", f"{commit}:other") == "x"


def test_what_conflicts_is_not_merged(gh: Emulator) -> None:
    pull = propose(gh, file="2")
    gh.git("switch", "--quiet", "main")
    expected = gh.commit(file="3")
    gh.push()
    gh.call("PUT", f"{REPO}/pulls/{pull['number']}/merge", {}, status=405)
    assert head(gh) == expected


def test_a_pull_request_needs_commits_and_is_unique(gh: Emulator) -> None:
    gh.push("HEAD:refs/heads/same")
    body = {"title": "x", "head": "same", "base": "main"}
    refused = gh.call("POST", f"{REPO}/pulls", body, status=422)
    assert refused["errors"][0]["message"] == "No commits between main and same"
    gh.call("POST", f"{REPO}/pulls", body | {"head": "none"}, status=422)
    pull = propose(gh, file="2")
    again = gh.call("POST", f"{REPO}/pulls", body | {"head": "change"}, status=422)
    assert again["errors"][0]["message"] == f"A pull request already exists for {OWNER}:change."
    [found] = gh.call("GET", f"{REPO}/pulls?head={OWNER}:change", status=200)
    assert found["number"] == pull["number"]
    assert gh.call("GET", f"{REPO}/pulls?head={OWNER}:none", status=200) == []


def test_a_push_is_delivered_signed_with_the_webhooks_secret(gh: Emulator) -> None:
    hook = gh.add_hook()
    ping = gh.receiver.wait_for("ping")
    assert ping.payload["hook_id"] == hook["id"]
    old = head(gh)
    new = gh.commit(file="2", added="x")
    gh.push()
    push = gh.receiver.wait_for("push")
    key = ("s3cret" * 4).encode()
    for header, algorithm in (("x-hub-signature-256", "sha256"), ("x-hub-signature", "sha1")):
        signature = hmac.new(key, push.body, getattr(hashlib, algorithm)).hexdigest()
        assert push.headers[header] == f"{algorithm}={signature}"
    payload = push.payload
    assert (payload["ref"], payload["before"], payload["after"]) == ("refs/heads/main", old, new)
    assert not payload["forced"]
    [commit] = payload["commits"]
    assert commit == payload["head_commit"]
    assert (commit["id"], commit["added"], commit["modified"]) == (new, ["added"], ["file"])
    assert payload["repository"]["clone_url"] == f"{gh.url}/git/shop.git"
    assert payload["pusher"]["name"] == OWNER


def test_new_gone_and_forced_branches_are_told_apart(gh: Emulator) -> None:
    gh.add_hook()
    gh.push("HEAD:refs/heads/other")
    assert gh.receiver.wait_for("push", 1).payload["created"]
    gh.git("commit", "--quiet", "--amend", "--message", "other")
    gh.push("HEAD:other", force=True)
    assert gh.receiver.wait_for("push", 2).payload["forced"]
    gh.push(":other")
    deleted = gh.receiver.wait_for("push", 3).payload
    assert deleted["deleted"]
    assert deleted["after"] == NO_COMMIT
    assert deleted["head_commit"] is None


def test_a_merge_is_a_push_too(gh: Emulator) -> None:
    pull = propose(gh, file="2")
    gh.add_hook()
    merged = gh.call("PUT", f"{REPO}/pulls/{pull['number']}/merge", {}, status=200)
    assert gh.receiver.wait_for("push").payload["after"] == merged["sha"]


def test_a_form_carries_the_same_payload(gh: Emulator) -> None:
    gh.add_hook(config={"url": gh.receiver.url, "content_type": "form"})
    body = gh.receiver.wait_for("ping").body.decode()
    assert '"zen"' in parse_qs(body)["payload"][0]
    assert "x-hub-signature-256" not in gh.receiver.received[0].headers


def test_a_failed_delivery_is_kept_and_made_again_only_when_asked(gh: Emulator) -> None:
    hook = gh.add_hook()
    gh.receiver.wait_for("ping")
    gh.receiver.status = 503
    gh.commit(file="2")
    gh.push()
    gh.receiver.wait_for("push")
    path = f"{REPO}/hooks/{hook['id']}/deliveries"

    def deliveries() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = gh.call("GET", path, status=200)
        return found

    wait_until(lambda: len(deliveries()) == 2, "both deliveries are logged")
    failed = deliveries()[0]
    assert (failed["event"], failed["status_code"]) == ("push", 503)
    shown = gh.call("GET", f"{path}/{failed['id']}", status=200)
    assert shown["response"]["payload"] == "heard"
    assert shown["request"]["headers"]["X-GitHub-Event"] == "push"
    gh.receiver.status = 200
    gh.call("POST", f"{path}/{failed['id']}/attempts", status=202)
    again = gh.receiver.wait_for("push", 2)
    assert again.headers["x-github-delivery"] == failed["guid"]
    assert again.body == gh.receiver.of("push")[0].body
    wait_until(lambda: len(deliveries()) == 3, "the redelivery is logged")
    assert (deliveries()[0]["redelivery"], deliveries()[0]["status"]) == (True, "OK")


def test_a_receiver_that_is_not_there_is_logged(gh: Emulator) -> None:
    hook = gh.add_hook(config={"url": "http://127.0.0.1:1/hook"})
    path = f"{REPO}/hooks/{hook['id']}/deliveries"
    wait_until(lambda: bool(gh.call("GET", path, status=200)), "the delivery is logged")
    [failed] = gh.call("GET", path, status=200)
    assert failed["status_code"] == 0
    assert "failed to connect" in failed["status"]


def test_an_inactive_webhook_hears_nothing(gh: Emulator) -> None:
    gh.add_hook(active=False)
    gh.receiver.wait_for("ping")
    elsewhere = {"url": f"{gh.receiver.url}?all", "content_type": "json"}
    other = gh.add_hook(config=elsewhere, events=["*"])
    gh.receiver.wait_for("ping", 2)
    gh.commit(file="2")
    gh.push()
    push = gh.receiver.wait_for("push")
    assert push.headers["x-github-hook-id"] == str(other["id"])
    assert len(gh.receiver.of("push")) == 1


@pytest.mark.parametrize(
    ("pattern", "covered"),
    [
        ("refs/heads/main", True),
        ("refs/heads/*", True),
        ("refs/heads/**", True),
        ("refs/heads/mai?", True),
        ("refs/heads/main2", False),
        ("refs/*", False),
        ("refs/heads/m.in", False),
    ],
)
def test_a_pattern_covers_what_github_says(pattern: str, covered: bool) -> None:
    rules = Ruleset("x", [pattern], [], ["update"])
    assert rules.covers("refs/heads/main") == covered
    assert not Ruleset("x", [pattern], ["refs/heads/main"], []).covers("refs/heads/main")


def test_each_rule_forbids_what_it_is_called_after() -> None:
    made, gone = Update("r", NO_COMMIT, "b"), Update("r", "a", NO_COMMIT)
    moved = Update("r", "a", "b")
    forced, merged = Update("r", "a", "b", forced=True), Update("r", "a", "b", merges=True)
    broken_by = {
        "creation": [made],
        "deletion": [gone],
        "update": [moved, forced, merged],
        "non_fast_forward": [forced],
        "required_linear_history": [merged],
        "pull_request": [moved, forced, merged],
    }
    for rule, updates in broken_by.items():
        rules = Ruleset("x", ["r"], [], [rule])
        every = (made, gone, moved, forced, merged)
        found = [each for each in every if violations(each, rules, {})]
        assert found == updates, rule


def test_a_check_must_have_passed_on_the_very_commit() -> None:
    rules = Ruleset("x", ["r"], [], [], checks=["tests"])
    assert violations(Update("r", "a", "b"), rules, {"a": ["tests"]})
    assert not violations(Update("r", "a", "b"), rules, {"b": ["tests"]})


def test_the_hook_needs_nothing_but_python(gh: Emulator) -> None:
    hook = gh.github.git.root / "hooks" / "pre-receive"
    done = subprocess.run([hook], env={}, check=False)
    assert done.returncode == 0
