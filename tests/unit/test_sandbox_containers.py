"""A container's environment, arguments and files when it runs as a process."""

from pathlib import Path
from typing import Any, cast

import pytest

from sandbox.cluster.api import Api
from sandbox.cluster.containers import (
    NotConfigured,
    Sources,
    arguments,
    environment,
    expand,
    files_at,
)
from sandbox.cluster.podstatus import ContainerState, status
from sandbox.cluster.programs import PodContext, Program, Services, program_of
from sandbox.cluster.roles import ADMINISTRATOR, WRITTEN_BY, Role, role_of

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
        "metadata": {
            "name": "p-0",
            "namespace": "argocd",
            "uid": "u",
            "labels": labels,
            "annotations": {WRITTEN_BY: ADMINISTRATOR},
        },
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


async def test_the_files_of_a_mount_path_are_the_text_of_its_configmaps_and_secrets() -> None:
    container = {
        "volumeMounts": [
            {"name": "hosts", "mountPath": "/app/config/ssh"},
            {"name": "keys", "mountPath": "/app/config/ssh/keys"},
        ]
    }
    with_volumes = pod(container)
    with_volumes["spec"]["volumes"] = [
        {
            "name": "hosts",
            "projected": {
                "sources": [
                    {"configMap": {"name": "hosts"}},
                    {"secret": {"name": "keys", "items": [{"key": "key", "path": "deep/key"}]}},
                    {"secret": {"name": "keys", "items": [{"key": "key", "path": "key"}]}},
                    {"secret": {"name": "absent", "optional": True}},
                ]
            },
        },
        {"name": "keys", "secret": {"secretName": "unused"}},
    ]

    files = await files_at(
        "/app/config/ssh",
        with_volumes,
        container,
        sources(
            configmaps__hosts={"data": {"hosts": "host key"}, "binaryData": {"lib.so": "f0VMRg=="}},
            secrets__keys={"data": {"key": "c2VjcmV0", "binary": "/w=="}},
        ),
    )

    assert files == {"hosts": "host key", "key": "secret"}


def program(
    role: Role,
    args: list[str],
    env: dict[str, str],
    folder: Path,
    working_dir: Path | None = None,
) -> Program:
    services = Services(redis=1, repo_server=2)
    context = PodContext(
        bin_dir=folder / "bin",
        folder=folder,
        socket=folder / "socket",
        kubeconfig=None,
        services=services,
        namespace="the-namespace",
        path=lambda name: folder / "later" / name,
        working_dir=working_dir,
    )
    return program_of(role, args, env, context)


@pytest.mark.parametrize(
    "name",
    [
        "LD_PRELOAD", "PYTHONPATH", "GIT_SSH_COMMAND", "GODEBUG", "SSL_CERT_FILE", "HTTPS_PROXY",
        "HELM_PLUGINS", "KUBERNETES_SERVICE_HOST", "ARGOCD_BINARY_NAME", "ARGOCD_OPTS",
        "ARGOCD_SERVER_LISTEN_ADDRESS", "ARGOCD_SERVER_STATIC_ASSETS", "ARGOCD_CONFIG_DIR",
        "ARGOCD_REPO_SERVER_ALLOW_OUT_OF_BOUNDS_SYMLINKS", "REDIS_SENTINEL_HOSTS",
    ],
)  # fmt: skip
def test_a_variable_that_could_run_other_code_does_not_reach_the_process(
    tmp_path: Path, name: str
) -> None:
    env = program(Role.REPO_SERVER, [], {name: "x", "ARGOCD_EXEC_TIMEOUT": "5m"}, tmp_path).env

    assert name not in env
    assert env["ARGOCD_EXEC_TIMEOUT"] == "5m"


def test_the_sandbox_decides_about_paths_and_folders(tmp_path: Path) -> None:
    names = ("PATH", "HOME", "KUBECONFIG", "ARGOCD_PLUGINSOCKFILEPATH", "HELM_DATA_HOME")
    env = program(Role.REPO_SERVER, [], dict.fromkeys(names, "/elsewhere"), tmp_path).env

    assert all(str(tmp_path) in env[name] for name in names)
    assert not any("/elsewhere" in env[name] for name in names)


def test_only_harmless_arguments_of_the_container_have_effect(tmp_path: Path) -> None:
    args = ["--loglevel", "debug", "--insecure", "--staticassets=/etc", "--address", "0.0.0.0",
            "-n", "x", "--kubeconfig=/root/.kube/config", "--", "--port=80"]  # fmt: skip
    argv = program(Role.SERVER, args, {}, tmp_path).argv

    assert argv[-3:] == ["--loglevel", "debug", "--insecure"]
    assert argv[argv.index("--address") + 1] == "127.0.0.1"
    assert argv.count("--address") == argv.count("--port") == 1


def test_sealed_secrets_listens_on_loopback_only_and_runs_in_its_own_namespace(
    tmp_path: Path,
) -> None:
    args = ["--update-status", "--key-renew-period", "0", "--listen-addr", ":8080",
            "--listen-metrics-addr", ":8081", "--log_dir", "/etc"]  # fmt: skip
    controller = program(Role.SEALED_SECRETS, args, {"SEALED_SECRETS_LISTEN_ADDR": ":1"}, tmp_path)

    name, *argv = controller.argv
    assert name == tmp_path / "later" / "sealed-secrets-controller"
    assert argv[-3:] == ["--update-status", "--key-renew-period", "0"]
    addresses = argv[:-3]
    assert addresses[::2] == ["--listen-addr", "--listen-metrics-addr"]
    assert all(str(address).startswith("127.0.0.1:") for address in addresses[1::2])
    assert controller.env["POD_NAMESPACE"] == "the-namespace"
    assert "SEALED_SECRETS_LISTEN_ADDR" not in controller.env


