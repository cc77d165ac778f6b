"""DoksCluster: its resources and their inputs."""

from collections.abc import Callable, Mapping
from typing import Any

import yaml
from pulumi import ResourceOptions

from components.cluster import (
    Autoscale,
    DoksCluster,
    DoksClusterArgs,
    Maintenance,
    NodePool,
    Taint,
)
from tests.unit.mocked import digitalocean_provider, refused, run

POOL = NodePool("default", "s-2vcpu-4gb", count=2)


def program(**changes: Any) -> Callable[[], Mapping[str, Any]]:
    args = DoksClusterArgs(
        **{
            "cluster_name": "demo",
            "region": "nyc1",
            "version": "1.34.1-do.0",
            "node_pools": [POOL],
            "access_token": "dop_v1_token",
            **changes,
        }
    )

    def body() -> Mapping[str, Any]:
        cluster = DoksCluster("cluster", args, ResourceOptions(providers=[digitalocean_provider()]))
        return {
            "id": cluster.cluster_id,
            "endpoint": cluster.endpoint,
            "context": cluster.context,
            "kubeconfig": cluster.kubeconfig,
            "vpc": cluster.vpc_id,
        }

    return body


def test_settings_reach_the_cluster() -> None:
    cluster = run(
        program(
            high_availability=True,
            auto_upgrade=True,
            surge_upgrade=False,
            maintenance=Maintenance("sunday", "04:00"),
            tags=["team"],
            destroy_associated_resources=True,
            registry_integration=True,
            vpc_id="vpc-id",
        )
    ).one("KubernetesCluster")
    assert cluster.inputs == {
        "name": "demo",
        "region": "nyc1",
        "version": "1.34.1-do.0",
        "ha": True,
        "autoUpgrade": True,
        "surgeUpgrade": False,
        "maintenancePolicy": {"day": "sunday", "startTime": "04:00"},
        "tags": ["team"],
        "destroyAllAssociatedResources": True,
        "registryIntegration": True,
        "vpcUuid": "vpc-id",
        "nodePool": {
            "name": "default",
            "size": "s-2vcpu-4gb",
            "autoScale": False,
            "nodeCount": 2,
        },
    }


def test_registry_integration_of_an_existing_cluster_is_never_removed_by_an_update() -> None:
    first = run(program(registry_integration=True))
    second = run(program(registry_integration=False), previous=first)
    assert second.one("KubernetesCluster").inputs["registryIntegration"] is True


def test_control_plane_is_highly_available_only_if_the_arguments_say_so() -> None:
    # From Kubernetes 1.36, DigitalOcean's default is high availability, which costs money.
    assert run(program()).one("KubernetesCluster").inputs["ha"] is False


def test_pools_after_the_first_are_separate_resources() -> None:
    burst = NodePool(
        "burst",
        "s-4vcpu-8gb",
        autoscale=Autoscale(1, 5),
        labels={"kind": "burst"},
        taints=[Taint("burst", "NoSchedule", value="yes")],
        tags=["burst"],
    )
    pool = run(program(node_pools=[POOL, burst])).one("KubernetesNodePool")
    assert pool.name == "cluster-burst"
    assert pool.inputs == {
        "clusterId": "cluster-id",
        "name": "burst",
        "size": "s-4vcpu-8gb",
        "autoScale": True,
        "minNodes": 1,
        "maxNodes": 5,
        "labels": {"kind": "burst"},
        "taints": [{"key": "burst", "value": "yes", "effect": "NoSchedule"}],
        "tags": ["burst"],
    }


def test_order_of_the_other_pools_has_no_effect() -> None:
    a, b = NodePool("a", "s-2vcpu-4gb", count=1), NodePool("b", "s-2vcpu-4gb", count=1)
    first, second = run(program(node_pools=[POOL, a, b])), run(program(node_pools=[POOL, b, a]))
    assert set(first.resources) == set(second.resources)
    assert len(first.all("KubernetesNodePool")) == 2


