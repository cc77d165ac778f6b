"""DOKS clusters (https://docs.digitalocean.com/reference/api/digitalocean/#tag/Kubernetes)."""

from typing import Any, ClassVar

from semver import Version

from sandbox.plugins.bridge.resource import Incomplete, api_name, go_time, present
from sandbox.plugins.bridge.schema import (
    Field,
    Fields,
    Properties,
    at_least,
    boolean,
    cidr,
    integer,
    list_of,
    not_empty,
    number,
    object_of,
    one_of,
    string,
)
from sandbox.plugins.common import Failure
from sandbox.plugins.digitalocean.api import Api, ApiError, failing
from sandbox.plugins.digitalocean.credentials import expired, kube_config
from sandbox.plugins.digitalocean.node_pool import (
    CLUSTERS,
    DEFAULT_POOL_TAG,
    POOL_FIELDS,
    describe_pool,
    own_tags,
    pool_request,
    update_pool,
)
from sandbox.plugins.digitalocean.resource import CREATE_TIMEOUT, polls
from sandbox.plugins.digitalocean.tags import tags

_REGISTRY = "/v2/kubernetes/registry"

_DAYS = ("any", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


def _switch(*conflicts: str) -> Field:
    """A feature of the cluster that can be enabled."""
    return object_of({"enabled": boolean(required=True)}, computed=True, conflicts=conflicts)


SWITCHES: Fields = {
    "routingAgent": _switch(),
    "p2pOciRegistryPlugin": _switch(),
    "nfsCsiPlugin": _switch(),
    "corednsAutoscaler": _switch(),
    "rdmaSharedDevicePlugin": _switch(),
    "amdGpuDevicePlugin": _switch("amdGpuDraDriver"),
    "amdGpuDraDriver": _switch("amdGpuDevicePlugin"),
    "amdGpuDeviceMetricsExporterPlugin": _switch(),
    "nvidiaGpuDevicePlugin": _switch("nvidiaGpuDraDriver"),
    "nvidiaGpuDraDriver": _switch("nvidiaGpuDevicePlugin"),
}

_FIREWALL: Fields = {
    "enabled": boolean(required=True),
    "allowedAddresses": list_of(string(), required=True),
}

_AUTOSCALER: Fields = {
    "scaleDownUtilizationThreshold": number(),
    "scaleDownUnneededTime": string(),
    "expanders": list_of(string()),
}

_SSO: Fields = {
    "enabled": boolean(required=True),
    "required": boolean(),
    "issuerUrl": string(),
    "clientId": string(),
}

_KUBE_CONFIG: Fields = {
    name: string(output=True)
    for name in (
        "rawConfig",
        "host",
        "clusterCaCertificate",
        "clientKey",
        "clientCertificate",
        "token",
        "expiresAt",
    )
}


def _is_older(old: str, new: str) -> bool:
    """True if `new` is below `old`: a cluster can't be downgraded, only replaced."""
    try:
        before, after = (Version.parse(slug, optional_minor_and_patch=True) for slug in (old, new))
    except ValueError:
        return False
    return after < before


class KubernetesCluster:
    type = "digitalocean:index/kubernetesCluster:KubernetesCluster"
    fields: ClassVar[Fields] = {
        "name": string(required=True, autonamed=True, rule=not_empty),
        "region": string(required=True, replaces=True, normal=str.lower, rule=not_empty),
        "version": string(required=True, replaces_when=_is_older, rule=not_empty),
        "nodePool": object_of({**POOL_FIELDS, "id": string(output=True)}, required=True),
        "ha": boolean(computed=True),
        "autoUpgrade": boolean(),
        "surgeUpgrade": boolean(default=True),
        "registryIntegration": boolean(default=False),
        "destroyAllAssociatedResources": boolean(default=False),
        "isolatedWorkers": boolean(default=False, replaces=True),
        "kubeconfigExpireSeconds": integer(rule=at_least(0)),
        "vpcUuid": string(computed=True, replaces=True),
        "workerSubnetUuid": string(computed=True, replaces=True),
        "clusterSubnet": string(computed=True, replaces=True, rule=cidr),
        "serviceSubnet": string(computed=True, replaces=True, rule=cidr),
        "tags": tags(),
        "maintenancePolicy": object_of(
            {
                "day": string(computed=True, rule=one_of(*_DAYS, any_case=True)),
                "startTime": string(computed=True),
                "duration": string(output=True),
            },
            computed=True,
        ),
        "controlPlaneFirewall": object_of(_FIREWALL, computed=True),
        "clusterAutoscalerConfigurations": list_of(object_of(_AUTOSCALER)),
        "ssos": list_of(object_of(_SSO), computed=True),
        **SWITCHES,
        "ipv4Address": string(output=True),
        "endpoint": string(output=True),
        "status": string(output=True),
        "createdAt": string(output=True),
        "updatedAt": string(output=True),
        "clusterUrn": string(output=True),
        "kubeConfigs": list_of(object_of(_KUBE_CONFIG), output=True, secret=True),
    }

    async def create(self, api: Api, desired: Properties, seconds: float | None) -> str:
        with failing("Error creating Kubernetes cluster"):
            response = await api.post(CLUSTERS, _create_request(desired))
        id = str(response["kubernetes_cluster"]["id"])
        # As with the real plugin, a cluster that does not become ready is not in the state: it
        # remains in the account, and the next run creates another one.
        try:
            await _until_running(api, id, seconds or CREATE_TIMEOUT)
        except Failure as error:
            raise Failure(f"Error creating Kubernetes cluster: {error}") from None
        if desired.get("registryIntegration"):
            try:
                await api.post(_REGISTRY, {"cluster_uuids": [id]})
            except ApiError as error:
                raise Incomplete(id, f"Error enabling registry integration: {error}") from None
        return id

    async def read(self, api: Api, id: str, state: Properties) -> Properties | None:
        with failing("Error retrieving Kubernetes cluster"):
            response = await api.find(f"{CLUSTERS}/{id}")
        if response is None:
            return None
        return await _describe(api, response["kubernetes_cluster"], state)

    async def adopt(self, api: Api, id: str) -> Properties:
        with failing("Error retrieving Kubernetes cluster"):
            cluster = (await api.get(f"{CLUSTERS}/{id}"))["kubernetes_cluster"]
        pools = cluster.get("node_pools") or []
        tagged = [pool for pool in pools if DEFAULT_POOL_TAG in (pool.get("tags") or [])]
        if len(tagged) > 1:
            raise Failure(
                "Multiple node pools are tagged as the default node pool; only one node pool may"
                f" have the `{DEFAULT_POOL_TAG}` tag"
            )
        if not tagged and len(pools) != 1:
            raise Failure(
                f"Cluster contains multiple node pools. Manually add the `{DEFAULT_POOL_TAG}` tag"
                " to the pool that should be used as the default. Additional pools must be imported"
                " separately as KubernetesNodePool resources."
            )
        if not tagged:
            new_tags = [*(pools[0].get("tags") or []), DEFAULT_POOL_TAG]
            with failing("Error tagging the default node pool"):
                await api.put(f"{CLUSTERS}/{id}/node_pools/{pools[0]['id']}", {"tags": new_tags})
        return {}

    async def update(
        self, api: Api, id: str, old: Properties, desired: Properties, changed: set[str]
    ) -> None:
        if changed & _UPDATED_TOGETHER:
            with failing("Unable to update cluster"):
                await api.put(f"{CLUSTERS}/{id}", _update_request(old, desired))
        if "nodePool" in changed:
            pool_id = old["nodePool"]["id"]
            await update_pool(api, id, pool_id, desired["nodePool"], tag=DEFAULT_POOL_TAG)
        if "version" in changed:
            with failing("Unable to upgrade cluster version"):
                await api.post(f"{CLUSTERS}/{id}/upgrade", {"version": desired["version"]})
        if "registryIntegration" in changed:
            body = {"cluster_uuids": [id]}
            if desired.get("registryIntegration"):
                with failing("Error enabling registry integration"):
                    await api.post(_REGISTRY, body)
            else:
                with failing("Error disabling registry integration"):
                    await api.delete(_REGISTRY, body)

    async def delete(self, api: Api, id: str, state: Properties, seconds: float | None) -> None:
        path = f"{CLUSTERS}/{id}"
        if state.get("destroyAllAssociatedResources"):
            path += "/destroy_with_associated_resources"
            with failing("Failed to list associated resources"):
                await api.get(path)
            path += "/dangerous"
        try:
            await api.delete(path)
        except ApiError as error:
            if error.status != 404:
                raise Failure(f"Unable to delete cluster: {error}") from None


_UPDATED_TOGETHER = {
    "name",
    "tags",
    "autoUpgrade",
    "surgeUpgrade",
    "maintenancePolicy",
    "ha",
    "controlPlaneFirewall",
    "clusterAutoscalerConfigurations",
    "ssos",
    *SWITCHES,
}


def _create_request(desired: Properties) -> dict[str, Any]:
    return {
        **present(
            {
                "name": desired["name"],
                "region": desired["region"].lower(),
                "version": desired["version"],
                "tags": desired.get("tags"),
                "vpc_uuid": desired.get("vpcUuid"),
                "worker_subnet_uuid": desired.get("workerSubnetUuid"),
                "cluster_subnet": desired.get("clusterSubnet"),
                "service_subnet": desired.get("serviceSubnet"),
                "isolated_workers": desired.get("isolatedWorkers"),
                "node_pools": [pool_request(desired["nodePool"], DEFAULT_POOL_TAG)],
                **_parts(desired),
                "cluster_autoscaler_configuration": _autoscaler([], desired),
            }
        ),
        # Without it the API decides: from 1.36 on, the control plane is highly available.
        **({"ha": desired["ha"]} if "ha" in desired else {}),
        "maintenance_policy": _maintenance(desired),
        "auto_upgrade": desired.get("autoUpgrade", False),
        "surge_upgrade": desired.get("surgeUpgrade", False),
    }


def _update_request(old: Properties, desired: Properties) -> dict[str, Any]:
    return {
        **present(
            {
                "name": desired["name"],
                # As godo does, leave out empty and false values: the real plugin can't remove the
                # last tag or disable surge upgrades.
                "tags": desired.get("tags"),
                "surge_upgrade": desired.get("surgeUpgrade"),
                "maintenance_policy": _maintenance(desired),
                **_parts(desired),
                "cluster_autoscaler_configuration": _autoscaler(
                    old.get("clusterAutoscalerConfigurations", []), desired
                ),
            }
        ),
        "auto_upgrade": desired.get("autoUpgrade", False),
        "ha": desired.get("ha", False),
    }


def _maintenance(desired: Properties) -> dict[str, str] | None:
    policy = desired.get("maintenancePolicy")
    if policy is None:
        return None
    return {
        "start_time": policy.get("startTime", ""),
        "duration": "",
        "day": policy.get("day", "any").lower(),
    }


def _parts(desired: Properties) -> dict[str, Any]:
    """The properties of a cluster that are objects in the API."""
    parts = {
        _part(name): {"enabled": desired[name]["enabled"]} for name in SWITCHES if name in desired
    }
    if firewall := desired.get("controlPlaneFirewall"):
        parts["control_plane_firewall"] = {
            "enabled": firewall["enabled"],
            "allowed_addresses": firewall["allowedAddresses"],
        }
    if ssos := desired.get("ssos"):
        sso = ssos[0]
        parts["sso"] = {
            "enabled": sso["enabled"],
            "required": sso.get("required", False),
            **present({"issuer_url": sso.get("issuerUrl"), "client_id": sso.get("clientId")}),
        }
    return parts


def _part(name: str) -> str:
    return "rdma_shared_dev_plugin" if name == "rdmaSharedDevicePlugin" else api_name(name)


def _autoscaler(old: list[Properties], desired: Properties) -> dict[str, Any] | None:
    """The autoscaler's settings; those that the program has removed are reset."""
    desired_settings = (desired.get("clusterAutoscalerConfigurations") or [{}])[0]
    old_settings = old[0] if old else {}
    settings = {
        api_name(name): desired_settings.get(name, field.kind.zero)
        for name, field in _AUTOSCALER.items()
        if desired_settings.get(name) or old_settings.get(name)
    }
    return settings or None


async def _until_running(api: Api, id: str, seconds: float) -> None:
    with failing("Error trying to read cluster state"):
        async for _ in polls(seconds, operation="create cluster"):
            status = (await api.get(f"{CLUSTERS}/{id}"))["kubernetes_cluster"]["status"]
            if status["state"] == "running":
                return
            if status["state"] == "error":
                raise Failure(status.get("message") or "the cluster's state is error")


async def _describe(api: Api, cluster: dict[str, Any], state: Properties) -> Properties:
    """The API's `cluster` as outputs, completed from `state` where the API shows nothing.

    `registryIntegration` comes from `state`, too: the real plugin never reads it. Credentials are
    renewed once they have expired.
    """
    outputs: Properties = {
        name: state[name]
        for name in (
            "registryIntegration",
            "destroyAllAssociatedResources",
            "kubeconfigExpireSeconds",
            "nodePool",
            "kubeConfigs",
        )
        if name in state
    }
    outputs |= {
        "name": cluster["name"],
        "region": cluster["region"],
        "version": cluster["version"],
        "surgeUpgrade": cluster.get("surge_upgrade", False),
        "autoUpgrade": cluster.get("auto_upgrade", False),
        "ha": cluster.get("ha", False),
        "isolatedWorkers": cluster.get("isolated_workers", False),
        "clusterSubnet": cluster.get("cluster_subnet") or "",
        "serviceSubnet": cluster.get("service_subnet") or "",
        "ipv4Address": cluster.get("ipv4") or "",
        "endpoint": cluster.get("endpoint") or "",
        "tags": own_tags(cluster),
        "status": cluster["status"]["state"],
        "createdAt": go_time(cluster.get("created_at")),
        "updatedAt": go_time(cluster.get("updated_at")),
        "vpcUuid": cluster.get("vpc_uuid") or "",
        "workerSubnetUuid": cluster.get("worker_subnet_uuid") or "",
        "clusterUrn": f"do:kubernetes:{cluster['id']}",
        **_describe_parts(cluster),
    }
    for pool in cluster.get("node_pools") or []:
        if DEFAULT_POOL_TAG in (pool.get("tags") or []):
            outputs["nodePool"] = describe_pool(pool)
            if state.get("nodePool", {}).get("nodeCount"):
                outputs["nodePool"]["nodeCount"] = pool["count"]
    if expired(outputs.get("kubeConfigs", [])):
        with failing("Unable to fetch Kubernetes credentials"):
            credentials = await api.get(
                f"{CLUSTERS}/{cluster['id']}/credentials",
                expiry_seconds=state.get("kubeconfigExpireSeconds", 0),
            )
        outputs["kubeConfigs"] = [kube_config(cluster["name"], cluster["region"], credentials)]
    return outputs


def _describe_parts(cluster: dict[str, Any]) -> Properties:
    parts: Properties = {
        name: {"enabled": bool(part.get("enabled"))}
        for name in SWITCHES
        if (part := cluster.get(_part(name)))
    }
    if policy := cluster.get("maintenance_policy"):
        parts["maintenancePolicy"] = {
            "day": policy.get("day", "any"),
            "startTime": policy.get("start_time", ""),
            "duration": policy.get("duration", ""),
        }
    if firewall := cluster.get("control_plane_firewall"):
        parts["controlPlaneFirewall"] = {
            "enabled": bool(firewall.get("enabled")),
            "allowedAddresses": firewall.get("allowed_addresses") or [],
        }
    autoscaler, sso = cluster.get("cluster_autoscaler_configuration"), cluster.get("sso")
    parts["clusterAutoscalerConfigurations"] = (
        [{name: value for name in _AUTOSCALER if (value := autoscaler.get(api_name(name)))}]
        if autoscaler
        else []
    )
    parts["ssos"] = (
        [{name: sso.get(api_name(name)) or field.kind.zero for name, field in _SSO.items()}]
        if sso
        else []
    )
    return parts
