"""How the digitalocean plugin checks, plans and compares inputs, without an account."""

import asyncio
import inspect
import re
from collections.abc import Iterator
from typing import Any, TypeVar, get_type_hints

import pulumi
import pulumi_digitalocean
import pytest

from sandbox.plugins.bridge.schema import Field, Fields, Kind
from sandbox.plugins.common import UNKNOWN, Failure
from sandbox.plugins.digitalocean.provider import DigitalOceanProvider
from tests.contract.bridged_plugin import Plugin
from tests.contract.digitalocean_plugin import (
    CLUSTER,
    NODE_POOL,
    REGISTRY,
    VPC,
    cluster_inputs,
)
from tests.contract.sdk import camel, nested_types


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> Iterator[Plugin]:
    for name in ("DIGITALOCEAN_TOKEN", "DIGITALOCEAN_ACCESS_TOKEN", "DIGITALOCEAN_API_URL"):
        monkeypatch.delenv(name, raising=False)
    with asyncio.Runner() as runner:
        yield Plugin.stand_in(runner, DigitalOceanProvider())


def fields_of(type: str) -> Fields:
    return DigitalOceanProvider()._resource(f"urn:pulumi:dev::tests::{type}::x").fields


# Names and types are the SDK's


def parameters(owner: type) -> dict[str, inspect.Parameter]:
    signature = dict(inspect.signature(owner.__init__).parameters)  # type: ignore[misc]
    signature.pop("__self__", None)
    signature.pop("self", None)
    return {camel(name): parameter for name, parameter in signature.items()}


@pytest.mark.parametrize(
    ("type", "args", "state"),
    [
        (CLUSTER, "KubernetesClusterArgs", "kubernetes_cluster._KubernetesClusterState"),
        (NODE_POOL, "KubernetesNodePoolArgs", "kubernetes_node_pool._KubernetesNodePoolState"),
        (REGISTRY, "ContainerRegistryArgs", "container_registry._ContainerRegistryState"),
        (VPC, "VpcArgs", "vpc._VpcState"),
    ],
)
def test_properties_are_those_of_the_sdk(type: str, args: str, state: str) -> None:
    fields = fields_of(type)
    module, name = state.split(".")
    inputs = parameters(getattr(pulumi_digitalocean, args))
    everything = parameters(getattr(getattr(pulumi_digitalocean, module), name))
    assert set(fields) == set(everything)
    assert {name for name, field in fields.items() if not field.output} == set(inputs)
    required = {name for name, field in fields.items() if field.required and not field.autonamed}
    assert required == {
        name for name, parameter in inputs.items() if parameter.default is parameter.empty
    }


def sdk_type(owner: type, name: str) -> type | None:
    # The SDK's hints contain names that its own modules do not import.
    names = {"Output": pulumi.Output, "T": TypeVar("T")}
    hints = get_type_hints(getattr(owner, name).fget, localns=names)
    return next(nested_types(hints["return"]), None)


def assert_nested(fields: Fields, owner: type, path: str = "") -> int:
    checked = 0
    snake = {camel(name): name for name in inspect.signature(owner).parameters}
    for name, field in fields.items():
        inner = field.element if field.element and field.element.fields else field
        if not inner.fields:
            continue
        nested = sdk_type(owner, snake[name])
        assert nested is not None, path + name
        expected = parameters(nested)
        assert set(inner.fields) == set(expected), path + name
        assert {key for key, item in inner.fields.items() if item.required} == {
            key for key, parameter in expected.items() if parameter.default is parameter.empty
        }, path + name
        checked += 1 + assert_nested(inner.fields, nested, f"{path}{name}.")
    return checked


@pytest.mark.parametrize(
    ("type", "state", "objects"),
    [
        (CLUSTER, pulumi_digitalocean.kubernetes_cluster._KubernetesClusterState, 18),
        (NODE_POOL, pulumi_digitalocean.kubernetes_node_pool._KubernetesNodePoolState, 2),
    ],
)
def test_nested_properties_are_those_of_the_sdk(type: str, state: type, objects: int) -> None:
    assert assert_nested(fields_of(type), state) == objects


# Configuration of the provider