@pytest.mark.parametrize("password", ["x\nbind 0.0.0.0", "x\r", "x\0", "\x7f"])
def test_a_redis_password_with_control_characters_is_refused(tmp_path: Path, password: str) -> None:
    with pytest.raises(NotConfigured, match="control characters"):
        program(Role.REDIS, [], {"REDIS_PASSWORD": password}, tmp_path)


def test_a_redis_password_stays_one_quoted_word(tmp_path: Path) -> None:
    program(Role.REDIS, [], {"REDIS_PASSWORD": 'a" b\\'}, tmp_path)

    assert 'requirepass "a\\" b\\\\"' in (tmp_path / "redis.conf").read_text().splitlines()


@pytest.mark.parametrize(
    ("container", "labels", "role"),
    [
        ({"args": ["/usr/local/bin/argocd-server", "--x"]}, {}, Role.SERVER),
        ({"command": ["argocd-repo-server"]}, {}, Role.REPO_SERVER),
        ({"command": ["argocd"], "args": ["admin", "redis-initial-password"]}, {},
         Role.REDIS_PASSWORD),
        ({"args": ["--save", ""]}, {"app.kubernetes.io/name": "argocd-redis"}, Role.REDIS),
        ({}, {"app": "redis-ha-haproxy"}, Role.REDIS),
        ({"command": ["controller"]}, {"app.kubernetes.io/name": "sealed-secrets"},
         Role.SEALED_SECRETS),
        ({"command": ["/usr/bin/restic"], "args": ["init"]}, {}, Role.RESTIC),
        ({"command": ["controller"]}, {}, None),
        ({"args": ["--save", ""]}, {"app": "redis-cart"}, None),
        ({"command": ["/shared/argocd-dex", "rundex"]}, {}, None),
        ({"command": ["sh", "-c", "argocd-server"]}, {}, None),
    ],
)  # fmt: skip
def test_a_pods_role_is_derived_from_its_command_or_labels(
    container: dict[str, Any], labels: dict[str, str], role: Role | None
) -> None:
    assert role_of(pod(container, **labels)) is role


def test_a_pod_that_no_administrator_wrote_has_no_role() -> None:
    from_a_commit = pod({}, **{"app.kubernetes.io/name": "argocd-redis"})
    from_a_commit["metadata"]["annotations"] = {
        WRITTEN_BY: "system:serviceaccount:argocd:argocd-application-controller"
    }
    without = pod({"command": ["argocd-server"]})
    del without["metadata"]["annotations"]

    assert role_of(from_a_commit) is role_of(without) is None


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


VOLUME = {"RESTIC_REPOSITORY": "s3:http://127.0.0.1:1/b/r", "RESTIC_PASSWORD": "p"}


@pytest.mark.parametrize(
    "args",
    [
        ["init", "--no-cache"],
        ["backup", "volume", "--host", "h", "--tag", "a-1", "--no-cache"],
        [
            "restore",
            "latest",
            "--tag",
            "a-1",
            "--target",
            ".",
            "--include",
            "/volume",
            "--delete",
            "--verify",
            "--no-lock",
        ],
        ["forget", "--host", "h", "--group-by", "host", "--keep-last", "7", "--prune"],
        ["forget", "--host", "h", "--tag", "a-1", "--unsafe-allow-remove-all"],
    ],
)
def test_command_of_restic_runs_in_the_folder_of_its_volume(
    tmp_path: Path, args: list[str]
) -> None:
    env = {**VOLUME, "RESTIC_PASSWORD_COMMAND": "sh", "LD_PRELOAD": "x"}
    command = program(Role.RESTIC, args, env, tmp_path, working_dir=tmp_path / "volume")
    assert command.argv == [tmp_path / "later" / "restic", *args]
    assert command.cwd == tmp_path / "volume"
    assert set(command.env) == {*VOLUME, "HOME", "TMPDIR"}


@pytest.mark.parametrize(
    ("args", "changes", "reason"),
    [
        (["backup", "/etc"], {}, "is not run in the sandbox"),
        (["restore", "latest", "--target", ".", "--target", ".."], {}, "is not run in the sandbox"),
        (["restore", "latest", "--target", "/"], {}, "is not run in the sandbox"),
        (["restore", "latest", "--include", "/"], {}, "is not run in the sandbox"),
        (["init", "--password-command", "sh"], {}, "is not run in the sandbox"),
        (["mount", "."], {}, "is not run in the sandbox"),
        (["init"], {"RESTIC_REPOSITORY": "/etc"}, "is not in the sandbox"),
        (["init"], {"RESTIC_REPOSITORY": "s3:https://fra1.example.com/b"}, "is not in the sandbox"),
    ],
)
def test_command_of_restic_that_could_read_or_write_elsewhere_is_not_run(
    tmp_path: Path, args: list[str], changes: dict[str, str], reason: str
) -> None:
    with pytest.raises(NotConfigured, match=reason):
        program(Role.RESTIC, args, {**VOLUME, **changes}, tmp_path, working_dir=tmp_path)


def test_command_of_restic_without_a_volume_waits(tmp_path: Path) -> None:
    with pytest.raises(NotConfigured, match="no volume is mounted"):
        program(Role.RESTIC, ["backup", "volume"], VOLUME, tmp_path)


def test_message_of_a_failed_container_is_the_end_of_its_log() -> None:
    state = ContainerState(exit_code=12, finished=True, output="wrong password")
    failed = status(pod({"name": "c", "image": "i"}), state, initialized=True, ip="10.0.0.1")
    [container] = failed["containerStatuses"]
    assert container["state"]["terminated"]["message"] == "wrong password"
