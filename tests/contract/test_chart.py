"""The stand-in for the argo-cd chart, rendered and fetched by the real Helm."""

import asyncio
import base64
import functools
import gzip
import json
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from starlette.applications import Starlette
from starlette.routing import Mount

from components.chart_values import ArgoCdOptions, chart_values
from sandbox import paths
from sandbox.chart import ChartError, build_chart, can_be_reached, repository
from sandbox.processes import free_port
from sandbox.toolchain.recipes import ARGOCD, HELM
from tests.contract.built_tools import binary, files
from tests.contract.http_server import serving

PUBLIC_VALUES = paths.REPOSITORY / "tests" / "data" / "argo-cd-chart" / "values.yaml"
"""The values of the public chart with their defaults."""
VERSION = "1.2.3"
DEPLOYMENTS = {
    "argocd-applicationset-controller",
    "argocd-dex-server",
    "argocd-notifications-controller",
    "argocd-redis",
    "argocd-repo-server",
    "argocd-server",
}

Objects = dict[tuple[str, str], dict[str, Any]]


@functools.cache
def manifests() -> Path:
    return files(ARGOCD) / "manifests"


@functools.cache
def helm() -> Path:
    return binary(HELM, "helm")


@pytest.fixture(scope="session")
def chart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_chart(manifests(), VERSION, tmp_path_factory.mktemp("charts"))


def run_helm(*args: str | Path, values: object = None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [helm(), *args], input=json.dumps(values or {}), capture_output=True, text=True, check=False
    )


def template(
    chart: Path, values: object = None, release: str = "argocd"
) -> "subprocess.CompletedProcess[str]":
    return run_helm(
        "template", release, chart, "--namespace", "platform", "--kube-version", "1.34.0",
        "--values", "-", values=values,
    )  # fmt: skip


def render(chart: Path, values: object = None) -> Objects:
    """The objects of the rendered chart, hooks included, by kind and name."""
    process = template(chart, values)
    assert process.returncode == 0, process.stderr
    objects = [o for o in yaml.load_all(process.stdout, Loader=yaml.CSafeLoader) if o]
    by_name = {(o["kind"], o["metadata"]["name"]): o for o in objects}
    assert len(by_name) == len(objects), "two objects with the same kind and name"
    return by_name


def names(objects: Objects, kind: str) -> set[str]:
    return {name for k, name in objects if k == kind}


def container(workload: dict[str, Any]) -> dict[str, Any]:
    first: dict[str, Any] = workload["spec"]["template"]["spec"]["containers"][0]
    return first


def refusal(chart: Path, values: object, release: str = "argocd") -> str:
    process = template(chart, values, release)
    assert process.returncode != 0, "the values were taken"
    return process.stderr


@pytest.mark.parametrize("high_availability", [False, True], ids=["small", "highly available"])
def test_the_programs_values_install_the_workloads_of_the_guide(
    chart: Path, high_availability: bool
) -> None:
    objects = render(chart, chart_values(ArgoCdOptions(high_availability=high_availability)))
    redis = {"argocd-redis-ha-haproxy"} if high_availability else {"argocd-redis"}
    assert names(objects, "Deployment") == DEPLOYMENTS - {"argocd-redis"} | redis
    assert names(objects, "StatefulSet") == {"argocd-application-controller"} | (
        {"argocd-redis-ha-server"} if high_availability else set()
    )
    replicas = 2 if high_availability else 1
    for name in ("argocd-server", "argocd-repo-server", "argocd-applicationset-controller"):
        assert objects["Deployment", name]["spec"]["replicas"] == replicas
    assert len(names(objects, "PodDisruptionBudget")) == (3 if high_availability else 0)
    params = objects["ConfigMap", "argocd-cmd-params-cm"]["data"]
    assert params["redis.server"].removesuffix(":6379") in names(objects, "Service")
    assert (
        params["applicationsetcontroller.enable.leader.election"] == str(high_availability).lower()
    )


