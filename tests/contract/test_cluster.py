"""A cluster of the sandbox, tested through its API."""

import asyncio
import base64
import os
import signal
import ssl
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from sandbox.cluster.api import ApiError, Object
from sandbox.cluster.backend import Clusters
from sandbox.cluster.controlplane import ControlPlane
from sandbox.digitalocean.backend import ClusterFaults, Taint
from sandbox.paths import REPOSITORY
from tests.contract.built_tools import tools
from tests.contract.cluster_fixtures import NODES, SPEC, Account, Running, node, until

pytest_plugins = ["tests.contract.cluster_fixtures"]
pytestmark = pytest.mark.anyio

DEFAULT = "/api/v1/namespaces/default"
APPS = "/apis/apps/v1/namespaces/default"


async def get_as(cluster: Running, token: str, path: str) -> int:
    """The status of a request with that token to the cluster's public endpoint."""
    authority = base64.b64decode(cluster.access.ca_certificate).decode()
    context = ssl.create_default_context(cadata=authority)
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(verify=context, trust_env=False) as client:
        return (await client.get(cluster.access.endpoint + path, headers=headers)).status_code


def pod_template(name: str, **fields: Any) -> dict[str, Any]:
    containers = [{"name": "main", "image": "example:1", "args": ["argocd-server-like"]}]
    return {"metadata": {"labels": {"app": name}}, "spec": {"containers": containers, **fields}}


async def test_a_revoked_token_is_refused_within_ten_seconds(cluster: Running) -> None:
    cluster.account.tokens.add("good")
    accepted = await get_as(cluster, "good", "/api/v1/nodes")
    cluster.account.tokens.remove("good")

    async def refused() -> bool:
        return await get_as(cluster, "good", "/api/v1/nodes") == 401

    assert accepted == 200
    await until(refused, seconds=12)


async def test_an_unknown_token_is_refused(cluster: Running) -> None:
    assert await get_as(cluster, "unknown", "/api/v1/nodes") == 401


async def test_nodes_have_the_labels_and_resources_of_doks_nodes(cluster: Running) -> None:
    default_node = await cluster.api.get("/api/v1/nodes/default-a")

    assert default_node is not None
    labels = default_node["metadata"]["labels"]
    assert labels["doks.digitalocean.com/node-pool"] == "default"
    assert labels["tier"] == "web"
    assert labels["topology.kubernetes.io/region"] == "nyc1"
    assert labels["node.kubernetes.io/instance-type"] == "s-4vcpu-8gb"
    status = default_node["status"]
    assert status["capacity"]["cpu"] == "4"
    assert status["capacity"]["memory"] == "8Gi"
    assert status["allocatable"]["memory"] == "6Gi"
    assert status["nodeInfo"]["kubeletVersion"] == "v1.34.1"
    addresses = {address["type"]: address["address"] for address in status["addresses"]}
    assert addresses["Hostname"] == "default-a"
    assert addresses["InternalIP"].startswith("10.108.")


async def nodes_of(cluster: Running) -> dict[str, Object]:
    return {node["metadata"]["name"]: node for node in await cluster.api.items("/api/v1/nodes")}


async def test_nodes_are_added_removed_and_changed_as_their_pool_is(cluster: Running) -> None:
    dedicated = Taint("dedicated", "batch", "NoSchedule")
    await cluster.clusters.set_nodes(
        SPEC.id, [replace(NODES[0], taints=(dedicated,), labels={}), node("batch-c")]
    )
    changed = await nodes_of(cluster)
    await cluster.clusters.set_nodes(SPEC.id, NODES)
    restored = await nodes_of(cluster)

    assert set(changed) == {"default-a", "batch-c"}
    assert changed["default-a"]["spec"]["taints"] == [
        {"key": "dedicated", "value": "batch", "effect": "NoSchedule"}
    ]
    networks = {node["spec"]["podCIDR"] for node in changed.values()}
    assert len(networks) == 2
    assert "tier" not in changed["default-a"]["metadata"]["labels"]
    assert restored.keys() == {"default-a", "default-b"}
    assert "taints" not in restored["default-a"]["spec"]


