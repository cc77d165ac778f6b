"""Who reaches a cluster, and what else of DOKS a stack file sets."""

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import pulumi_digitalocean
import pytest

from components.cluster import Autoscaler, ControlPlaneFirewall, Features, Network, NodePool, Sso
from doks_gitops.account import options
from doks_gitops.settings import SettingsError, parse, schema
from doks_gitops.settings.base import Sets
from doks_gitops.settings.model import NOT_SET, Cluster
from doks_gitops.settings.model import NodePool as NodePoolSettings
from tests.provider_facts import arguments_of_a_cluster
from tests.unit.mocked import run
from tests.unit.stackfiles import CLUSTER, parsed
from tests.unit.test_cluster import POOL, program

ADDRESSES = ["1.1.1.0/24", "8.8.8.8"]


def firewalled(environ: Mapping[str, str] | None = None, **keys: Any) -> Cluster:
    """The cluster of a stack file with a firewall, read with these environment variables."""
    firewall = {"allowedAddresses": ADDRESSES, **keys}
    sections = {
        "cluster": {**CLUSTER, "controlPlaneFirewall": firewall},
        "registry": {"name": "team"},
        "argocd": {"chart": {"version": "1.2.3"}},
        "repositories": {"monorepo": {"url": "https://git.example.com/team/monorepo"}},
        "project": {"namespaces": ["shop-dev"]},
    }
    config: dict[str, Any] = {f"doks-gitops:{name}": value for name, value in sections.items()}
    config["digitalocean:token"] = "dop_v1_token"
    return parse("dev", config, {}, environ=environ or {}).cluster


@pytest.mark.parametrize("own", ["1.1.1.77", "8.8.8.8"])
def test_a_firewall_lets_the_machine_through_that_runs_pulumi(own: str) -> None:
    firewalled({"DOKS_GITOPS_PUBLIC_IP": own})
    firewalled(ownAddress=own)


@pytest.mark.parametrize(
    ("environ", "keys", "reason"),
    [
        ({}, {}, "export DOKS_GITOPS_PUBLIC_IP=ADDRESS; or ownAddressUnchecked: true"),
        ({"DOKS_GITOPS_PUBLIC_IP": "9.9.9.9"}, {}, "this machine has the address 9.9.9.9"),
        ({"DOKS_GITOPS_PUBLIC_IP": "192.168.1.7"}, {}, "expected: a public IPv4 address"),
        ({"DOKS_GITOPS_PUBLIC_IP": "1.1.1.1"}, {"ownAddress": "9.9.9.9"}, "address 9.9.9.9"),
        ({}, {"allowedAddresses": []}, "a list, with at least one item"),
        ({}, {"allowedAddresses": ["0.0.0.0/0"]}, "none larger than /8"),
        ({}, {"allowedAddresses": ["10.0.0.0/8"]}, "a public IPv4 address"),
    ],
)
def test_a_firewall_that_may_shut_the_program_out_is_refused(
    environ: dict[str, str], keys: dict[str, Any], reason: str
) -> None:
    with pytest.raises(SettingsError) as error:
        firewalled(environ, **keys)
    assert reason in str(error.value)


def test_a_firewall_that_is_off_or_deliberately_unchecked_needs_no_address() -> None:
    firewalled(enabled=False)
    firewalled(ownAddressUnchecked=True)


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        (
            "sso",
            {"issuerUrl": "https://sso.example.com", "clientId": "doks", "required": True},
            "the cluster would refuse the API token, which is the only way in",
        ),
        ("sso", {"issuerUrl": "http://10.0.0.1", "clientId": "doks"}, "an https URL"),
        ("sso", {"issuerUrl": "https://sso.example.com"}, "sso.clientId"),
        ("autoscaler", {"expanders": ["random"]}, "autoscale in a node pool, or no autoscaler"),
        ("autoscaler", {"scaleDownUtilizationThreshold": 1.1}, "a number from 0.01 to 1"),
        ("autoscaler", {"expanders": ["price"]}, "one of random, priority, least_waste"),
        (
            "features",
            {"amdGpuDevicePlugin": True, "amdGpuDraDriver": False},
            "at most one of amdGpuDevicePlugin, amdGpuDraDriver",
        ),
        ("features", {"routingagent": True}, "did you mean routingAgent?"),
    ],
)
def test_an_option_that_contradicts_another_or_the_program_is_refused(
    key: str, value: dict[str, Any], reason: str
) -> None:
    with pytest.raises(SettingsError) as error:
        parsed(cluster={**CLUSTER, key: value})
    assert reason in str(error.value)


