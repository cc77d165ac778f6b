"""What the clusters, their Argo CD and their applications are at."""

from collections import Counter
from typing import Any

import httpx
import psutil

from sandbox.cluster.api import Api, ApiError, Object
from sandbox.cluster.backend import Clusters as Backend
from sandbox.digitalocean.models import Cluster
from sandbox.digitalocean.state import AccountState

Status = dict[str, Any]

_APPLICATIONS = "/apis/argoproj.io/v1alpha1/applications"
_WORKLOADS = ("deployments", "statefulsets")


async def status_of(account: AccountState, backend: Backend) -> Status:
    """Everything that `bin/sandbox status` shows, as JSON. Memory is in bytes."""
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
            {**cluster, "memory": memory[cluster["id"]]}
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
    """The clusters and what is deployed in them, for those who ask again and again: how much memory
    they take is not told, which takes long to find out."""
    return [
        await _cluster(cluster, backend)
        for cluster in sorted(account.data.clusters.values(), key=lambda each: each.name)
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
        "argocd_url": backend.server_url(cluster.id),
        "argocd": await _argocd(api) if api else [],
        "applications": await _applications(api) if api else [],
    }


async def _argocd(api: Api) -> list[Status]:
    """The Deployments and StatefulSets that are part of Argo CD."""
    selector = "?labelSelector=app.kubernetes.io/part-of%3Dargocd"
    workloads = []
    for kind in _WORKLOADS:
        for each in await _items(api, f"/apis/apps/v1/{kind}{selector}"):
            wanted = each["spec"].get("replicas", 1)
            ready = each.get("status", {}).get("readyReplicas", 0)
            workloads.append({"name": each["metadata"]["name"], "ready": ready >= wanted})
    return workloads


async def _applications(api: Api) -> list[Status]:
    return sorted(
        (_application(each) for each in await _items(api, _APPLICATIONS)),
        key=lambda each: str(each["name"]),
    )


def _application(found: Object) -> Status:
    status = found.get("status", {})
    conditions = status.get("conditions") or []
    return {
        "name": found["metadata"]["name"],
        "project": found["spec"]["project"],
        "sync": status.get("sync", {}).get("status", "Unknown"),
        "health": status.get("health", {}).get("status", "Unknown"),
        "revision": status.get("sync", {}).get("revision"),
        "images": status.get("summary", {}).get("images", []),
        "message": "; ".join(each["message"] for each in conditions),
    }


async def _items(api: Api, path: str) -> list[Object]:
    """The objects there; none while the cluster does not know the kind, has not prepared its
    storage yet (429: "storage is (re)initializing") or does not answer."""
    try:
        return await api.items(path)
    except ApiError as error:
        if error.code in (404, 429):
            return []
        raise
    except httpx.TransportError:
        return []
