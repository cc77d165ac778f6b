"""What is known of a DigitalOcean account. Field names are the API's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from doks_gitops.account.version import Version


@dataclass(frozen=True, slots=True)
class RunningCluster:
    """A DOKS cluster in the account
    (https://docs.digitalocean.com/reference/api/reference/kubernetes/)."""

    id: str
    name: str
    region: str
    version: Version
    ha: bool
    state: str
    """`running`, `provisioning`, `upgrading`, `degraded`, `error` or `deleting`."""
    registry_enabled: bool
    """Whether it may pull from the account's registry."""
    endpoint: str = ""
    """URL of its API; empty as long as it has never run."""
    message: str = ""
    """What DigitalOcean says of its state."""
    vpc: str | None = None
    """ID of the VPC that it is in."""
    node_pools: Mapping[str, str] = field(default_factory=dict)
    """IDs of its node pools by name."""
    default_pool_size: str | None = None
    """Of the nodes in the pool that it was made with; None: no pool is marked as that."""


@dataclass(frozen=True, slots=True)
class Account:
    """What an account offers for clusters, and what is in it."""

    regions: tuple[str, ...]
    sizes: tuple[str, ...]
    versions: tuple[Version, ...]
    """Offered versions, newest first."""
    clusters: tuple[RunningCluster, ...]
    """Without those that are being deleted."""
    registries: tuple[str, ...]

    def clusters_named(self, name: str) -> tuple[RunningCluster, ...]:
        """The clusters of this name: DigitalOcean doesn't keep names unique for ever."""
        return tuple(cluster for cluster in self.clusters if cluster.name == name)


@dataclass(frozen=True, slots=True)
class Prices:
    """What an account pays, in US dollars per month, before taxes and discounts."""

    sizes: Mapping[str, Decimal]
    """Of a node, by its Droplet size."""
    tiers: Mapping[str, Decimal]
    """Of a container registry subscription, by its tier."""
    tier: str | None
    """The tier that the account has subscribed to; None: it has no registry."""