async def test_a_deployment_becomes_available_without_machines(cluster: Running) -> None:
    spec = {
        "replicas": 3,
        "selector": {"matchLabels": {"app": "web"}},
        "template": pod_template("web"),
    }
    body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}}
    await cluster.api.call("POST", f"{APPS}/deployments", {**body, "spec": spec})

    async def available() -> bool:
        deployment = await cluster.api.get(f"{APPS}/deployments/web")
        return deployment is not None and deployment["status"].get("availableReplicas") == 3

    await until(available)


async def test_a_job_completes_without_machines(cluster: Running) -> None:
    template = pod_template("once", restartPolicy="Never")
    path = "/apis/batch/v1/namespaces/default/jobs"
    body = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "once"}}
    await cluster.api.call("POST", path, {**body, "spec": {"template": template}})

    async def complete() -> bool:
        job = await cluster.api.get(f"{path}/once")
        return job is not None and job["status"].get("succeeded") == 1

    await until(complete)


async def test_a_claim_can_be_deleted_and_an_autoscaler_is_ready(cluster: Running) -> None:
    claims = f"{DEFAULT}/persistentvolumeclaims"
    scalers = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers"
    claim = {
        "kind": "PersistentVolumeClaim",
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }
    scaler = {
        "kind": "HorizontalPodAutoscaler",
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "minReplicas": 2,
            "maxReplicas": 4,
        },
    }
    metadata = {"metadata": {"name": "data"}}
    await cluster.api.call("POST", claims, {**claim, **metadata})
    await cluster.api.call("POST", scalers, {**scaler, **metadata})

    async def ready() -> bool:
        status = (await cluster.api.get(f"{scalers}/data") or {})["status"]
        return {"AbleToScale"} == {
            condition["type"]
            for condition in status.get("conditions") or ()
            if condition["status"] == "True" and status["desiredReplicas"] == 2
        }

    async def deleted() -> bool:
        return (await cluster.api.get(f"{claims}/data")) is None

    await until(ready)
    await cluster.api.delete(f"{claims}/data")
    await until(deleted)


