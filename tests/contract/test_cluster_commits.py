"""A commit, which Argo CD applies as a service account, runs nothing on the machine."""

import base64
import json
import ssl
from typing import Any

import httpx
import pytest

from sandbox.cluster.api import Object
from sandbox.cluster.roles import ADMINISTRATOR, WRITTEN_BY
from tests.contract.cluster_fixtures import Running, until

pytest_plugins = ["tests.contract.cluster_fixtures"]
pytestmark = pytest.mark.anyio

REDIS = {"app.kubernetes.io/name": "argocd-redis"}
FORGED = {WRITTEN_BY: ADMINISTRATOR}
HOSTILE_CONTAINER = {
    "name": "redis",
    "image": "redis",
    "command": ["argocd-server"],
    "env": [{"name": "LD_PRELOAD", "value": "/app/config/tls/lib.so"}],
    "volumeMounts": [{"name": "files", "mountPath": "/app/config/tls"}],
}
HOSTILE_SPEC = {
    "containers": [HOSTILE_CONTAINER],
    "volumes": [{"name": "files", "configMap": {"name": "files"}}],
}
ACCOUNT = "system:serviceaccount:argocd:argocd-application-controller"


class Commits:
    """Applies objects as Argo CD does: as a service account that is cluster-admin."""

    def __init__(self, cluster: Running) -> None:
        authority = base64.b64decode(cluster.access.ca_certificate).decode()
        groups = ["system:serviceaccounts", "system:authenticated", "sandbox:admins"]
        headers = [("Authorization", "Bearer good"), ("Impersonate-User", ACCOUNT)]
        self._client = httpx.AsyncClient(
            base_url=cluster.access.endpoint,
            verify=ssl.create_default_context(cadata=authority),
            headers=headers + [("Impersonate-Group", group) for group in groups],
            trust_env=False,
        )

    async def create(self, path: str, body: Object, *, user: str = ACCOUNT) -> httpx.Response:
        return await self._client.post(path, json=body, headers={"Impersonate-User": user})

    async def apply(self, path: str, body: Object) -> httpx.Response:
        return await self._client.patch(
            path,
            params={"fieldManager": "argocd-controller", "force": "true"},
            content=json.dumps(body),
            headers={"Content-Type": "application/apply-patch+yaml"},
        )


@pytest.fixture(scope="module")
async def commits(cluster: Running) -> Commits:
    cluster.account.tokens.add("good")
    rights = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "argocd"},
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"
        },
        "subjects": [
            {"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "sandbox:admins"}
        ],
    }  # fmt: skip
    await cluster.api.call("POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", rights)
    commits = Commits(cluster)
    for namespace in ("argocd", "shop"):
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
        await cluster.api.call("POST", "/api/v1/namespaces", body)
        account = f"/api/v1/namespaces/{namespace}/serviceaccounts/default"

        async def has_account(path: str = account) -> bool:
            return await cluster.api.get(path) is not None

        await until(has_account)
        files = {"kind": "ConfigMap", "metadata": {"name": "files"}}
        library = {"apiVersion": "v1", **files, "binaryData": {"lib.so": "f0VMRg=="}}
        assert (
            await commits.create(f"/api/v1/namespaces/{namespace}/configmaps", library)
        ).is_success
    return commits


def workload(kind: str, name: str, spec: Object, **annotations: Any) -> Object:
    labels = REDIS | {"app": name}
    template = {"metadata": {"labels": labels, "annotations": annotations}, "spec": spec}
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": {"app": name}}, "template": template},
    }


def pod(name: str, **annotations: str) -> Object:
    metadata = {"name": name, "labels": REDIS, "annotations": annotations}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": HOSTILE_SPEC}


def processes(cluster: Running, name: str) -> list[int]:
    """The processes of the pods whose name begins with `name`."""
    return [
        process.pid
        for process in cluster.clusters.processes()
        if process.name.partition("/")[2].startswith(name)
    ]


async def pods(cluster: Running, namespace: str, name: str) -> list[Object]:
    items = await cluster.api.items(f"/api/v1/namespaces/{namespace}/pods")
    return [item for item in items if item["metadata"]["name"].startswith(name)]


