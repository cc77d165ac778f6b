"""What the emulated API needs from whoever runs the clusters that are created in it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol


@dataclass(frozen=True)
class ClusterSpec:
    """A cluster as it was asked for."""

    id: str
    """UUID; the same for the cluster's whole life."""
    name: str
    region: str
    """Slug, such as `nyc1`."""
    version: str
    """DOKS slug, such as `1.34.1-do.0`."""
    cluster_subnet: str
    """CIDR of the pods."""
    service_subnet: str
    """CIDR of the services."""
    ha: bool


@dataclass(frozen=True)
class ClusterAccess:
    """How to reach a cluster that answers."""

    endpoint: str
    """URL of the Kubernetes API, such as `https://127.0.0.1:41234`."""
    ca_certificate: str
    """PEM of the authority that signed the endpoint's certificate, in base64."""
    ipv4: str
    """Address of the endpoint."""


@dataclass(frozen=True)
class Taint:
    key: str
    value: str
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"]


@dataclass(frozen=True)
class NodeSpec:
    """A worker node that the cluster should have."""

    id: str
    """UUID of the node in the API."""
    name: str
    """Name of the Kubernetes Node, such as `default-3kf9a`."""
    pool_id: str
    pool_name: str
    region: str
    size: str
    """Slug, such as `s-2vcpu-4gb`."""
    vcpus: int
    memory: int
    """MiB."""
    disk: int
    """GiB."""
    version: str
    """DOKS slug that the node runs, such as `1.34.1-do.0`."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """The pool's own labels and those that DOKS adds (`doks.digitalocean.com/...`)."""
    taints: Sequence[Taint] = ()


@dataclass(frozen=True)
class Disturbance:
    """What is wrong with a cluster that runs."""

    unreachable: bool = False
    """Nobody outside gets to its API; inside, all goes on."""
    refuses_statefulsets: bool = False


class ClusterBackend(Protocol):
    """Runs control planes. Its calls for one cluster never overlap; those for several may.

    A call that raises puts the cluster into the state `error`, with the exception's text as the
    message of its status.
    """

    async def create(self, spec: ClusterSpec) -> ClusterAccess:
        """See to it that the cluster runs, and return once its API answers.

        Called for a new cluster, and again for every existing one when the emulator starts: what
        the cluster holds and its endpoint are then the same as before.
        """

    async def stop(self, cluster_id: str) -> None:
        """End what runs of the cluster and keep what it holds; `create` brings it back as it was.
        Does nothing if it does not run."""

    async def delete(self, cluster_id: str) -> None:
        """End the cluster and remove its data. Does nothing if there is no such cluster."""

    async def disturb(self, cluster_id: str, disturbance: Disturbance) -> None:
        """Let the running cluster have these faults and no others; returns when it has."""

    async def set_nodes(self, cluster_id: str, nodes: Sequence[NodeSpec]) -> None:
        """Make the nodes of the cluster exactly these, and return once they are ready."""
