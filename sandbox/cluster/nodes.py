"""A DOKS node as a Kubernetes Node that kwok keeps ready."""

import ipaddress
from collections.abc import Mapping

from sandbox.cluster.api import Object
from sandbox.digitalocean.backend import NodeSpec

MANAGER = "sandbox-cloud"

_NODE_ADDRESSES = ipaddress.ip_network("10.108.0.0/20")
_PODS = 110
_RESERVED_MIB = {1: 512, 2: 1024, 3: 1372, 4: 1536, 8: 2048}
"""MiB that DOKS reserves for the system, by the node's GiB
(https://docs.digitalocean.com/products/kubernetes/details/limits/#allocatable-memory)."""


def _reserved_mib(memory_mib: int) -> int:
    gib = memory_mib // 1024
    return _RESERVED_MIB.get(gib, 2048 + memory_mib // 16)


class NodePlan:
    """Assigns addresses and pod CIDRs to the nodes of one cluster."""

    def __init__(self, cluster_subnet: str) -> None:
        self._networks = list(ipaddress.ip_network(cluster_subnet).subnets(new_prefix=25))

    def place(self, spec: NodeSpec, present: Mapping[str, Object]) -> tuple[Object, Object]:
        """The Node, and its status, which the API takes in a request of its own.

        `present` are the cluster's nodes by name. An existing node keeps its pod CIDR and the
        taints that Kubernetes has added.
        """
        taken = {node["spec"].get("podCIDR") for node in present.values()}
        if node := present.get(spec.name):
            pod_cidr = node["spec"]["podCIDR"]
            taints = [taint for taint in node["spec"].get("taints") or [] if _is_builtin(taint)]
        else:
            pod_cidr = next(str(cidr) for cidr in self._networks if str(cidr) not in taken)
            taints = []
        number = self._networks.index(ipaddress.ip_network(pod_cidr))
        return _node(spec, pod_cidr, taints), _status(spec, str(_NODE_ADDRESSES[number + 2]))


def provider_id(spec: NodeSpec) -> str:
    """The Node's provider ID, which names its Droplet."""
    return f"digitalocean://{spec.id}"


def _node(spec: NodeSpec, pod_cidr: str, builtin_taints: list[Object]) -> Object:
    labels = {
        "kubernetes.io/hostname": spec.name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "node.kubernetes.io/instance-type": spec.size,
        "topology.kubernetes.io/region": spec.region,
        "failure-domain.beta.kubernetes.io/region": spec.region,
        "beta.kubernetes.io/instance-type": spec.size,
        **spec.labels,
    }
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": spec.name,
            "labels": labels,
            "annotations": {"kwok.x-k8s.io/node": "fake"},
        },
        "spec": {
            "podCIDR": pod_cidr,
            "podCIDRs": [pod_cidr],
            "providerID": provider_id(spec),
            "taints": [
                *({"key": taint.key, "value": taint.value, "effect": taint.effect}
                  for taint in spec.taints),
                *builtin_taints,
            ],
        },
    }  # fmt: skip


def _status(spec: NodeSpec, ip: str) -> Object:
    kubelet = f"v{spec.version.partition('-')[0]}"
    return {
        "addresses": [
            {"type": "Hostname", "address": spec.name},
            {"type": "InternalIP", "address": ip},
            # The API server connects to the node's kubelet here, for port-forwards.
            {"type": "ExternalIP", "address": "127.0.0.1"},
        ],
        "capacity": {
            "cpu": str(spec.vcpus),
            "memory": f"{spec.memory}Mi",
            "ephemeral-storage": f"{spec.disk}Gi",
            "pods": str(_PODS),
        },
        "allocatable": {
            "cpu": f"{spec.vcpus * 1000 - 100}m",
            "memory": f"{spec.memory - _reserved_mib(spec.memory)}Mi",
            "ephemeral-storage": f"{spec.disk * 9 // 10}Gi",
            "pods": str(_PODS),
        },
        "nodeInfo": {
            "osImage": "Debian GNU/Linux 12 (bookworm)",
            "kubeletVersion": kubelet,
            "kubeProxyVersion": kubelet,
        },
    }


def _is_builtin(taint: Object) -> bool:
    return str(taint["key"]).startswith("node.kubernetes.io/")


def is_ready(node: Object) -> bool:
    """Whether the node is ready and pods can be scheduled on it: it has no built-in taints."""
    conditions = node.get("status", {}).get("conditions") or []
    taints = node["spec"].get("taints") or []
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions) and not any(
        map(_is_builtin, taints)
    )
