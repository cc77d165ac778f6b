"""A DigitalOcean Kubernetes (DOKS) cluster with its node pools."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import pulumi
import pulumi_digitalocean as digitalocean

from components.kubeconfig import context_name, kubeconfig
from components.options import child_options

_NETWORKS = ["clusterSubnet", "serviceSubnet", "workerSubnetUuid", "isolatedWorkers"]


@dataclass(frozen=True)
class Taint:
    """Keeps pods off a pool's nodes unless they tolerate it.

    https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/
    """

    key: str
    value: str = field(default="", kw_only=True)
    effect: str
    """NoSchedule, PreferNoSchedule or NoExecute."""


@dataclass(frozen=True)
class Autoscale:
    """Bounds of the number of nodes. DigitalOcean adds and removes nodes as the pods need them.

    https://docs.digitalocean.com/products/kubernetes/how-to/autoscale/
    """

    min: int
    max: int


@dataclass(frozen=True)
class NodePool:
    """Nodes of one size. Either `count` or `autoscale` sets their number.

    https://docs.digitalocean.com/reference/api/digitalocean/#tag/Kubernetes
    """

    name: str
    """Unique in the cluster. A change replaces the pool."""
    size: str
    """Droplet size slug, for example `s-2vcpu-4gb`. A change replaces the pool, and for the first
    pool it replaces the cluster."""
    count: int | None = None
    autoscale: Autoscale | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: Sequence[Taint] = ()
    tags: Sequence[str] = ()
    gpu_partition_mode: str | None = None
    """How AMD GPUs are divided, for example `AMD_PARTITION_MODE_SPX_NPS1`. A change replaces the
    pool, and for the first pool it replaces the cluster."""

    def __post_init__(self) -> None:
        if (self.count is None) == (self.autoscale is None):
            raise ValueError(f"node pool {self.name}: give either count or autoscale")


@dataclass(frozen=True)
class Maintenance:
    """When DigitalOcean may upgrade the cluster: a window of four hours."""

    day: str = "any"
    """monday to sunday, or any."""
    start_time: str = "04:00"
    """HH:MM, UTC."""


@dataclass(frozen=True)
class Network:
    """The cluster's own networks, in CIDR notation. They make the cluster VPC-native: its pods have
    addresses that other resources in the VPC can reach. A change replaces the cluster.

    https://docs.digitalocean.com/products/kubernetes/how-to/create-clusters/#create-with-vpc-native
    """

    pods: str
    services: str


@dataclass(frozen=True)
class ControlPlaneFirewall:
    """Only these public addresses reach the Kubernetes API; DigitalOcean's own ones always do.

    https://docs.digitalocean.com/reference/api/reference/kubernetes/
    """

    allowed_addresses: Sequence[str]
    """IPv4 addresses, or ranges in CIDR notation."""
    enabled: bool = True


@dataclass(frozen=True)
class Autoscaler:
    """How the cluster autoscaler decides; a field that is not set has Kubernetes's default.

    https://docs.digitalocean.com/products/kubernetes/how-to/autoscale/
    """

    scale_down_utilization_threshold: float | None = None
    """A node that is used less than this share, from 0 to 1, may be removed."""
    scale_down_unneeded_time: str | None = None
    """How long a node is not needed before it is removed, for example `10m0s`."""
    expanders: Sequence[str] = ()
    """How a pool is chosen, in this order: random, priority or least_waste."""


@dataclass(frozen=True)
class Sso:
    """Single sign-on to the Kubernetes API with OpenID Connect.

    https://docs.digitalocean.com/reference/api/reference/kubernetes/
    """

    issuer_url: str
    client_id: str
    enabled: bool = True
    required: bool = False
    """Whether nothing else is accepted: not even the API token of this component's kubeconfig."""


