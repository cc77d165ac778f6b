"""Clusters and their credentials: docs.digitalocean.com/reference/api/reference/kubernetes"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import uuid4

import yaml
from starlette.responses import JSONResponse, Response

from sandbox.digitalocean import fields
from sandbox.digitalocean.catalogue import REGIONS, SIZES, minor
from sandbox.digitalocean.errors import ApiError, invalid, not_found
from sandbox.digitalocean.models import (
    AccountData,
    Cluster,
    ClusterStatus,
    Diagnostic,
    LintRun,
    MaintenancePolicy,
    NodePool,
)
from sandbox.digitalocean.operations import Body, Call, Operation, accepted
from sandbox.digitalocean.pools import NodePoolCreate, new_pool
from sandbox.digitalocean.routes.registries import named_registry, only_registry
from sandbox.digitalocean.state import ACCESS_CLUSTER, CREDENTIAL_LIFETIME
from sandbox.digitalocean.validation import (
    OVERLAY,
    check_cluster_name,
    check_droplet_limit,
    check_maintenance,
    check_region,
    check_subnets,
    check_tags,
    resolve_version,
    upgrades,
)
from sandbox.digitalocean.views import cluster_view, kubeconfig, version_view
from sandbox.emulator import no_content

_SERVICE_SUBNET = "10.245.0.0/16"
_HA_BY_DEFAULT_SINCE = (1, 36)


class Maintenance(Body):
    start_time: str = "00:00"
    day: str = "any"

    def policy(self) -> MaintenancePolicy:
        policy = MaintenancePolicy(start_time=self.start_time, day=self.day)
        check_maintenance(policy)
        return policy


class ClusterCreate(Body, extra="allow"):
    name: str
    region: str
    version: str
    node_pools: list[NodePoolCreate]
    vpc_uuid: str | None = None
    cluster_subnet: str = OVERLAY
    service_subnet: str = _SERVICE_SUBNET
    ha: bool | None = None
    tags: Sequence[str] = ()
    maintenance_policy: Maintenance = Maintenance()
    auto_upgrade: bool = False
    surge_upgrade: bool = False


class ClusterUpdate(Body, extra="allow"):
    name: str | None = None
    ha: bool | None = None
    tags: list[str] | None = None
    maintenance_policy: Maintenance | None = None
    auto_upgrade: bool | None = None
    surge_upgrade: bool | None = None


class Upgrade(Body):
    version: str


class Integration(Body):
    cluster_uuids: list[str]


class NamedIntegration(Integration):
    registries: list[str]


def cluster_of(call: Call) -> Cluster:
    """The cluster that the path names. Ends the request with 404 if it does not exist."""
    return _cluster(call.account.data, call.path["cluster_id"])


def _cluster(data: AccountData, cluster_id: str) -> Cluster:
    if cluster_id not in data.clusters:
        raise not_found("cluster not found")
    return data.clusters[cluster_id]


def check_not_deleting(cluster: Cluster) -> None:
    if cluster.status.state == "deleting":
        raise ApiError(409, "cluster is being deleted")


def start_deletion(call: Call, cluster: Cluster) -> None:
    """Delete the cluster in the background. Its name can be reused at once, and the cluster is
    listed until it is deleted."""
    with call.account.changing():
        cluster.status = ClusterStatus(state="deleting")
        cluster.updated_at = call.account.clock.now()
    call.clusters.reconcile(cluster.id)


def _change(call: Call, cluster: Cluster) -> Response:
    call.clusters.reconcile(cluster.id)
    return JSONResponse({"kubernetes_cluster": cluster_view(cluster)}, 202)


async def get_options(call: Call) -> Response:
    faults = call.account.faults
    return JSONResponse(
        {
            "options": {
                "regions": [
                    {"name": name, "slug": slug}
                    for slug, name in REGIONS.items()
                    if not faults.is_active("region-down", slug)
                ],
                "versions": [version_view(slug) for slug in call.account.data.versions],
                "sizes": [{"name": slug, "slug": slug} for slug in SIZES],
            }
        }
    )


async def list_clusters(call: Call) -> Response:
    clusters = call.account.data.clusters.values()
    return call.page("kubernetes_clusters", [cluster_view(cluster) for cluster in clusters])


async def create_cluster(call: Call) -> Response:
    body = await call.body(ClusterCreate)
    account, data = call.account, call.account.data
    check_cluster_name(body.name, data)
    check_region(body.region, account)
    check_tags(body.tags)
    version = resolve_version(body.version, data)
    if not body.node_pools:
        raise invalid("validation error: worker_node_pool_specs must have at least one pool")
    pools: list[NodePool] = []
    for index, pool in enumerate(body.node_pools):
        names = [earlier.name for earlier in pools]
        pools.append(new_pool(account, pool, names, f"worker_node_pool_specs[{index}]"))
    check_droplet_limit(sum(pool.count for pool in pools), account)
    maintenance = body.maintenance_policy.policy()
    if body.vpc_uuid:
        vpc = data.vpcs.get(body.vpc_uuid)
        if vpc is None or vpc.region != body.region:
            raise invalid(f"validation error: no VPC {body.vpc_uuid} in region {body.region}")
    else:
        vpc = account.default_vpc(body.region)
    check_subnets(body.cluster_subnet, body.service_subnet, vpc, data)
    features = fields.changed(fields.CLUSTER, None, body.model_extra)
    fields.check_cluster(features)
    _check_nodes_network(features, body.vpc_uuid, data)
    now = account.clock.now()
    cluster = Cluster(
        id=str(uuid4()),
        name=body.name,
        region=body.region,
        version=version,
        cluster_subnet=body.cluster_subnet,
        service_subnet=body.service_subnet,
        vpc_uuid=vpc.id,
        ha=minor(version) >= _HA_BY_DEFAULT_SINCE if body.ha is None else body.ha,
        tags=list(body.tags),
        node_pools=pools,
        maintenance_policy=maintenance,
        auto_upgrade=body.auto_upgrade,
        surge_upgrade=body.surge_upgrade,
        features=features,
        status=ClusterStatus(state="provisioning", message="provisioning"),
        created_at=now,
        updated_at=now,
    )
    with account.changing():
        data.clusters[cluster.id] = cluster
    call.clusters.reconcile(cluster.id)
    return JSONResponse({"kubernetes_cluster": cluster_view(cluster)}, 201)


async def get_cluster(call: Call) -> Response:
    return JSONResponse({"kubernetes_cluster": cluster_view(cluster_of(call))})


async def update_cluster(call: Call) -> Response:
    cluster = cluster_of(call)
    body = await call.body(ClusterUpdate)
    check_not_deleting(cluster)
    if body.name is not None:
        check_cluster_name(body.name, call.account.data, own_id=cluster.id)
    tags = own_tags(body.tags, cluster)
    if cluster.ha and body.ha is False:
        raise invalid("validation error: high availability cannot be disabled")
    maintenance = body.maintenance_policy.policy() if body.maintenance_policy else None
    features = fields.changed(fields.CLUSTER, cluster.features, body.model_extra)
    fields.check_cluster(features)
    with call.account.changing():
        cluster.name = body.name or cluster.name
        cluster.tags = tags
        cluster.ha = cluster.ha or bool(body.ha)
        cluster.maintenance_policy = maintenance or cluster.maintenance_policy
        if body.auto_upgrade is not None:
            cluster.auto_upgrade = body.auto_upgrade
        if body.surge_upgrade is not None:
            cluster.surge_upgrade = body.surge_upgrade
        cluster.features = features
        cluster.updated_at = call.account.clock.now()
    return _change(call, cluster)


def _check_nodes_network(
    features: Mapping[str, Any], vpc_uuid: str | None, data: AccountData
) -> None:
    if "worker_subnet_uuid" in features and not vpc_uuid:
        raise invalid("validation error: worker_subnet_uuid requires vpc_uuid")
    if features.get("isolated_workers") and vpc_uuid not in data.nat_gateways:
        raise invalid("validation error: isolated_workers requires a NAT gateway in the VPC")


def own_tags(requested: Sequence[str] | None, cluster: Cluster) -> list[str]:
    """The requested tags without those that the API adds; without a request, the current tags."""
    if requested is None:
        return cluster.tags
    check_tags(requested)
    added = ("k8s", f"k8s:{cluster.id}", "k8s:worker")
    return [tag for tag in requested if tag not in added]


async def delete_cluster(call: Call) -> Response:
    start_deletion(call, cluster_of(call))
    return no_content()


async def list_upgrades(call: Call) -> Response:
    slugs = upgrades(cluster_of(call), call.account.data)
    versions = [version_view(slug) for slug in slugs]
    return JSONResponse({"available_upgrade_versions": versions or None})


async def upgrade_cluster(call: Call) -> Response:
    cluster = cluster_of(call)
    body = await call.body(Upgrade)
    check_not_deleting(cluster)
    version = resolve_version(body.version, call.account.data)
    if version not in upgrades(cluster, call.account.data):
        raise invalid("invalid upgrade path")
    if cluster.status.state not in ("running", "degraded"):
        raise invalid(f"cluster can't be upgraded while it is {cluster.status.state}")
    with call.account.changing():
        cluster.upgrading_to = version
        cluster.status = ClusterStatus(state="upgrading")
        cluster.updated_at = call.account.clock.now()
    call.clusters.reconcile(cluster.id)
    return accepted()


async def run_lint(call: Call) -> Response:
    cluster, now = cluster_of(call), call.account.clock.now()
    check_not_deleting(cluster)
    diagnostics = []
    if call.account.faults.is_active("lint-error", cluster.name):
        webhook = {"kind": "validating webhook configuration", "name": "policy", "namespace": ""}
        message = "Validating webhook is configured in such a way that it may be problematic during"
        diagnostics.append(
            Diagnostic(
                check_name="admission-controller-webhook",
                severity="error",
                message=f"{message} upgrades.",
                object=webhook,
            )
        )
    run = LintRun(run_id=str(uuid4()), requested_at=now, completed_at=now, diagnostics=diagnostics)
    with call.account.changing():
        cluster.lint_runs[run.run_id] = run
    return JSONResponse({"run_id": run.run_id}, 202)


async def get_lint_results(call: Call) -> Response:
    runs = cluster_of(call).lint_runs
    run_id = call.request.query_params.get("run_id") or next(reversed(runs), "")
    if run_id not in runs:
        raise not_found("clusterlint run not found")
    return JSONResponse(runs[run_id].model_dump(mode="json"))


def _reachable(call: Call) -> Cluster:
    cluster = cluster_of(call)
    if not cluster.reachable:
        raise not_found(f"cluster is {cluster.status.state}, it can't be accessed")
    return cluster


def _lifetime(call: Call) -> timedelta:
    seconds = call.seconds("expiry_seconds")
    return timedelta(seconds=seconds) if seconds else CREDENTIAL_LIFETIME


async def get_kubeconfig(call: Call) -> Response:
    cluster = _reachable(call)
    token, _ = call.account.mint_cluster_credential(cluster.id, _lifetime(call))
    return Response(
        yaml.safe_dump(kubeconfig(cluster, token), sort_keys=False), media_type="application/yaml"
    )


async def get_credentials(call: Call) -> Response:
    cluster = _reachable(call)
    token, expires_at = call.account.mint_cluster_credential(cluster.id, _lifetime(call))
    return JSONResponse(
        {
            "server": cluster.endpoint,
            "certificate_authority_data": cluster.ca_certificate,
            "client_certificate_data": None,
            "client_key_data": None,
            "token": token,
            "expires_at": expires_at.isoformat(),
        }
    )


async def get_user(call: Call) -> Response:
    cluster_of(call)
    user = {"username": call.account.data.email, "groups": ["k8saas:authenticated"]}
    return JSONResponse({"kubernetes_cluster_user": user})


def _integrate(call: Call, body: Integration, registries: list[str], *, add: bool) -> Response:
    clusters = [_cluster(call.account.data, cluster_id) for cluster_id in body.cluster_uuids]
    for cluster in clusters:
        check_not_deleting(cluster)
    with call.account.changing():
        for cluster in clusters:
            others = [name for name in cluster.registries if name not in registries]
            cluster.registries = [*others, *registries] if add else others
            cluster.updated_at = call.account.clock.now()
    return no_content()


async def add_registry(call: Call) -> Response:
    body = await call.body(Integration)
    return _integrate(call, body, [only_registry(call.account.data).name], add=True)


async def remove_registry(call: Call) -> Response:
    body = await call.body(Integration)
    return _integrate(call, body, [only_registry(call.account.data).name], add=False)


async def add_registries(call: Call) -> Response:
    body = await call.body(NamedIntegration)
    names = [named_registry(call.account.data, name).name for name in body.registries]
    return _integrate(call, body, names, add=True)


async def remove_registries(call: Call) -> Response:
    body = await call.body(NamedIntegration)
    return _integrate(call, body, body.registries, add=False)


_CLUSTERS = "/kubernetes/clusters"
_CLUSTER = f"{_CLUSTERS}/{{cluster_id}}"
_INTEGRATE = ("kubernetes:create", "kubernetes:update")
_TAGS = ("tag:read", "tag:create")
"""For the tags of a cluster, which the program always sends."""

OPERATIONS = (
    Operation("GET", "/kubernetes/options", get_options, ("kubernetes:read",)),
    Operation("GET", _CLUSTERS, list_clusters, ("kubernetes:read",)),
    Operation("POST", _CLUSTERS, create_cluster, ("kubernetes:create", *_TAGS)),
    Operation("GET", _CLUSTER, get_cluster, ("kubernetes:read",)),
    Operation("PUT", _CLUSTER, update_cluster, ("kubernetes:update", *_TAGS)),
    Operation("DELETE", _CLUSTER, delete_cluster, ("kubernetes:delete",)),
    Operation("GET", f"{_CLUSTER}/upgrades", list_upgrades, ("kubernetes:read",)),
    Operation("POST", f"{_CLUSTER}/upgrade", upgrade_cluster, ("kubernetes:update",)),
    Operation("POST", f"{_CLUSTER}/clusterlint", run_lint, ("kubernetes:update",)),
    Operation("GET", f"{_CLUSTER}/clusterlint", get_lint_results, ("kubernetes:read",)),
    Operation("GET", f"{_CLUSTER}/kubeconfig", get_kubeconfig, (ACCESS_CLUSTER,)),
    Operation("GET", f"{_CLUSTER}/credentials", get_credentials, (ACCESS_CLUSTER,)),
    Operation("GET", f"{_CLUSTER}/user", get_user, ("kubernetes:read",)),
    Operation("POST", "/kubernetes/registry", add_registry, _INTEGRATE),
    Operation("DELETE", "/kubernetes/registry", remove_registry, ("kubernetes:update",)),
    Operation("POST", "/kubernetes/registries", add_registries, _INTEGRATE),
    Operation("DELETE", "/kubernetes/registries", remove_registries, ("kubernetes:update",)),
)
