"""A DigitalOcean Kubernetes (DOKS) cluster with its node pools."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pulumi
import pulumi_digitalocean as digitalocean

from components.kubeconfig import context_name, kubeconfig
from components.options import child_options


@dataclass(frozen=True)
class Taint:
    """Keeps pods off a pool's nodes unless they tolerate it.

    https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/
    """

    key: str
    value: str
    effect: str
    """NoSchedule, PreferNoSchedule or NoExecute."""


@dataclass(frozen=True)
class Autoscale:
    """DigitalOcean keeps the number of nodes between these two, by what pods ask for.

    https://docs.digitalocean.com/products/kubernetes/how-to/autoscale/
    """

    min: int
    max: int


@dataclass(frozen=True)
class NodePool:
    """Nodes of one size. Either `count` or `autoscale` says how many.

    https://docs.digitalocean.com/reference/api/digitalocean/#tag/Kubernetes
    """

    name: str
    """Unique in the cluster; renaming makes a new pool."""
    size: str
    """Droplet size slug, for example `s-2vcpu-4gb`; changing it replaces the pool, and the whole
    cluster if it is the first pool."""
    count: int | None = None
    autoscale: Autoscale | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: Sequence[Taint] = ()
    tags: Sequence[str] = ()

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
class Existing:
    """IDs of what exists in the account and is not in the stack's state.

    https://www.pulumi.com/docs/iac/concepts/options/import/
    """

    cluster: str | None = None
    vpc: str | None = None
    node_pools: Mapping[str, str] = field(default_factory=dict)
    """By the pool's name; those besides the first."""


@dataclass(frozen=True)
class DoksClusterArgs:
    """What a cluster is made of. Defaults are DigitalOcean's unless a field says otherwise.

    https://docs.digitalocean.com/products/kubernetes/
    """

    cluster_name: pulumi.Input[str]
    """Unique in the account; changing it replaces the cluster."""
    region: pulumi.Input[str]
    """Region slug, for example `nyc1`; changing it replaces the cluster."""
    version: pulumi.Input[str]
    """Full version slug, for example `1.34.1-do.0`. A newer one upgrades in place, an older one
    replaces the cluster."""
    node_pools: Sequence[NodePool]
    """At least one. The first is the pool that DOKS makes with the cluster; the others are
    resources of their own, whose order means nothing."""
    access_token: pulumi.Input[str]
    """API token that the kubeconfig presents (scope `kubernetes:access_cluster`)."""
    hold_version: bool = False
    """True: the cluster already runs what is wanted, so no upgrade is asked for even if the
    stack's state, older than an automatic upgrade, says otherwise."""
    high_availability: pulumi.Input[bool] = False
    """Several control plane nodes; can be switched on later, but never off again."""
    auto_upgrade: pulumi.Input[bool] = False
    """Patch releases are installed in the maintenance window."""
    surge_upgrade: pulumi.Input[bool] = True
    """New nodes join before old ones are drained, at the price of those nodes for that time."""
    maintenance: Maintenance | None = None
    """None: DigitalOcean picks the window."""
    vpc_id: pulumi.Input[str] | None = None
    """An existing VPC to join. Neither this nor `vpc_ip_range`: the region's default VPC."""
    vpc_ip_range: pulumi.Input[str] | None = None
    """Make a VPC named after the cluster with this range (/16 to /24, private addresses)."""
    tags: Sequence[str] = ()
    """On the cluster, in DigitalOcean."""
    destroy_associated_resources: pulumi.Input[bool] = False
    """Destroying the cluster also destroys the load balancers and volumes that it made."""
    registry_integration: pulumi.Input[bool] = False
    """Nodes can pull from the team's container registry. DigitalOcean sets it up before the
    cluster counts as created, so it is in place before anything is deployed. A registry must
    exist: make the cluster depend on it."""
    protect: bool = False
    """Pulumi refuses to destroy or replace the cluster and the VPC that was made for it."""
    adopt: Existing | None = None
    """Take these over in place of making them; means nothing for what is in the state."""

    def __post_init__(self) -> None:
        if not self.node_pools:
            raise ValueError("node_pools is empty; DOKS needs at least one pool")
        if self.vpc_id is not None and self.vpc_ip_range is not None:
            raise ValueError("give either vpc_id, to join a VPC, or vpc_ip_range, to make one")


