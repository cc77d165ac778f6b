"""Argo CD's own manifests in a cluster of the sandbox, where its pods run as processes."""

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from sandbox.cluster.roles import Role
from tests.contract.built_tools import tools
from tests.contract.cluster_fixtures import SPEC, Running, running, until

pytest_plugins = ["tests.contract.cluster_fixtures"]
pytestmark = pytest.mark.anyio

NAMESPACE = "/api/v1/namespaces/argocd"
APPLICATIONS = "/apis/argoproj.io/v1alpha1/namespaces/argocd/applications"
REAL = {
    "argocd-server",
    "argocd-repo-server",
    "argocd-application-controller",
    "argocd-applicationset-controller",
    "argocd-notifications-controller",
    "argocd-redis",
}


async def kubectl(cluster: Running, *args: str) -> None:
    command = ["kubectl", f"--kubeconfig={cluster.kubeconfig}", *args]
    await asyncio.to_thread(subprocess.run, command, check=True, stdout=subprocess.DEVNULL)


def name_of(pod: dict[str, Any]) -> str:
    return str(pod["metadata"]["labels"].get("app.kubernetes.io/name", ""))


async def pods(cluster: Running) -> dict[str, dict[str, Any]]:
    return {name_of(pod): pod for pod in await cluster.api.items(f"{NAMESPACE}/pods")}


def is_ready(pod: dict[str, Any]) -> bool:
    conditions = pod["status"].get("conditions") or []
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


async def all_ready(cluster: Running) -> bool:
    current = await pods(cluster)
    return current.keys() >= REAL and all(map(is_ready, current.values()))


def process_of(cluster: Running, pod: dict[str, Any]) -> psutil.Process:
    name = f"argocd/{pod['metadata']['name']}"
    [pid] = [process.pid for process in cluster.clusters.processes() if process.name == name]
    return psutil.Process(pid)


@pytest.fixture(scope="module")
async def argocd(
    anyio_backend: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Running]:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not here; the test installs Argo CD with it")
    manifests = tools().argocd_manifests / "install.yaml"
    async with running(tmp_path_factory.mktemp("clusters")) as cluster:
        await kubectl(cluster, "create", "namespace", "argocd")
        await kubectl(cluster, "apply", "--server-side", "-n", "argocd", "-f", str(manifests))
        await until(lambda: all_ready(cluster), seconds=60)
        yield cluster


async def test_the_pod_of_every_role_runs_as_a_process(argocd: Running) -> None:
    current = await pods(argocd)
    running_pods = {process.name for process in argocd.clusters.processes() if "/" in process.name}

    assert running_pods == {f"argocd/{current[name]['metadata']['name']}" for name in REAL}


async def test_argocd_answers_at_the_server_url(argocd: Running) -> None:
    url = argocd.clusters.url_of(SPEC.id, Role.SERVER)
    assert url is not None

    async with httpx.AsyncClient(verify=False, trust_env=False) as client:
        response = await client.get(f"{url}/api/version")

    assert response.json()["Version"].startswith("v3.")


