"""The stand-ins and the provider of GitHub do what the table of facts says.

With SANDBOX_REAL_PROVIDERS, the machine's digitalocean plugin is tested in place of the stand-in.
"""

import asyncio
import copy
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from sandbox.paths import Home
from sandbox.plugins.common import UNKNOWN, plain
from sandbox.plugins.digitalocean import resource
from sandbox.plugins.digitalocean.provider import DigitalOceanProvider
from sandbox.plugins.install import real_plugins
from sandbox.plugins.kubernetes import config as kubernetes_config
from sandbox.plugins.kubernetes.diff import force_new
from sandbox.toolchain.recipes import PULUMI_GITHUB
from tests.contract.bridged_plugin import Created, Plugin
from tests.contract.built_tools import binary
from tests.contract.digitalocean_api import Emulator, InMemoryBackend, emulator
from tests.contract.digitalocean_plugin import CLUSTER, NODE_POOL, REGISTRY, VPC, cluster_inputs
from tests.contract.github_api import OWNER
from tests.contract.github_api import emulator as github_emulator
from tests.contract.test_github_api import KEY
from tests.provider_facts import Fact, facts

SHOP = {"repository": "shop"}
DEV = {**SHOP, "environment": "dev"}
INPUTS: dict[str, dict[str, Any]] = {
    CLUSTER: cluster_inputs(name="demo"),
    NODE_POOL: {"name": "burst", "size": "s-4vcpu-8gb", "nodeCount": 1, "clusterId": "a"},
    REGISTRY: {"name": "microservices-demo", "subscriptionTierSlug": "basic"},
    VPC: {"name": "demo", "region": "nyc1"},
    "github:index/repositoryDeployKey:RepositoryDeployKey": {**SHOP, "title": "dev", "key": KEY},
    "github:index/repositoryWebhook:RepositoryWebhook": {
        **SHOP,
        "events": ["push"],
        "configuration": {"url": "https://example.com", "contentType": "json", "secret": "s"},
    },
    "github:index/repositoryRuleset:RepositoryRuleset": {
        **SHOP,
        "name": "main",
        "target": "branch",
        "enforcement": "active",
        "conditions": {"refName": {"includes": ["~DEFAULT_BRANCH"], "excludes": []}},
        "rules": {"deletion": True},
    },
    "github:index/repositoryEnvironment:RepositoryEnvironment": DEV,
    "github:index/actionsSecret:ActionsSecret": {**SHOP, "secretName": "A", "value": "1"},
    "github:index/actionsEnvironmentSecret:ActionsEnvironmentSecret": {
        **DEV, "secretName": "A", "value": "1",
    },
    "github:index/actionsVariable:ActionsVariable": {**SHOP, "variableName": "A", "value": "1"},
    "github:index/actionsEnvironmentVariable:ActionsEnvironmentVariable": {
        **DEV, "variableName": "A", "value": "1",
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def do(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with emulator(tmp_path_factory.mktemp("account") / "account.json", InMemoryBackend()) as served:
        yield served


@contextmanager
def digitalocean(home: Home) -> Iterator[Plugin]:
    if REAL:
        file = real_plugins(home, Console(stderr=True), real=True)["digitalocean"].file
        with Plugin.running("digitalocean", file, {"HOME": str(home.root)}) as plugin:
            yield plugin
    else:
        with asyncio.Runner() as runner:
            yield Plugin.stand_in(runner, DigitalOceanProvider())


@pytest.fixture(scope="module")
def plugins(do: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Plugin]]:
    """The configured plugins by the names of their packages."""
    folder = tmp_path_factory.mktemp("plugins")
    with ExitStack() as stack:
        stack.enter_context(pytest.MonkeyPatch.context()).setattr(resource, "POLL", 0.02)
        plugin = stack.enter_context(digitalocean(Home(folder)))
        plugin.configure(token=do.token, apiEndpoint=do.url)
        gh = stack.enter_context(github_emulator(folder))
        file = binary(PULUMI_GITHUB, "pulumi-resource-github")
        github = stack.enter_context(Plugin.running("github", file, {"HOME": str(folder)}))
        github.configure(token=gh.token, owner=OWNER, baseUrl=gh.base_url)
        yield {"digitalocean": plugin, "github": github}


def with_value(fact: Fact, value: Any) -> dict[str, Any]:
    """The inputs of a resource with that value of the property."""
    inputs = copy.deepcopy(INPUTS[fact.type])
    *parents, name = fact.path.split(".")
    owner = inputs
    for parent in parents:
        owner = owner.setdefault(parent, {})
    owner[name] = value
    return inputs


def top(path: str) -> str:
    return path.partition(".")[0].partition("[")[0]


ADDED = {"maintenancePolicy": {"duration": "4h0m0s"}}
"""What the API adds to a value."""
REAL = bool(os.environ.get("SANDBOX_REAL_PROVIDERS"))
CHANGES = [
    fact
    for fact in facts("digitalocean", "github")
    if "from" in fact.what and not (REAL and "since" in fact.what)
]


@pytest.mark.parametrize("fact", CHANGES, ids=str)
def test_a_change_replaces_or_updates_as_the_table_says(
    plugins: dict[str, Plugin], fact: Fact
) -> None:
    plugin = plugins[fact.type.partition(":")[0]]
    old = plugin.checked(fact.type, with_value(fact, fact.what["from"]))
    new = plugin.checked(fact.type, with_value(fact, fact.what["to"]))
    diff = plugin.diff(fact.type, old, new)
    assert top(fact.path) in map(top, diff.diffs)
    assert bool(diff.replaces) == (fact.what["changes"] == "replaces"), diff.replaces
    if fact.what["changes"] == "upgrades":
        assert plugin.diff(fact.type, new, old).replaces


@pytest.mark.parametrize(
    "fact", [fact for fact in CHANGES if fact.what.get("removed") == "stays"], ids=str
)
def test_a_value_that_the_program_no_longer_has_is_no_change(
    plugins: dict[str, Plugin], fact: Fact
) -> None:
    plugin = plugins[fact.type.partition(":")[0]]
    old = plugin.checked(fact.type, with_value(fact, fact.what["from"]))
    if fact.path in ADDED:
        old[fact.path] |= ADDED[fact.path]
    diff = plugin.diff(fact.type, old, plugin.checked(fact.type, INPUTS[fact.type]))
    assert top(fact.path) not in map(top, diff.diffs)


def value_at(properties: Any, path: str) -> Any:
    """The value at that path; None if there is none."""
    for name in path.split("."):
        properties = (properties or {}).get(name)
    return plain(properties)


CREATED = [
    fact
    for fact in facts("digitalocean")
    # Not together with a fixed number of nodes, and nothing that only another region has.
    if "from" in fact.what
    and fact.what["changes"] != "replaces"
    # The API adds to some objects.
    and (not isinstance(fact.what["from"], dict) or fact.what["to"] == {})
    and not fact.path.endswith(("autoScale", "minNodes", "maxNodes"))
]
"""Facts that are tested with a resource in the account."""


@pytest.fixture(scope="module")
def created(plugins: dict[str, Plugin]) -> dict[str, Created]:
    """A resource of each type, with the first value of each fact."""
    resources: dict[str, Created] = {}
    for type in (VPC, REGISTRY, CLUSTER, NODE_POOL):
        inputs = copy.deepcopy(INPUTS[type])
        for fact in (fact for fact in CREATED if fact.type == type):
            inputs = merged(inputs, nested(fact.path, fact.what["from"]))
        if type == NODE_POOL:
            inputs["clusterId"] = resources[CLUSTER].id
        resources[type] = plugins["digitalocean"].create(type, inputs)
    return resources


def merged(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    return under | {
        key: merged(under[key], value) if isinstance(under.get(key), dict) else value
        for key, value in over.items()
    }


@pytest.mark.parametrize("fact", CREATED, ids=str)
def test_a_refresh_reads_what_the_table_says(
    plugins: dict[str, Plugin], created: dict[str, Created], fact: Fact
) -> None:
    plugin, resource = plugins["digitalocean"], created[fact.type]
    outputs = merged(resource.outputs, nested(fact.path, fact.what["to"]))
    # It describes the outputs as they were.
    outputs.pop("__pulumi_raw_state_delta", None)
    outdated = replace(resource, outputs=outputs)
    refreshed = plugin.refresh(outdated)
    kept = fact.what["to" if fact.what.get("read") == "never" else "from"]
    assert value_at(refreshed.outputs, fact.path) == kept


def nested(path: str, value: Any) -> dict[str, Any]:
    for name in reversed(path.split(".")):
        value = {name: value}
    result: dict[str, Any] = value
    return result


@pytest.mark.parametrize(
    "fact",
    [
        fact
        for fact in CREATED
        if fact.what["to"] in ([], {}, False) and fact.path != "registryIntegration"
    ],
    ids=str,
)
def test_an_empty_value_is_sent_or_not_as_the_table_says(
    plugins: dict[str, Plugin], created: dict[str, Created], fact: Fact
) -> None:
    plugin, resource = plugins["digitalocean"], created[fact.type]
    inputs = merged(resource.inputs, nested(fact.path, fact.what["to"]))
    inputs.pop("__defaults", None)
    updated = plugin.refresh(plugin.update(resource, inputs))
    stays = fact.what.get("empty") == "never sent"
    assert value_at(updated.outputs, fact.path) == fact.what["from" if stays else "to"]
    created[fact.type] = updated


def test_the_kubernetes_plugin_replaces_what_the_table_says() -> None:
    for type, properties in by_type("kubernetes").items():
        replacing = {path for path, what in properties.items() if what["changes"] == "replaces"}
        if type.startswith("kubernetes:helm"):
            assert replacing == {"name", "namespace"}
        elif type.startswith("kubernetes:"):
            _, api_version, kind = type.split(":")
            item = {"apiVersion": api_version.removeprefix("core/"), "kind": kind}
            paths = force_new(item, mutable_secrets=True, mutable_config_maps=False)
            assert properties.keys() & {*paths} == replacing, type
        else:
            changed: dict[str, tuple[dict[str, Any], dict[str, Any]]]
            changed = {path: ({path: "a"}, {path: "b"}) for path in properties}
            changed["kubeconfig"] = ({"kubeconfig": "{}"}, {"kubeconfig": UNKNOWN})
            assert replacing == {
                path for path, (old, new) in changed.items() if kubernetes_config.diff(old, new)[1]
            }


def by_type(provider: str) -> dict[str, dict[str, Any]]:
    types: dict[str, dict[str, Any]] = {}
    for fact in facts(provider):
        types.setdefault(fact.type, {})[fact.path] = fact.what
    return types
