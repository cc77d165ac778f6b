"""Node pools: a cluster's default pool, and pools that are separate resources
(https://docs.digitalocean.com/reference/api/digitalocean/#tag/Kubernetes)."""

from typing import Any, ClassVar

from sandbox.plugins.bridge.resource import go_time, present
from sandbox.plugins.bridge.schema import (
    Fields,
    Properties,
    boolean,
    integer,
    list_of,
    not_empty,
    object_of,
    one_of,
    set_of,
    string,
    strings_by_key,
)
from sandbox.plugins.common import Failure
from sandbox.plugins.digitalocean.api import Api, ApiError, failing
from sandbox.plugins.digitalocean.resource import CREATE_TIMEOUT, polls
from sandbox.plugins.digitalocean.tags import tags

CLUSTERS = "/v2/kubernetes/clusters"

DEFAULT_POOL_TAG = "terraform:default-node-pool"
"""The tag of the default pool, which belongs to the cluster's resource."""

_DELETE_TIMEOUT = 30 * 60.0


def _count_is_actual(old: Properties, new: Properties) -> bool:
    """True if the pool already has the desired number of nodes, whoever set it."""
    desired = new.get("nodeCount", old.get("nodeCount"))
    return (desired or 0) == (old.get("actualNodeCount") or 0)


_NODE = {
    name: string(output=True)
    for name in ("id", "name", "status", "dropletId", "createdAt", "updatedAt")
}

_TAINT = {
    "key": string(required=True),
    "value": string(required=True),
    "effect": string(required=True, rule=one_of("NoSchedule", "PreferNoSchedule", "NoExecute")),
}

POOL_FIELDS: Fields = {
    "name": string(required=True, rule=not_empty),
    "size": string(required=True, replaces=True, rule=not_empty),
    "nodeCount": integer(unchanged=_count_is_actual),
    "autoScale": boolean(default=False),
    "minNodes": integer(),
    "maxNodes": integer(),
    "tags": tags(),
    "labels": strings_by_key(),
    "taints": set_of(object_of(_TAINT)),
    "gpuPartitionMode": string(
        replaces=True,
        rule=one_of("AMD_PARTITION_MODE_SPX_NPS1", "AMD_PARTITION_MODE_DPX_NPS2"),
    ),
    "actualNodeCount": integer(output=True),
    "nodes": list_of(object_of(_NODE), output=True),
}


class KubernetesNodePool:
    type = "digitalocean:index/kubernetesNodePool:KubernetesNodePool"
    fields: ClassVar[Fields] = {
        **POOL_FIELDS,
        "name": string(required=True, autonamed=True, rule=not_empty),
        "clusterId": string(required=True, replaces=True, rule=not_empty),
    }

    async def create(self, api: Api, desired: Properties, seconds: float | None) -> str:
        cluster_id = desired["clusterId"]
        with failing("Error creating Kubernetes node pool: Unable to create new default node pool"):
            response = await api.post(f"{CLUSTERS}/{cluster_id}/node_pools", pool_request(desired))
        id = str(response["node_pool"]["id"])
        try:
            await _until_running(api, cluster_id, id, seconds or CREATE_TIMEOUT)
        except Failure as error:
            raise Failure(f"Error creating Kubernetes node pool: {error}") from None
        return id

    async def read(self, api: Api, id: str, state: Properties) -> Properties | None:
        cluster_id = state["clusterId"]
        with failing("Error retrieving Kubernetes node pool"):
            response = await api.find(f"{CLUSTERS}/{cluster_id}/node_pools/{id}")
        if response is None:
            return None
        pool = response["node_pool"]
        described = describe_pool(pool)
        del described["id"]
        return {**described, "nodeCount": pool["count"], "clusterId": cluster_id}

    async def adopt(self, api: Api, id: str) -> Properties:
        with failing("Unable to list Kubernetes clusters"):
            clusters = await api.pages(CLUSTERS, "kubernetes_clusters")
        for cluster in clusters:
            for pool in cluster.get("node_pools") or []:
                if pool["id"] == id:
                    if DEFAULT_POOL_TAG in (pool.get("tags") or []):
                        raise Failure(
                            f"Node pool {id} has the default node pool tag set; import the owning"
                            f" KubernetesCluster instead (cluster ID={cluster['id']})"
                        )
                    return {"clusterId": cluster["id"]}
        raise Failure(f"Did not find the cluster owning the node pool {id}")

    async def update(
        self, api: Api, id: str, old: Properties, desired: Properties, changed: set[str]
    ) -> None:
        if changed:
            await update_pool(api, desired["clusterId"], id, desired, tag=None)

    async def delete(self, api: Api, id: str, state: Properties, seconds: float | None) -> None:
        path = f"{CLUSTERS}/{state['clusterId']}/node_pools/{id}"
        with failing("Unable to delete node pool"):
            await api.delete(path)
        with failing("Error trying to read nodepool state"):
            async for _ in polls(seconds or _DELETE_TIMEOUT, operation="delete nodepool"):
                if await api.find(path) is None:
                    return


