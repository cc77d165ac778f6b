"""The networks of a stack's cluster, and which other networks they must not overlap."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network

from doks_gitops.settings.base import Path, Violation
from doks_gitops.settings.cluster_options import PRIVATE
from doks_gitops.settings.defaults import NETWORKS
from doks_gitops.settings.model import NAMESPACE, Cluster
from doks_gitops.settings.scalars import reserved_range
from doks_gitops.settings.stackfile import StackFile

NODE_ADDRESSES = 128
"""Addresses of the pods' network that DOKS gives to each node."""


@dataclass(frozen=True, slots=True)
class Ranges:
    """The networks of a new cluster, in CIDR notation."""

    pods: str
    services: str


def ranges(cluster: Cluster, environment: str) -> Ranges:
    """Returns the networks that a new cluster gets: those of the stack file, and the defaults of
    the environment for the others."""
    default, network = NETWORKS[environment], cluster.network
    return Ranges(
        pods=(network.pods if network else None) or default["pods"],
        services=(network.services if network else None) or default["services"],
    )


def declared(cluster: Cluster) -> dict[str, str]:
    """Returns the ranges in the stack file, by their key below `network`."""
    network = cluster.network
    pairs = (("pods", network.pods), ("services", network.services)) if network else ()
    return {key: text for key, text in pairs if text is not None}


def overlap(text: str, other: str | None) -> bool:
    """Whether two ranges overlap; False if `other` is no range."""
    try:
        return other is not None and IPv4Network(text).overlaps(IPv4Network(other))
    except ValueError:
        return False


def free_range(text: str, taken: Iterable[str]) -> str | None:
    """Returns a private range of the size of `text` that overlaps none of `taken`."""
    prefix, others = IPv4Network(text).prefixlen, [IPv4Network(other) for other in taken]
    for block in reversed(PRIVATE):
        for network in block.subnets(new_prefix=16):
            if reserved_range(network) is None and not any(map(network.overlaps, others)):
                return str(next(network.subnets(new_prefix=prefix)))
    return None


def violations(
    cluster: Cluster, environment: str, others: Mapping[str, StackFile]
) -> Iterator[Violation]:
    """Violations of the ranges in the stack file. The defaults are checked when a cluster is to be
    created: a running cluster may have other networks.

    `others`: the other stack files by name. Paths begin with `cluster`.
    """
    if environment not in NETWORKS:
        return
    new, in_file = ranges(cluster, environment), declared(cluster)
    for key, text in in_file.items():
        at: Path = ("cluster", "network", key)
        if key == "pods" and (most := _nodes(text)) < cluster.most_nodes:
            yield Violation(
                at,
                got=f'"{text}", with addresses for the pods of {most} nodes',
                expected=f"a range for the {cluster.most_nodes} nodes that the node pools can have "
                f"({NODE_ADDRESSES} addresses for each)",
            )
        beside: dict[str, str | None] = {}
        if key == "pods":
            beside["cluster.network.services"] = new.services
        elif "pods" not in in_file:
            beside["cluster.network.pods"] = new.pods
        if cluster.vpc is not None:
            beside["cluster.vpc.ipRange"] = cluster.vpc.ip_range
        for name, other in (*beside.items(), *_of_files(others)):
            if overlap(text, other):
                yield Violation(
                    at,
                    got=f'"{text}", which overlaps {name}, {other}',
                    expected="a range that overlaps no other network",
                )
                break


def _nodes(pods: str) -> int:
    return IPv4Network(pods).num_addresses // NODE_ADDRESSES


def _of_files(files: Mapping[str, StackFile]) -> Iterator[tuple[str, str | None]]:
    """Yields the ranges in each file, and the defaults of its environment for those it lacks."""
    section = f"{NAMESPACE}:cluster"
    for name, file in sorted(files.items()):
        stack = name.removeprefix("Pulumi.").removesuffix(".yaml")
        default = NETWORKS.get(file.text(f"{NAMESPACE}:environment") or stack, {})
        for key in ("pods", "services"):
            text = file.text(section, "network", key)
            yield f"network.{key} of {name}", text or default.get(key)
        yield f"vpc.ipRange of {name}", file.text(section, "vpc", "ipRange")