def test_the_settings_of_the_sdk_are_accepted(plugin: Plugin) -> None:
    assert not plugin.check_config(
        token="dop_v1_x",
        apiEndpoint="http://127.0.0.1:1",
        httpRetryMax="2",
        httpRetryWaitMin="0.5",
        httpRetryWaitMax="3",
        requestsPerSecond="10",
        spacesEndpoint="https://{{.Region}}.example.com",
        spacesAccessId="id",
        spacesSecretKey="key",
        version="4.84.1",
    )


@pytest.mark.parametrize(
    ("name", "config", "reason"),
    [
        (
            "explicit",
            {"tokn": "x"},
            "Invalid or unknown key. Examine values at 'explicit.tokn'.",
        ),
        (
            "default_4_84_1",
            {"tokn": "x"},
            "Invalid or unknown key. Check `pulumi config get digitalocean:tokn`.",
        ),
        ("explicit", {"httpRetryMax": "many"}, "Examine values at 'explicit.httpRetryMax'."),
    ],
)
def test_invalid_configuration_is_refused_with_its_key(
    plugin: Plugin, name: str, config: dict[str, object], reason: str
) -> None:
    [failure] = plugin.check_config(name, **config)
    assert failure.startswith("could not validate provider configuration: ")
    assert failure.endswith(reason)


def test_unknown_configuration_is_accepted(plugin: Plugin) -> None:
    assert not plugin.check_config(token=UNKNOWN, httpRetryMax=UNKNOWN)


# Inputs


def test_inputs_are_completed_with_defaults_and_list_them(plugin: Plugin) -> None:
    inputs, failures = plugin.check(CLUSTER, cluster_inputs())
    assert not failures
    assert inputs == {
        **cluster_inputs(),
        "surgeUpgrade": True,
        "nodePool": {**cluster_inputs()["nodePool"], "__defaults": []},
        "__defaults": ["surgeUpgrade"],
    }


@pytest.mark.parametrize("type", [CLUSTER, NODE_POOL, REGISTRY, VPC])
def test_a_generated_name_starts_with_the_resources_name_and_is_kept(
    plugin: Plugin, type: str
) -> None:
    first, _ = plugin.check(type, {"region": "nyc1"})
    assert re.fullmatch("thing-[0-9a-f]{7}", first["name"])
    assert "name" in first["__defaults"]
    again, _ = plugin.check(type, {}, olds={**first, "name": "thing-0000000"})
    assert again["name"] == "thing-0000000"


def test_a_name_that_the_program_no_longer_sets_is_generated(plugin: Plugin) -> None:
    named, _ = plugin.check(VPC, {"name": "mine", "region": "nyc1"})
    unnamed, _ = plugin.check(VPC, {"region": "nyc1"}, olds=named)
    assert unnamed["name"] != "mine"


@pytest.mark.parametrize(
    ("type", "inputs", "reason"),
    [
        (CLUSTER, cluster_inputs(nodePools=[]), "Invalid or unknown key. * 'thing.nodePools'"),
        (CLUSTER, cluster_inputs(endpoint="x"), "for the API alone * 'thing.endpoint'"),
        (CLUSTER, {"region": "nyc1", "version": "1"}, "Missing required property 'nodePool'"),
        (
            CLUSTER,
            cluster_inputs(nodePool={"name": "p"}),
            "Missing required property 'nodePool.size'",
        ),
        (CLUSTER, cluster_inputs(region=""), "expected a value that is not empty * 'thing.region'"),
        (CLUSTER, cluster_inputs(ha="perhaps"), "expected true or false, got str * 'thing.ha'"),
        (CLUSTER, cluster_inputs(tags="a"), "expected a list in any order * 'thing.tags'"),
        (CLUSTER, cluster_inputs(tags=["a b"]), "expected letters, digits, * 'thing.tags[0]'"),
        (CLUSTER, cluster_inputs(clusterSubnet="10.0.0.0"), "in CIDR notation * 'thing.cluster"),
        (
            CLUSTER,
            cluster_inputs(maintenancePolicy={"day": "someday"}),
            "expected one of any, monday, * 'thing.maintenancePolicy.day'",
        ),
        (CLUSTER, cluster_inputs(kubeconfigExpireSeconds=-1), "expected at least 0, got -1"),
        (
            CLUSTER,
            cluster_inputs(amdGpuDevicePlugin={"enabled": True}, amdGpuDraDriver={"enabled": True}),
            '"amdGpuDevicePlugin" can\'t be set beside "amdGpuDraDriver"',
        ),
        (
            NODE_POOL,
            {
                "clusterId": "id",
                "size": "s",
                "taints": [{"key": "k", "value": "v", "effect": "Never"}],
            },
            "expected one of NoSchedule, * 'thing.taints[0].effect'",
        ),
        (NODE_POOL, {"size": "s"}, "Missing required property 'clusterId'"),
        (NODE_POOL, {"clusterId": "id", "size": "s", "nodeCount": 1.5}, "a whole number, got flo"),
        (REGISTRY, {"subscriptionTierSlug": "free"}, "one of starter, basic, professional"),
        (VPC, {"region": "nyc1", "ipRange": "10.10.0.0/33"}, "CIDR notation"),
        (VPC, {"region": "nyc1", "description": "x" * 256}, "at most 255 characters"),
    ],
)
def test_invalid_inputs_are_refused_with_their_path(
    plugin: Plugin, type: str, inputs: dict[str, object], reason: str
) -> None:
    _, failures = plugin.check(type, inputs)
    pattern = ".*".join(map(re.escape, reason.split(" * ")))
    assert any(re.search(pattern, failure) for failure in failures), failures


