"""Fixtures of the tests that drive the stand-in for Pulumi's kubernetes plugin."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import yaml

from sandbox.cluster.controlplane import ControlPlane
from sandbox.processes import free_port
from tests.contract.built_tools import tools
from tests.contract.kubernetes_plugin import Plugin


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
async def cluster(
    anyio_backend: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[ControlPlane]:
    """A control plane with one node, whose pods kwok makes ready."""
    folder = tmp_path_factory.mktemp("cluster")
    # Nothing listens there, so all bearer tokens of the account are refused.
    closed_url = f"http://127.0.0.1:{free_port()}/"
    plane = ControlPlane(folder, tools(), authenticate_url=closed_url)
    await plane.start()
    try:
        node = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": "node", "annotations": {"kwok.x-k8s.io/node": "fake"}},
            "status": {
                "allocatable": {"cpu": "8", "memory": "16Gi", "pods": "110"},
                "capacity": {"cpu": "8", "memory": "16Gi", "pods": "110"},
            },
        }
        await plane.api.call("POST", "/api/v1/nodes", node)
        yield plane
    finally:
        await plane.stop()


@pytest.fixture
async def kubeconfig(cluster: ControlPlane) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load(cluster.kubeconfig("admin").read_text())
    return config


@pytest.fixture
async def plugin(kubeconfig: dict[str, Any]) -> AsyncIterator[Plugin]:
    async with Plugin.serving(kubeconfig=kubeconfig) as plugin:
        yield plugin