async def assert_is_simulated(cluster: Running, namespace: str, name: str, writer: str) -> None:
    """kwok makes the pod Running, and only the pods that are not processes."""

    async def is_simulated() -> bool:
        current = [
            (pod["status"].get("phase"), pod["metadata"]["annotations"][WRITTEN_BY])
            for pod in await pods(cluster, namespace, name)
        ]
        return current == [("Running", writer)]

    await until(is_simulated)
    assert processes(cluster, name) == []


@pytest.mark.parametrize("namespace", ["argocd", "shop"])
@pytest.mark.parametrize(("name", "annotations"), [("bare", {}), ("forged", FORGED)])
async def test_a_pod_of_a_commit_is_a_pod_like_any_other(
    cluster: Running, commits: Commits, namespace: str, name: str, annotations: dict[str, str]
) -> None:
    path = f"/api/v1/namespaces/{namespace}/pods"
    assert (await commits.create(path, pod(name, **annotations))).is_success

    await assert_is_simulated(cluster, namespace, name, ACCOUNT)


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"])
async def test_a_workload_of_a_commit_runs_no_process(
    cluster: Running, commits: Commits, kind: str
) -> None:
    name = f"forged-{kind.lower()}"
    # The nodes' own taints keep a DaemonSet to one pod.
    spec = HOSTILE_SPEC | {"nodeSelector": {"kubernetes.io/hostname": "default-a"}}
    path = f"/apis/apps/v1/namespaces/argocd/{kind.lower()}s"
    assert (await commits.create(path, workload(kind, name, spec, **FORGED))).is_success

    await assert_is_simulated(cluster, "argocd", name, ACCOUNT)


async def test_a_job_of_a_cron_job_has_not_the_writer_that_its_template_claims(
    cluster: Running, commits: Commits
) -> None:
    metadata = {"labels": REDIS, "annotations": FORGED}
    template = {"metadata": metadata, "spec": HOSTILE_SPEC | {"restartPolicy": "Never"}}
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "forged-job"},
        "spec": {"template": template},
    }
    path = "/apis/batch/v1/namespaces/argocd/jobs"
    as_controller = await commits.create(path, job, user="system:kube-controller-manager")
    assert as_controller.is_success, as_controller.text

    template = as_controller.json()["spec"]["template"]
    assert template["metadata"]["annotations"][WRITTEN_BY] == "system:kube-controller-manager"


async def test_a_process_ends_when_a_commit_changes_its_workload(
    cluster: Running, commits: Commits
) -> None:
    path = "/apis/apps/v1/namespaces/argocd/deployments"
    harmless = {"containers": [{"name": "redis", "image": "redis"}]}
    await cluster.api.call("POST", path, workload("Deployment", "real", harmless))

    async def is_process() -> bool:
        return len(processes(cluster, "real")) == 1

    await until(is_process)
    unchanged = await commits.apply(f"{path}/real", workload("Deployment", "real", harmless))
    template = unchanged.json()["spec"]["template"]
    assert template["metadata"]["annotations"][WRITTEN_BY] == ADMINISTRATOR
    # As an Argo CD that upgrades itself.
    upgrade = {"containers": [{"name": "redis", "image": "redis:next"}]}
    upgraded = await commits.apply(
        f"{path}/real", workload("Deployment", "real", upgrade, checksum="b")
    )
    assert upgraded.is_success, upgraded.text
    template = upgraded.json()["spec"]["template"]
    assert template["metadata"]["annotations"][WRITTEN_BY] == ADMINISTRATOR
    changed = workload("Deployment", "real", HOSTILE_SPEC, **FORGED)
    assert (await commits.apply(f"{path}/real", changed)).is_success

    await assert_is_simulated(cluster, "argocd", "real", ACCOUNT)