def test_text_is_converted_to_the_type_of_the_input(plugin: Plugin) -> None:
    pool = {"clusterId": "id", "size": "s", "nodeCount": "3", "autoScale": "true"}
    inputs = plugin.checked(NODE_POOL, pool)
    assert inputs["nodeCount"] == 3
    assert inputs["autoScale"] is True


def test_unknown_inputs_are_accepted(plugin: Plugin) -> None:
    inputs = plugin.checked(NODE_POOL, {"clusterId": UNKNOWN, "size": UNKNOWN, "tags": [UNKNOWN]})
    assert inputs["clusterId"] == UNKNOWN
    assert inputs["tags"] == [UNKNOWN]


def test_unsupported_resource_types_and_functions_are_refused_by_name(plugin: Plugin) -> None:
    with pytest.raises(Failure, match="digitalocean:index/droplet:Droplet"):
        plugin.check("digitalocean:index/droplet:Droplet", {})
    with pytest.raises(Failure, match="digitalocean:index/getDroplet:getDroplet"):
        plugin.invoke("getDroplet")


def test_a_preview_shows_the_inputs_and_unknowns_for_the_rest(plugin: Plugin) -> None:
    outputs = plugin.preview(CLUSTER, cluster_inputs())
    assert outputs["name"] == "microservices-demo"
    assert outputs["registryIntegration"] is False
    assert outputs["nodePool"]["size"] == "s-2vcpu-4gb"
    for unknown in ("endpoint", "ha", "vpcUuid", "clusterSubnet", "clusterUrn"):
        assert outputs[unknown] == UNKNOWN
    assert outputs["nodePool"]["id"] == UNKNOWN


# Differences


def as_created(plugin: Plugin, type: str, inputs: dict[str, Any]) -> dict[str, Any]:
    """The outputs of a resource that was created from `inputs` and not changed since."""
    example: dict[Kind, Any] = {
        Kind.STRING: "from-the-api",
        Kind.INTEGER: 7,
        Kind.BOOLEAN: True,
        Kind.LIST: [],
    }

    def complete(fields: Fields, inputs: dict[str, Any]) -> dict[str, Any]:
        outputs = {}
        for name, field in fields.items():
            if field.kind is Kind.OBJECT and name in inputs:
                outputs[name] = complete(field.fields, inputs[name])
            elif name in inputs:
                outputs[name] = inputs[name]
            elif field.output or field.computed:
                outputs[name] = example.get(field.kind, field.kind.zero)
        return outputs

    return complete(fields_of(type), plugin.checked(type, inputs))


def test_an_untouched_resource_has_no_differences(plugin: Plugin) -> None:
    outputs = as_created(plugin, CLUSTER, cluster_inputs(tags=["b", "A"], region="NYC1"))
    inputs = plugin.checked(CLUSTER, cluster_inputs(tags=["a", "b"], region="nyc1"))
    diff = plugin.diff(CLUSTER, outputs, inputs)
    assert diff.changes == diff.DIFF_NONE
    assert not diff.detailedDiff


