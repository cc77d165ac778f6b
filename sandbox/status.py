"""The status of the clusters, their Argo CD and their applications."""

from collections import Counter
from typing import Any

import httpx
import psutil

from sandbox.cluster.api import Api, ApiError, Object
from sandbox.cluster.backend import Clusters as Backend
from sandbox.cluster.roles import Role
from sandbox.digitalocean.models import Cluster
from sandbox.digitalocean.state import AccountState

Status = dict[str, Any]

_APPLICATIONS = "/apis/argoproj.io/v1alpha1/applications"
_WORKLOADS = ("deployments", "statefulsets")


async def status_of(account: AccountState, backend: Backend) -> Status:
    """What `bin/sandbox status` shows, as JSON. Memory is in bytes."""
    processes = [
        process for process in backend.processes() if process.cluster_id in account.data.clusters
    ]
    names = {
        process.cluster_id: account.data.clusters[process.cluster_id].name for process in processes
    }
    memory: Counter[str] = Counter()
    for process in processes:
        memory[process.cluster_id] += process.memory
    return {
        "clusters": [
            {
                **cluster,
                "memory": memory[cluster["id"]],
                "argocd_has_ui": await _has_ui(cluster["argocd_url"]),
            }
            for cluster in await clusters_of(account, backend)
        ],
        "processes": [
            {
                "cluster": names[process.cluster_id],
                "name": process.name,
                "pid": process.pid,
                "memory": process.memory,
                "restarts": process.restarts,
            }
            for process in processes
        ],
        "memory": psutil.Process().memory_full_info().pss + memory.total(),
    }


async def clusters_of(account: AccountState, backend: Backend) -> list[Status]:
    """The clusters and what is deployed in them, without what is slow to measure."""
    return [
        await _cluster(cluster, backend)
        for cluster in sorted(account.data.clusters.values(), key=lambda cluster: cluster.name)
    ]


async def _cluster(cluster: Cluster, backend: Backend) -> Status:
    api = backend.api(cluster.id)
    return {
        "id": cluster.id,
        "name": cluster.name,
        "state": cluster.status.state,
        "message": cluster.status.message,
        "version": cluster.version,
        "context": f"do-{cluster.region}-{cluster.name}",
        "endpoint": cluster.endpoint,
        "ca_certificate": cluster.ca_certificate,
        "nodes": sum(len(pool.nodes) for pool in cluster.node_pools),
        "argocd_url": backend.url_of(cluster.id, Role.SERVER),
        "argocd": await _argocd(api) if api else [],
        "applications": await _applications(api) if api else [],
    }


async def _has_ui(argocd_url: str | None) -> bool:
    """Whether Argo CD there has its web UI: one that was built from its Go module lacks the files,
    and responds 500 where a browser gets its first page."""
    if argocd_url is None:
        return False
    # Argo CD's certificate is self-signed, and the connection stays on loopback.
    async with httpx.AsyncClient(verify=False, trust_env=False) as client:
        try:
            response = await client.get(argocd_url, headers={"Accept": "text/html"})
        except httpx.TransportError:
            return False
    return response.is_success


async def _argocd(api: Api) -> list[Status]:
    """The Deployments and StatefulSets that are part of Argo CD."""
    selector = "?labelSelector=app.kubernetes.io/part-of%3Dargocd"
    workloads = []
    for kind in _WORKLOADS:
        for workload in await _items(api, f"/apis/apps/v1/{kind}{selector}"):
            replicas = workload["spec"].get("replicas", 1)
            ready = workload.get("status", {}).get("readyReplicas", 0)
            workloads.append({"name": workload["metadata"]["name"], "ready": ready >= replicas})
    return workloads


async def _applications(api: Api) -> list[Status]:
    return sorted(
        (_application(application) for application in await _items(api, _APPLICATIONS)),
        key=lambda application: str(application["name"]),
    )


def _application(application: Object) -> Status:
    status = application.get("status", {})
    conditions = status.get("conditions") or []
    return {
        "name": application["metadata"]["name"],
        "project": application["spec"]["project"],
        "sync": status.get("sync", {}).get("status", "Unknown"),
        "health": status.get("health", {}).get("status", "Unknown"),
        "revision": status.get("sync", {}).get("revision"),
        "images": status.get("summary", {}).get("images", []),
        "message": "; ".join(condition["message"] for condition in conditions),
    }


async def _items(api: Api, path: str) -> list[Object]:
    """The objects at that path. Empty while the kind is unknown (404), its storage is being
    prepared (429: "storage is (re)initializing") or the cluster does not answer."""
    try:
        return await api.items(path)
    except ApiError as error:
        if error.code in (404, 429):
            return []
        raise
    except httpx.TransportError:
        return []