@dataclass(frozen=True)
class Features:
    """Parts of DOKS that can be switched. None: DigitalOcean decides when it creates the cluster,
    and a cluster that exists keeps what it has.

    https://docs.digitalocean.com/reference/api/reference/kubernetes/
    """

    routing_agent: bool | None = None
    coredns_autoscaler: bool | None = None
    nfs_csi_plugin: bool | None = None
    p2p_oci_registry_plugin: bool | None = None
    amd_gpu_device_plugin: bool | None = None
    """Not beside `amd_gpu_dra_driver`."""
    amd_gpu_device_metrics_exporter_plugin: bool | None = None
    amd_gpu_dra_driver: bool | None = None
    nvidia_gpu_device_plugin: bool | None = None
    """Not beside `nvidia_gpu_dra_driver`."""
    nvidia_gpu_dra_driver: bool | None = None
    rdma_shared_device_plugin: bool | None = None


@dataclass(frozen=True)
class Existing:
    """IDs of resources to import: they exist in the account, but not in the stack's state.

    https://www.pulumi.com/docs/iac/concepts/options/import/
    """

    cluster: str | None = None
    vpc: str | None = None
    node_pools: Mapping[str, str] = field(default_factory=dict)
    """IDs by the pool's name, of all pools except the first."""


@dataclass(frozen=True)
class DoksClusterArgs:
    """A cluster. The defaults are DigitalOcean's, unless a field says otherwise.

    https://docs.digitalocean.com/products/kubernetes/
    """

    cluster_name: pulumi.Input[str]
    """Unique in the account. A change replaces the cluster."""
    region: pulumi.Input[str]
    """Region slug, for example `nyc1`. A change replaces the cluster."""
    version: pulumi.Input[str]
    """Full version slug, for example `1.34.1-do.0`. A newer one upgrades in place, an older one
    replaces the cluster."""
    node_pools: Sequence[NodePool]
    """At least one. DOKS creates the first pool together with the cluster. The others are separate
    resources, in any order."""
    access_token: pulumi.Input[str]
    """API token for the kubeconfig (scope `kubernetes:access_cluster`)."""
    hold_version: bool = False
    """True: the cluster already runs this version, so ignore the version in the stack's state,
    which may be older than an automatic upgrade."""
    high_availability: pulumi.Input[bool] = False
    """Several control plane nodes. It can be switched on later, but not off again."""
    auto_upgrade: pulumi.Input[bool] = False
    """DigitalOcean installs patch releases in the maintenance window."""
    surge_upgrade: pulumi.Input[bool] = True
    """An upgrade adds new nodes before it drains old ones. DigitalOcean bills them meanwhile."""
    maintenance: Maintenance | None = None
    """None: DigitalOcean chooses the window."""
    vpc_id: pulumi.Input[str] | None = None
    """An existing VPC to join. Without this and `vpc_ip_range`: the region's default VPC."""
    vpc_ip_range: pulumi.Input[str] | None = None
    """Create a VPC, named after the cluster, with this range (/16 to /28, private addresses)."""
    retain_vpc: bool = False
    """Whether destroying leaves the created VPC in the account. DigitalOcean never deletes a VPC
    that is its region's default: destroying would fail after the cluster is gone."""
    network: Network | None = None
    """None: an overlay network, whose pods nothing outside the cluster can reach."""
    hold_network: bool = False
    """True: a cluster that exists keeps its networks, whatever `network`, `worker_subnet` and
    `isolated_workers` are."""
    worker_subnet: str | None = None
    """UUID of the VPC's subnet for the nodes; needs `vpc_id`. None: the VPC's default subnet. A
    change replaces the cluster."""
    isolated_workers: bool = False
    """Nodes without public addresses. The VPC must have a NAT gateway. A change replaces the
    cluster."""
    control_plane_firewall: ControlPlaneFirewall | None = None
    """None: everybody reaches the Kubernetes API; a cluster that exists keeps what it has."""
    autoscaler: Autoscaler | None = None
    """Settings of the cluster autoscaler. None: those of DOKS."""
    sso: Sso | None = None
    """None: no single sign-on; a cluster that exists keeps what it has."""
    features: Features = field(default_factory=Features)
    """Switches. Default: DigitalOcean decides."""
    tags: Sequence[pulumi.Input[str]] = ()
    """DigitalOcean tags of the cluster."""
    destroy_associated_resources: pulumi.Input[bool] = False
    """Destroying the cluster also destroys the load balancers and volumes that its pods created."""
    registry_integration: pulumi.Input[bool] = False
    """Nodes can pull from the account's container registry as soon as the cluster is created. The
    registry must exist before: make the cluster depend on it. DigitalOcean refuses it in an account
    with several registries. A change has no effect on a cluster that exists."""
    protect: bool = False
    """Pulumi refuses to destroy or replace the cluster and its own VPC."""
    adopt: Existing | None = None
    """Import these resources instead of creating them. Those in the state are ignored."""

    def __post_init__(self) -> None:
        if not self.node_pools:
            raise ValueError("node_pools is empty; DOKS needs at least one pool")
        if self.vpc_id is not None and self.vpc_ip_range is not None:
            raise ValueError("give either vpc_id, to join a VPC, or vpc_ip_range, to make one")