def test_update_does_not_reset_the_number_of_nodes_of_an_autoscaled_pool() -> None:
    pool = NodePool("default", "s-2vcpu-4gb", autoscale=Autoscale(2, 6))
    inputs = run(program(node_pools=[pool])).one("KubernetesCluster").inputs["nodePool"]
    assert "nodeCount" not in inputs
    assert (inputs["autoScale"], inputs["minNodes"], inputs["maxNodes"]) == (True, 2, 6)


def test_protected_cluster_can_not_be_deleted() -> None:
    assert run(program(protect=True)).one("KubernetesCluster").protect
    assert not run(program()).one("KubernetesCluster").protect


def test_vpc_of_a_protected_cluster_can_not_be_deleted_either() -> None:
    assert run(program(protect=True, vpc_ip_range="10.10.0.0/20")).one("Vpc").protect
    assert not run(program(vpc_ip_range="10.10.0.0/20")).one("Vpc").protect


def test_automatically_upgraded_cluster_is_not_upgraded_again() -> None:
    before = run(program(version="1.34.1-do.0"))
    after = run(program(version="1.34.2-do.0", hold_version=True), previous=before)
    assert after.one("KubernetesCluster").inputs["version"] == "1.34.1-do.0"
    upgraded = run(program(version="1.34.2-do.0"), previous=before)
    assert upgraded.one("KubernetesCluster").inputs["version"] == "1.34.2-do.0"


def test_resource_is_deleted_before_its_replacement_with_the_same_name() -> None:
    result = run(program(node_pools=[POOL, NodePool("burst", "s-4vcpu-8gb", count=1)]))
    assert result.one("KubernetesCluster").delete_before_replace
    assert result.one("KubernetesNodePool").delete_before_replace


def test_own_vpc_has_the_name_of_the_cluster_and_is_deleted_after_it() -> None:
    result = run(program(vpc_ip_range="10.10.0.0/20"))
    vpc, cluster = result.one("Vpc"), result.one("KubernetesCluster")
    assert vpc.inputs == {"name": "demo", "region": "nyc1", "ipRange": "10.10.0.0/20"}
    assert cluster.inputs["vpcUuid"] == "cluster-id"  # the mocks derive it from the logical name
    assert vpc.urn in result.dependencies(cluster)


def test_default_vpc_of_the_region_is_used_without_a_vpc() -> None:
    result = run(program())
    assert not result.all("Vpc")
    assert "vpcUuid" not in result.one("KubernetesCluster").inputs


def test_kubeconfig_is_secret_and_has_the_token_of_the_account() -> None:
    outputs = run(program()).outputs
    assert outputs["kubeconfig"].secret
    config = yaml.safe_load(outputs["kubeconfig"].value)
    assert config["users"][0]["user"]["token"] == "dop_v1_token"
    assert config["clusters"][0]["cluster"]["server"] == "https://cluster.test"
    assert outputs["context"].value == "do-nyc1-demo"
    assert not outputs["endpoint"].secret


def test_cluster_can_be_previewed_before_it_exists() -> None:
    outputs = run(program(), preview=True).outputs
    assert outputs["kubeconfig"].secret
    assert outputs["context"].value == "do-nyc1-demo"


def test_all_resources_use_the_provider_of_the_component() -> None:
    result = run(
        program(node_pools=[POOL, NodePool("b", "s-1", count=1)], vpc_ip_range="10.1.0.0/20")
    )
    provider = result.one("digitalocean")
    for kind in ("KubernetesCluster", "KubernetesNodePool", "Vpc"):
        assert result.one(kind).provider.startswith(provider.urn)


def test_contradictory_arguments_are_refused() -> None:
    with refused("node_pools is empty"):
        program(node_pools=[])
    with refused("vpc_id", "vpc_ip_range"):
        program(vpc_id="x", vpc_ip_range="10.0.0.0/20")
    with refused("node pool p", "count or autoscale"):
        NodePool("p", "s-1", count=1, autoscale=Autoscale(1, 2))
    with refused("node pool p", "count or autoscale"):
        NodePool("p", "s-1")