def stateful_set(name: str) -> Object:
    """A StatefulSet with a claim `data-NAME-0` of the default StorageClass."""
    template = pod_template(name)
    template["spec"]["containers"][0]["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]
    claim = {
        "metadata": {"name": "data"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1500Mi"}},
        },
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": name},
        "spec": {
            "serviceName": name,
            "replicas": 1,
            "selector": {"matchLabels": {"app": name}},
            "template": template,
            "volumeClaimTemplates": [claim],
        },
    }


async def test_a_claim_gets_a_volume_that_is_attached_to_its_pods_node_and_deleted_with_it(
    cluster: Running,
) -> None:
    claims = f"{DEFAULT}/persistentvolumeclaims"
    await cluster.api.call("POST", f"{APPS}/statefulsets", stateful_set("store"))

    async def attached() -> bool:
        pod = await cluster.api.get(f"{DEFAULT}/pods/store-0") or {"spec": {}}
        node = pod["spec"].get("nodeName")
        return node in {volume.node for volume in cluster.account.volumes.values()} - {None}

    await until(attached)
    [volume] = cluster.account.volumes.values()
    claim = await cluster.api.get(f"{claims}/data-store-0") or {}
    name = f"pvc-{claim['metadata']['uid']}"
    assert (volume.name, volume.size_gigabytes) == (name, 2)
    persistent = await cluster.api.get(f"/api/v1/persistentvolumes/{name}") or {}
    assert persistent["spec"]["csi"] == {
        "driver": "dobs.csi.digitalocean.com",
        "volumeHandle": volume.id,
        "fsType": "ext4",
    }
    assert persistent["spec"]["storageClassName"] == "do-block-storage"
    assert persistent["status"]["phase"] == "Bound"

    await cluster.api.delete(f"{APPS}/statefulsets/store")

    async def detached() -> bool:
        return volume.node is None

    await until(detached)
    assert await cluster.api.get(f"{claims}/data-store-0") is not None

    async def deleted() -> bool:
        return not cluster.account.volumes

    await cluster.api.delete(f"{claims}/data-store-0")
    await until(deleted)


async def test_a_volume_that_is_to_be_retained_outlives_its_claim(cluster: Running) -> None:
    claims = f"{DEFAULT}/persistentvolumeclaims"
    claim = {
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "kept"},
        "spec": {
            "storageClassName": "do-block-storage-retain",
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }
    await cluster.api.call("POST", claims, claim)

    async def phase(expected: str) -> bool:
        volumes = await cluster.api.items("/api/v1/persistentvolumes")
        return [volume["status"]["phase"] for volume in volumes] == [expected]

    await until(lambda: phase("Bound"))
    await cluster.api.delete(f"{claims}/kept")
    await until(lambda: phase("Released"))
    assert len(cluster.account.volumes) == 1
    [volume] = await cluster.api.items("/api/v1/persistentvolumes")
    await cluster.api.delete(f"/api/v1/persistentvolumes/{volume['metadata']['name']}")
    cluster.account.volumes.clear()


async def test_a_claim_binds_to_the_volume_that_was_reserved_for_it(cluster: Running) -> None:
    """As a recovery does it: the volume comes first, the claim of the StatefulSet later."""
    volume = cluster.account.provide_volume(SPEC.id, "survivor", 5)
    persistent = {
        "kind": "PersistentVolume",
        "metadata": {"name": "survivor"},
        "spec": {
            "capacity": {"storage": "5Gi"},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": "do-block-storage",
            "claimRef": {"namespace": "default", "name": "data-old-0"},
            "csi": {"driver": "dobs.csi.digitalocean.com", "volumeHandle": volume.id},
        },
    }
    await cluster.api.call("POST", "/api/v1/persistentvolumes", persistent)
    await cluster.api.call("POST", f"{APPS}/statefulsets", stateful_set("old"))

    async def attached() -> bool:
        return volume.node is not None

    await until(attached)
    claim = await cluster.api.get(f"{DEFAULT}/persistentvolumeclaims/data-old-0") or {}
    assert claim["spec"]["volumeName"] == "survivor"
    assert list(cluster.account.volumes) == [volume.id], "no other volume was made for the claim"


async def test_a_service_has_a_load_balancer_until_it_is_deleted(cluster: Running) -> None:
    body = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "front"},
        "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]},
    }
    await cluster.api.call("POST", f"{DEFAULT}/services", body)

    async def has_address() -> bool:
        service = await cluster.api.get(f"{DEFAULT}/services/front")
        assert service is not None
        return bool(service["status"]["loadBalancer"].get("ingress"))

    async def deleted() -> bool:
        return await cluster.api.get(f"{DEFAULT}/services/front") is None

    await until(has_address)
    load_balancers = list(cluster.account.load_balancers.values())
    await cluster.api.delete(f"{DEFAULT}/services/front")
    await until(deleted)

    assert len(load_balancers) == 1
    assert load_balancers[0].name.startswith("a")
    assert cluster.account.load_balancers == {}


async def test_a_pod_that_runs_as_a_process_waits_for_its_secret(cluster: Running) -> None:
    password = {"secretKeyRef": {"name": "argocd-redis", "key": "auth"}}
    container = {
        "name": "redis",
        "image": "redis:1",
        "args": ["--requirepass $(REDIS_PASSWORD)"],
        "env": [{"name": "REDIS_PASSWORD", "valueFrom": password}],
    }
    metadata = {"name": "store", "labels": {"app.kubernetes.io/name": "argocd-redis"}}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata}
    await cluster.api.call("POST", f"{DEFAULT}/pods", {**pod, "spec": {"containers": [container]}})

    async def container_status() -> dict[str, Any]:
        pod = await cluster.api.get(f"{DEFAULT}/pods/store")
        assert pod is not None
        statuses: list[dict[str, Any]] = pod["status"].get("containerStatuses") or [{}]
        return statuses[0]

    async def waits() -> bool:
        waiting = (await container_status()).get("state", {}).get("waiting", {})
        missing = 'secret "argocd-redis" not found' in waiting.get("message", "")
        return missing and waiting["reason"] == "CreateContainerConfigError"

    async def is_ready() -> bool:
        return bool((await container_status())["ready"])

    async def deleted() -> bool:
        return await cluster.api.get(f"{DEFAULT}/pods/store") is None

    await until(waits)
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "argocd-redis"}}
    await cluster.api.call("POST", f"{DEFAULT}/secrets", {**secret, "stringData": {"auth": "x"}})
    await until(is_ready)
    await cluster.api.delete(f"{DEFAULT}/pods/store")
    await until(deleted)