class DoksCluster(pulumi.ComponentResource):
    """A cluster, its node pools and optionally its VPC.

    Needs a `digitalocean` provider in `opts`. `pulumi up` fails with the API's message if a name is
    in use, a version or size is not offered, or the Droplet limit is reached. The next `pulumi up`
    continues with the resources that exist by then.
    """

    cluster_id: pulumi.Output[str]
    cluster_urn: pulumi.Output[str]
    """`do:kubernetes:<id>`, the cluster's name in DigitalOcean projects and firewalls."""
    endpoint: pulumi.Output[str]
    """https URL of the Kubernetes API."""
    version: pulumi.Output[str]
    vpc_id: pulumi.Output[str]
    context: pulumi.Output[str]
    """Name of the kubeconfig's context, the same as doctl's."""
    kubeconfig: pulumi.Output[str]
    """YAML, secret. It does not expire (see `components.kubeconfig`)."""

    def __init__(
        self, name: str, args: DoksClusterArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("doks-gitops:index:DoksCluster", name, {}, opts)

        existing = args.adopt
        vpc_id = args.vpc_id
        if args.vpc_ip_range is not None:
            vpc_id = digitalocean.Vpc(
                name,
                name=args.cluster_name,
                region=args.region,
                ip_range=args.vpc_ip_range,
                opts=child_options(
                    self,
                    opts,
                    pulumi.ResourceOptions(
                        # Replacing the VPC replaces the cluster, so protect both.
                        protect=args.protect,
                        retain_on_delete=args.retain_vpc,
                        # A deleted cluster's nodes are in the VPC for some minutes longer.
                        custom_timeouts=pulumi.CustomTimeouts(delete="10m"),
                        import_=existing.vpc if existing else None,
                    ),
                ),
            ).id

        default_pool, *extra_pools = args.node_pools
        cluster = digitalocean.KubernetesCluster(
            name,
            name=args.cluster_name,
            region=args.region,
            version=args.version,
            ha=args.high_availability,
            auto_upgrade=args.auto_upgrade,
            surge_upgrade=args.surge_upgrade,
            maintenance_policy=_maintenance_policy(args.maintenance),
            vpc_uuid=vpc_id,
            tags=list(args.tags) or None,
            destroy_all_associated_resources=args.destroy_associated_resources,
            registry_integration=args.registry_integration,
            worker_subnet_uuid=args.worker_subnet,
            isolated_workers=args.isolated_workers or None,
            **_optional_properties(args),
            node_pool=digitalocean.KubernetesClusterNodePoolArgs(**_pool_properties(default_pool)),
            opts=child_options(
                self,
                opts,
                pulumi.ResourceOptions(
                    protect=args.protect,
                    # The new cluster has the name of the old one.
                    delete_before_replace=True,
                    ignore_changes=[
                        # The provider never reads it back. Without it, an update would remove the
                        # integration.
                        "registryIntegration",
                        *(["version"] if args.hold_version else []),
                        *(_NETWORKS if args.hold_network else []),
                    ],
                    import_=existing.cluster if existing else None,
                ),
            ),
        )

        for pool in extra_pools:
            digitalocean.KubernetesNodePool(
                f"{name}-{pool.name}",
                cluster_id=cluster.id,
                **_pool_properties(pool),
                opts=child_options(
                    self,
                    opts,
                    pulumi.ResourceOptions(
                        # The new pool has the name of the old one.
                        delete_before_replace=True,
                        import_=existing.node_pools.get(pool.name) if existing else None,
                    ),
                ),
            )

        self.cluster_id = cluster.id
        self.cluster_urn = cluster.cluster_urn
        self.endpoint = cluster.endpoint
        self.version = cluster.version
        self.vpc_id = cluster.vpc_uuid
        self.context = pulumi.Output.all(args.region, args.cluster_name).apply(
            lambda inputs: context_name(*inputs)
        )
        self.kubeconfig = pulumi.Output.secret(
            pulumi.Output.all(
                cluster_name=args.cluster_name,
                region=args.region,
                endpoint=cluster.endpoint,
                ca_certificate=cluster.kube_configs[0].cluster_ca_certificate,
                token=args.access_token,
            ).apply(lambda inputs: kubeconfig(**inputs))
        )
        self.register_outputs(
            {
                "clusterId": self.cluster_id,
                "clusterUrn": self.cluster_urn,
                "endpoint": self.endpoint,
                "version": self.version,
                "vpcId": self.vpc_id,
                "context": self.context,
                "kubeconfig": self.kubeconfig,
            }
        )


def _pool_properties(pool: NodePool) -> dict[str, Any]:
    """The properties that a cluster's first pool and the resources of the other pools share."""
    properties: dict[str, Any] = {
        "name": pool.name,
        "size": pool.size,
        "labels": dict(pool.labels) or None,
        "tags": list(pool.tags) or None,
        "taints": [asdict(taint) for taint in pool.taints] or None,
        "gpu_partition_mode": pool.gpu_partition_mode,
    }
    if pool.autoscale is None:
        return properties | {"auto_scale": False, "node_count": pool.count}
    # Without a node_count: each update would set the pool back to it.
    return properties | {
        "auto_scale": True,
        "min_nodes": pool.autoscale.min,
        "max_nodes": pool.autoscale.max,
    }


def _optional_properties(args: DoksClusterArgs) -> dict[str, Any]:
    """The properties that a cluster has only if the arguments say so."""
    switches = {
        name: {"enabled": enabled}
        for name, enabled in asdict(args.features).items()
        if enabled is not None
    }
    network, autoscaler, sso = args.network, args.autoscaler, args.sso
    return {
        "cluster_subnet": network.pods if network else None,
        "service_subnet": network.services if network else None,
        "control_plane_firewall": _present(args.control_plane_firewall),
        "cluster_autoscaler_configurations": [_present(autoscaler)] if autoscaler else None,
        "ssos": [_present(sso)] if sso else None,
        **switches,
    }


def _present(settings: ControlPlaneFirewall | Autoscaler | Sso | None) -> dict[str, Any] | None:
    """The fields that are set."""
    if settings is None:
        return None
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in asdict(settings).items()
        if value not in (None, ())
    }


def _maintenance_policy(
    maintenance: Maintenance | None,
) -> digitalocean.KubernetesClusterMaintenancePolicyArgs | None:
    if maintenance is None:
        return None
    return digitalocean.KubernetesClusterMaintenancePolicyArgs(
        day=maintenance.day, start_time=maintenance.start_time
    )
