"""Each argument that the provider's cluster has is set, changed and taken away again, with the
operation that the real provider does, and the account has the value."""

import asyncio
import inspect
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pulumi_digitalocean
import pytest
from pydantic.alias_generators import to_snake

from sandbox.plugins.common import Failure
from sandbox.plugins.digitalocean import resource
from sandbox.plugins.digitalocean.provider import DigitalOceanProvider
from tests.contract.bridged_plugin import Created, Plugin
from tests.contract.digitalocean_api import Emulator, until
from tests.contract.digitalocean_plugin import CLUSTER, REGISTRY, cluster_inputs
from tests.provider_facts import arguments_of_a_cluster

TABLE = arguments_of_a_cluster()
ARGUMENTS = [*inspect.signature(pulumi_digitalocean.KubernetesClusterArgs).parameters]


@pytest.fixture
def plugin(do: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plugin]:
    monkeypatch.setattr(resource, "POLL", 0.02)
    with asyncio.Runner() as runner:
        plugin = Plugin.stand_in(runner, DigitalOceanProvider())
        plugin.configure(token=do.token, apiEndpoint=do.url)
        yield plugin


def test_the_table_has_every_argument_of_the_sdk() -> None:
    assert sorted(TABLE) == sorted(ARGUMENTS)
    assert len(ARGUMENTS) == 30


def to_camel(argument: str) -> str:
    return re.sub(r"_([a-z0-9])", lambda match: match[1].upper(), argument)


def operation(plugin: Plugin, cluster: Created, inputs: Mapping[str, Any], argument: str) -> str:
    """What the plugin would do for new `inputs`: none, update or replace, for nothing else than
    the `argument`."""
    diff = plugin.diff(CLUSTER, cluster.outputs, plugin.checked(CLUSTER, inputs))
    assert set(diff.diffs) <= {to_camel(argument)}
    return "replace" if diff.replaces else "update" if diff.diffs else "none"


def applied(plugin: Plugin, cluster: Created, inputs: Mapping[str, Any], how: str) -> Created:
    if how == "none":
        return cluster
    if how == "replace":
        plugin.delete(cluster)
        return plugin.create(CLUSTER, inputs)
    return plugin.update(cluster, inputs)


def in_api(value: Any) -> Any:
    """A value of an argument as the API has it."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        [value] = value
    if isinstance(value, dict):
        return {
            re.sub("node_count", "count", to_snake(key)): in_api(item)
            for key, item in value.items()
        }
    return value


def contains(actual: Any, expected: Any) -> bool:
    """Whether the account has the value, beside what DigitalOcean adds."""
    if isinstance(expected, dict):
        actual = actual[0] if isinstance(actual, list) else actual or {}
        return all(contains(actual.get(key), value) for key, value in expected.items())
    if isinstance(expected, list):
        return set(expected) <= set(actual or ())
    return bool(actual == expected)


def has(do: Emulator, cluster: Created, field: str, value: Any) -> bool:
    return contains(do.cluster(cluster.id).get(field), value)


@pytest.mark.parametrize("argument", ARGUMENTS)
def test_an_argument_is_set_changed_and_taken_away_as_the_real_provider_does(
    plugin: Plugin, do: Emulator, argument: str
) -> None:
    name = to_camel(argument)
    what = TABLE[argument]
    plugin.create(REGISTRY, {"name": "team", "subscriptionTierSlug": "basic"})
    do.in_server(lambda: do.account.default_vpc("nyc1"))
    vpc = do.in_server(lambda: do.account.add_vpc("a", "nyc1")).id
    other = do.in_server(lambda: do.account.add_vpc("b", "nyc1")).id
    do.in_server(lambda: do.account.add_nat_gateway(vpc))
    ids = {"VPC": vpc, "OTHER-VPC": other}

    def resolved(value: Any) -> Any:
        return ids.get(value, value) if isinstance(value, str) else value

    def change(to: Any) -> str:
        if what["changes"] == "upgrades":
            return "update" if to == what["to"] else "replace"
        return {"replaces": "replace", "updates": "update"}[what["changes"]]

    first, second = resolved(what["from"]), resolved(what["to"])
    without = cluster_inputs(
        **{key: resolved(value) for key, value in what.get("beside", {}).items()}
    )
    if argument == "name":
        del without["name"]
    required = what.get("removed") == "required"
    if required:
        without[name] = first
    cluster = plugin.create(CLUSTER, without)
    in_account = first if required else what.get("default")
    refused = what.get("back") == "refused"
    for value in (first, second) if refused else (first, second, first):
        inputs = {**without, name: value}
        expected = "none" if value == in_account else change(value)
        assert operation(plugin, cluster, inputs, argument) == expected
        cluster = applied(plugin, cluster, inputs, expected)
        if value or "empty" not in what:
            in_account = value
        field = what.get("field", argument)
        if field is not None:
            until(lambda: has(do, cluster, field, in_api(in_account)), bool)  # noqa: B023 (called at once)
        # An upgrade goes on after the request is answered: the state has the new version only then.
        cluster = plugin.refresh(cluster)
        after = "none" if value == in_account else "update"
        assert operation(plugin, cluster, inputs, argument) == after
    if refused:
        with pytest.raises(Failure):
            plugin.update(cluster, {**without, name: first})
    if required:
        return
    stays = what.get("removed") == "stays" or in_account == what.get("default")
    expected = "none" if stays else change(None)
    assert operation(plugin, cluster, without, argument) == expected
    cluster = applied(plugin, cluster, without, expected)
    after = "none" if stays or "empty" not in what else "update"
    assert operation(plugin, cluster, without, argument) == after