def test_a_workload_runs_the_command_of_argo_cds_own_manifests(chart: Path) -> None:
    objects = render(chart)
    with (manifests() / "namespace-install.yaml").open() as file:
        originals = [o for o in yaml.load_all(file, Loader=yaml.CSafeLoader) if o]
    workloads = [o for o in originals if o["kind"] in ("Deployment", "StatefulSet")]
    assert len(workloads) == 7
    for original in workloads:
        rendered = objects[original["kind"], original["metadata"]["name"]]
        for field in ("command", "args", "env", "image", "ports", "volumeMounts"):
            assert container(rendered).get(field) == container(original).get(field)
        labels = rendered["spec"]["template"]["metadata"]["labels"]
        assert labels["app.kubernetes.io/part-of"] == "argocd"
        assert labels.items() >= rendered["spec"]["selector"]["matchLabels"].items()
        assert rendered["spec"]["selector"] == original["spec"]["selector"]


def test_everything_is_in_the_releases_namespace(chart: Path) -> None:
    objects = render(chart, {"redis-ha": {"enabled": True}})
    cluster_wide = ("ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition")
    assert {o["metadata"].get("namespace") for o in objects.values()} == {"platform", None}
    for (kind, _), o in objects.items():
        assert ("namespace" in o["metadata"]) == (kind not in cluster_wide)
        assert o["metadata"]["labels"]["app.kubernetes.io/part-of"] == "argocd"
        for subject in o.get("subjects", []):
            assert subject["namespace"] == "platform"
            assert ("ServiceAccount", subject["name"]) in objects
        if "roleRef" in o:
            assert (o["roleRef"]["kind"], o["roleRef"]["name"]) in objects


