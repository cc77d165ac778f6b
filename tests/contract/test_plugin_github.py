"""The provider of GitHub on the emulated GitHub."""

import inspect
import json
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pulumi_github
import pytest
from pulumi._types import input_type_types

from sandbox.plugins.common import Failure, Secret, plain
from sandbox.toolchain.recipes import PULUMI_GITHUB
from tests.contract.bridged_plugin import Created, Plugin
from tests.contract.built_tools import binary
from tests.contract.github_api import OWNER, REPO, Emulator, emulator
from tests.contract.sdk import camel, nested_types
from tests.contract.test_github_api import KEY
from tests.permissions import github_parts

DEPLOY_KEY = "github:index/repositoryDeployKey:RepositoryDeployKey"
WEBHOOK = "github:index/repositoryWebhook:RepositoryWebhook"
RULESET = "github:index/repositoryRuleset:RepositoryRuleset"
ENVIRONMENT = "github:index/repositoryEnvironment:RepositoryEnvironment"
SECRET = "github:index/actionsSecret:ActionsSecret"
ENVIRONMENT_SECRET = "github:index/actionsEnvironmentSecret:ActionsEnvironmentSecret"
VARIABLE = "github:index/actionsVariable:ActionsVariable"
ENVIRONMENT_VARIABLE = "github:index/actionsEnvironmentVariable:ActionsEnvironmentVariable"


@pytest.fixture
def gh(tmp_path: Path) -> Iterator[Emulator]:
    with emulator(tmp_path) as served:
        yield served


@pytest.fixture
def plugin(gh: Emulator, tmp_path: Path) -> Iterator[Plugin]:
    file = binary(PULUMI_GITHUB, "pulumi-resource-github")
    with Plugin.running("github", file, {"HOME": str(tmp_path)}) as plugin:
        configure(plugin, gh)
        yield plugin


def configure(plugin: Plugin, gh: Emulator, **changes: object) -> None:
    # Pauses and retries have tests of their own.
    settings = {
        "token": gh.token, "owner": OWNER, "baseUrl": gh.base_url,
        "writeDelayMs": 0, "retryDelayMs": 0,
    }  # fmt: skip
    plugin.configure(**(settings | changes))


def webhook(gh: Emulator, **changes: object) -> dict[str, Any]:
    configuration = {"url": gh.receiver.url, "contentType": "json", "secret": "s3cret"}
    return {"repository": "shop", "events": ["push"], "configuration": configuration, **changes}


def ruleset(**changes: object) -> dict[str, Any]:
    return {
        "repository": "shop",
        "name": "main",
        "target": "branch",
        "enforcement": "active",
        "conditions": {"refName": {"includes": ["~DEFAULT_BRANCH"], "excludes": []}},
        "rules": {"deletion": True, "pullRequest": {"requiredApprovingReviewCount": 1}},
        **changes,
    }


def environment(**changes: object) -> dict[str, Any]:
    return {"repository": "shop", "environment": "dev", **changes}


def values(resource: Created) -> dict[str, Any]:
    """Its outputs without empty ones, which some operations keep as null and others leave out."""
    outputs = plain(resource.outputs)
    outputs.pop("__pulumi_raw_state_delta", None)
    kept: dict[str, Any] = _without_empty(outputs)
    return kept


def _without_empty(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_empty(item) for key, item in value.items() if item not in (None, [])}
    return [_without_empty(item) for item in value] if isinstance(value, list) else value


def everything(gh: Emulator) -> list[tuple[str, dict[str, Any]]]:
    gh.token_of("reviewer")
    number = gh.call("GET", "/users/reviewer", status=200)["id"]
    return [
        (DEPLOY_KEY, {"repository": "shop", "title": "dev", "key": f"{KEY} me"}),
        (WEBHOOK, webhook(gh)),
        (RULESET, ruleset()),
        (ENVIRONMENT, environment(reviewers=[{"users": [number]}], waitTimer=3)),
        (SECRET, {"repository": "shop", "secretName": "A", "value": "1"}),
        (ENVIRONMENT_SECRET, environment(secretName="A", value="1")),
        (VARIABLE, {"repository": "shop", "variableName": "A", "value": "1"}),
        (ENVIRONMENT_VARIABLE, environment(variableName="A", value="1")),
    ]


