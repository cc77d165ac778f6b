"""The interface between the emulated API and what runs its clusters."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol


@dataclass(frozen=True)
class ClusterSpec:
    """A cluster that should run."""

    id: str
    """UUID."""
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
    """How to reach a running cluster."""

    endpoint: str
    """URL of the Kubernetes API, such as `https://127.0.0.1:41234`."""
    ca_certificate: str
    """PEM certificate of the endpoint's certificate authority, in base64."""
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
    """DOKS slug, such as `1.34.1-do.0`."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """The labels of the pool and those that DOKS adds (`doks.digitalocean.com/...`)."""
    taints: Sequence[Taint] = ()


@dataclass(frozen=True)
class ClusterFaults:
    """The injected faults of a running cluster."""

    unreachable: bool = False
    """The API can't be reached from outside the cluster; its own components still can."""
    refuses_statefulsets: bool = False


class ClusterBackend(Protocol):
    """Runs control planes. Calls for the same cluster never overlap; calls for different ones may.

    If a call raises, the cluster gets the state `error` (`degraded` if it ran before), with the
    exception's text as the message of its status.
    """

    async def create(self, spec: ClusterSpec) -> ClusterAccess:
        """Start the cluster unless it is running; returns when its API answers.

        Called for a new cluster, and for every existing one when the emulator starts. Its data and
        its endpoint are then the same as before.
        """

    async def stop(self, cluster_id: str) -> None:
        """Stop the cluster and keep its data; `create` starts it again. Does nothing if it is not
        running."""

    async def delete(self, cluster_id: str) -> None:
        """Stop the cluster and remove its data. Does nothing if it does not exist."""

    async def set_faults(self, cluster_id: str, faults: ClusterFaults) -> None:
        """Give the running cluster exactly these faults; returns when they are in effect."""

    async def set_nodes(self, cluster_id: str, nodes: Sequence[NodeSpec]) -> None:
        """Give the cluster exactly these nodes; returns when they are ready."""
