"""A cluster of the sandbox, as those who use it see it."""

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
from sandbox.digitalocean.backend import Disturbance, Taint
from sandbox.paths import REPOSITORY
from tests.contract.built_tools import tools
from tests.contract.cluster_fixtures import NODES, SPEC, Running, node, until

pytest_plugins = ["tests.contract.cluster_fixtures"]
pytestmark = pytest.mark.anyio

DEFAULT = "/api/v1/namespaces/default"
APPS = "/apis/apps/v1/namespaces/default"


async def get_as(cluster: Running, token: str, path: str) -> int:
    """The status of a request as the kubeconfig's user with that token."""
    authority = base64.b64decode(cluster.access.ca_certificate).decode()
    context = ssl.create_default_context(cadata=authority)
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(verify=context, trust_env=False) as client:
        return (await client.get(cluster.access.endpoint + path, headers=headers)).status_code


def pod_template(name: str, **fields: Any) -> dict[str, Any]:
    containers = [{"name": "main", "image": "example:1", "args": ["argocd-server-like"]}]
    return {"metadata": {"labels": {"app": name}}, "spec": {"containers": containers, **fields}}


async def test_a_revoked_token_closes_the_cluster_within_ten_seconds(cluster: Running) -> None:
    cluster.account.tokens.add("good")
    accepted = await get_as(cluster, "good", "/api/v1/nodes")
    cluster.account.tokens.remove("good")

    async def refused() -> bool:
        return await get_as(cluster, "good", "/api/v1/nodes") == 401

    assert accepted == 200
    await until(refused, seconds=12)


async def test_a_token_that_the_account_does_not_know_is_refused(cluster: Running) -> None:
    assert await get_as(cluster, "unknown", "/api/v1/nodes") == 401


async def test_nodes_are_what_doks_makes_of_their_size(cluster: Running) -> None:
    found = await cluster.api.get("/api/v1/nodes/default-a")

    assert found is not None
    labels = found["metadata"]["labels"]
    assert labels["doks.digitalocean.com/node-pool"] == "default"
    assert labels["tier"] == "web"
    assert labels["topology.kubernetes.io/region"] == "nyc1"
    assert labels["node.kubernetes.io/instance-type"] == "s-4vcpu-8gb"
    assert found["status"]["capacity"]["cpu"] == "4"
    assert found["status"]["capacity"]["memory"] == "8Gi"
    assert found["status"]["allocatable"]["memory"] == "6Gi"
    assert found["status"]["nodeInfo"]["kubeletVersion"] == "v1.34.1"
    addresses = {each["type"]: each["address"] for each in found["status"]["addresses"]}
    assert addresses["Hostname"] == "default-a"
    assert addresses["InternalIP"].startswith("10.108.")


async def test_nodes_come_and_go_and_follow_their_pool(cluster: Running) -> None:
    dedicated = Taint("dedicated", "batch", "NoSchedule")
    await cluster.clusters.set_nodes(
        SPEC.id, [replace(NODES[0], taints=(dedicated,), labels={}), node("batch-c")]
    )
    found = {each["metadata"]["name"]: each for each in await cluster.api.items("/api/v1/nodes")}
    await cluster.clusters.set_nodes(SPEC.id, NODES)
    restored = {each["metadata"]["name"]: each for each in await cluster.api.items("/api/v1/nodes")}

    assert set(found) == {"default-a", "batch-c"}
    assert found["default-a"]["spec"]["taints"] == [
        {"key": "dedicated", "value": "batch", "effect": "NoSchedule"}
    ]
    networks = {each["spec"]["podCIDR"] for each in found.values()}
    assert len(networks) == 2
    assert "tier" not in found["default-a"]["metadata"]["labels"]
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
        found = await cluster.api.get(f"{APPS}/deployments/web")
        return found is not None and found["status"].get("availableReplicas") == 3

    await until(available)