def assert_properties(schema: dict[str, Any], described: dict[str, Any], args: type) -> None:
    """The properties described in the schema are those of the SDK's class, at every depth."""
    types = input_type_types(args)
    assert described.keys() == types.keys(), args
    for name, hint in types.items():
        reference = json.dumps(described[name]).partition('"#/types/')[2].partition('"')[0]
        nested = next(nested_types(hint), None)
        assert bool(reference) == bool(nested), f"{args}: {name}"
        if nested:
            assert_properties(schema, schema["types"][reference]["properties"], nested)


def test_the_schema_is_that_of_the_sdk(plugin: Plugin, gh: Emulator) -> None:
    schema = json.loads(plugin.schema())
    assert plugin.version() == schema["version"] == version("pulumi_github")
    assert_properties(schema, schema["provider"]["inputProperties"], pulumi_github.ProviderArgs)
    types = [type for type, _ in everything(gh)]
    for type in types:
        args = getattr(pulumi_github, f"{type.rpartition(':')[2]}Args")
        assert_properties(schema, schema["resources"][type]["inputProperties"], args)
    for function in (pulumi_github.get_user, pulumi_github.get_team):
        described = schema["functions"][
            f"github:index/{camel(function.__name__)}:{camel(function.__name__)}"
        ]
        arguments = {camel(name) for name in inspect.signature(function).parameters} - {"opts"}
        assert described["inputs"]["properties"].keys() == arguments


def test_every_resource_is_unchanged_after_its_creation_and_gone_after_its_deletion(
    plugin: Plugin, gh: Emulator
) -> None:
    resources = []
    for type, inputs in everything(gh):
        created = plugin.create(type, inputs)
        assert not plugin.diff(type, created.outputs, created.inputs).diffs, type
        refreshed = plugin.refresh(created)
        assert values(refreshed) == values(created), type
        assert not plugin.diff(type, refreshed.outputs, created.inputs).diffs, type
        resources.append(created)
    for created in reversed(resources):
        plugin.delete(created)
        assert plugin.read(created) is None, created.type


def test_nested_secrets_are_secret_in_the_state(plugin: Plugin, gh: Emulator) -> None:
    hook = plugin.create(WEBHOOK, webhook(gh))
    assert isinstance(hook.outputs["configuration"]["secret"], Secret)
    assert isinstance(hook.outputs["configuration"]["url"], Secret)
    secret = plugin.create(SECRET, {"repository": "shop", "secretName": "A", "value": "1"})
    assert isinstance(secret.outputs["value"], Secret)


def test_a_refresh_does_not_see_a_manual_change_of_a_webhooks_secret(
    plugin: Plugin, gh: Emulator
) -> None:
    hook = plugin.create(WEBHOOK, webhook(gh))
    config = {"url": gh.receiver.url, "content_type": "json", "secret": "other"}
    gh.call("PATCH", f"{REPO}/hooks/{hook.id}", {"config": config}, status=200)
    refreshed = plugin.refresh(hook)
    assert plain(refreshed.outputs)["configuration"]["secret"] == "s3cret"
    gh.call("PATCH", f"{REPO}/hooks/{hook.id}", {"config": {"url": gh.receiver.url}}, status=200)
    refreshed = plugin.refresh(hook)
    assert plugin.diff(WEBHOOK, refreshed.outputs, hook.inputs).diffs == ["configuration"]


