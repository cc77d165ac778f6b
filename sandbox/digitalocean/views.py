"""The JSON of the API for the account's data."""

from typing import Any

from sandbox.digitalocean.catalogue import REGIONS, TIERS, VERSION_FEATURES, Tier
from sandbox.digitalocean.models import (
    Cluster,
    LoadBalancer,
    NatGateway,
    Node,
    NodePool,
    Registry,
    Repository,
    Subscription,
    Volume,
    VolumeSnapshot,
    Vpc,
)


def cluster_view(cluster: Cluster) -> dict[str, Any]:
    view = cluster.model_dump(
        mode="json",
        exclude={"node_pools", "ca_certificate", "features", "upgrading_to", "status", "lint_runs"},
    )
    view["tags"] = ["k8s", f"k8s:{cluster.id}", *cluster.tags]
    view["node_pools"] = [node_pool_view(cluster, pool) for pool in cluster.node_pools]
    view["registry_enabled"] = bool(cluster.registries)
    view["status"] = cluster.status.model_dump(exclude_defaults=True)
    return view | {"isolated_workers": False} | cluster.features


def node_pool_view(cluster: Cluster, pool: NodePool) -> dict[str, Any]:
    view = pool.model_dump(mode="json", exclude={"deleting", "nodes", "features"})
    view["tags"] = ["k8s", f"k8s:{cluster.id}", "k8s:worker", *pool.tags]
    view["labels"] = pool.labels or None
    view["nodes"] = [_node_view(node) for node in pool.nodes]
    return view | pool.features


def _node_view(node: Node) -> dict[str, Any]:
    view = node.model_dump(mode="json")
    # A node without a Droplet has no name either.
    return view | {"name": "", "droplet_id": ""} if node.status.state == "provisioning" else view


def version_view(slug: str) -> dict[str, Any]:
    return {
        "slug": slug,
        "kubernetes_version": slug.partition("-do.")[0],
        "supported_features": list(VERSION_FEATURES),
    }


def kubeconfig(cluster: Cluster, token: str) -> dict[str, Any]:
    """A kubeconfig with the names that DigitalOcean and doctl use."""
    context = f"do-{cluster.region}-{cluster.name}"
    user = f"{context}-admin"
    server = {
        "certificate-authority-data": cluster.ca_certificate,
        "server": cluster.endpoint,
    }
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": context, "cluster": server}],
        "contexts": [{"name": context, "context": {"cluster": context, "user": user}}],
        "current-context": context,
        "preferences": {},
        "users": [{"name": user, "user": {"token": token}}],
    }


def vpc_view(vpc: Vpc) -> dict[str, Any]:
    return vpc.model_dump(mode="json") | {"urn": f"do:vpc:{vpc.id}"}


def nat_gateway_view(vpc_id: str, gateway: NatGateway) -> dict[str, Any]:
    return gateway.model_dump(mode="json") | {
        "type": "PUBLIC",
        "state": "ACTIVE",
        "size": 1,
        "vpcs": [{"vpc_uuid": vpc_id}],
    }


def load_balancer_view(load_balancer: LoadBalancer) -> dict[str, Any]:
    return load_balancer.model_dump(mode="json", exclude={"cluster_id", "region"}) | {
        "status": "active",
        "region": {"slug": load_balancer.region},
        "tag": f"k8s:{load_balancer.cluster_id}",
    }


def volume_view(volume: Volume, *, with_tags: bool = True) -> dict[str, Any]:
    return volume.model_dump(mode="json") | {
        "tags": volume.tags if with_tags else [],
        "region": {"slug": volume.region, "name": REGIONS[volume.region]},
    }


def volume_snapshot_view(snapshot: VolumeSnapshot, *, with_tags: bool = True) -> dict[str, Any]:
    return snapshot.model_dump(mode="json", exclude={"region"}) | {
        "tags": snapshot.tags if with_tags else None,
        "regions": [snapshot.region],
        "resource_type": "volume",
    }


def registry_view(registry: Registry) -> dict[str, Any]:
    used = sum(tag.compressed_size_bytes for repo in registry.repositories for tag in repo.tags)
    return registry.model_dump(mode="json", exclude={"repositories"}) | {
        "storage_usage_bytes": used,
        "storage_usage_bytes_updated_at": registry.model_dump(mode="json")["created_at"],
    }


def repository_view(registry: Registry, repository: Repository) -> dict[str, Any]:
    newest = max(repository.tags, key=lambda tag: tag.updated_at)
    manifest = newest.model_dump(mode="json", exclude={"tag", "manifest_digest"}) | {
        "registry_name": registry.name,
        "repository": repository.name,
        "digest": newest.manifest_digest,
        "tags": [
            tag.tag for tag in repository.tags if tag.manifest_digest == newest.manifest_digest
        ],
    }
    return {
        "registry_name": registry.name,
        "name": repository.name,
        "tag_count": len(repository.tags),
        "manifest_count": len({tag.manifest_digest for tag in repository.tags}),
        "latest_manifest": manifest,
    }


def repository_tags_view(registry: Registry, repository: Repository) -> list[dict[str, Any]]:
    names = {"registry_name": registry.name, "repository": repository.name}
    return [names | tag.model_dump(mode="json") for tag in repository.tags]


def tier_view(tier: Tier) -> dict[str, Any]:
    return {name: value for name, value in vars(tier).items() if name != "registries"}


def subscription_view(subscription: Subscription) -> dict[str, Any]:
    return subscription.model_dump(mode="json", exclude={"tier_slug"}) | {
        "tier": tier_view(TIERS[subscription.tier_slug])
    }