async def test_a_job_completes_without_machines(cluster: Running) -> None:
    template = pod_template("once", restartPolicy="Never")
    path = "/apis/batch/v1/namespaces/default/jobs"
    body = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "once"}}
    await cluster.api.call("POST", path, {**body, "spec": {"template": template}})

    async def complete() -> bool:
        found = await cluster.api.get(f"{path}/once")
        return found is not None and found["status"].get("succeeded") == 1

    await until(complete)


async def test_a_service_has_a_load_balancer_until_it_goes(cluster: Running) -> None:
    body = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "front"},
        "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]},
    }
    await cluster.api.call("POST", f"{DEFAULT}/services", body)

    async def has_address() -> bool:
        found = await cluster.api.get(f"{DEFAULT}/services/front")
        assert found is not None
        return bool(found["status"]["loadBalancer"].get("ingress"))

    async def gone() -> bool:
        return await cluster.api.get(f"{DEFAULT}/services/front") is None

    await until(has_address)
    made = list(cluster.account.load_balancers.values())
    await cluster.api.delete(f"{DEFAULT}/services/front")
    await until(gone)

    assert len(made) == 1
    assert made[0].name.startswith("a")
    assert cluster.account.load_balancers == {}


async def test_a_pod_that_is_run_for_real_waits_for_its_secret(cluster: Running) -> None:
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
        found = await cluster.api.get(f"{DEFAULT}/pods/store")
        assert found is not None
        statuses: list[dict[str, Any]] = found["status"].get("containerStatuses") or [{}]
        return statuses[0]

    async def waits() -> bool:
        waiting = (await container_status()).get("state", {}).get("waiting", {})
        told = 'secret "argocd-redis" not found' in waiting.get("message", "")
        return told and waiting["reason"] == "CreateContainerConfigError"

    async def is_ready() -> bool:
        return bool((await container_status())["ready"])

    async def gone() -> bool:
        return await cluster.api.get(f"{DEFAULT}/pods/store") is None

    await until(waits)
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "argocd-redis"}}
    await cluster.api.call("POST", f"{DEFAULT}/secrets", {**secret, "stringData": {"auth": "x"}})
    await until(is_ready)
    await cluster.api.delete(f"{DEFAULT}/pods/store")
    await until(gone)


async def test_a_service_account_has_the_rights_that_it_is_given_and_no_more(
    cluster: Running,
) -> None:
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    given = await cluster.api.call("POST", f"{DEFAULT}/serviceaccounts/default/token", asked)

    assert await get_as(cluster, given["status"]["token"], "/api") == 200
    assert await get_as(cluster, given["status"]["token"], "/api/v1/secrets") == 403


async def test_the_control_plane_listens_on_loopback_only(cluster: Running) -> None:
    listening = [
        connection.laddr
        for pid in (os.getpid(), *(process.pid for process in cluster.clusters.processes()))
        for connection in psutil.Process(pid).net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]

    assert httpx.URL(cluster.access.endpoint).port in {address.port for address in listening}
    assert {address.ip for address in listening} == {"127.0.0.1"}


async def test_a_cluster_that_nobody_gets_to_goes_on_and_is_as_it_was_afterwards(
    cluster: Running,
) -> None:
    cluster.account.tokens.add("outside")
    pids = {process.pid for process in cluster.clusters.processes()}
    await cluster.clusters.disturb(SPEC.id, Disturbance(unreachable=True))
    with pytest.raises(httpx.ConnectError):
        await get_as(cluster, "outside", "/api/v1/nodes")
    inside = await cluster.api.items("/api/v1/nodes")
    await cluster.clusters.disturb(SPEC.id, Disturbance())

    assert len(inside) == 2
    assert await get_as(cluster, "outside", "/api/v1/nodes") == 200
    assert {process.pid for process in cluster.clusters.processes()} == pids