def test_crds_are_installed_unchanged_and_kept_by_default(chart: Path) -> None:
    kind = "CustomResourceDefinition"
    objects = render(chart)
    with (manifests() / "install.yaml").open() as file:
        originals = [o for o in yaml.load_all(file, Loader=yaml.CSafeLoader) if o]
    specs = {o["metadata"]["name"]: o["spec"] for o in originals if o["kind"] == kind}
    assert specs.keys() == {f"application{s}.argoproj.io" for s in ("s", "sets")} | {
        "appprojects.argoproj.io"
    }
    for name, spec in specs.items():
        assert objects[kind, name]["spec"] == spec
        assert objects[kind, name]["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    for o in render(chart, {"crds": {"keep": False}}).values():
        assert "helm.sh/resource-policy" not in o["metadata"].get("annotations", {})
    assert not names(render(chart, {"crds": {"install": False}}), kind)
    # Helm would install CRDs of its own folder for them, whatever the values are.
    assert run_helm("show", "crds", chart).stdout.strip() == ""


def test_a_release_fits_into_a_secret(chart: Path) -> None:
    # Helm stores base64(gzip(JSON)) of the chart's files (base64) and of the rendered objects.
    with tarfile.open(chart) as archive:
        files = [f.read() for m in archive if (f := archive.extractfile(m)) is not None]
    release = {
        "chart": [base64.b64encode(content).decode() for content in files],
        "manifest": template(chart).stdout,
    }
    stored = base64.b64encode(gzip.compress(json.dumps(release).encode()))
    assert len(stored) < 1 << 20


def test_the_config_maps_contain_the_values(chart: Path) -> None:
    values = {
        "global": {"domain": "cd.example.com"},
        "configs": {
            "cm": {"admin.enabled": False, "timeout.reconciliation": "30s", "kustomize.x": "y"},
            "params": {"server.insecure": True, "controller.status.processors": 20},
            "rbac": {"policy.default": "role:readonly", "policy.csv": "g, team, role:admin\n"},
            "ssh": {"extraHosts": "git.example.com ssh-ed25519 AAAA"},
            "tls": {"certificates": {"git.example.com": "PEM"}},
        },
    }
    objects = render(chart, values)
    cm = objects["ConfigMap", "argocd-cm"]["data"]
    assert cm["url"] == "https://cd.example.com"
    assert cm["admin.enabled"] == "false"
    assert cm["timeout.reconciliation"] == "30s"
    assert cm["kustomize.x"] == "y"
    assert "resource.exclusions" in cm, "Argo CD's own defaults are kept"
    params = objects["ConfigMap", "argocd-cmd-params-cm"]["data"]
    assert params["server.insecure"] == "true"
    assert params["controller.status.processors"] == "20"
    rbac = objects["ConfigMap", "argocd-rbac-cm"]["data"]
    assert rbac["policy.default"] == "role:readonly"
    assert rbac["policy.csv"] == "g, team, role:admin\n"
    hosts = objects["ConfigMap", "argocd-ssh-known-hosts-cm"]["data"]["ssh_known_hosts"]
    assert "\ngithub.com ssh-ed25519 " in hosts
    assert hosts.endswith("\ngit.example.com ssh-ed25519 AAAA")
    certificates = objects["ConfigMap", "argocd-tls-certs-cm"]["data"]
    assert certificates == {"git.example.com": "PEM"}


def test_the_secret_contains_only_keys_that_the_values_set(chart: Path) -> None:
    options = ArgoCdOptions(admin_password_hash="$2b$10$hash", webhook_secret="hook")
    data = render(chart, chart_values(options))["Secret", "argocd-secret"]["data"]
    assert {key: base64.b64decode(value).decode() for key, value in data.items()} == {
        "admin.password": "$2b$10$hash",
        "admin.passwordMtime": "1970-01-01T00:00:00Z",
        "webhook.github.secret": "hook",
    }
    extra = {"configs": {"secret": {"extra": {"oidc.clientSecret": "s"}}}}
    data = render(chart, extra)["Secret", "argocd-secret"]["data"]
    assert data == {"oidc.clientSecret": base64.b64encode(b"s").decode()}
    # An empty map would remove the keys that Argo CD has added.
    assert "data" not in render(chart)["Secret", "argocd-secret"]
    off = {"configs": {"secret": {"createSecret": False}}}
    assert ("Secret", "argocd-secret") not in render(chart, off)


def test_new_parameters_restart_the_components(chart: Path) -> None:
    def checksums(objects: Objects) -> set[str]:
        return {
            o["spec"]["template"]["metadata"]["annotations"]["checksum/cmd-params"]
            for (kind, _), o in objects.items()
            if kind in ("Deployment", "StatefulSet")
        }

    before, after = (
        checksums(render(chart, {"configs": {"params": {"server.insecure": on}}}))
        for on in (False, True)
    )
    assert len(before) == len(after) == 1
    assert before != after


def test_components_can_be_disabled(chart: Path) -> None:
    objects = render(
        chart,
        {
            "dex": {"enabled": False},
            "notifications": {"enabled": False},
            "createClusterRoles": False,
            "global": {"networkPolicy": {"create": False}},
            "redisSecretInit": {"enabled": False},
        },
    )
    assert names(objects, "Deployment") == DEPLOYMENTS - {
        "argocd-dex-server",
        "argocd-notifications-controller",
    }
    assert not [name for _, name in objects if "dex" in name or "notifications" in name]
    assert "server.dex.server" not in objects["ConfigMap", "argocd-cmd-params-cm"]["data"]
    for kind in ("ClusterRole", "ClusterRoleBinding", "NetworkPolicy", "Job"):
        assert not names(objects, kind)


def test_workloads_have_the_values_of_their_component(chart: Path) -> None:
    resources = {"requests": {"cpu": "10m", "memory": "64Mi"}}
    spread = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
    }
    taint = {"key": "platform", "operator": "Exists"}
    objects = render(
        chart,
        {
            "global": {
                "image": {"repository": "registry.test/argocd", "tag": "v3.6.1-patched"},
                "topologySpreadConstraints": [spread],
                "tolerations": [taint],
                "nodeSelector": {"pool": "platform"},
            },
            "controller": {"replicas": 2, "resources": resources, "metrics": {"enabled": True}},
            "redis": {"resources": resources},
            "repoServer": {"autoscaling": {"enabled": True, "maxReplicas": 4}},
            "server": {"pdb": {"enabled": True, "maxUnavailable": 1}},
        },
    )
    controller = objects["StatefulSet", "argocd-application-controller"]
    assert controller["spec"]["replicas"] == 2
    assert {"name": "ARGOCD_CONTROLLER_REPLICAS", "value": "2"} in container(controller)["env"]
    assert container(controller)["resources"] == resources
    assert container(controller)["image"] == "registry.test/argocd:v3.6.1-patched"
    redis = objects["Deployment", "argocd-redis"]
    assert container(redis)["resources"] == resources
    assert "/redis:" in container(redis)["image"]
    for workload in (controller, redis):
        pod = workload["spec"]["template"]["spec"]
        assert pod["tolerations"] == [taint]
        assert pod["nodeSelector"] == {"pool": "platform", "kubernetes.io/os": "linux"}
        assert pod["topologySpreadConstraints"] == [
            {**spread, "labelSelector": workload["spec"]["selector"]}
        ]
    assert "replicas" not in objects["Deployment", "argocd-repo-server"]["spec"]
    scaler = objects["HorizontalPodAutoscaler", "argocd-repo-server"]["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (1, 4)
    assert scaler["scaleTargetRef"]["name"] == "argocd-repo-server"
    budget = objects["PodDisruptionBudget", "argocd-server"]["spec"]
    assert budget == {
        "maxUnavailable": 1,
        "selector": objects["Deployment", "argocd-server"]["spec"]["selector"],
    }
    assert {name for name in names(objects, "Service") if name.endswith("metrics")} == {
        "argocd-application-controller-metrics"
    }


def test_the_server_is_exposed_by_service_and_ingress(chart: Path) -> None:
    objects = render(
        chart,
        {
            "global": {"domain": "cd.example.com"},
            "server": {
                "service": {"type": "LoadBalancer", "annotations": {"a": "b"}},
                "ingress": {"enabled": True, "ingressClassName": "nginx", "tls": True},
            },
        },
    )
    service = objects["Service", "argocd-server"]
    assert service["spec"]["type"] == "LoadBalancer"
    assert service["metadata"]["annotations"] == {"a": "b"}
    assert [port["port"] for port in service["spec"]["ports"]] == [80, 443]
    ingress = objects["Ingress", "argocd-server"]["spec"]
    assert ingress["ingressClassName"] == "nginx"
    assert ingress["rules"][0]["host"] == "cd.example.com"
    assert ingress["rules"][0]["http"]["paths"][0]["backend"]["service"] == {
        "name": "argocd-server",
        "port": {"name": "https"},
    }
    assert ingress["tls"] == [{"hosts": ["cd.example.com"], "secretName": "argocd-server-tls"}]


def test_redis_gets_its_password_before_anything_runs(chart: Path) -> None:
    objects = render(chart)
    job = objects["Job", "argocd-redis-secret-init"]
    assert container(job)["command"] == ["argocd", "admin", "redis-initial-password"]
    account = job["spec"]["template"]["spec"]["serviceAccountName"]
    for kind in ("Job", "Role", "RoleBinding", "ServiceAccount"):
        hook = objects[kind, account]["metadata"]["annotations"]
        assert hook["helm.sh/hook"] == "pre-install,pre-upgrade"
        assert hook["helm.sh/hook-delete-policy"] == "before-hook-creation"


@pytest.mark.parametrize(
    ("values", "unknown"),
    [
        ({"sever": {"replicas": 2}}, "sever"),
        ({"server": {"replica": 2}}, "replica"),
        ({"global": {"runtimeClassName": "gvisor"}}, "runtimeClassName"),
        ({"configs": {"repositories": {}}}, "repositories"),
        ({"redis-ha": {"haproxy": {"enabled": True}}}, "haproxy"),
        ({"externalRedis": {"host": "redis"}}, "externalRedis"),
        ({"server": {"replicas": "two"}}, "replicas"),
        ({"configs": {"cm": {"oidc.config": {"name": "not text"}}}}, "oidc.config"),
        ({"crds": {"install": "yes"}}, "install"),
    ],
)
def test_unsupported_values_are_refused_by_name(chart: Path, values: object, unknown: str) -> None:
    complaint = refusal(chart, values)
    assert "values don't meet the specifications of the schema" in complaint
    assert unknown in complaint


def test_highly_available_redis_has_tolerations_of_its_own_alone(chart: Path) -> None:
    own, common = ({"key": key, "operator": "Exists"} for key in ("redis", "platform"))
    values = {
        "global": {"tolerations": [common], "nodeSelector": {"pool": "platform"}},
        "redis-ha": {"enabled": True, "tolerations": [own]},
    }
    objects = render(chart, values)
    pods = {
        name: objects[kind, name]["spec"]["template"]["spec"]
        for kind, name in (
            ("StatefulSet", "argocd-redis-ha-server"), ("Deployment", "argocd-redis-ha-haproxy"),
            ("Deployment", "argocd-server"),
        )
    }  # fmt: skip
    server = pods.pop("argocd-server")
    assert (server["tolerations"], server["nodeSelector"]["pool"]) == ([common], "platform")
    for pod in pods.values():
        assert pod["tolerations"] == [own]
        assert "pool" not in (pod.get("nodeSelector") or {})


def test_unsupported_combinations_are_refused_with_the_reason(chart: Path) -> None:
    assert "name the release argocd" in refusal(chart, {}, release="gitops")
    assert "name the release argocd" in refusal(chart, {"fullnameOverride": "cd"})
    assert "enable redis or redis-ha" in refusal(chart, {"redis": {"enabled": False}})


def test_every_value_exists_in_the_public_chart(chart: Path) -> None:
    public_values = yaml.safe_load(PUBLIC_VALUES.read_text())
    stand_in_values = yaml.safe_load(run_helm("show", "values", chart).stdout)

    def compare(values: dict[str, Any], public: dict[str, Any], path: str) -> None:
        for key, value in values.items():
            assert key in public, f"{path}{key} is not a value of the public chart"
            if isinstance(value, dict):
                compare(value, public[key], f"{path}{key}.")
            elif f"{path}{key}" != "configs.ssh.knownHosts":
                assert value == public[key], f"{path}{key} has another default"

    compare(stand_in_values, public_values, "")


def test_the_same_manifests_give_the_same_bytes(chart: Path, tmp_path: Path) -> None:
    second = build_chart(manifests(), VERSION, tmp_path)
    assert second.name == f"argo-cd-{VERSION}.tgz"
    assert second.read_bytes() == chart.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == [second.name]


def test_helm_lint_accepts_the_chart(chart: Path) -> None:
    process = run_helm("lint", chart, "--strict", "--set", "fullnameOverride=argocd")
    assert process.returncode == 0, process.stdout


def test_missing_manifests_are_named(tmp_path: Path) -> None:
    with pytest.raises(ChartError, match=r"install\.yaml"):
        build_chart(tmp_path, VERSION, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def charts(folder: Path) -> Starlette:
    """The repository at /charts, as in the daemon."""
    return Starlette(routes=[Mount("/charts", app=repository(folder))])


def test_helm_finds_the_chart_in_the_repository(chart: Path, tmp_path: Path) -> None:
    build_chart(manifests(), "1.2.2", chart.parent)
    with serving(charts(chart.parent)) as server:
        url = f"{server}/charts"
        ask = ("show", "chart", "argo-cd", "--repo", url)
        for version in (VERSION, "1.2.2"):
            done = run_helm(*ask, "--version", version)
            assert done.returncode == 0, done.stderr
            shown = yaml.safe_load(done.stdout)
            assert (shown["name"], shown["version"]) == ("argo-cd", version)
            assert shown["appVersion"] == f"v{ARGOCD.version}"
            assert "Stand-in" in shown["description"]
        assert run_helm(*ask, "--version", "9.9.9").returncode != 0
        pulled = run_helm(
            "pull", "argo-cd", "--repo", url, "--version", VERSION, "--destination", tmp_path
        )
        assert pulled.returncode == 0, pulled.stderr
        assert (tmp_path / chart.name).read_bytes() == chart.read_bytes()
        assert httpx.get(f"{url}/%2e%2e/charts/index.yaml").status_code == 404
        assert httpx.get(f"{url}/none.tgz").status_code == 404


def test_the_public_chart_is_used_if_its_repository_responds(tmp_path: Path) -> None:
    with serving(charts(tmp_path)) as server:
        assert asyncio.run(can_be_reached(f"{server}/charts"))
        assert not asyncio.run(can_be_reached(f"{server}/charts/elsewhere"))


def test_the_stand_in_is_used_if_nothing_responds() -> None:
    assert not asyncio.run(can_be_reached(f"http://127.0.0.1:{free_port()}"))
