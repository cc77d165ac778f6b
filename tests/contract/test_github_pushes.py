"""Pushes and merges on the emulated GitHub: tokens, rulesets and webhooks."""

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
    with emulator(tmp_path) as emulated:
        yield emulated


def protect(gh: Emulator, *rules: str, **changes: object) -> dict[str, Any]:
    body = ruleset(rules=[{"type": rule} for rule in rules], **changes)
    created: dict[str, Any] = gh.call("POST", f"{REPO}/rulesets", body, status=201)
    return created


def head(gh: Emulator, branch: str = "main") -> str:
    commit: str = gh.call("GET", f"{REPO}/branches/{branch}", status=200)["commit"]["sha"]
    return commit


def propose(gh: Emulator, **files: str) -> dict[str, Any]:
    """Create a pull request with those files."""
    gh.git("switch", "--quiet", "--create", "change")
    gh.commit(**files)
    gh.push("HEAD:refs/heads/change")
    body = {"title": "Change", "head": "change", "base": "main"}
    pull: dict[str, Any] = gh.call("POST", f"{REPO}/pulls", body, status=201)
    return pull


def test_git_access_depends_on_the_token_s_permissions_and_the_user_s_role(gh: Emulator) -> None:
    gh.commit(file="2")
    reader = gh.token_of("reader", permissions={"contents": "read"})
    gh.git("ls-remote", gh.clone_url(reader))
    assert "403" in gh.push(token=reader, fails=True)
    guest = gh.token_of("guest", "read")
    assert "403" in gh.push(token=guest, fails=True)
    issues_only = gh.token_of("issues-only", permissions={"issues": "write"})
    assert "403" in gh.git("ls-remote", gh.clone_url(issues_only), fails=True)
    assert "Authentication failed" in gh.git("ls-remote", gh.clone_url("wrong"), fails=True)
    gh.push(token=gh.token_of("writer"))
    assert head(gh) == gh.git("rev-parse", "HEAD").strip()


def test_a_push_to_a_branch_that_requires_pull_requests_is_refused(gh: Emulator) -> None:
    protect(gh, "pull_request")
    before = head(gh)
    gh.commit(file="2")
    output = gh.push(fails=True)
    assert "GH013: Repository rule violations found for refs/heads/main" in output
    assert "Changes must be made through a pull request." in output
    assert head(gh) == before
    gh.push("HEAD:refs/heads/other")


def test_rules_allow_the_first_push_to_an_empty_repository(gh: Emulator) -> None:
    gh.call("POST", f"/orgs/{OWNER}/repos", {"name": "new"}, status=201)
    rules = ruleset(rules=[{"type": "pull_request"}, {"type": "deletion"}])
    gh.call("POST", f"/repos/{OWNER}/new/rulesets", rules, status=201)
    gh.git("push", gh.clone_url(repository="new"), "HEAD:main")


def test_rules_can_forbid_force_pushes_and_deletion(gh: Emulator) -> None:
    protect(gh, "non_fast_forward", "deletion")
    gh.git("commit", "--quiet", "--amend", "--message", "other")
    assert "Cannot force-push to this branch" in gh.push(force=True, fails=True)
    assert "Cannot delete this branch" in gh.push(":refs/heads/main", fails=True)


def test_a_disabled_ruleset_is_not_enforced(gh: Emulator) -> None:
    protect(gh, "pull_request", enforcement="disabled")
    gh.commit(file="2")
    gh.push()


@pytest.mark.parametrize("kind", ["User", "Team", "OrganizationAdmin", "RepositoryRole"])
def test_a_bypass_actor_may_push_and_sees_the_violations(gh: Emulator, kind: str) -> None:
    needs_admin = kind in ("OrganizationAdmin", "RepositoryRole")
    token = gh.token_of("bot", "admin" if needs_admin else "write")
    team = gh.in_server(lambda: gh.github.state.add_team("robots", ["bot"]))
    user = gh.call("GET", "/users/bot", status=200)
    actor_id = {"User": user["id"], "Team": team.id, "RepositoryRole": 5}.get(kind)
    actor = {"actor_id": actor_id, "actor_type": kind, "bypass_mode": "always"}
    protect(gh, "pull_request", bypass_actors=[actor])
    gh.commit(file="2")
    output = gh.push(token=gh.token_of("writer"), fails=True)
    assert "GH013" in output
    assert "Bypassed rule violations for refs/heads/main" in gh.push(token=token)


def test_the_bypass_mode_pull_request_does_not_allow_pushes(gh: Emulator) -> None:
    actor = {"actor_id": None, "actor_type": "OrganizationAdmin", "bypass_mode": "pull_request"}
    rule = {"type": "pull_request", "parameters": {"required_approving_review_count": 1}}
    body = ruleset(rules=[rule], bypass_actors=[actor])
    gh.call("POST", f"{REPO}/rulesets", body, status=201)
    pull = propose(gh, file="2")
    assert "GH013" in gh.push(fails=True)
    gh.call("PUT", f"{REPO}/pulls/{pull['number']}/merge", {}, status=200)


def test_a_pull_request_can_be_merged_when_it_meets_the_ruleset(gh: Emulator) -> None:
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
    status = {"state": "success", "context": "tests"}
    gh.call("POST", f"{REPO}/statuses/{pull['head']['sha']}", status, status=201)
    merged = gh.call("PUT", f"{path}/merge", {}, status=200)
    assert merged["sha"] == head(gh)
    assert gh.call("GET", path, status=200)["merged"]
    gh.call("PUT", f"{path}/merge", {}, status=405)


@pytest.mark.parametrize(("method", "parents"), [("merge", 2), ("squash", 1), ("rebase", 1)])
def test_a_merge_uses_the_requested_method(gh: Emulator, method: str, parents: int) -> None:
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


