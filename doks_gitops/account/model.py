"""What the platform knows of a DigitalOcean account."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from semver import Version

from doks_gitops.account.options import Options

OVERLAY = "10.244.0.0/16"
"""Range of the pods of each cluster that is not VPC-native. DigitalOcean refuses it for others."""


@dataclass(frozen=True, slots=True)
class RunningPool:
    """A node pool in the account."""

    id: str
    size: str
    count: int
    """Desired number of nodes."""
    autoscale: tuple[int, int] | None = None
    """Fewest and most nodes; None if their number is fixed."""
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: frozenset[tuple[str, str, str]] = frozenset()
    """Key, value and effect of each."""
    options: Mapping[str, object] = field(default_factory=dict)
    """Other values in the API, such as `gpu_partition_mode`."""
    tags: frozenset[str] = frozenset()
    """In lower case, without those that DigitalOcean and its provider add."""


@dataclass(frozen=True, slots=True)
class RunningCluster:
    """A DOKS cluster in the account
    (https://docs.digitalocean.com/reference/api/reference/kubernetes/)."""

    id: str
    name: str
    region: str
    version: Version
    """The slug, such as 1.34.1-do.0, which is a semantic version."""
    ha: bool
    """Whether the control plane is highly available."""
    state: str
    """`running`, `provisioning`, `upgrading`, `degraded`, `error` or `deleting`."""
    registry_enabled: bool
    """Whether it may pull from the account's registry."""
    endpoint: str = ""
    """URL of the cluster's own API; empty until the cluster has run for the first time."""
    created: datetime | None = None
    """When its creation began."""
    message: str = ""
    """DigitalOcean's explanation of the state."""
    vpc: str | None = None
    """ID of its VPC."""
    default_pool: str | None = None
    """Name of the node pool that the cluster was created with; None if no pool is tagged as that.
    """
    tags: tuple[str, ...] = ()
    """Its own tags, without those that DigitalOcean sets."""
    mark: str | None = None
    """The tag that names its owner, in lower case: see `account.ownership`."""
    pools: Mapping[str, RunningPool] = field(default_factory=dict)
    """Its node pools by name."""
    auto_upgrade: bool = False
    surge_upgrade: bool = False
    cluster_subnet: str = ""
    """Range of the pods."""
    service_subnet: str = ""
    """Range of the services."""
    worker_subnet: str | None = None
    """UUID of the VPC's subnet with the nodes."""
    isolated_workers: bool = False
    options: Options = field(default_factory=dict)

    @property
    def failed(self) -> bool:
        """Whether DigitalOcean could not make it: nothing has ever run in it."""
        return self.state == "error" and not self.endpoint

    @property
    def vpc_native(self) -> bool:
        """Whether the pods have addresses that others in the VPC can reach."""
        return self.cluster_subnet not in ("", OVERLAY)

    @property
    def default_pool_mode(self) -> str | None:
        """GPU partition mode of `default_pool`."""
        pool = self.pools.get(self.default_pool or "")
        return str(pool.options.get("gpu_partition_mode") or "") or None if pool else None

    @property
    def default_pool_size(self) -> str | None:
        """Droplet size of `default_pool`."""
        return self.pools[self.default_pool].size if self.default_pool is not None else None


@dataclass(frozen=True, slots=True)
class Vpc:
    """A VPC in the account (https://docs.digitalocean.com/reference/api/reference/vpcs/)."""

    id: str
    name: str
    region: str
    ip_range: str
    default: bool
    """Whether it is its region's default. DigitalOcean never deletes that."""


@dataclass(frozen=True, slots=True)
class Volume:
    """A block storage volume (https://docs.digitalocean.com/reference/api/reference/block-storage/)."""

    id: str
    name: str
    region: str
    size: int
    """GiB."""
    droplets: tuple[int, ...] = ()
    """IDs of the Droplets that it is attached to."""
    tags: frozenset[str] = frozenset()
    """In lower case: DigitalOcean ignores the case of tags."""


@dataclass(frozen=True, slots=True)
class VolumeSnapshot:
    """A snapshot of a volume (https://docs.digitalocean.com/reference/api/reference/snapshots/)."""

    id: str
    name: str
    volume: str
    """ID of the volume, which may be gone."""
    regions: tuple[str, ...]
    created: datetime
    disk: int = 1
    """GiB of the volume, the least that a volume made of it must have."""
    size: Decimal = Decimal()
    """GiB that are billed."""
    tags: frozenset[str] = frozenset()
    """In lower case."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What Pulumi's state has of the stack's cluster and of the VPC that the stack has created."""

    cluster: str | None = None
    """ID of the cluster."""
    version: Version | None = None
    """The last version that was asked for, whether the cluster runs it or not."""
    first_pool: str | None = None
    """ID of the node pool that is a part of the cluster's resource."""
    vpc: str | None = None
    """ID of the VPC."""
    vpc_range: str = ""


@dataclass(frozen=True, slots=True)
class Account:
    """What an account offers for clusters, and what is in it."""

    regions: tuple[str, ...]
    sizes: tuple[str, ...]
    versions: tuple[Version, ...]
    """Offered Kubernetes versions, newest first."""
    clusters: tuple[RunningCluster, ...]
    """Without those that are being deleted."""
    registries: tuple[str, ...]
    vpcs: tuple[Vpc, ...] = ()
    """Empty unless they were asked for."""
    gateways: frozenset[str] = frozenset()
    """UUIDs of the VPCs with a NAT gateway. Empty unless they were asked for."""
    team: str = ""
    """UUID of the team that the token is of."""
    mark: str = ""
    """The mark of the stack's cluster in the stack's state, in lower case; empty: the state has
    none yet, or it is not known yet."""
    recorded: Recorded = Recorded()
    """Empty until it is read: see `account.recorded`."""

    @property
    def own_vpc(self) -> Vpc | None:
        """The VPC that the stack has created."""
        return next((vpc for vpc in self.vpcs if vpc.id == self.recorded.vpc), None)

    def vpc_named(self, *names: str) -> Vpc | None:
        """The first VPC with one of these names, which are unique in an account."""
        return next((vpc for vpc in self.vpcs if vpc.name in names), None)

    def stack_clusters(self, name: str) -> tuple[RunningCluster, ...]:
        """The stack's cluster: the one with the stack's mark, whatever its name, because the stack
        file may have a new one. Without it, the clusters of the name in the stack file."""
        marked = tuple(
            cluster for cluster in self.clusters if self.mark and cluster.mark == self.mark
        )
        return marked or self.clusters_named(name)

    def clusters_named(self, name: str) -> tuple[RunningCluster, ...]:
        """The clusters of this name. DigitalOcean does not guarantee that names are unique."""
        return tuple(cluster for cluster in self.clusters if cluster.name == name)


@dataclass(frozen=True, slots=True)
class Prices:
    """What an account pays, in US dollars per month, before taxes and discounts."""

    sizes: Mapping[str, Decimal]
    """For one node, by its Droplet size."""
    tiers: Mapping[str, Decimal]
    """For a container registry subscription, by tier."""
    tier: str | None
    """The tier that the account has subscribed to; None without a registry."""