def pool_request(pool: Properties, *extra_tags: str) -> dict[str, Any]:
    """The body that creates a pool."""
    return present(
        {
            "name": pool["name"],
            "size": pool["size"],
            "count": pool.get("nodeCount"),
            "tags": [*pool.get("tags", []), *extra_tags],
            "labels": pool.get("labels"),
            "taints": _taints(pool),
            "auto_scale": pool.get("autoScale"),
            "min_nodes": pool.get("minNodes"),
            "max_nodes": pool.get("maxNodes"),
            "gpu_partition_mode": pool.get("gpuPartitionMode"),
        }
    )


async def update_pool(
    api: Api, cluster_id: str, id: str, pool: Properties, *, tag: str | None
) -> None:
    """Update a pool to `pool`, with the additional `tag`, and wait for its nodes."""
    body = {
        **present(
            {
                "name": pool["name"],
                "count": pool.get("nodeCount"),
                # As godo does, leave out empty values: the last tag or label can't be removed.
                "tags": [*pool.get("tags", []), *([tag] if tag else [])],
                "labels": pool.get("labels"),
            }
        ),
        "auto_scale": pool.get("autoScale", False),
        "min_nodes": pool.get("minNodes", 0),
        "max_nodes": pool.get("maxNodes", 0),
        "taints": _taints(pool),
    }
    try:
        await api.put(f"{CLUSTERS}/{cluster_id}/node_pools/{id}", body)
    except ApiError as error:
        if error.status == 404:
            return
        raise Failure(f"Error updating node pool: Unable to update nodepool: {error}") from None
    await _until_running(api, cluster_id, id, CREATE_TIMEOUT)


async def _until_running(api: Api, cluster_id: str, id: str, seconds: float) -> None:
    with failing("Error trying to read nodepool state"):
        async for _ in polls(seconds, operation="create nodepool"):
            pool = (await api.get(f"{CLUSTERS}/{cluster_id}/node_pools/{id}"))["node_pool"]
            nodes = pool.get("nodes") or []
            running = [node for node in nodes if node["status"]["state"] == "running"]
            if len(running) == len(nodes) == pool["count"]:
                return


def _taints(pool: Properties) -> list[dict[str, str]]:
    """The taints as godo sends them: its type has no other names for JSON."""
    return [{name.title(): taint[name] for name in _TAINT} for taint in pool.get("taints", [])]


def describe_pool(pool: dict[str, Any]) -> Properties:
    """The API's `pool` as outputs, without its desired number of nodes."""
    return {
        "id": pool["id"],
        "name": pool["name"],
        "size": pool["size"],
        "actualNodeCount": pool["count"],
        "autoScale": pool.get("auto_scale", False),
        "minNodes": pool.get("min_nodes") or 0,
        "maxNodes": pool.get("max_nodes") or 0,
        "gpuPartitionMode": pool.get("gpu_partition_mode") or "",
        "tags": own_tags(pool),
        "labels": dict(pool.get("labels") or {}),
        "taints": [
            {name: taint.get(name, "") for name in _TAINT} for taint in pool.get("taints") or []
        ],
        "nodes": [
            {
                "id": node["id"],
                "name": node["name"],
                "status": node["status"]["state"],
                "dropletId": str(node.get("droplet_id", "")),
                "createdAt": go_time(node.get("created_at")),
                "updatedAt": go_time(node.get("updated_at")),
            }
            for node in pool.get("nodes") or []
        ],
    }


def own_tags(record: dict[str, Any]) -> list[str]:
    """The tags without those that DigitalOcean and the plugin add."""
    return [
        tag
        for tag in record.get("tags") or []
        if tag and tag != "k8s" and not tag.startswith(("k8s:", "terraform:"))
    ]