async def test_a_service_account_has_only_the_default_permissions(
    cluster: Running,
) -> None:
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    response = await cluster.api.call("POST", f"{DEFAULT}/serviceaccounts/default/token", request)
    token = response["status"]["token"]

    assert await get_as(cluster, token, "/api") == 200
    assert await get_as(cluster, token, "/api/v1/secrets") == 403


async def test_the_control_plane_listens_on_loopback_only(cluster: Running) -> None:
    listening = [
        connection.laddr
        for pid in (os.getpid(), *(process.pid for process in cluster.clusters.processes()))
        for connection in psutil.Process(pid).net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]

    assert httpx.URL(cluster.access.endpoint).port in {address.port for address in listening}
    assert {address.ip for address in listening} == {"127.0.0.1"}


async def test_an_unreachable_cluster_keeps_running_and_is_unchanged_afterwards(
    cluster: Running,
) -> None:
    cluster.account.tokens.add("outside")
    pids = {process.pid for process in cluster.clusters.processes()}
    await cluster.clusters.set_faults(SPEC.id, ClusterFaults(unreachable=True))
    with pytest.raises(httpx.ConnectError):
        await get_as(cluster, "outside", "/api/v1/nodes")
    inside = await cluster.api.items("/api/v1/nodes")
    await cluster.clusters.set_faults(SPEC.id, ClusterFaults())

    assert len(inside) == 2
    assert await get_as(cluster, "outside", "/api/v1/nodes") == 200
    assert {process.pid for process in cluster.clusters.processes()} == pids


async def test_a_cluster_refuses_only_statefulsets_and_only_while_it_has_the_fault(
    cluster: Running,
) -> None:
    spec = {
        "selector": {"matchLabels": {"app": "half-way"}},
        "template": pod_template("half-way"),
    }
    deployment: Object = {"metadata": {"name": "half-way"}, "spec": spec}
    stateful_set = {**deployment, "spec": {**spec, "serviceName": "half-way"}}
    await cluster.clusters.set_faults(SPEC.id, ClusterFaults(refuses_statefulsets=True))
    with pytest.raises(ApiError, match=r"'fault-helm-fails' .* denied request") as refusal:
        await cluster.api.call("POST", f"{APPS}/statefulsets", stateful_set)
    await cluster.api.call("POST", f"{APPS}/deployments", deployment)
    await cluster.clusters.set_faults(SPEC.id, ClusterFaults())
    await cluster.api.call("POST", f"{APPS}/statefulsets", stateful_set)

    assert refusal.value.code == 422
    for kind in ("statefulsets", "deployments"):
        await cluster.api.delete(f"{APPS}/{kind}/half-way")


async def test_only_the_owner_can_read_the_cluster_s_files(cluster: Running) -> None:
    folder = cluster.folder / SPEC.id
    secrets = [*folder.glob("*.kubeconfig"), *folder.glob("certificates/*.key")]

    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert len(secrets) > 6
    assert {stat.S_IMODE(file.stat().st_mode) for file in secrets} == {0o600}


async def test_a_killed_process_is_started_again(cluster: Running) -> None:
    def pid_of(name: str) -> int:
        pids = {process.name: process.pid for process in cluster.clusters.processes()}
        return pids.get(name, 0)

    before = pid_of("kube-apiserver")
    os.kill(before, signal.SIGKILL)

    async def new_process_is_ready() -> bool:
        return pid_of("kube-apiserver") not in (0, before) and await cluster.api.is_ready()

    await until(new_process_is_ready)


