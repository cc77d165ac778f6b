"""The emulated GitHub behaves as docs.github.com/en/rest describes it."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from nacl.public import PublicKey, SealedBox

from doks_gitops.github import Repository
from sandbox.emulator import StateUnreadable
from sandbox.github.app import OPERATIONS
from sandbox.github.host import GitHub
from sandbox.github.operations import Operation
from sandbox.github.state import GitHubState
from tests.contract.github_api import ALL, OWNER, REPO, Emulator, emulator, wait_until

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ"


@pytest.fixture
def gh(tmp_path: Path) -> Iterator[Emulator]:
    with emulator(tmp_path) as emulated:
        yield emulated


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """An emulator for tests that do not depend on its state."""
    with emulator(tmp_path_factory.mktemp("github")) as emulated:
        yield emulated


def seal(text: str, key: dict[str, str]) -> dict[str, str]:
    """The request body for a secret, encrypted with the public key."""
    box = SealedBox(PublicKey(base64.b64decode(key["key"])))
    encrypted = base64.b64encode(box.encrypt(text.encode())).decode()
    return {"encrypted_value": encrypted, "key_id": key["key_id"]}


def test_a_request_without_a_valid_token_is_refused(shared: Emulator) -> None:
    response = httpx.get(shared.api_url + REPO)
    assert (response.status_code, response.json()["message"]) == (401, "Requires authentication")
    refused = shared.call("GET", REPO, token="github_pat_wrong", status=401)
    assert refused["message"] == "Bad credentials"


PLACEHOLDERS = {
    "{owner}": OWNER, "{repository}": "shop", "{id:int}": "1", "{delivery:int}": "1",
    "{number:int}": "1", "{commit}": "0" * 40, "{environment}": "dev", "{name}": "A",
    "{slug}": "team", "{login}": OWNER, "{branch:path}": "main",
}  # fmt: skip


def path_of(operation: Operation) -> str:
    path = operation.path
    for placeholder, value in PLACEHOLDERS.items():
        path = path.replace(placeholder, value)
    return path


@pytest.mark.parametrize(
    "operation",
    [operation for operation in OPERATIONS if operation.permissions],
    ids=lambda operation: f"{operation.method} {operation.path}",
)
def test_an_operation_is_refused_without_its_permission(
    shared: Emulator, operation: Operation
) -> None:
    names = {permission.partition(":")[0] for permission in operation.permissions}
    token = shared.token_of("u", permissions={name: "write" for name in ALL if name not in names})
    response = httpx.request(
        operation.method,
        shared.api_url + path_of(operation),
        headers={"Authorization": f"Bearer {token}"},
    )
    assert response.status_code == 403
    assert response.json()["message"] == "Resource not accessible by personal access token"
    accepted = response.headers["x-accepted-github-permissions"]
    assert accepted == "; ".join(name.replace(":", "=") for name in operation.permissions)


def test_a_read_permission_does_not_allow_writing(shared: Emulator) -> None:
    token = shared.token_of("u", permissions={"repository_hooks": "read"})
    assert shared.call("GET", f"{REPO}/hooks", token=token, status=200) == []
    shared.call("POST", f"{REPO}/hooks", {}, token=token, status=403)


def test_a_repository_has_the_data_of_its_git_repository(shared: Emulator) -> None:
    repository = shared.call("GET", REPO, status=200)
    assert repository["full_name"] == f"{OWNER}/shop"
    clone_url = f"{shared.url}/git/shop.git"
    assert repository["clone_url"] == f"{repository['html_url']}.git" == clone_url
    assert repository["default_branch"] == "main"
    assert repository["private"]
    [listed] = shared.call("GET", f"/orgs/{OWNER}/repos", status=200)
    assert listed["id"] == repository["id"]
    shared.call("GET", f"/repos/{OWNER}/none", status=404)
    shared.call("GET", "/repos/other/shop", status=404)
    branch = shared.call("GET", f"{REPO}/branches/main", status=200)
    assert branch["commit"]["sha"] == shared.git("rev-parse", "HEAD").strip()


def test_an_unchanged_response_is_not_sent_again(shared: Emulator) -> None:
    headers = {"Authorization": f"Bearer {shared.token}"}
    first = httpx.get(shared.api_url + REPO, headers=headers)
    second = httpx.get(
        shared.api_url + REPO, headers=headers | {"If-None-Match": first.headers["etag"]}
    )
    assert (second.status_code, second.content) == (304, b"")


def test_a_deploy_key_is_stored_without_its_comment_and_is_unique(gh: Emulator) -> None:
    body = {"title": "dev", "key": f"{KEY} me@laptop", "read_only": True}
    key = gh.call("POST", f"{REPO}/keys", body, status=201)
    assert (key["key"], key["read_only"], key["title"]) == (KEY, True, "dev")
    assert gh.call("GET", f"{REPO}/keys/{key['id']}", status=200) == key
    refused = gh.call("POST", f"{REPO}/keys", body | {"title": "x"}, status=422)
    assert refused["errors"][0]["message"] == "key is already in use"
    gh.call("POST", f"{REPO}/keys", body | {"key": "ssh-ed25519 AAAA"}, status=422)
    gh.call("DELETE", f"{REPO}/keys/{key['id']}", status=204)
    gh.call("GET", f"{REPO}/keys/{key['id']}", status=404)


def test_a_webhooks_secret_is_never_shown_and_a_config_without_it_removes_it(gh: Emulator) -> None:
    hook = gh.add_hook()
    assert hook["config"]["secret"] == "********"
    path = f"{REPO}/hooks/{hook['id']}"
    assert "s3cret" not in json.dumps(gh.call("GET", path, status=200))
    refused = gh.add_hook(status=422)
    assert refused["errors"][0]["message"] == "Hook already exists on this repository"
    changed = gh.call("PATCH", path, {"config": {"url": hook["config"]["url"]}}, status=200)
    assert "secret" not in changed["config"]
    assert changed["events"] == ["push"]
    gh.call("DELETE", path, status=204)
    assert gh.call("GET", f"{REPO}/hooks", status=200) == []


def ruleset(**changes: object) -> dict[str, Any]:
    return {
        "name": "main",
        "target": "branch",
        "enforcement": "active",
        "bypass_actors": [],
        "conditions": {"ref_name": {"include": ["~DEFAULT_BRANCH"], "exclude": []}},
        "rules": [{"type": "deletion"}, {"type": "pull_request"}],
        **changes,
    }


def test_a_ruleset_gets_githubs_defaults_and_can_be_changed_and_deleted(gh: Emulator) -> None:
    created = gh.call("POST", f"{REPO}/rulesets", ruleset(), status=201)
    [deletion, pull_request] = created["rules"]
    assert deletion == {"type": "deletion"}
    assert pull_request["parameters"]["required_approving_review_count"] == 0
    assert pull_request["parameters"]["allowed_merge_methods"] == ["merge", "squash", "rebase"]
    gh.call("POST", f"{REPO}/rulesets", ruleset(), status=422)
    path = f"{REPO}/rulesets/{created['id']}"
    changed = gh.call("PUT", path, ruleset(name="other"), status=200)
    assert (changed["id"], changed["name"]) == (created["id"], "other")
    [listed] = gh.call("GET", f"{REPO}/rulesets", status=200)
    assert listed["id"] == created["id"]
    gh.call("DELETE", path, status=204)
    gh.call("GET", path, status=404)


@pytest.mark.parametrize(
    "invalid",
    [
        {"bypass_actors": [{"actor_id": 1, "actor_type": "Nobody", "bypass_mode": "always"}]},
        {"bypass_actors": None},
        {"conditions": {"ref_name": {"include": ["main"], "exclude": []}}},
        {"rules": [{"type": "unheard_of"}]},
        {"enforcement": "on"},
    ],
)
def test_an_invalid_ruleset_is_refused(shared: Emulator, invalid: dict[str, Any]) -> None:
    shared.call("POST", f"{REPO}/rulesets", ruleset(**invalid), status=422)


def test_only_administrators_see_the_bypass_actors(gh: Emulator) -> None:
    actors = [{"actor_id": None, "actor_type": "OrganizationAdmin", "bypass_mode": "always"}]
    created = gh.call("POST", f"{REPO}/rulesets", ruleset(bypass_actors=actors), status=201)
    assert created["bypass_actors"] == actors
    token = gh.token_of("u", permissions={"contents": "read"})
    response = gh.call("GET", f"{REPO}/rulesets/{created['id']}", token=token, status=200)
    assert "bypass_actors" not in response


def test_an_environment_has_exactly_the_settings_of_the_last_request(gh: Emulator) -> None:
    gh.token_of("reviewer")
    user = gh.call("GET", "/users/reviewer", status=200)
    team = gh.in_server(lambda: gh.github.state.add_team("ops", ["reviewer"]))
    assert gh.call("GET", f"/orgs/{OWNER}/teams/ops", status=200)["id"] == team.id
    path = f"{REPO}/environments/prod"
    body = {
        "wait_timer": 5,
        "prevent_self_review": True,
        "reviewers": [{"type": "User", "id": user["id"]}, {"type": "Team", "id": team.id}],
        "deployment_branch_policy": {"protected_branches": True, "custom_branch_policies": False},
    }
    created = gh.call("PUT", path, body, status=200)
    wait, review, policy = created["protection_rules"]
    assert wait["wait_timer"] == 5
    assert review["prevent_self_review"]
    reviewer_ids = [reviewer["reviewer"]["id"] for reviewer in review["reviewers"]]
    assert reviewer_ids == [user["id"], team.id]
    assert policy["type"] == "branch_policy"
    assert gh.call("GET", path, status=200) == created
    reset = gh.call("PUT", path, {}, status=200)
    assert reset["protection_rules"] == []
    assert reset["deployment_branch_policy"] is None
    gh.call("PUT", path, {"reviewers": [{"type": "User", "id": 1}]}, status=422)
    both = {"protected_branches": True, "custom_branch_policies": True}
    gh.call("PUT", path, {"deployment_branch_policy": both}, status=422)
    gh.call("DELETE", path, status=204)
    gh.call("GET", path, status=404)


@pytest.mark.parametrize("vault_path", ["/actions", "/environments/dev"])
def test_a_secret_is_sent_encrypted_and_is_never_shown(gh: Emulator, vault_path: str) -> None:
    gh.call("PUT", f"{REPO}/environments/dev", {}, status=200)
    path = f"{REPO}{vault_path}/secrets"
    key = gh.call("GET", f"{path}/public-key", status=200)
    gh.call("PUT", f"{path}/token", seal("hush", key), status=201)
    gh.call("PUT", f"{path}/TOKEN", seal("hush2", key), status=204)
    assert gh.call("GET", f"{path}/TOKEN", status=200).keys() == {
        "name", "created_at", "updated_at",
    }  # fmt: skip
    assert gh.call("GET", path, status=200)["total_count"] == 1
    record = gh.github.state.repository("shop")
    vault = record.vault if vault_path == "/actions" else record.environments[0].vault
    assert vault.secrets["TOKEN"].value == "hush2"
    gh.call("PUT", f"{path}/OTHER", seal("x", key) | {"key_id": "1"}, status=422)
    unencrypted = {"encrypted_value": "aGk=", "key_id": key["key_id"]}
    gh.call("PUT", f"{path}/OTHER", unencrypted, status=422)
    gh.call("PUT", f"{path}/GITHUB_X", seal("x", key), status=422)
    gh.call("DELETE", f"{path}/TOKEN", status=204)
    gh.call("GET", f"{path}/TOKEN", status=404)


def test_an_environment_has_a_public_key_of_its_own(gh: Emulator) -> None:
    gh.call("PUT", f"{REPO}/environments/dev", {}, status=200)
    key = gh.call("GET", f"{REPO}/actions/secrets/public-key", status=200)
    gh.call("PUT", f"{REPO}/environments/dev/secrets/A", seal("x", key), status=422)


@pytest.mark.parametrize("vault_path", ["/actions", "/environments/dev"])
def test_a_variable_is_created_once_and_then_changed(gh: Emulator, vault_path: str) -> None:
    gh.call("PUT", f"{REPO}/environments/dev", {}, status=200)
    path = f"{REPO}{vault_path}/variables"
    gh.call("POST", path, {"name": "region", "value": "nyc1"}, status=201)
    gh.call("POST", path, {"name": "REGION", "value": "fra1"}, status=409)
    gh.call("PATCH", f"{path}/REGION", {"value": "fra1"}, status=204)
    assert gh.call("GET", f"{path}/region", status=200)["value"] == "fra1"
    gh.call("DELETE", f"{path}/REGION", status=204)
    gh.call("PATCH", f"{path}/REGION", {"value": "x"}, status=404)


def test_a_workflows_comment_is_updated_in_place(gh: Emulator) -> None:
    gh.push("HEAD:refs/heads/change")
    gh.commit(file="2")
    gh.push("HEAD:change")
    body = {"title": "Change", "head": "change", "base": "main"}
    pull = gh.call("POST", f"{REPO}/pulls", body, status=201)
    workflow = Repository(f"{OWNER}/shop", gh.token, gh.api_url)
    first = workflow.comment(pull["number"], "preview", "one")
    assert workflow.comment(pull["number"], "preview", "two") == first
    [comment] = gh.call("GET", f"{REPO}/issues/{pull['number']}/comments", status=200)
    assert comment["body"].endswith("two")


def test_a_workflows_issue_is_opened_updated_and_closed(gh: Emulator) -> None:
    workflow = Repository(f"{OWNER}/shop", gh.token, gh.api_url)
    first = workflow.issue("drift", "Drift", "one")
    assert workflow.issue("drift", "Drift again", "two") == first
    assert workflow.close_issue("drift", "Gone.") == first
    assert gh.call("GET", f"{REPO}/issues", status=200) == []
    [issue] = gh.call("GET", f"{REPO}/issues?state=all", status=200)
    assert (issue["title"], issue["state"]) == ("Drift again", "closed")
    assert workflow.issue("drift", "Drift", "three") != first


def test_a_workflows_pull_request_is_opened_once(gh: Emulator) -> None:
    gh.commit(file="2")
    gh.push("HEAD:refs/heads/change")
    workflow = Repository(f"{OWNER}/shop", gh.token, gh.api_url)
    first = workflow.pull_request("change", "main", "Change")
    assert workflow.pull_request("change", "main", "Change") == first
    [pull] = gh.call("GET", f"{REPO}/pulls", status=200)
    assert pull["html_url"] == first


def test_a_page_links_to_the_next_one(gh: Emulator) -> None:
    for number in range(3):
        gh.call("POST", f"{REPO}/issues", {"title": str(number)}, status=201)
    headers = {"Authorization": f"Bearer {gh.token}"}
    first = httpx.get(f"{gh.api_url}{REPO}/issues?per_page=2", headers=headers)
    second = httpx.get(first.links["next"]["url"], headers=headers)
    titles = [issue["title"] for issue in first.json() + second.json()]
    assert titles == ["2", "1", "0"]
    assert "next" not in second.links


def test_all_data_survives_a_restart(gh: Emulator, tmp_path: Path) -> None:
    deliveries = f"{REPO}/hooks/{gh.add_hook()['id']}/deliveries"
    gh.call("POST", f"{REPO}/rulesets", ruleset(), status=201)
    # The delivery of the ping is recorded after it is received.
    wait_until(lambda: bool(gh.call("GET", deliveries, status=200)), "the ping is recorded")
    restarted = GitHub(tmp_path / "github.json", gh.github.git, gh.url)
    assert restarted.state.data == gh.github.state.data
    assert (tmp_path / "github.json").stat().st_mode & 0o077 == 0


def test_an_unreadable_state_file_is_named_with_the_next_command(tmp_path: Path) -> None:
    path = tmp_path / "github.json"
    path.write_text("{}")
    with pytest.raises(StateUnreadable, match="bin/sandbox reset"):
        GitHubState.load(path)


def test_a_check_is_that_of_its_latest_run_and_only_of_a_commit_that_exists(gh: Emulator) -> None:
    commit = gh.commit(file="2")
    gh.push()
    token = gh.token_of("u", permissions={"checks": "write"})
    repository = Repository(f"{OWNER}/shop", token, gh.api_url)
    repository.check(commit, "preview", "Something would fail", "first", passed=False)
    repository.check(commit, "preview", "Nothing would fail", "second", passed=True)
    answer = gh.call("GET", f"{REPO}/commits/{commit}/check-runs", status=200)
    [run] = answer["check_runs"]
    assert (answer["total_count"], run["status"], run["conclusion"]) == (1, "completed", "success")
    assert run["output"] == {"title": "Nothing would fail", "summary": "second"}
    path, body = f"{REPO}/check-runs", {"name": "preview", "head_sha": commit}
    gh.call("POST", path, {**body, "head_sha": "0" * 40}, status=422)
    gh.call("POST", path, {**body, "status": "completed"}, status=422)
    long = {"title": "a", "summary": "x" * 65_536}
    gh.call("POST", path, {**body, "conclusion": "success", "output": long}, status=422)
