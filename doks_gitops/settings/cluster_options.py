"""What a stack file can set of a cluster beside its size: networks, access and features of DOKS."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network
from typing import Annotated

from pydantic import Field

from doks_gitops.settings import scalars
from doks_gitops.settings.base import ListOf, Model, Sets, Violation, one_of

LARGEST, SMALLEST = 16, 24
"""Prefix lengths of a cluster's networks, of which DigitalOcean documents none. A /16 has addresses
for the 512 nodes that a cluster may have; what is smaller than a /24 has none for a second node,
which each upgrade adds."""
PRIVATE = tuple(map(IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")))


class Network(Model):
    """The networks of the pods and services of a VPC-native cluster. A range that is not set is the
    default of the environment."""

    pods: scalars.Range | None = Field(
        default=None,
        description="Range of the pods; each node takes 128 addresses of it.",
        examples=["172.20.0.0/16"],
    )
    services: scalars.Range | None = Field(
        default=None, description="Range of the services.", examples=["172.21.0.0/20"]
    )

    def violations(self) -> Iterator[Violation]:
        for key, text in (("pods", self.pods), ("services", self.services)):
            if text is None:
                continue
            network = IPv4Network(text, strict=False)
            if str(network) != text:
                yield _range_violation(key, text, f"the range from its first address: {network}")
            elif not LARGEST <= network.prefixlen <= SMALLEST:
                yield _range_violation(key, text, f"a range from /{SMALLEST} to /{LARGEST}")
            elif not any(map(network.subnet_of, PRIVATE)):
                blocks = ", ".join(map(str, PRIVATE))
                yield _range_violation(key, text, f"a private range: inside of {blocks}")
            elif (reserved := scalars.reserved_range(network)) is not None:
                expected = f"a range apart from {reserved}, which DigitalOcean keeps for itself"
                yield _range_violation(key, text, expected)


def _range_violation(key: str, text: str, expected: str) -> Violation:
    return Violation(at=(key,), got=f'"{text}"', expected=expected)


class ControlPlaneFirewall(Model):
    """Who reaches the cluster's Kubernetes API. In early availability: DigitalOcean enables it for
    a team on request."""

    enabled: bool = Field(default=True, description="Whether the firewall is on.")
    allowed_addresses: Annotated[ListOf[scalars.PublicRange], Field(min_length=1)] = Field(
        description="Public addresses that may reach it. The machine that runs Pulumi must be among"
        " them."
    )
    own_address: Annotated[scalars.PublicAddress | None, Sets()] = Field(
        default=None,
        description="Public address of the machine that runs Pulumi. Default: the environment"
        " variable DOKS_GITOPS_PUBLIC_IP.",
    )
    own_address_unchecked: Annotated[bool, Sets()] = Field(
        default=False,
        description="Do not check that the machine that runs Pulumi is among `allowedAddresses`. If"
        " it is not, the run makes the cluster and then can't reach it.",
    )


class Autoscaler(Model):
    """How DOKS's cluster autoscaler decides. Without a key, DOKS's default applies."""

    scale_down_utilization_threshold: Annotated[float, Field(ge=0.01, le=1)] | None = Field(
        default=None,
        description="A node whose pods request less than this share of it may be removed.",
        examples=[0.65],
    )
    scale_down_unneeded_time: scalars.Duration | None = Field(
        default=None,
        description="How long a node is not needed before it is removed.",
        examples=["1m0s"],
    )
    expanders: ListOf[scalars.Expander] = Field(
        default=(),
        description="How the autoscaler chooses between pools; each narrows down what the one "
        "before leaves.",
    )


class Sso(Model):
    """Single sign-on to the cluster with OpenID Connect."""

    enabled: bool = Field(default=True, description="Whether users may sign in this way.")
    issuer_url: scalars.IssuerUrl = Field(
        description="URL of the identity provider.", examples=["https://sso.example.com"]
    )
    client_id: scalars.Line = Field(
        description="The cluster's client ID at the identity provider.", examples=["doks"]
    )
    required: bool = Field(
        default=False,
        description="Whether users must sign in this way. Only `false`: the cluster would refuse "
        "the API token, which is the only way in for this program.",
    )

    def violations(self) -> Iterator[Violation]:
        if self.required:
            yield Violation(
                at=("required",),
                got="true",
                expected="false: the cluster would refuse the API token, which is the only way in "
                "for this program",
                example="false",
            )


_BY_DIGITALOCEAN = "Default: DigitalOcean decides when it creates the cluster"


class Features(Model):
    """Parts of DOKS that can be switched on and off. A cluster that exists keeps what it has of
    those that are not named."""

    routing_agent: bool | None = Field(
        default=None, description="Agent that keeps IP routes on the nodes. Default: off."
    )
    coredns_autoscaler: bool | None = Field(
        default=None,
        description="Replicas of CoreDNS follow the size of the cluster. Default: on from "
        "Kubernetes 1.36.",
    )
    nfs_csi_plugin: bool | None = Field(
        default=None, description="Volumes on NFS shares. Default: off."
    )
    p2p_oci_registry_plugin: bool | None = Field(
        default=None,
        alias="p2pOciRegistryPlugin",
        description="Nodes give pulled images to each other. Default: off.",
    )
    amd_gpu_device_plugin: bool | None = Field(
        default=None, description=f"AMD GPUs for pods. {_BY_DIGITALOCEAN}: on with such nodes."
    )
    amd_gpu_device_metrics_exporter_plugin: bool | None = Field(
        default=None, description="Metrics of AMD GPUs. Default: off."
    )
    amd_gpu_dra_driver: bool | None = Field(
        default=None,
        description="AMD GPUs by dynamic resource allocation, instead of `amdGpuDevicePlugin`.",
    )
    nvidia_gpu_device_plugin: bool | None = Field(
        default=None, description=f"NVIDIA GPUs for pods. {_BY_DIGITALOCEAN}: on with such nodes."
    )
    nvidia_gpu_dra_driver: bool | None = Field(
        default=None,
        description="NVIDIA GPUs by dynamic resource allocation, instead of "
        "`nvidiaGpuDevicePlugin`.",
    )
    rdma_shared_device_plugin: bool | None = Field(
        default=None,
        description="RDMA devices for pods. Default: on with GPU nodes on a fast network.",
    )

    @classmethod
    def key_violations(cls, keys: frozenset[str]) -> Iterator[Violation]:
        yield from one_of(keys, "amdGpuDevicePlugin", "amdGpuDraDriver", required=False)
        yield from one_of(keys, "nvidiaGpuDevicePlugin", "nvidiaGpuDraDriver", required=False)
