"""The real controller of Sealed Secrets, in a cluster of the sandbox, reads what is sealed here."""

import asyncio
import base64
import json
import subprocess
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from doks_gitops.sealing import Object, Scope, keys
from doks_gitops.sealing.keys import KeyPair
from doks_gitops.sealing.seal import reseal, seal
from doks_gitops.settings import sealing_key
from sandbox.toolchain.recipes import SEALED_SECRETS
from tests.contract.built_tools import binary, files, tools
from tests.contract.cluster_fixtures import Running, running, until

pytestmark = pytest.mark.anyio

NAMESPACE = "sealed-secrets"
VALUES = {"password": "correct horse battery staple", "empty": "", "lines": "a\nb\n"}
FIRST, SECOND, THIRD = (
    keys.generate(f"year {year}", datetime(year, 1, 1, tzinfo=UTC), bits=2048)
    for year in (2024, 2025, 2026)
)


def chart() -> Path:
    binary(SEALED_SECRETS, SEALED_SECRETS.binaries[0].name)
    return files(SEALED_SECRETS) / "helm" / "sealed-secrets"


async def helm(cluster: Running, *arguments: str, text: str) -> None:
    command = [str(tools().path("helm")), f"--kubeconfig={cluster.kubeconfig}", *arguments]

    def run() -> None:
        subprocess.run(command, input=text, text=True, check=True, stdout=subprocess.DEVNULL)

    await asyncio.to_thread(run)


async def apply(cluster: Running, *items: Object) -> None:
    for item in items:
        group = "api/v1" if item["apiVersion"] == "v1" else f"apis/{item['apiVersion']}"
        metadata = item["metadata"]
        path = f"/{group}/namespaces"
        if item["kind"] != "Namespace":
            path += f"/{metadata['namespace']}/{item['kind'].lower()}s"
        await cluster.api.call("POST", path, item)


async def install(cluster: Running, *pairs: KeyPair) -> None:
    """What the component does: the keys first, then the controller, started for them."""
    for pair in pairs:
        name = f"sealing-key-{sealing_key.certificate(pair.certificate).serial_number:x}"
        if await cluster.api.get(f"/api/v1/namespaces/{NAMESPACE}/secrets/{name}") is None:
            data = {"tls.crt": pair.certificate, "tls.key": pair.private_key}
            labels = {"sealedsecrets.bitnami.com/sealed-secrets-key": "active"}
            metadata = {"name": name, "namespace": NAMESPACE, "labels": labels}
            secret = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata}
            await apply(cluster, {**secret, "type": "kubernetes.io/tls", "stringData": data})
    values = {
        "keyrenewperiod": "0",
        "podAnnotations": {"checksum/sealing-keys": str(len(pairs))},
        "rbac": {"serviceProxier": {"create": False}},
    }
    await helm(
        cluster, "upgrade", "--install", "sealed-secrets", str(chart()), "--wait",
        "--namespace", NAMESPACE, "--values", "-", text=json.dumps(values),
    )  # fmt: skip


def sealed(name: str, pair: KeyPair, scope: Scope = Scope.STRICT) -> Object:
    metadata = {"name": name, "namespace": "shop", "labels": {"app": "shop"}}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": VALUES}
    return seal(secret, sealing_key.public_key(pair.certificate), scope=scope)


async def values(cluster: Running, name: str, namespace: str = "shop") -> dict[str, str] | None:
    secret = await cluster.api.get(f"/api/v1/namespaces/{namespace}/secrets/{name}")
    if secret is None:
        return None
    data = (secret.get("data") or {}).items()
    return {field: base64.b64decode(value).decode() for field, value in data}


async def wait_for(cluster: Running, name: str, namespace: str = "shop") -> None:
    async def is_readable() -> bool:
        return await values(cluster, name, namespace) == VALUES

    await until(is_readable)


@pytest.fixture(scope="module")
async def controller(
    anyio_backend: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Running]:
    chart()
    async with running(tmp_path_factory.mktemp("clusters")) as cluster:
        for name in (NAMESPACE, "shop", "shop-staging"):
            metadata = {"name": name}
            await apply(cluster, {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        await install(cluster, FIRST)
        yield cluster


async def secrets_with_keys(cluster: Running) -> list[Any]:
    label = "sealedsecrets.bitnami.com/sealed-secrets-key"
    secrets = await cluster.api.items(f"/api/v1/namespaces/{NAMESPACE}/secrets")
    return [secret for secret in secrets if label in (secret["metadata"].get("labels") or {})]


@pytest.mark.parametrize("scope", Scope)
async def test_the_controller_reads_what_is_sealed_in_every_scope(
    controller: Running, scope: Scope
) -> None:
    await apply(controller, sealed(f"first-{scope}", FIRST, scope))
    await wait_for(controller, f"first-{scope}")
    secret = await controller.api.get(f"/api/v1/namespaces/shop/secrets/first-{scope}")
    assert secret is not None
    assert secret["metadata"]["labels"] == {"app": "shop"}


async def test_a_strict_secret_is_readable_under_its_own_name_only(controller: Running) -> None:
    item = sealed("strict", FIRST)
    item["metadata"] = {**item["metadata"], "name": "renamed"}
    await apply(controller, item)

    async def is_refused() -> bool:
        path = "/apis/bitnami.com/v1alpha1/namespaces/shop/sealedsecrets/renamed"
        status = (await controller.api.get(path) or {}).get("status") or {}
        return any(x["status"] == "False" for x in status.get("conditions") or ())

    await until(is_refused)
    assert await values(controller, "renamed") is None


async def test_after_two_renewals_what_the_old_keys_sealed_is_still_readable(
    controller: Running,
) -> None:
    await apply(controller, sealed("of-first", FIRST))
    await install(controller, FIRST, SECOND)
    await apply(controller, sealed("of-second", SECOND))
    await install(controller, FIRST, SECOND, THIRD)
    await apply(controller, sealed("of-third", THIRD))
    private_keys = [sealing_key.private_key(FIRST.private_key)]
    await apply(
        controller,
        reseal(
            sealed("moved", FIRST),
            private_keys,
            sealing_key.public_key(THIRD.certificate),
            namespace="shop-staging",
        ),
    )
    for name in ("of-first", "of-second", "of-third"):
        await wait_for(controller, name)
        # The controller makes a Secret anew, which it has to decrypt for that.
        await controller.api.delete(f"/api/v1/namespaces/shop/secrets/{name}")
        await wait_for(controller, name)
    await wait_for(controller, "moved", "shop-staging")
    assert len(await secrets_with_keys(controller)) == 3, "the controller has made one of its own"


async def test_the_controller_runs_as_a_process_that_listens_on_loopback_only(
    controller: Running,
) -> None:
    [process] = [
        process
        for process in controller.clusters.processes()
        if process.name.startswith(f"{NAMESPACE}/")
    ]
    addresses = {
        connection.laddr.ip
        for connection in psutil.Process(process.pid).net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert addresses == {"127.0.0.1"}


def test_the_first_key_pair_comes_with_the_version_of_the_modules_chart() -> None:
    assert yaml.safe_load((chart() / "Chart.yaml").read_text())["version"] == keys.CHART_VERSION