class DoksCluster(pulumi.ComponentResource):
    """A cluster, its node pools and, if asked for, its VPC.

    Needs a `digitalocean` provider in `opts`. Names that the account already uses, a version or
    size that it does not offer, or a droplet limit make the API refuse, and `pulumi up` fails with
    the API's message; what was made until then is kept and continued by the next `pulumi up`.
    """

    cluster_id: pulumi.Output[str]
    cluster_urn: pulumi.Output[str]
    """`do:kubernetes:<id>`, as DigitalOcean projects and firewalls name the cluster."""
    endpoint: pulumi.Output[str]
    """https URL of the Kubernetes API."""
    version: pulumi.Output[str]
    vpc_id: pulumi.Output[str]
    context: pulumi.Output[str]
    """Name of the kubeconfig's context, as doctl names it."""
    kubeconfig: pulumi.Output[str]
    """YAML, secret; does not expire (see `components.kubeconfig`)."""

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
                        # Another VPC is another cluster.
                        protect=args.protect,
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
            node_pool=digitalocean.KubernetesClusterNodePoolArgs(
                name=default_pool.name,
                size=default_pool.size,
                **_node_count(default_pool),
                labels=dict(default_pool.labels) or None,
                tags=list(default_pool.tags) or None,
                taints=[
                    digitalocean.KubernetesClusterNodePoolTaintArgs(
                        key=taint.key, value=taint.value, effect=taint.effect
                    )
                    for taint in default_pool.taints
                ]
                or None,
            ),
            opts=child_options(
                self,
                opts,
                pulumi.ResourceOptions(
                    protect=args.protect,
                    # The name is taken until the old cluster is gone.
                    delete_before_replace=True,
                    ignore_changes=["version"] if args.hold_version else None,
                    import_=existing.cluster if existing else None,
                ),
            ),
        )

        for pool in extra_pools:
            digitalocean.KubernetesNodePool(
                f"{name}-{pool.name}",
                cluster_id=cluster.id,
                name=pool.name,
                size=pool.size,
                **_node_count(pool),
                labels=dict(pool.labels) or None,
                tags=list(pool.tags) or None,
                taints=[
                    digitalocean.KubernetesNodePoolTaintArgs(
                        key=taint.key, value=taint.value, effect=taint.effect
                    )
                    for taint in pool.taints
                ]
                or None,
                opts=child_options(
                    self,
                    opts,
                    pulumi.ResourceOptions(
                        # The name is taken until the old pool is gone.
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
            lambda given: context_name(*given)
        )
        self.kubeconfig = pulumi.Output.secret(
            pulumi.Output.all(
                cluster_name=args.cluster_name,
                region=args.region,
                endpoint=cluster.endpoint,
                ca_certificate=cluster.kube_configs[0].cluster_ca_certificate,
                token=args.access_token,
            ).apply(lambda given: kubeconfig(**given))
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


def _node_count(pool: NodePool) -> dict[str, Any]:
    """Under autoscaling no count is given: it would set the pool back at each update."""
    if pool.autoscale is None:
        assert pool.count is not None
        return {"auto_scale": False, "node_count": pool.count}
    return {
        "auto_scale": True,
        "min_nodes": pool.autoscale.min,
        "max_nodes": pool.autoscale.max,
    }


def _maintenance_policy(
    maintenance: Maintenance | None,
) -> digitalocean.KubernetesClusterMaintenancePolicyArgs | None:
    if maintenance is None:
        return None
    return digitalocean.KubernetesClusterMaintenancePolicyArgs(
        day=maintenance.day, start_time=maintenance.start_time
    )
