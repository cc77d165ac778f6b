"""The emulated GitHub against what docs.github.com/en/rest says of it."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from nacl.public import PublicKey, SealedBox

from doks_gitops.github import Repository
from sandbox.github.app import OPERATIONS
from sandbox.github.host import GitHub
from sandbox.github.operations import Operation
from sandbox.github.state import GitHubState, StateUnreadable
from tests.contract.github_api import ALL, OWNER, REPO, Emulator, emulator

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ"


@pytest.fixture
def gh(tmp_path: Path) -> Iterator[Emulator]:
    with emulator(tmp_path) as served:
        yield served


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """One whose state no test relies on."""
    with emulator(tmp_path_factory.mktemp("github")) as served:
        yield served


def seal(text: str, key: dict[str, str]) -> dict[str, str]:
    """A secret as a client sends it, encrypted with the public key that it was given."""
    box = SealedBox(PublicKey(base64.b64decode(key["key"])))
    sealed = base64.b64encode(box.encrypt(text.encode())).decode()
    return {"encrypted_value": sealed, "key_id": key["key_id"]}


def test_nobody_is_let_in_without_a_token(shared: Emulator) -> None:
    answer = httpx.get(shared.api_url + REPO)
    assert (answer.status_code, answer.json()["message"]) == (401, "Requires authentication")
    refused = shared.call("GET", REPO, token="github_pat_wrong", status=401)
    assert refused["message"] == "Bad credentials"


PLACES = {
    "{owner}": OWNER, "{repository}": "shop", "{id:int}": "1", "{delivery:int}": "1",
    "{number:int}": "1", "{commit}": "0" * 40, "{environment}": "dev", "{name}": "A",
    "{slug}": "team", "{login}": OWNER, "{branch:path}": "main",
}  # fmt: skip


def address(operation: Operation) -> str:
    path = operation.path
    for place, value in PLACES.items():
        path = path.replace(place, value)
    return path


@pytest.mark.parametrize(
    "operation",
    [each for each in OPERATIONS if each.permissions],
    ids=lambda each: f"{each.method} {each.path}",
)
def test_an_operation_is_refused_without_its_permission(
    shared: Emulator, operation: Operation
) -> None:
    names = {each.partition(":")[0] for each in operation.permissions}
    token = shared.token_of("u", permissions={name: "write" for name in ALL if name not in names})
    answer = httpx.request(
        operation.method,
        shared.api_url + address(operation),
        headers={"Authorization": f"Bearer {token}"},
    )
    assert answer.status_code == 403
    assert answer.json()["message"] == "Resource not accessible by personal access token"
    accepted = answer.headers["x-accepted-github-permissions"]
    assert accepted == "; ".join(each.replace(":", "=") for each in operation.permissions)


def test_reading_is_not_writing(shared: Emulator) -> None:
    token = shared.token_of("u", permissions={"repository_hooks": "read"})
    assert shared.call("GET", f"{REPO}/hooks", token=token, status=200) == []
    shared.call("POST", f"{REPO}/hooks", {}, token=token, status=403)


def test_a_repository_is_described_by_what_git_has(shared: Emulator) -> None:
    found = shared.call("GET", REPO, status=200)
    assert found["full_name"] == f"{OWNER}/shop"
    assert found["clone_url"] == f"{found['html_url']}.git" == f"{shared.url}/git/shop.git"
    assert found["default_branch"] == "main"
    assert found["private"]
    assert [each["id"] for each in shared.call("GET", f"/orgs/{OWNER}/repos", status=200)] == [
        found["id"]
    ]
    shared.call("GET", f"/repos/{OWNER}/none", status=404)
    shared.call("GET", "/repos/other/shop", status=404)
    branch = shared.call("GET", f"{REPO}/branches/main", status=200)
    assert branch["commit"]["sha"] == shared.git("rev-parse", "HEAD").strip()


def test_an_answer_is_not_sent_twice_to_a_client_that_has_it(shared: Emulator) -> None:
    headers = {"Authorization": f"Bearer {shared.token}"}
    first = httpx.get(shared.api_url + REPO, headers=headers)
    again = httpx.get(
        shared.api_url + REPO, headers=headers | {"If-None-Match": first.headers["etag"]}
    )
    assert (again.status_code, again.content) == (304, b"")


def test_a_deploy_key_is_kept_without_its_comment_and_is_unique(gh: Emulator) -> None:
    body = {"title": "dev", "key": f"{KEY} me@laptop", "read_only": True}
    key = gh.call("POST", f"{REPO}/keys", body, status=201)
    assert (key["key"], key["read_only"], key["title"]) == (KEY, True, "dev")
    assert gh.call("GET", f"{REPO}/keys/{key['id']}", status=200) == key
    refused = gh.call("POST", f"{REPO}/keys", body | {"title": "x"}, status=422)
    assert refused["errors"][0]["message"] == "key is already in use"
    gh.call("POST", f"{REPO}/keys", body | {"key": "ssh-ed25519 AAAA"}, status=422)
    gh.call("DELETE", f"{REPO}/keys/{key['id']}", status=204)
    gh.call("GET", f"{REPO}/keys/{key['id']}", status=404)


def test_a_webhooks_secret_is_never_shown_and_goes_unless_it_is_given_again(gh: Emulator) -> None:
    hook = gh.add_hook()
    assert hook["config"]["secret"] == "********"
    path = f"{REPO}/hooks/{hook['id']}"
    assert "s3cret" not in json.dumps(gh.call("GET", path, status=200))
    again = gh.add_hook(status=422)
    assert again["errors"][0]["message"] == "Hook already exists on this repository"
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


def test_a_ruleset_is_completed_with_githubs_defaults(gh: Emulator) -> None:
    made = gh.call("POST", f"{REPO}/rulesets", ruleset(), status=201)
    [deletion, pull_request] = made["rules"]
    assert deletion == {"type": "deletion"}
    assert pull_request["parameters"]["required_approving_review_count"] == 0
    assert pull_request["parameters"]["allowed_merge_methods"] == ["merge", "squash", "rebase"]
    gh.call("POST", f"{REPO}/rulesets", ruleset(), status=422)
    path = f"{REPO}/rulesets/{made['id']}"
    changed = gh.call("PUT", path, ruleset(name="other"), status=200)
    assert (changed["id"], changed["name"]) == (made["id"], "other")
    assert [each["id"] for each in gh.call("GET", f"{REPO}/rulesets", status=200)] == [made["id"]]
    gh.call("DELETE", path, status=204)
    gh.call("GET", path, status=404)


@pytest.mark.parametrize(
    "wrong",
    [
        {"bypass_actors": [{"actor_id": 1, "actor_type": "Nobody", "bypass_mode": "always"}]},
        {"bypass_actors": None},
        {"conditions": {"ref_name": {"include": ["main"], "exclude": []}}},
        {"rules": [{"type": "unheard_of"}]},
        {"enforcement": "on"},
    ],
)
def test_a_wrong_ruleset_is_refused(shared: Emulator, wrong: dict[str, Any]) -> None:
    shared.call("POST", f"{REPO}/rulesets", ruleset(**wrong), status=422)


def test_who_may_bypass_is_told_to_administrators_only(gh: Emulator) -> None:
    actors = [{"actor_id": None, "actor_type": "OrganizationAdmin", "bypass_mode": "always"}]
    made = gh.call("POST", f"{REPO}/rulesets", ruleset(bypass_actors=actors), status=201)
    assert made["bypass_actors"] == actors
    token = gh.token_of("u", permissions={"contents": "read"})
    shown = gh.call("GET", f"{REPO}/rulesets/{made['id']}", token=token, status=200)
    assert "bypass_actors" not in shown


def test_an_environment_has_what_was_last_asked_for_and_nothing_else(gh: Emulator) -> None:
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
    made = gh.call("PUT", path, body, status=200)
    wait, review, policy = made["protection_rules"]
    assert wait["wait_timer"] == 5
    assert review["prevent_self_review"]
    assert [each["reviewer"]["id"] for each in review["reviewers"]] == [user["id"], team.id]
    assert policy["type"] == "branch_policy"
    assert gh.call("GET", path, status=200) == made
    bare = gh.call("PUT", path, {}, status=200)
    assert bare["protection_rules"] == []
    assert bare["deployment_branch_policy"] is None
    gh.call("PUT", path, {"reviewers": [{"type": "User", "id": 1}]}, status=422)
    both = {"protected_branches": True, "custom_branch_policies": True}
    gh.call("PUT", path, {"deployment_branch_policy": both}, status=422)
    gh.call("DELETE", path, status=204)
    gh.call("GET", path, status=404)


@pytest.mark.parametrize("place", ["/actions", "/environments/dev"])
def test_a_secret_arrives_sealed_and_is_never_shown(gh: Emulator, place: str) -> None:
    gh.call("PUT", f"{REPO}/environments/dev", {}, status=200)
    path = f"{REPO}{place}/secrets"
    key = gh.call("GET", f"{path}/public-key", status=200)
    gh.call("PUT", f"{path}/token", seal("hush", key), status=201)
    gh.call("PUT", f"{path}/TOKEN", seal("hush2", key), status=204)
    assert gh.call("GET", f"{path}/TOKEN", status=200).keys() == {
        "name", "created_at", "updated_at",
    }  # fmt: skip
    assert gh.call("GET", path, status=200)["total_count"] == 1
    known = gh.github.state.repository("shop")
    vault = known.vault if place == "/actions" else known.environments[0].vault
    assert vault.secrets["TOKEN"].value == "hush2"
    gh.call("PUT", f"{path}/OTHER", seal("x", key) | {"key_id": "1"}, status=422)
    unsealed = {"encrypted_value": "aGk=", "key_id": key["key_id"]}
    gh.call("PUT", f"{path}/OTHER", unsealed, status=422)
    gh.call("PUT", f"{path}/GITHUB_X", seal("x", key), status=422)
    gh.call("DELETE", f"{path}/TOKEN", status=204)
    gh.call("GET", f"{path}/TOKEN", status=404)


def test_an_environments_key_is_its_own(gh: Emulator) -> None:
    gh.call("PUT", f"{REPO}/environments/dev", {}, status=200)
    key = gh.call("GET", f"{REPO}/actions/secrets/public-key", status=200)
    gh.call("PUT", f"{REPO}/environments/dev/secrets/A", seal("x", key), status=422)


@pytest.mark.parametrize("place", ["/actions", "/environments/dev"])
def test_a_variable_is_made_once_and_then_changed(gh: Emulator, place: str) -> None:
    gh.call("PUT", f"{REPO}/environments/dev", {}, status=200)
    path = f"{REPO}{place}/variables"
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


def test_pages_lead_to_each_other(gh: Emulator) -> None:
    for number in range(3):
        gh.call("POST", f"{REPO}/issues", {"title": str(number)}, status=201)
    headers = {"Authorization": f"Bearer {gh.token}"}
    first = httpx.get(f"{gh.api_url}{REPO}/issues?per_page=2", headers=headers)
    second = httpx.get(first.links["next"]["url"], headers=headers)
    titles = [each["title"] for each in first.json() + second.json()]
    assert titles == ["2", "1", "0"]
    assert "next" not in second.links


def test_everything_is_there_again_after_a_restart(gh: Emulator, tmp_path: Path) -> None:
    gh.add_hook()
    gh.call("POST", f"{REPO}/rulesets", ruleset(), status=201)
    gh.receiver.wait_for("ping")
    again = GitHub(tmp_path / "github.json", gh.github.git, gh.url)
    assert again.state.data == gh.github.state.data
    assert (tmp_path / "github.json").stat().st_mode & 0o077 == 0


def test_a_state_file_of_another_kind_is_named(tmp_path: Path) -> None:
    path = tmp_path / "github.json"
    path.write_text("{}")
    with pytest.raises(StateUnreadable, match="bin/sandbox reset"):
        GitHubState.load(path)