async def test_a_commit_can_not_change_who_wrote_a_pod(cluster: Running, commits: Commits) -> None:
    path = "/api/v1/namespaces/argocd/pods"
    waiting = pod("waiting")
    waiting["spec"] = HOSTILE_SPEC | {"schedulerName": "none"}
    assert (await commits.create(path, waiting)).is_success

    minimal = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "waiting"}}
    forged: Object = {**minimal, "metadata": {"name": "waiting", "annotations": FORGED}}
    await commits.apply(f"{path}/waiting", forged)
    await commits.apply(f"{path}/waiting/status", forged)
    binding = {
        **forged,
        "kind": "Binding",
        "target": {"apiVersion": "v1", "kind": "Node", "name": "default-a"},
    }
    refused = [
        await commits.create(f"{path}/waiting/binding", binding),
        await commits.create("/api/v1/namespaces/argocd/bindings", binding),
    ]

    [current] = await pods(cluster, "argocd", "waiting")
    assert current["metadata"]["annotations"][WRITTEN_BY] == ACCOUNT
    assert [response.status_code for response in refused] == [422, 422], refused[0].text


MAP = "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies"
POLICY = {
    "apiVersion": "admissionregistration.k8s.io/v1",
    "kind": "MutatingAdmissionPolicy",
    "metadata": {"name": "forge"},
    "spec": {
        "matchConstraints": {
            "resourceRules": [
                {
                    "apiGroups": [""],
                    "apiVersions": ["v1"],
                    "operations": ["CREATE"],
                    "resources": ["pods"],
                }
            ]
        },
        "reinvocationPolicy": "Never",
        "mutations": [
            {
                "patchType": "ApplyConfiguration",
                "applyConfiguration": {"expression": "Object{metadata: Object.metadata{}}"},
            }
        ],
    },
}


def config_map(**data: str) -> Object:
    metadata = {"name": "argocd-cm"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


CLUSTER_SECRET = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {"name": "x", "labels": {"argocd.argoproj.io/secret-type": "cluster"}},
    "stringData": {"config": '{"execProviderConfig": {"command": "sh"}}'},
}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/v1/namespaces/argocd/secrets", CLUSTER_SECRET),
        (MAP, POLICY),
        ("/api/v1/namespaces/argocd/configmaps", config_map(**{"kustomize.path.v1": "/bin/sh"})),
        ("/api/v1/namespaces/argocd/configmaps",
         config_map(**{"kustomize.buildOptions": "--enable-alpha-plugins --enable-exec"})),
        ("/api/v1/namespaces/argocd/configmaps",
         config_map(**{"resource.customizations.useOpenLibs.apps_Deployment": "true"})),
    ],
)  # fmt: skip
async def test_settings_that_run_programs_are_for_administrators(
    cluster: Running, commits: Commits, path: str, body: Object
) -> None:
    refused = await commits.create(path, body)

    assert refused.status_code == 422
    assert "administrator" in refused.text
    await cluster.api.call("POST", path, body, params={"dryRun": "All"})


async def test_a_commit_may_change_other_settings_of_argocd(
    cluster: Running, commits: Commits
) -> None:
    path = "/api/v1/namespaces/shop/configmaps"
    before = {"kustomize.buildOptions": "--load-restrictor LoadRestrictionsNone"}
    await cluster.api.call("POST", path, config_map(**before))

    changed = config_map(**before, **{"timeout.reconciliation": "10s"})

    assert (await commits.apply(f"{path}/argocd-cm", changed)).is_success


async def test_a_redis_password_with_a_line_break_starts_no_redis(cluster: Running) -> None:
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "redis"},
        "stringData": {"auth": "x\nbind 0.0.0.0"},
    }
    await cluster.api.call("POST", "/api/v1/namespaces/shop/secrets", secret)
    reference = {"secretKeyRef": {"name": "redis", "key": "auth"}}
    env = [{"name": "REDIS_PASSWORD", "valueFrom": reference}]
    spec = {"containers": [{"name": "redis", "image": "redis", "env": env}]}
    path = "/apis/apps/v1/namespaces/shop/deployments"
    await cluster.api.call("POST", path, workload("Deployment", "redis", spec))

    async def is_refused() -> bool:
        statuses = [
            status["state"].get("waiting", {}).get("message", "")
            for pod in await pods(cluster, "shop", "redis")
            for status in pod["status"].get("containerStatuses") or []
        ]
        return statuses == ["the password of Redis has control characters"]

    await until(is_refused)

    assert processes(cluster, "redis") == []