def test_a_webhook_is_changed_in_place(plugin: Plugin, gh: Emulator) -> None:
    hook = plugin.create(WEBHOOK, webhook(gh))
    inputs = webhook(gh, active=False)
    changed = plugin.update(hook, inputs)
    assert not gh.github.state.repository("shop").hooks[0].active
    assert gh.github.state.repository("shop").hooks[0].config.secret == "s3cret"
    assert not plugin.diff(WEBHOOK, changed.outputs, changed.inputs).diffs


def test_a_deploy_key_is_deleted_before_its_replacement(plugin: Plugin) -> None:
    key = plugin.create(DEPLOY_KEY, {"repository": "shop", "title": "dev", "key": KEY})
    inputs = key.inputs
    assert plain(key.outputs)["readOnly"]
    assert not plugin.diff(DEPLOY_KEY, key.outputs, inputs | {"key": f"{KEY} comment"}).diffs
    diff = plugin.diff(DEPLOY_KEY, key.outputs, inputs | {"title": "other"})
    assert (list(diff.replaces), diff.deleteBeforeReplace) == (["title"], True)


def test_a_ruleset_is_updated_in_place_and_the_order_of_its_actors_is_ignored(
    plugin: Plugin,
) -> None:
    admins = {"actorType": "OrganizationAdmin", "bypassMode": "pull_request"}
    writers = {"actorId": 4, "actorType": "RepositoryRole", "bypassMode": "always"}
    created = plugin.create(RULESET, ruleset(bypassActors=[admins, writers]))
    reordered = plugin.checked(RULESET, ruleset(bypassActors=[writers, admins]))
    assert not plugin.diff(RULESET, created.outputs, reordered).diffs
    checks = {"requiredChecks": [{"context": "tests"}]}
    rules = {"nonFastForward": True, "requiredStatusChecks": checks}
    changed = plugin.update(created, ruleset(rules=rules))
    assert changed.outputs["etag"] != created.outputs["etag"]
    assert not plugin.diff(RULESET, changed.outputs, changed.inputs).diffs
    assert changed.outputs["rules"]["nonFastForward"]
    assert "pullRequest" not in values(changed)["rules"]


def test_a_refresh_does_not_see_that_reviewers_were_removed_manually(
    plugin: Plugin, gh: Emulator
) -> None:
    [inputs] = [inputs for type, inputs in everything(gh) if type == ENVIRONMENT]
    created = plugin.create(ENVIRONMENT, inputs)
    gh.call("PUT", f"{REPO}/environments/dev", {}, status=200)
    refreshed = plugin.refresh(created)
    assert plugin.diff(ENVIRONMENT, refreshed.outputs, created.inputs).diffs == ["waitTimer"]


@pytest.mark.parametrize("type", [SECRET, ENVIRONMENT_SECRET])
def test_a_refresh_shows_that_others_have_written_a_secret_and_an_update_does_not_set_it_again(
    plugin: Plugin, gh: Emulator, type: str
) -> None:
    plugin.create(ENVIRONMENT, environment())
    scope = environment() if type == ENVIRONMENT_SECRET else {"repository": "shop"}
    created = plugin.create(type, {**scope, "secretName": "A", "value": "1"})
    changed = plugin.update(created, {**scope, "secretName": "A", "value": "2"})
    assert not plugin.diff(type, changed.outputs, changed.inputs).diffs
    repository = gh.github.state.repository("shop")
    vault = repository.environments[0].vault if type == ENVIRONMENT_SECRET else repository.vault
    assert vault.secrets["A"].value == "2"
    later = vault.secrets["A"].updated_at.replace(year=2199)

    def write() -> None:
        with gh.github.state.changing():
            vault.secrets["A"].value, vault.secrets["A"].updated_at = "stolen", later

    gh.in_server(write)
    refreshed = plugin.refresh(changed)
    assert refreshed.outputs["remoteUpdatedAt"] != changed.outputs["remoteUpdatedAt"]
    assert not plugin.diff(type, refreshed.outputs, refreshed.inputs).diffs