def test_options_reach_the_provider_and_those_that_are_not_set_do_not() -> None:
    arguments = {
        "network": Network("172.20.0.0/16", "172.21.0.0/20"),
        "hold_network": True,
        "worker_subnet": "subnet",
        "isolated_workers": True,
        "control_plane_firewall": ControlPlaneFirewall(ADDRESSES),
        "autoscaler": Autoscaler(0.65, expanders=("priority", "random")),
        "sso": Sso("https://sso.example.com", "doks"),
        "features": Features(routing_agent=True, coredns_autoscaler=False),
        "node_pools": [NodePool("default", "s-2vcpu-4gb", count=2, gpu_partition_mode="MODE")],
    }
    plain, full = run(program()), run(program(**arguments)).one("KubernetesCluster")
    cluster = plain.one("KubernetesCluster")
    assert {key: value for key, value in full.inputs.items() if key not in cluster.inputs} == {
        "clusterSubnet": "172.20.0.0/16",
        "serviceSubnet": "172.21.0.0/20",
        "workerSubnetUuid": "subnet",
        "isolatedWorkers": True,
        "controlPlaneFirewall": {"allowedAddresses": ADDRESSES, "enabled": True},
        "clusterAutoscalerConfigurations": [
            {"scaleDownUtilizationThreshold": 0.65, "expanders": ["priority", "random"]}
        ],
        "ssos": [
            {
                "issuerUrl": "https://sso.example.com",
                "clientId": "doks",
                "enabled": True,
                "required": False,
            }
        ],
        "routingAgent": {"enabled": True},
        "corednsAutoscaler": {"enabled": False},
    }
    assert full.inputs["nodePool"]["gpuPartitionMode"] == "MODE"
    assert POOL.gpu_partition_mode is None


def test_a_cluster_that_exists_keeps_its_networks_whatever_the_program_says() -> None:
    before = run(program())
    networks = Network("172.20.0.0/16", "172.21.0.0/20")
    held = run(program(network=networks, hold_network=True), previous=before)
    assert "clusterSubnet" not in held.one("KubernetesCluster").inputs
    replaced = run(program(network=networks), previous=before)
    assert replaced.one("KubernetesCluster").inputs["clusterSubnet"] == "172.20.0.0/16"


def test_an_option_that_the_account_lacks_is_found() -> None:
    cluster = parsed(
        cluster={
            **CLUSTER,
            "nodePools": [
                {"name": "default", "size": "s-2vcpu-4gb", "autoscale": {"min": 3, "max": 5}}
            ],
            "autoscaler": {"scaleDownUnneededTime": "1m0s"},
            "controlPlaneFirewall": {"allowedAddresses": ADDRESSES, "ownAddressUnchecked": True},
            "features": {"routingAgent": False, "rdmaSharedDevicePlugin": True},
        }
    ).cluster
    lacking = {".".join(map(str, path)): actual for path, _, actual in options.missing(cluster, {})}
    assert lacking == {
        "cluster.controlPlaneFirewall.enabled": None,
        "cluster.controlPlaneFirewall.allowedAddresses": None,
        "cluster.autoscaler.scaleDownUnneededTime": None,
        "cluster.features.rdmaSharedDevicePlugin": None,
    }
    in_account: dict[str, dict[str, object]] = {
        "control_plane_firewall": {"enabled": True, "allowed_addresses": ADDRESSES},
        "cluster_autoscaler_configuration": {"scale_down_unneeded_time": "1m0s"},
        "rdma_shared_dev_plugin": {"enabled": True},
    }
    assert not [*options.missing(cluster, in_account)]


def marks(model: type) -> Iterator[Sets]:
    return (setting.sets for setting in schema.fields(model).values() if setting.sets)


def test_each_argument_of_the_provider_is_set_by_one_key_or_has_a_reason() -> None:
    for resource, model, not_set in (
        ("KubernetesCluster", Cluster, NOT_SET),
        ("KubernetesNodePool", NodePoolSettings, {"cluster_id": "the stack's own cluster"}),
    ):
        arguments = inspect.signature(getattr(pulumi_digitalocean, f"{resource}Args")).parameters
        by_key = [argument for mark in marks(model) for argument in mark.arguments]
        assert sorted([*by_key, *not_set]) == sorted(arguments)


def test_the_reference_says_of_each_key_what_the_provider_does() -> None:
    provider = arguments_of_a_cluster()
    for key, setting in schema.fields(Cluster).items():
        for argument in setting.sets.arguments if setting.sets else ():
            assert setting.sets is not None
            replaces = "cluster" if provider[argument]["changes"] == "replaces" else ""
            assert setting.sets.replaces == replaces, key
            # The program always sends a key that has a default.
            if setting.default is None:
                stays = provider[argument].get("removed") == "stays"
                assert bool(setting.sets.stays) == stays, key
