"""A container's environment, arguments and volumes when it runs as a process."""

from pathlib import Path
from typing import Any, cast

import pytest

from sandbox.cluster.api import Api
from sandbox.cluster.containers import (
    NotConfigured,
    Sources,
    Volumes,
    arguments,
    environment,
    expand,
    relocate,
)
from sandbox.cluster.podstatus import ContainerState, status
from sandbox.cluster.roles import Role, role_of

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class FakeApi:
    """An API with these objects, by their paths in the namespace argocd."""

    def __init__(self, objects: dict[str, dict[str, Any]]) -> None:
        self._objects = {f"/api/v1/namespaces/argocd/{k}": v for k, v in objects.items()}

    async def get(self, path: str) -> dict[str, Any] | None:
        return self._objects.get(path)


def sources(**objects: dict[str, Any]) -> Sources:
    paths = {name.replace("__", "/"): manifest for name, manifest in objects.items()}
    return Sources(cast(Api, FakeApi(paths)), "argocd")


def pod(container: dict[str, Any], **labels: str) -> dict[str, Any]:
    return {
        "metadata": {"name": "p-0", "namespace": "argocd", "uid": "u", "labels": labels},
        "spec": {"nodeName": "n", "containers": [container]},
        "status": {},
    }


def reference(kind: str, key: str, *, optional: bool) -> dict[str, Any]:
    return {"valueFrom": {kind: {"name": "settings", "key": key, "optional": optional}}}


async def test_environment_comes_from_values_fields_configmaps_and_secrets() -> None:
    container = {
        "envFrom": [{"prefix": "P_", "configMapRef": {"name": "settings"}}],
        "env": [
            {"name": "PLAIN", "value": "a"},
            {"name": "BUILT", "value": "$(PLAIN)-$(P_level)"},
            {"name": "NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
            {"name": "T", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['tier']"}}},
            {"name": "LEVEL", **reference("configMapKeyRef", "level", optional=False)},
            {"name": "AUTH", **reference("secretKeyRef", "auth", optional=False)},
            {"name": "ABSENT", **reference("configMapKeyRef", "other", optional=True)},
        ],
    }

    env = await environment(
        pod(container, tier="web"),
        container,
        sources(
            configmaps__settings={"data": {"level": "warn"}},
            secrets__settings={"data": {"auth": "c2VjcmV0"}},
        ),
    )

    assert env == {
        "P_level": "warn",
        "PLAIN": "a",
        "BUILT": "a-warn",
        "NAMESPACE": "argocd",
        "T": "web",
        "LEVEL": "warn",
        "AUTH": "secret",
    }


@pytest.mark.parametrize(
    ("objects", "message"),
    [
        ({}, 'secret "settings" not found'),
        ({"secrets__settings": {"data": {}}}, "couldn't find key auth in secret settings"),
    ],
)
async def test_a_missing_secret_or_key_is_named(
    objects: dict[str, dict[str, Any]], message: str
) -> None:
    container = {"env": [{"name": "AUTH", **reference("secretKeyRef", "auth", optional=False)}]}

    with pytest.raises(NotConfigured, match=message):
        await environment(pod(container), container, sources(**objects))


def test_references_in_arguments_are_expanded_as_kubernetes_does() -> None:
    container = {"command": ["redis-server"], "args": ["--port $(PORT)", "$$(PORT)", "$(NONE)"]}

    assert arguments(container, {"PORT": "1"}) == ["--port 1", "$(PORT)", "$(NONE)"]
    assert expand("a$b", {}) == "a$b"


async def test_volumes_are_folders_and_mount_paths_are_replaced_by_them(tmp_path: Path) -> None:
    container = {
        "volumeMounts": [
            {"name": "hosts", "mountPath": "/app/config/ssh"},
            {"name": "work", "mountPath": "/helm-working-dir"},
        ]
    }
    with_volumes = pod(container)
    with_volumes["spec"]["volumes"] = [
        {"name": "hosts", "configMap": {"name": "hosts"}},
        {"name": "keys", "secret": {"secretName": "keys", "optional": True}},
        {"name": "work", "emptyDir": {}},
    ]
    volumes = Volumes(tmp_path, with_volumes)
    await volumes.write(sources(configmaps__hosts={"data": {"ssh_known_hosts": "host key"}}))
    mounted = volumes.mounted(container)

    assert (mounted["/app/config/ssh"] / "ssh_known_hosts").read_text() == "host key"
    assert (tmp_path / "keys").is_dir()
    assert relocate("/helm-working-dir", mounted) == str(tmp_path / "work")
    assert relocate("--cache=/helm-working-dir/x", mounted) == f"--cache={tmp_path / 'work' / 'x'}"
    assert relocate("/helm-working-directory", mounted) == "/helm-working-directory"


@pytest.mark.parametrize(
    ("container", "labels", "role"),
    [
        ({"args": ["/usr/local/bin/argocd-server", "--x"]}, {}, Role.SERVER),
        ({"command": ["argocd-repo-server"]}, {}, Role.REPO_SERVER),
        ({"command": ["argocd"], "args": ["admin", "redis-initial-password"]}, {},
         Role.REDIS_PASSWORD),
        ({"args": ["--save", ""]}, {"app.kubernetes.io/name": "argocd-redis"}, Role.REDIS),
        ({}, {"app": "redis-ha-haproxy"}, Role.REDIS),
        ({"args": ["--save", ""]}, {"app": "redis-cart"}, None),
        ({"command": ["/shared/argocd-dex", "rundex"]}, {}, None),
        ({"command": ["sh", "-c", "argocd-server"]}, {}, None),
    ],
)  # fmt: skip
def test_a_pods_role_is_derived_from_its_command_or_labels(
    container: dict[str, Any], labels: dict[str, str], role: Role | None
) -> None:
    assert role_of(pod(container, **labels)) is role


def test_a_job_whose_process_exits_with_0_has_succeeded() -> None:
    state = ContainerState(exit_code=0, finished_at="2025-01-01T00:00:00Z", finished=True)
    pod_status = status(pod({"name": "c", "image": "i"}), state, initialized=True, ip="10.0.0.1")

    assert pod_status["phase"] == "Succeeded"
    assert pod_status["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 0


def test_the_exit_code_of_a_process_that_was_killed_is_128_plus_the_signal() -> None:
    state = ContainerState(exit_code=-9, finished_at="2025-01-01T00:00:00Z", restarts=1)
    pod_status = status(pod({"name": "c", "image": "i"}), state, initialized=True, ip="10.0.0.1")

    assert pod_status["phase"] == "Running"
    assert pod_status["containerStatuses"][0]["lastState"]["terminated"]["exitCode"] == 137
