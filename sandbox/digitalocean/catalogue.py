"""What DigitalOcean offers: regions, node sizes, Kubernetes versions and registry subscriptions.

Slugs and amounts are those of docs.digitalocean.com/platform/regional-availability,
docs.digitalocean.com/products/droplets/concepts/choosing-a-plan and
docs.digitalocean.com/products/container-registry/details/pricing.
"""

from dataclasses import dataclass

from semver import Version

REGIONS = {
    "ams3": "Amsterdam 3",
    "atl1": "Atlanta 1",
    "blr1": "Bangalore 1",
    "fra1": "Frankfurt 1",
    "lon1": "London 1",
    "nyc1": "New York 1",
    "nyc3": "New York 3",
    "sfo2": "San Francisco 2",
    "sfo3": "San Francisco 3",
    "sgp1": "Singapore 1",
    "syd1": "Sydney 1",
    "tor1": "Toronto 1",
}

REGISTRY_HOST = "registry.digitalocean.com"
"""The host of every registry."""

REGISTRY_REGIONS = ("nyc3", "sfo3", "sfo2", "ams3", "sgp1", "fra1", "blr1", "syd1")

VERSIONS = (
    "1.36.3-do.0",
    "1.36.1-do.0",
    "1.35.10-do.0",
    "1.35.9-do.1",
    "1.34.11-do.0",
    "1.34.9-do.2",
    "1.34.9-do.1",
    "1.33.14-do.0",
)
"""The DOKS version slugs that a new account offers, newest first."""

VERSION_FEATURES = (
    "cluster-autoscaler",
    "docr-integration",
    "ha-control-plane",
    "token-authentication",
)


@dataclass(frozen=True)
class Size:
    """A Droplet size for worker nodes: memory in MiB, disk in GiB, list price in US dollars."""

    slug: str
    vcpus: int
    memory: int
    disk: int
    price_monthly: int


SIZES = {
    size.slug: size
    for size in (
        Size("s-1vcpu-2gb", 1, 2048, 50, 12),
        Size("s-2vcpu-2gb", 2, 2048, 60, 18),
        Size("s-2vcpu-4gb", 2, 4096, 80, 24),
        Size("s-4vcpu-8gb", 4, 8192, 160, 48),
        Size("s-8vcpu-16gb", 8, 16384, 320, 96),
        Size("s-2vcpu-4gb-amd", 2, 4096, 80, 28),
        Size("s-4vcpu-8gb-amd", 4, 8192, 160, 56),
        Size("s-2vcpu-4gb-intel", 2, 4096, 80, 28),
        Size("s-4vcpu-8gb-intel", 4, 8192, 160, 56),
        Size("c-2", 2, 4096, 25, 42),
        Size("c-4", 4, 8192, 50, 84),
        Size("c-8", 8, 16384, 100, 168),
        Size("g-2vcpu-8gb", 2, 8192, 25, 63),
        Size("g-4vcpu-16gb", 4, 16384, 50, 126),
        Size("g-8vcpu-32gb", 8, 32768, 100, 252),
        Size("m-2vcpu-16gb", 2, 16384, 50, 84),
        Size("m-4vcpu-32gb", 4, 32768, 100, 168),
        Size("so-2vcpu-16gb", 2, 16384, 300, 131),
    )
}


@dataclass(frozen=True)
class Tier:
    """A container registry subscription. `included_repositories` of 0 means unlimited."""

    name: str
    slug: str
    included_repositories: int
    included_storage_bytes: int
    allow_storage_overage: bool
    included_bandwidth_bytes: int
    monthly_price_in_cents: int
    storage_overage_price_in_cents: int
    registries: int
    """How many registries an account may have."""


TIERS = {
    tier.slug: tier
    for tier in (
        Tier("Starter", "starter", 1, 500 << 20, False, 500 << 20, 0, 0, 1),
        Tier("Basic", "basic", 5, 5 << 30, True, 5 << 30, 500, 2, 1),
        Tier("Professional", "professional", 0, 100 << 30, True, 100 << 30, 2000, 2, 10),
    )
}


def version_key(slug: str) -> Version:
    """The order of DOKS version slugs: 1.34.11-do.0 is newer than 1.34.9-do.2."""
    return Version.parse(slug)


def minor(slug: str) -> tuple[int, int]:
    version = Version.parse(slug)
    return version.major, version.minor