POOL = {"clusterId": "id", "name": "p", "size": "s-2vcpu-4gb", "nodeCount": 2}

CHANGES = [
    # Changes that replace the resource
    (CLUSTER, cluster_inputs(), {"region": "fra1"}, "region", "UPDATE_REPLACE"),
    (CLUSTER, cluster_inputs(), {"vpcUuid": "other"}, "vpcUuid", "UPDATE_REPLACE"),
    (
        CLUSTER,
        cluster_inputs(),
        {"clusterSubnet": "10.1.0.0/16"},
        "clusterSubnet",
        "UPDATE_REPLACE",
    ),
    (
        CLUSTER,
        cluster_inputs(),
        {"serviceSubnet": "10.2.0.0/16"},
        "serviceSubnet",
        "UPDATE_REPLACE",
    ),
    (CLUSTER, cluster_inputs(), {"version": "1.33.9-do.3"}, "version", "UPDATE_REPLACE"),
    (CLUSTER, cluster_inputs(), {"isolatedWorkers": True}, "isolatedWorkers", "ADD_REPLACE"),
    (
        CLUSTER,
        cluster_inputs(),
        {"nodePool": {"name": "default", "size": "s-4vcpu-8gb", "nodeCount": 2}},
        "nodePool.size",
        "UPDATE_REPLACE",
    ),
    (NODE_POOL, POOL, {"size": "s-4vcpu-8gb"}, "size", "UPDATE_REPLACE"),
    (NODE_POOL, POOL, {"clusterId": "other"}, "clusterId", "UPDATE_REPLACE"),
    (NODE_POOL, POOL, {"clusterId": UNKNOWN}, "clusterId", "UPDATE_REPLACE"),
    (
        REGISTRY,
        {"name": "a", "subscriptionTierSlug": "basic"},
        {"name": "b"},
        "name",
        "UPDATE_REPLACE",
    ),
    (VPC, {"name": "v", "region": "nyc1"}, {"ipRange": "10.9.0.0/20"}, "ipRange", "UPDATE_REPLACE"),
    # Changes in place
    (CLUSTER, cluster_inputs(), {"name": "other"}, "name", "UPDATE"),
    (CLUSTER, cluster_inputs(), {"version": "1.34.11-do.1"}, "version", "UPDATE"),
    (CLUSTER, cluster_inputs(), {"version": "1.35.0-do.0"}, "version", "UPDATE"),
    (CLUSTER, cluster_inputs(ha=True), {"ha": False}, "ha", "DELETE"),
    (CLUSTER, cluster_inputs(), {"autoUpgrade": True}, "autoUpgrade", "ADD"),
    (CLUSTER, cluster_inputs(), {"surgeUpgrade": False}, "surgeUpgrade", "DELETE"),
    (CLUSTER, cluster_inputs(), {"registryIntegration": True}, "registryIntegration", "ADD"),
    (CLUSTER, cluster_inputs(), {"tags": ["new"]}, "tags[0]", "ADD"),
    (CLUSTER, cluster_inputs(tags=["old"]), {"tags": None}, "tags[0]", "DELETE"),
    (
        CLUSTER,
        cluster_inputs(maintenancePolicy={"day": "sunday", "startTime": "04:00"}),
        {"maintenancePolicy": {"day": "sunday", "startTime": "05:00"}},
        "maintenancePolicy.startTime",
        "UPDATE",
    ),
    (NODE_POOL, POOL, {"labels": {"team": "shop"}}, "labels.team", "ADD"),
    (
        NODE_POOL,
        POOL,
        {"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]},
        "taints[0]",
        "ADD",
    ),
    (NODE_POOL, POOL, {"nodeCount": 3}, "nodeCount", "UPDATE"),
    (
        REGISTRY,
        {"name": "a", "subscriptionTierSlug": "basic"},
        {"subscriptionTierSlug": "professional"},
        "subscriptionTierSlug",
        "UPDATE",
    ),
    (VPC, {"name": "v", "region": "nyc1"}, {"description": "text"}, "description", "ADD"),
]


@pytest.mark.parametrize(("type", "before", "change", "path", "kind"), CHANGES)
def test_a_diff_names_the_path_of_a_change_and_whether_it_replaces(
    plugin: Plugin, type: str, before: dict[str, Any], change: dict[str, Any], path: str, kind: str
) -> None:
    outputs = as_created(plugin, type, before)
    outputs.setdefault("actualNodeCount", 2)
    diff = plugin.diff(type, outputs, plugin.checked(type, {**before, **change}))
    kinds = {
        changed_path: difference.Kind.Name(difference.kind)
        for changed_path, difference in diff.detailedDiff.items()
    }
    top = re.split(r"[.\[]", path)[0]
    replaces = kind.endswith("_REPLACE")
    assert kinds == {path: kind}
    assert list(diff.diffs) == [top]
    assert list(diff.replaces) == ([top] if replaces else [])
    assert diff.changes == diff.DIFF_SOME
    # All of these have a name from the program, which two resources can't share.
    assert diff.deleteBeforeReplace == replaces


def test_a_resource_with_a_generated_name_is_replaced_before_the_old_one_is_deleted(
    plugin: Plugin,
) -> None:
    unnamed = {"region": "nyc1", "subscriptionTierSlug": "basic"}
    outputs = as_created(plugin, REGISTRY, unnamed)
    diff = plugin.diff(REGISTRY, outputs, plugin.checked(REGISTRY, {**unnamed, "region": "fra1"}))
    assert list(diff.replaces) == ["region"]
    assert not diff.deleteBeforeReplace


def test_an_omitted_input_that_the_api_decides_is_no_difference(plugin: Plugin) -> None:
    full = cluster_inputs(
        ha=True, vpcUuid="v", clusterSubnet="10.1.0.0/16", maintenancePolicy={"day": "sunday"}
    )
    diff = plugin.diff(
        CLUSTER, as_created(plugin, CLUSTER, full), plugin.checked(CLUSTER, cluster_inputs())
    )
    assert diff.changes == diff.DIFF_NONE


@pytest.mark.parametrize(
    ("desired", "known", "actual", "differs"),
    [
        (2, 2, 2, False),
        (3, 2, 3, False),  # scaled manually before
        (2, 4, 4, True),  # scaled by the autoscaler
        (None, 2, 2, False),
        (None, None, 5, False),
    ],
)
def test_the_number_of_nodes_differs_only_from_the_actual_one(
    plugin: Plugin, desired: int | None, known: int | None, actual: int, differs: bool
) -> None:
    outputs = as_created(plugin, NODE_POOL, {**POOL, "nodeCount": known})
    outputs |= {"nodeCount": known, "actualNodeCount": actual}
    inputs = plugin.checked(NODE_POOL, {**POOL, "nodeCount": desired})
    diff = plugin.diff(NODE_POOL, outputs, inputs)
    assert ("nodeCount" in diff.detailedDiff) == differs


def test_ignored_changes_are_no_difference(plugin: Plugin) -> None:
    outputs = as_created(plugin, CLUSTER, cluster_inputs())
    other = cluster_inputs(
        version="1.35.0-do.0",
        nodePool={"name": "default", "size": "s-4vcpu-8gb", "nodeCount": 5},
    )
    diff = plugin.diff(
        CLUSTER,
        outputs,
        plugin.checked(CLUSTER, other),
        ignore=["version", "nodePool.size", "nodePool.nodeCount"],
    )
    assert diff.changes == diff.DIFF_NONE


def test_a_change_of_outputs_is_no_difference(plugin: Plugin) -> None:
    def outputs_only(fields: Fields, prefix: str = "") -> Iterator[tuple[str, Field]]:
        for name, field in fields.items():
            if field.output:
                yield prefix + name, field
            elif field.kind is Kind.OBJECT:
                yield from outputs_only(field.fields, f"{prefix}{name}.")

    names = [name for name, _ in outputs_only(fields_of(CLUSTER))]
    assert {"endpoint", "kubeConfigs", "nodePool.nodes", "nodePool.id"} <= set(names)
    outputs = as_created(plugin, CLUSTER, cluster_inputs())
    outputs |= {name: "changed" for name in names if "." not in name}
    outputs["nodePool"] |= {"id": "changed", "nodes": [{"id": "changed"}]}
    diff = plugin.diff(CLUSTER, outputs, plugin.checked(CLUSTER, cluster_inputs()))
    assert diff.changes == diff.DIFF_NONE
