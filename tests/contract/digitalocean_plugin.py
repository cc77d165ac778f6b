"""Types and inputs of the digitalocean plugin's resources."""

from tests.contract.bridged_plugin import Properties

CLUSTER = "digitalocean:index/kubernetesCluster:KubernetesCluster"
NODE_POOL = "digitalocean:index/kubernetesNodePool:KubernetesNodePool"
REGISTRY = "digitalocean:index/containerRegistry:ContainerRegistry"
VPC = "digitalocean:index/vpc:Vpc"


def cluster_inputs(**changes: object) -> Properties:
    return {
        "name": "microservices-demo",
        "region": "nyc1",
        "version": "1.34.11-do.0",
        "nodePool": {"name": "default", "size": "s-2vcpu-4gb", "nodeCount": 2},
        **changes,
    }