async def test_kubectl_can_forward_a_port_to_argocd(argocd: Running) -> None:
    command = ["kubectl", f"--kubeconfig={argocd.kubeconfig}", "-n", "argocd", "port-forward"]
    process = await asyncio.create_subprocess_exec(
        *command, "svc/argocd-server", ":443", stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        line = await asyncio.wait_for(process.stdout.readline(), 10)
        address = line.decode().split()[2]
        async with httpx.AsyncClient(verify=False, trust_env=False) as client:
            response = await client.get(f"https://{address}/healthz")
    finally:
        process.terminate()
        await process.wait()

    assert response.text.strip() == "ok"


async def test_a_process_has_a_token_of_its_service_account(argocd: Running) -> None:
    pod = (await pods(argocd))["argocd-server"]
    folder = argocd.folder / SPEC.id / "pods" / pod["metadata"]["uid"]
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview"}
    body = {**review, "spec": {"token": (folder / "token").read_text()}}

    response = await argocd.api.call("POST", "/apis/authentication.k8s.io/v1/tokenreviews", body)

    user = response["status"]["user"]["username"]
    assert user == "system:serviceaccount:argocd:argocd-server"


async def test_every_process_listens_on_loopback_only(argocd: Running) -> None:
    listening = {
        (process.name, connection.laddr.ip)
        for process in argocd.clusters.processes()
        for connection in psutil.Process(process.pid).net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }

    listeners = {name for name, _ in listening if name.startswith("argocd/")}
    assert len(listeners) == len(REAL)
    # Two processes of a released Argo CD listen on ::1 alone.
    assert {address for _, address in listening} <= {"127.0.0.1", "::1"}


async def test_no_command_line_contains_the_redis_password(argocd: Running) -> None:
    secret = await argocd.api.get(f"{NAMESPACE}/secrets/argocd-redis")
    assert secret is not None
    password = await asyncio.to_thread(
        subprocess.check_output, ["base64", "-d"], input=secret["data"]["auth"].encode()
    )

    lines = [
        " ".join(psutil.Process(process.pid).cmdline()) for process in argocd.clusters.processes()
    ]

    assert password
    assert not any(password.decode() in line for line in lines)


async def test_a_new_process_has_the_settings_of_the_configmap(argocd: Running) -> None:
    before = (await pods(argocd))["argocd-repo-server"]
    settings = {"data": {"reposerver.log.level": "warn"}}
    await argocd.api.merge(f"{NAMESPACE}/configmaps/argocd-cmd-params-cm", settings)
    await argocd.api.delete(f"{NAMESPACE}/pods/{before['metadata']['name']}")

    async def replaced() -> bool:
        pod = (await pods(argocd)).get("argocd-repo-server")
        is_new = pod is not None and pod["metadata"]["uid"] != before["metadata"]["uid"]
        return is_new and await all_ready(argocd)

    await until(replaced)
    process = process_of(argocd, (await pods(argocd))["argocd-repo-server"])

    assert process.environ()["ARGOCD_REPO_SERVER_LOGLEVEL"] == "warn"


async def test_an_application_of_a_git_repository_is_synced_and_healthy(
    argocd: Running, tmp_path: Path
) -> None:
    repository = tmp_path / "repository"
    (repository / "app").mkdir(parents=True)
    (repository / "app" / "all.yaml").write_text(MANIFESTS)
    identity = ["-c", "user.name=team", "-c", "user.email=team@example.com"]
    for command in (["init", "-q", "-b", "main"], ["add", "."], [*identity, "commit", "-qm", "1"]):
        subprocess.run(["git", "-C", str(repository), *command], check=True)
    application = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Application",
        "metadata": {"name": "demo", "namespace": "argocd"},
        "spec": {
            "project": "default",
            "source": {"repoURL": repository.as_uri(), "path": "app", "targetRevision": "main"},
            "destination": {"server": "https://kubernetes.default.svc", "namespace": "demo"},
            "syncPolicy": {"automated": {}, "syncOptions": ["CreateNamespace=true"]},
        },
    }
    await argocd.api.call("POST", APPLICATIONS, application)

    async def synced_and_healthy() -> bool:
        demo = await argocd.api.get(f"{APPLICATIONS}/demo")
        status = (demo or {}).get("status", {})
        return (status.get("sync", {}).get("status"), status.get("health", {}).get("status")) == (
            "Synced",
            "Healthy",
        )

    await until(synced_and_healthy, seconds=40)
    deployment = await argocd.api.get("/apis/apps/v1/namespaces/demo/deployments/web")

    assert deployment is not None
    assert deployment["status"]["readyReplicas"] == 1


async def test_a_killed_process_is_reported_as_a_container_restart(argocd: Running) -> None:
    before = (await pods(argocd))["argocd-notifications-controller"]
    os.kill(process_of(argocd, before).pid, signal.SIGKILL)

    async def restarted() -> bool:
        pod = (await pods(argocd))["argocd-notifications-controller"]
        container = pod["status"]["containerStatuses"][0]
        return container["restartCount"] == 1 and is_ready(pod)

    await until(restarted)


async def test_scaling_to_zero_stops_the_process(argocd: Running) -> None:
    path = "/apis/apps/v1/namespaces/argocd/deployments/argocd-notifications-controller"
    process = process_of(argocd, (await pods(argocd))["argocd-notifications-controller"])
    await argocd.api.merge(path, {"spec": {"replicas": 0}})

    async def deleted() -> bool:
        return "argocd-notifications-controller" not in await pods(argocd)

    await until(deleted)

    assert not process.is_running()


MANIFESTS = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: LoadBalancer, ports: [{port: 80}], selector: {app: web}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: "web:1"}]}
"""