async def test_a_cluster_refuses_statefulsets_and_nothing_else_for_as_long_as_it_is_told(
    cluster: Running,
) -> None:
    spec = {
        "selector": {"matchLabels": {"app": "half-way"}},
        "template": pod_template("half-way"),
    }
    deployment: Object = {"metadata": {"name": "half-way"}, "spec": spec}
    stateful_set = {**deployment, "spec": {**spec, "serviceName": "half-way"}}
    await cluster.clusters.disturb(SPEC.id, Disturbance(refuses_statefulsets=True))
    with pytest.raises(ApiError, match=r"'fault-helm-fails' .* denied request") as refusal:
        await cluster.api.call("POST", f"{APPS}/statefulsets", stateful_set)
    await cluster.api.call("POST", f"{APPS}/deployments", deployment)
    await cluster.clusters.disturb(SPEC.id, Disturbance())
    await cluster.api.call("POST", f"{APPS}/statefulsets", stateful_set)

    assert refusal.value.code == 422
    for kind in ("statefulsets", "deployments"):
        await cluster.api.delete(f"{APPS}/{kind}/half-way")


async def test_what_the_cluster_keeps_is_closed_to_other_users(cluster: Running) -> None:
    folder = cluster.folder / SPEC.id
    secrets = [*folder.glob("*.kubeconfig"), *folder.glob("certificates/*.key")]

    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert len(secrets) > 6
    assert {stat.S_IMODE(each.stat().st_mode) for each in secrets} == {0o600}


async def test_a_process_that_dies_is_started_again(cluster: Running) -> None:
    def pid_of(name: str) -> int:
        pids = {each.name: each.pid for each in cluster.clusters.processes()}
        return pids.get(name, 0)

    before = pid_of("kube-apiserver")
    os.kill(before, signal.SIGKILL)

    async def another_answers() -> bool:
        return pid_of("kube-apiserver") not in (0, before) and await cluster.api.is_ready()

    await until(another_answers)


async def test_deleting_a_cluster_leaves_no_process_and_no_file(tmp_path: Path) -> None:
    clusters = Clusters(tmp_path, tools(), lambda _: "http://127.0.0.1:9/")
    await clusters.create(SPEC)
    pids = [each.pid for each in clusters.processes()]

    await clusters.delete(SPEC.id)

    assert len(pids) == 5
    assert not any(psutil.pid_exists(pid) for pid in pids)
    assert list(tmp_path.iterdir()) == []


async def test_a_killed_sandbox_leaves_no_process_and_its_cluster_comes_back_as_it_was(
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

    # The host's certificates open the cluster to this process as well.
    async with httpx.AsyncClient(
        base_url=endpoint, verify=plane.certificates.ssl_context("admin"), trust_env=False
    ) as client:
        made = await client.post("/api/v1/nodes", json=kept)

    async def runs() -> bool:
        found = await plane.api.get(f"{DEFAULT}/pods/new")
        return found is not None and found["status"]["phase"] == "Running"

    host.kill()
    host.wait()
    _, alive = await asyncio.to_thread(psutil.wait_procs, children, timeout=5)
    try:
        await plane.start()
        found = await plane.api.get("/api/v1/nodes/kept")
        endpoint_now = plane.server
        await plane.api.call("POST", f"{DEFAULT}/pods", {**pod, "spec": spec})
        await until(runs, seconds=10)
    finally:
        await plane.stop()

    assert made.status_code == 201
    assert len(children) == 5
    assert alive == []
    assert endpoint_now == endpoint
    assert found is not None


async def test_a_pod_waits_for_an_image_of_the_registry_and_runs_once_it_is_there(
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
        found: Object = pod["status"]
        return found

    async def backs_off() -> bool:
        for each in (await status()).get("containerStatuses") or []:
            if each["name"] == "shop" and each["state"]["waiting"]["reason"] not in reasons:
                reasons.append(each["state"]["waiting"]["reason"])
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
        each["name"]: each["state"]["waiting"].get("message")
        for each in waiting["containerStatuses"]
    }
    assert messages == {"shop": f"{image}: not found", "side": None}
    assert all(each["ready"] for each in running["containerStatuses"])