def test_deleting_a_secret_that_is_gone_is_an_error(plugin: Plugin, gh: Emulator) -> None:
    secret = plugin.create(SECRET, {"repository": "shop", "secretName": "A", "value": "1"})
    gh.call("DELETE", f"{REPO}/actions/secrets/A", status=204)
    with pytest.raises(Failure, match="404 Not Found"):
        plugin.delete(secret)


def test_creating_a_variable_that_exists_is_an_error(plugin: Plugin, gh: Emulator) -> None:
    gh.call("POST", f"{REPO}/actions/variables", {"name": "A", "value": "x"}, status=201)
    with pytest.raises(Failure, match="409 Already exists"):
        plugin.create(VARIABLE, {"repository": "shop", "variableName": "A", "value": "1"})


def test_existing_resources_are_imported(plugin: Plugin, gh: Emulator) -> None:
    for type, inputs in everything(gh):
        created = plugin.create(type, inputs)
        if type in (WEBHOOK, RULESET, SECRET, ENVIRONMENT_SECRET):
            continue
        imported = plugin.import_(type, created.id)
        assert values(imported) == values(created), type


PARTS = {
    "deployKey": (DEPLOY_KEY,),
    "webhook": (WEBHOOK,),
    "ruleset": (RULESET,),
    "environments": (ENVIRONMENT, ENVIRONMENT_SECRET, ENVIRONMENT_VARIABLE),
    "secrets": (SECRET,),
    "variables": (VARIABLE,),
}


def create_read_delete(plugin: Plugin, gh: Emulator, part: str) -> None:
    """Create, read and delete all resources of a part."""
    resources = [
        plugin.create(type, inputs) for type, inputs in everything(gh) if type in PARTS[part]
    ]
    for resource in reversed(resources):
        assert plugin.read(resource)
        plugin.delete(resource)


@pytest.mark.parametrize("part", PARTS)
def test_a_part_needs_exactly_the_documented_permissions(
    plugin: Plugin, gh: Emulator, part: str
) -> None:
    needed = github_parts()[part]
    configure(plugin, gh, token=gh.token_of("u", "admin", needed))
    create_read_delete(plugin, gh, part)
    for missing in needed:
        fewer = {name: level for name, level in needed.items() if name != missing}
        configure(plugin, gh, token=gh.token_of("u", "admin", fewer))
        with pytest.raises(Failure, match="403 Resource not accessible"):
            create_read_delete(plugin, gh, part)


def test_teams_need_a_permission_of_the_organization(plugin: Plugin, gh: Emulator) -> None:
    gh.in_server(lambda: gh.github.state.add_team("ops", []))
    needed = github_parts()["teams"]
    configure(plugin, gh, token=gh.token_of("u", "admin", needed))
    plugin.invoke("getTeam", slug="ops", summaryOnly=True)
    configure(plugin, gh, token=gh.token_of("u", "admin", {"administration": "write"}))
    with pytest.raises(Failure, match="403"):
        plugin.invoke("getTeam", slug="ops", summaryOnly=True)


def test_users_and_teams_are_looked_up_by_name(plugin: Plugin, gh: Emulator) -> None:
    gh.token_of("reviewer")
    team = gh.in_server(lambda: gh.github.state.add_team("ops", ["reviewer"]))
    user = gh.call("GET", "/users/reviewer", status=200)
    outputs, _ = plugin.invoke("getUser", username="reviewer")
    assert outputs["id"] == str(user["id"])
    outputs, _ = plugin.invoke("getTeam", slug="ops", summaryOnly=True)
    assert outputs["id"] == str(team.id)
    with pytest.raises(Failure, match="404 Not Found"):
        plugin.invoke("getUser", username="nobody")


def test_an_unknown_token_fails_the_configuration(plugin: Plugin, gh: Emulator) -> None:
    with pytest.raises(Failure, match="401 Bad credentials"):
        configure(plugin, gh, token="wrong")
