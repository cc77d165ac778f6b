"""Validates clusters and node pools, with DigitalOcean's messages where they are known."""

import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence

from sandbox.digitalocean.backend import Taint
from sandbox.digitalocean.catalogue import REGIONS, SIZES, minor, version_key
from sandbox.digitalocean.errors import invalid
from sandbox.digitalocean.models import AccountData, Cluster, MaintenancePolicy, Vpc
from sandbox.digitalocean.state import AccountState

OVERLAY = "10.244.0.0/16"
"""The pods' network of all clusters that are not VPC-native."""
_DNS_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_POOL_NAME_LENGTH = 55
_TAG = re.compile(r"[a-zA-Z0-9_:-]{1,255}")
_QUALIFIED_NAME = re.compile(
    r"([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
)
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?")
_TIME = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")
_DAYS = ("any", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise invalid(f"validation error: {message}")


def check_region(region: str, account: AccountState) -> None:
    _require(region in REGIONS, "invalid region")
    _require(
        not account.faults.is_active("region-down", region), f"region {region} is not available"
    )


def check_cluster_name(name: str, data: AccountData, *, own_id: str = "") -> None:
    """`own_id`: the ID of the cluster that may have this name already."""
    _require(
        _DNS_LABEL.fullmatch(name) is not None,
        "name must be 1 to 63 lowercase letters, numbers and '-', and begin and end with a letter"
        " or number",
    )
    taken = any(
        cluster.name == name and cluster.id != own_id and cluster.status.state != "deleting"
        for cluster in data.clusters.values()
    )
    _require(not taken, f"a cluster with name {name} already exists")


def check_tags(tags: Iterable[str]) -> None:
    for tag in tags:
        _require(
            _TAG.fullmatch(tag) is not None,
            f"tag {tag!r} may only have letters, numbers, ':', '-' and '_', at most 255 of them",
        )


def check_maintenance(policy: MaintenancePolicy) -> None:
    _require(_TIME.fullmatch(policy.start_time) is not None, "start_time must be HH:MM")
    _require(policy.day in _DAYS, f"day must be one of {', '.join(_DAYS)}")


def resolve_version(version: str, data: AccountData) -> str:
    """The slug of the newest offered version that matches a slug, a minor version (`1.34`) or
    `latest`."""
    newest_first = sorted(data.versions, key=version_key, reverse=True)
    for slug in newest_first:
        if version in (slug, "latest", "{}.{}".format(*minor(slug))):
            return slug
    raise invalid("validation error: invalid version slug")


def upgrades(cluster: Cluster, data: AccountData) -> list[str]:
    """The versions that the cluster can be upgraded to, newest first: newer patches of its minor
    version, or the next minor version if there are none
    (docs.digitalocean.com/products/kubernetes/how-to/upgrade-cluster)."""
    newest_first = sorted(data.versions, key=version_key, reverse=True)
    major, own_minor = minor(cluster.version)
    patches = [
        slug
        for slug in newest_first
        if minor(slug) == (major, own_minor) and version_key(slug) > version_key(cluster.version)
    ]
    return patches or [slug for slug in newest_first if minor(slug) == (major, own_minor + 1)]


def check_subnets(cluster_subnet: str, service_subnet: str, vpc: Vpc, data: AccountData) -> None:
    """Require that the three networks of a cluster do not overlap, nor those of the other
    VPC-native clusters in the VPC."""
    networks = [("vpc", ipaddress.IPv4Network(vpc.ip_range))]
    for cluster in data.clusters.values():
        is_beside = cluster.vpc_uuid == vpc.id and cluster.status.state != "deleting"
        if is_beside and cluster.cluster_subnet != OVERLAY:
            ranges = (cluster.cluster_subnet, cluster.service_subnet)
            networks += [(f"cluster {cluster.name}", ipaddress.IPv4Network(x)) for x in ranges]
    for name, text in (("cluster_subnet", cluster_subnet), ("service_subnet", service_subnet)):
        try:
            network = ipaddress.IPv4Network(text)
        except ValueError:
            raise invalid(f"validation error: {name} must be a range such as 10.244.0.0/16") from (
                None
            )
        # Every node gets a /25 of the pods' network.
        _require(network.prefixlen <= 24, f"{name} must be no smaller than /24")
        for other_name, other in networks:
            _require(not network.overlaps(other), f"{name} overlaps with {other_name} {other}")
        networks.append((name, network))


def check_pool_name(name: str, others: Iterable[str], where: str) -> None:
    _require(
        len(name) <= _POOL_NAME_LENGTH,
        f"{where}.pool names cannot be greater than {_POOL_NAME_LENGTH} characters",
    )
    _require(
        _DNS_LABEL.fullmatch(name) is not None,
        f"{where}.pool names must be lowercase letters, numbers and '-', and begin and end with a"
        " letter or number",
    )
    _require(name not in others, f"{where}.a pool with name {name} already exists")


def check_size(size: str, where: str) -> None:
    _require(size in SIZES, f"{where}.invalid droplet size")


def check_count(count: int, auto_scale: bool, least: int, most: int, where: str) -> None:
    """Scaling to zero nodes is not generally available
    (docs.digitalocean.com/release-notes/kubernetes)."""
    if auto_scale:
        _require(least >= 1, f"{where}.min nodes must be greater than or equal to 1")
        _require(most >= least, f"{where}.max nodes must be greater than or equal to min nodes")
        _require(
            least <= count <= most,
            f"{where}.count must be between min nodes and max nodes",
        )
    _require(count >= 1, f"{where}.count must be greater than or equal to 1")


def check_labels(labels: Mapping[str, str], taints: Sequence[Taint], where: str) -> None:
    for key, value in [*labels.items(), *((taint.key, taint.value) for taint in taints)]:
        _require(_QUALIFIED_NAME.fullmatch(key) is not None, f"{where}.invalid key {key!r}")
        _require(
            _LABEL_VALUE.fullmatch(value) is not None,
            f"{where}.invalid value {value!r} of {key}",
        )


def check_droplet_limit(additional: int, account: AccountState) -> None:
    _require(
        account.droplets_in_use + additional <= account.droplet_limit,
        f"{additional} additional nodes but not enough available droplet limit",
    )