async def test_deleting_a_cluster_leaves_no_process_and_no_file(tmp_path: Path) -> None:
    clusters = Clusters(tmp_path, tools(), lambda _: "http://127.0.0.1:9/", Account())
    await clusters.create(SPEC)
    pids = [process.pid for process in clusters.processes()]

    await clusters.delete(SPEC.id)

    assert len(pids) == 5
    assert not any(psutil.pid_exists(pid) for pid in pids)
    assert list(tmp_path.iterdir()) == []


async def test_a_killed_sandbox_leaves_no_process_and_its_cluster_restarts_unchanged(
    tmp_path: Path,
) -> None:
    tools()
    command = [sys.executable, "-m", "tests.contract.cluster_host", str(tmp_path)]
    host = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    assert host.stdout is not None
    endpoint = (await asyncio.to_thread(host.stdout.readline)).strip()
    plane = ControlPlane(tmp_path, tools(), authenticate_url="http://127.0.0.1:9/")
    children = psutil.Process(host.pid).children()
    machine = {"name": "kept", "annotations": {"kwok.x-k8s.io/node": "fake"}}
    kept = {"apiVersion": "v1", "kind": "Node", "metadata": machine}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "new"}}
    spec = {"nodeName": "kept", **pod_template("new")["spec"]}

    # This process uses the client certificate in the cluster's folder.
    async with httpx.AsyncClient(
        base_url=endpoint, verify=plane.certificates.ssl_context("admin"), trust_env=False
    ) as client:
        created = await client.post("/api/v1/nodes", json=kept)

    async def runs() -> bool:
        new_pod = await plane.api.get(f"{DEFAULT}/pods/new")
        return new_pod is not None and new_pod["status"]["phase"] == "Running"

    host.kill()
    host.wait()
    _, alive = await asyncio.to_thread(psutil.wait_procs, children, timeout=5)
    try:
        await plane.start()
        kept_node = await plane.api.get("/api/v1/nodes/kept")
        endpoint_now = plane.server
        await plane.api.call("POST", f"{DEFAULT}/pods", {**pod, "spec": spec})
        await until(runs, seconds=10)
    finally:
        await plane.stop()

    assert created.status_code == 201
    assert len(children) == 5
    assert alive == []
    assert endpoint_now == endpoint
    assert kept_node is not None


async def test_a_pod_waits_until_its_image_is_in_the_registry(
    cluster: Running,
) -> None:
    image = "registry.digitalocean.com/team/shop:v2"
    spec = {
        "containers": [{"name": "shop", "image": image}, {"name": "side", "image": "example:1"}],
        "initContainers": [{"name": "first", "image": "example:1"}],
    }
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "shop"}, "spec": spec}
    await cluster.api.call("POST", f"{DEFAULT}/pods", body)
    reasons: list[str] = []

    async def status() -> Object:
        pod = await cluster.api.get(f"{DEFAULT}/pods/shop")
        assert pod is not None
        pod_status: Object = pod["status"]
        return pod_status

    async def backs_off() -> bool:
        for container in (await status()).get("containerStatuses") or []:
            reason = container["state"]["waiting"]["reason"]
            if container["name"] == "shop" and reason not in reasons:
                reasons.append(reason)
        return "ImagePullBackOff" in reasons

    await until(backs_off)
    waiting = await status()
    cluster.account.images.add(image)

    async def runs() -> bool:
        return bool((await status())["phase"] == "Running")

    await until(runs)
    running = await status()

    assert reasons == ["ErrImagePull", "ImagePullBackOff"]
    assert waiting["phase"] == "Pending"
    messages = {
        container["name"]: container["state"]["waiting"].get("message")
        for container in waiting["containerStatuses"]
    }
    assert messages == {"shop": f"{image}: not found", "side": None}
    assert all(container["ready"] for container in running["containerStatuses"])
