"""The digitalocean plugin and the language host under the real engine, on an emulated account."""

from pathlib import Path

import pytest

from tests.contract.digitalocean_api import Emulator
from tests.contract.pulumi_stack import Stack

PROGRAM = """
import pulumi
import pulumi_digitalocean as do

registry = do.ContainerRegistry(
    "registry", name="microservices-demo", subscription_tier_slug="basic"
)
cluster = do.KubernetesCluster(
    "cluster",
    name="microservices-demo",
    region="{region}",
    version="1.34.11-do.0",
    registry_integration=True,
    node_pool={{"name": "default", "size": "s-2vcpu-4gb", "node_count": 1}},
    opts=pulumi.ResourceOptions(depends_on=[registry]),
)
pool = do.KubernetesNodePool("pool", cluster_id=cluster.id, size="s-2vcpu-4gb", node_count=1)

pulumi.export("endpoint", cluster.endpoint)
pulumi.export("kubeconfig", cluster.kube_configs[0].raw_config)
pulumi.export("registry", registry.endpoint)
pulumi.export("pool", pool.name)
"""


@pytest.fixture
def stack(tmp_path: Path, do: Emulator) -> Stack:
    return Stack.new(tmp_path, api_url=do.url, token=do.token)


def test_a_stack_is_created_refreshed_updated_and_destroyed(stack: Stack, do: Emulator) -> None:
    stack.program(PROGRAM.format(region="nyc1"))
    preview = stack.run("preview", "--diff")
    assert preview.code == 0, preview.output
    assert "4 to create" in preview.output
    assert not do.account.data.clusters

    created = stack.up()
    assert created.code == 0, created.output
    assert created.changes == {"create": 4}
    outputs = stack.outputs()
    [cluster] = do.account.data.clusters.values()
    assert outputs["endpoint"] == cluster.endpoint
    assert outputs["registry"] == "registry.digitalocean.com/microservices-demo"
    assert outputs["pool"].startswith("pool-")
    assert {pool.name for pool in cluster.node_pools} == {"default", outputs["pool"]}
    assert cluster.registries == ["microservices-demo"]
    exported = stack.run("stack", "export").output
    assert outputs["kubeconfig"].splitlines()[0] not in exported

    assert stack.up().changes == {"same": 4}
    assert stack.refresh().changes == {"same": 4}

    stack.program(PROGRAM.format(region="fra1"))
    moved = stack.up()
    assert moved.code == 0, moved.output
    assert moved.changes == {"same": 2, "replace": 2}
    live = [c for c in do.account.data.clusters.values() if c.status.state == "running"]
    assert [c.region for c in live] == ["fra1"]
    assert live[0].id != cluster.id

    destroyed = stack.destroy()
    assert destroyed.code == 0, destroyed.output
    assert not stack.resources()
    do.until_deleted(live[0].id)
    assert not do.account.data.registries


def test_invalid_inputs_are_shown_before_anything_is_created(stack: Stack, do: Emulator) -> None:
    stack.program(
        "import pulumi_digitalocean as do\ndo.Vpc('net', region='nyc1', ip_range='10.10.0.0')\n"
    )
    run = stack.up()
    assert run.code != 0
    assert "Examine values at 'net.ipRange'" in run.output
    assert "Traceback" not in run.output
    assert not do.account.data.vpcs


def test_a_cluster_whose_registry_integration_failed_is_completed_by_the_next_run(
    stack: Stack, do: Emulator
) -> None:
    stack.program(
        "import pulumi_digitalocean as do\n"
        "do.KubernetesCluster('cluster', name='demo', region='nyc1', version='1.34.11-do.0',\n"
        "    registry_integration=True,\n"
        "    node_pool={'name': 'default', 'size': 's-2vcpu-4gb', 'node_count': 1})\n"
    )
    run = stack.up()
    assert run.code != 0
    assert "Error enabling registry integration" in run.output
    [cluster] = do.account.data.clusters.values()
    resources = {resource["type"]: resource for resource in stack.resources()}
    assert resources["digitalocean:index/kubernetesCluster:KubernetesCluster"]["id"] == cluster.id
    retried = stack.up()
    assert retried.code == 0, retried.output
    assert list(do.account.data.clusters) == [cluster.id]


CLUSTER_PROGRAM = """
import pulumi
import pulumi_digitalocean as do
from components.cluster import DoksCluster, DoksClusterArgs, Network, NodePool

cluster = DoksCluster(
    "cluster",
    DoksClusterArgs(
        cluster_name="microservices-demo",
        region="nyc1",
        version="1.34.11-do.0",
        access_token="none",
        node_pools=[NodePool("default", "s-2vcpu-4gb", count=1)],
        {network}
    ),
)
"""
NETWORK = 'network=Network("172.20.0.0/16", "172.21.0.0/20"), hold_network={hold}'


def test_a_cluster_keeps_the_network_that_it_was_made_with_until_it_may_be_replaced(
    stack: Stack, do: Emulator
) -> None:
    def up(network: str) -> tuple[dict[str, int], str]:
        stack.program(CLUSTER_PROGRAM.format(network=network))
        run = stack.up()
        assert run.code == 0, run.output
        clusters = do.account.data.clusters.values()
        [cluster] = [cluster for cluster in clusters if cluster.status.state == "running"]
        return run.changes, cluster.cluster_subnet

    assert up("")[1] == "10.244.0.0/16"
    assert up(NETWORK.format(hold=True)) == ({"same": 3}, "10.244.0.0/16")
    assert stack.refresh().changes == {"same": 3}
    changes, pods = up(NETWORK.format(hold=False))
    assert (changes["replace"], pods) == (1, "172.20.0.0/16")
    assert up(NETWORK.format(hold=True)) == ({"same": 3}, "172.20.0.0/16")
    assert up("hold_network=True") == ({"same": 3}, "172.20.0.0/16")