def test_a_pull_request_with_conflicts_is_not_merged(gh: Emulator) -> None:
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
    refused = gh.call("POST", f"{REPO}/pulls", body | {"head": "change"}, status=422)
    assert refused["errors"][0]["message"] == f"A pull request already exists for {OWNER}:change."
    [listed] = gh.call("GET", f"{REPO}/pulls?head={OWNER}:change", status=200)
    assert listed["number"] == pull["number"]
    assert gh.call("GET", f"{REPO}/pulls?head={OWNER}:none", status=200) == []


def test_a_push_event_is_signed_with_the_webhooks_secret(gh: Emulator) -> None:
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


def test_a_push_event_tells_creation_deletion_and_force_push(gh: Emulator) -> None:
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


def test_a_merge_sends_a_push_event(gh: Emulator) -> None:
    pull = propose(gh, file="2")
    gh.add_hook()
    merged = gh.call("PUT", f"{REPO}/pulls/{pull['number']}/merge", {}, status=200)
    assert gh.receiver.wait_for("push").payload["after"] == merged["sha"]


def test_a_webhook_can_have_the_content_type_form(gh: Emulator) -> None:
    gh.add_hook(config={"url": gh.receiver.url, "content_type": "form"})
    body = gh.receiver.wait_for("ping").body.decode()
    assert '"zen"' in parse_qs(body)["payload"][0]
    assert "x-hub-signature-256" not in gh.receiver.received[0].headers


def test_a_failed_delivery_is_recorded_and_repeated_only_on_request(gh: Emulator) -> None:
    hook = gh.add_hook()
    gh.receiver.wait_for("ping")
    gh.receiver.status = 503
    gh.commit(file="2")
    gh.push()
    gh.receiver.wait_for("push")
    path = f"{REPO}/hooks/{hook['id']}/deliveries"

    def deliveries() -> list[dict[str, Any]]:
        deliveries: list[dict[str, Any]] = gh.call("GET", path, status=200)
        return deliveries

    wait_until(lambda: len(deliveries()) == 2, "both deliveries are recorded")
    failed = deliveries()[0]
    assert (failed["event"], failed["status_code"]) == ("push", 503)
    details = gh.call("GET", f"{path}/{failed['id']}", status=200)
    assert details["response"]["payload"] == "received"
    assert details["request"]["headers"]["X-GitHub-Event"] == "push"
    gh.receiver.status = 200
    gh.call("POST", f"{path}/{failed['id']}/attempts", status=202)
    redelivered = gh.receiver.wait_for("push", 2)
    assert redelivered.headers["x-github-delivery"] == failed["guid"]
    assert redelivered.body == gh.receiver.of("push")[0].body
    wait_until(lambda: len(deliveries()) == 3, "the redelivery is recorded")
    assert (deliveries()[0]["redelivery"], deliveries()[0]["status"]) == (True, "OK")


def test_a_delivery_without_a_receiver_is_recorded_as_failed(gh: Emulator) -> None:
    hook = gh.add_hook(config={"url": "http://127.0.0.1:1/hook"})
    path = f"{REPO}/hooks/{hook['id']}/deliveries"
    wait_until(lambda: bool(gh.call("GET", path, status=200)), "the delivery is recorded")
    [failed] = gh.call("GET", path, status=200)
    assert failed["status_code"] == 0
    assert "failed to connect" in failed["status"]


def test_an_inactive_webhook_gets_no_events(gh: Emulator) -> None:
    gh.add_hook(active=False)
    gh.receiver.wait_for("ping")
    config = {"url": f"{gh.receiver.url}?all", "content_type": "json"}
    active = gh.add_hook(config=config, events=["*"])
    gh.receiver.wait_for("ping", 2)
    gh.commit(file="2")
    gh.push()
    push = gh.receiver.wait_for("push")
    assert push.headers["x-github-hook-id"] == str(active["id"])
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
def test_a_ref_pattern_matches_as_on_github(pattern: str, covered: bool) -> None:
    rules = Ruleset("x", [pattern], [], ["update"])
    assert rules.covers("refs/heads/main") == covered
    assert not Ruleset("x", [pattern], ["refs/heads/main"], []).covers("refs/heads/main")


def test_each_rule_forbids_exactly_its_kind_of_update() -> None:
    created, deleted = Update("r", NO_COMMIT, "b"), Update("r", "a", NO_COMMIT)
    moved = Update("r", "a", "b")
    forced, merged = Update("r", "a", "b", forced=True), Update("r", "a", "b", merges=True)
    forbidden = {
        "creation": [created],
        "deletion": [deleted],
        "update": [moved, forced, merged],
        "non_fast_forward": [forced],
        "required_linear_history": [merged],
        "pull_request": [moved, forced, merged],
    }
    for rule, updates in forbidden.items():
        ruleset = Ruleset("x", ["r"], [], [rule])
        all_updates = (created, deleted, moved, forced, merged)
        violating = [update for update in all_updates if violations(update, ruleset, {})]
        assert violating == updates, rule


def test_a_required_check_must_have_passed_on_the_new_commit() -> None:
    rules = Ruleset("x", ["r"], [], [], checks=["tests"])
    assert violations(Update("r", "a", "b"), rules, {"a": ["tests"]})
    assert not violations(Update("r", "a", "b"), rules, {"b": ["tests"]})


def test_the_hook_accepts_a_push_without_rules_in_an_empty_environment(gh: Emulator) -> None:
    hook = gh.github.git.root / "hooks" / "pre-receive"
    result = subprocess.run([hook], env={}, check=False)
    assert result.returncode == 0
