"""Helm releases through the stand-in kubernetes plugin: the real helm on a real control plane."""

import asyncio
import base64
import contextlib
import functools
import hashlib
import http.server
import json
import os
import signal
import ssl
import subprocess
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest
import trustme
import yaml
from pulumi.runtime import rpc
from pulumi.runtime.proto import provider_pb2

from sandbox.cluster.controlplane import ControlPlane
from sandbox.plugins.common import UNKNOWN, Secret, plain
from sandbox.plugins.kubernetes.helm_storage import Revision
from tests.contract.built_tools import tools
from tests.contract.kubernetes_plugin import (
    Plugin,
    PluginError,
    Resource,
    changed,
    custom_resource_definition,
    urn,
)

pytest_plugins = ["tests.contract.kubernetes_fixtures"]
pytestmark = pytest.mark.anyio

RELEASE = "kubernetes:helm.sh/v3:Release"
PropertyDiff = provider_pb2.PropertyDiff

CONFIG_MAP = """\
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .Release.Name }}-settings
data:
  greeting: {{ .Values.greeting | quote }}
  password: {{ .Values.password | quote }}
"""
DEPLOYMENT = """\
{{- if .Values.nodeSelector }}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .Release.Name }}
spec:
  selector: {matchLabels: {app: {{ .Release.Name }}}}
  template:
    metadata: {labels: {app: {{ .Release.Name }}}}
    spec:
      nodeSelector: {{ .Values.nodeSelector | toJson }}
      containers: [{name: app, image: app:1}]
{{- end }}
"""


@pytest.fixture(autouse=True)
def helm_on_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The sandbox's helm, with caches of its own."""
    monkeypatch.setenv("PATH", f"{tools().bin_dir}{os.pathsep}{os.environ['PATH']}")
    for name in ("HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))


@pytest.fixture
def chart(tmp_path: Path) -> Path:
    return write_chart(tmp_path / "greeter", "1.2.3")


def write_chart(folder: Path, version: str) -> Path:
    metadata = {"apiVersion": "v2", "name": "greeter", "version": version, "appVersion": "7"}
    files = {
        "Chart.yaml": yaml.safe_dump(metadata),
        "values.yaml": 'greeting: hello\npassword: ""\nnodeSelector: null\n',
        "templates/settings.yaml": CONFIG_MAP,
        "templates/app.yaml": DEPLOYMENT,
        "crds/charts.yaml": yaml.safe_dump(custom_resource_definition("charts", "Chart")),
    }
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def release(chart: Path | str, name: str, **inputs: Any) -> dict[str, Any]:
    return {"chart": str(chart), "name": name, "compat": "true", **inputs}


async def settings(cluster: ControlPlane, name: str) -> dict[str, str]:
    path = f"/api/v1/namespaces/default/configmaps/{name}-settings"
    live = await cluster.api.get(path)
    assert live is not None
    data: dict[str, str] = live["data"]
    return data


async def test_a_release_is_installed_refreshed_upgraded_and_uninstalled(
    cluster: ControlPlane, plugin: Plugin, chart: Path
) -> None:
    inputs = release(chart, "life", values={"greeting": "hi"})
    created = await plugin.create(RELEASE, "life", inputs)
    assert created.id == "default/life"
    assert created.inputs["version"] == "1.2.3"
    assert created.state["status"] == {
        "name": "life",
        "namespace": "default",
        "revision": 1,
        "chart": "greeter",
        "version": "1.2.3",
        "appVersion": "7",
        "status": "deployed",
    }
    assert created.state["resourceNames"] == {"ConfigMap/v1": ["life-settings"]}
    assert (await settings(cluster, "life"))["greeting"] == "hi"

    read = await plugin.read(created)
    assert (read.id, read.inputs, read.state) == (created.id, created.inputs, created.state)
    assert not changed(await plugin.diff(read, inputs))

    warmer = release(chart, "life", values={"greeting": "good day"})
    diff = await plugin.diff(read, warmer)
    assert {path: change.kind for path, change in diff.detailedDiff.items()} == {
        "values.greeting": PropertyDiff.UPDATE
    }
    assert not diff.replaces
    upgraded = await plugin.update(read, warmer)
    assert upgraded.state["status"]["revision"] == 2
    assert (await settings(cluster, "life"))["greeting"] == "good day"

    await plugin.delete(upgraded)
    path = "/api/v1/namespaces/default/configmaps/life-settings"
    assert await cluster.api.get(path) is None
    assert (await plugin.read(upgraded)).id == ""


async def test_a_removed_value_gets_the_charts_default(
    cluster: ControlPlane, plugin: Plugin, chart: Path
) -> None:
    both = release(chart, "dropped", values={"greeting": "hi", "password": "p"})
    created = await plugin.create(RELEASE, "dropped", both)
    fewer = release(chart, "dropped", values={"password": "p"})
    diff = await plugin.diff(created, fewer)
    assert {path: change.kind for path, change in diff.detailedDiff.items()} == {
        "values.greeting": PropertyDiff.DELETE
    }
    await plugin.update(created, fewer)
    assert (await settings(cluster, "dropped"))["greeting"] == "hello"


async def test_a_new_chart_version_upgrades_in_place_and_another_namespace_replaces(
    plugin: Plugin, chart: Path
) -> None:
    created = await plugin.create(RELEASE, "moves", release(chart, "moves"))
    write_chart(chart, "1.3.0")
    diff = await plugin.diff(created, release(chart, "moves"))
    assert list(diff.detailedDiff) == ["version"]
    assert not diff.replaces
    for namespace in ("elsewhere", UNKNOWN):
        diff = await plugin.diff(created, release(chart, "moves", namespace=namespace))
        assert "namespace" in diff.replaces
    upgraded = await plugin.update(created, release(chart, "moves"))
    assert upgraded.state["status"]["version"] == "1.3.0"


async def test_a_release_without_a_name_gets_one_and_keeps_it(plugin: Plugin, chart: Path) -> None:
    first, _ = await plugin.check(urn(RELEASE, "greeter"), {"chart": str(chart)})
    assert first["name"].startswith("greeter-")
    again, _ = await plugin.check(urn(RELEASE, "greeter"), {"chart": str(chart)}, first)
    assert again["name"] == first["name"]


async def test_create_namespace_creates_the_releases_namespace(
    cluster: ControlPlane, plugin: Plugin, chart: Path
) -> None:
    inputs = release(chart, "housed", namespace="house", createNamespace=True)
    assert (await plugin.create(RELEASE, "housed", inputs)).id == "house/housed"
    assert await cluster.api.get("/api/v1/namespaces/house/configmaps/housed-settings")


# --- checks and previews ------------------------------------------------------------------------


async def test_a_chart_that_cannot_be_found_fails_the_check(plugin: Plugin, tmp_path: Path) -> None:
    _, failures = await plugin.check(urn(RELEASE, "x"), release(tmp_path / "none", "x"))
    assert failures == [
        f'path "{tmp_path / "none"}" not found; check the chart name and repository configuration.'
    ]


async def test_unknown_and_unsupported_inputs_are_refused_by_name(
    plugin: Plugin, chart: Path
) -> None:
    inputs = release(chart, "x", lint=True, tmieout=3, repositoryOpts={"url": "http://x"})
    _, failures = await plugin.check(urn(RELEASE, "x"), inputs)
    assert failures == [
        "the stand-in plugin does not know the input tmieout of a Release",
        "the stand-in plugin does not offer the input lint of a Release",
        "the stand-in plugin does not know repositoryOpts.url",
    ]
    _, failures = await plugin.check(urn(RELEASE, "x"), {"name": "x"})
    assert failures == ["a Release needs the input chart"]


async def test_a_preview_installs_nothing_and_accepts_unknown_values(
    cluster: ControlPlane, plugin: Plugin, chart: Path
) -> None:
    inputs = release(chart, "previewed", values={"greeting": UNKNOWN})
    previewed = await plugin.create(RELEASE, "previewed", inputs, preview=True)
    assert previewed.id == ""
    assert previewed.state["values"] == {"greeting": UNKNOWN}
    assert previewed.state["status"] is UNKNOWN
    assert (
        await cluster.api.items("/api/v1/namespaces/default/secrets?labelSelector=name%3Dpreviewed")
        == []
    )


async def test_values_of_the_program_override_those_of_files(
    cluster: ControlPlane, plugin: Plugin, chart: Path, tmp_path: Path
) -> None:
    file = tmp_path / "own.yaml"
    file.write_text("greeting: from the file\npassword: from the file\n")
    asset = {rpc._special_sig_key: rpc._special_asset_sig, "path": str(file)}
    inputs = release(chart, "files", valueYamlFiles=[asset], values={"greeting": "mine"})
    await plugin.create(RELEASE, "files", inputs)
    assert await settings(cluster, "files") == {"greeting": "mine", "password": "from the file"}


# --- secrets ------------------------------------------------------------------------------------


async def test_secrets_for_helm_are_in_no_argument_message_or_file_and_encrypted_in_the_state(
    cluster: ControlPlane,
    kubeconfig: dict[str, Any],
    chart: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls, folder = tmp_path / "calls", tmp_path / "tmp"
    folder.mkdir()
    spy = tmp_path / "bin" / "helm"
    spy.parent.mkdir()
    spy.write_text(f'#!/bin/sh\necho "$@" >> {calls}\nexec {tools().path("helm")} "$@"\n')
    spy.chmod(0o700)
    monkeypatch.setenv("PATH", f"{spy.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    async with Plugin.serving(kubeconfig=kubeconfig) as plugin:
        values = {"password": Secret("hunter2")}
        created = await plugin.create(RELEASE, "sealed", release(chart, "sealed", values=values))
        # The engine kills its plugins: a file that is on disk now would remain.
        assert list(folder.iterdir()) == []
    assert (await settings(cluster, "sealed"))["password"] == "hunter2"
    assert "upgrade sealed" in calls.read_text()
    assert "hunter2" not in calls.read_text()
    assert not any("hunter2" in line for line in plugin.messages)
    assert created.state["values"] == {"password": Secret("hunter2")}
    assert isinstance(created.state["__inputs"], Secret)


class _Guarded(http.server.SimpleHTTPRequestHandler):
    """Serves files to clients with the password."""

    types: Mapping[str, str] = {}
    """Content types by path, for files without an extension."""

    def send_head(self) -> Any:
        expected = "Basic " + base64.b64encode(b"reader:hunter2").decode()
        if self.headers.get("Authorization") != expected:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="charts"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return None
        return super().send_head()

    def guess_type(self, path: Any) -> str:
        shown = "/" + os.path.relpath(path, self.directory)
        return self.types.get(shown) or super().guess_type(path)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextlib.contextmanager
def serving(
    folder: Path, *, tls: ssl.SSLContext | None = None, types: Mapping[str, str] | None = None
) -> Iterator[str]:
    """Serve the files of `folder` to clients with the password; yields host and port."""
    handler = type("Handler", (_Guarded,), {"types": types or {}})
    bound = functools.partial(handler, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), bound)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def package(chart: Path, folder: Path) -> Path:
    """The chart's archive, in that folder."""
    command: list[str | Path] = [tools().path("helm"), "package", chart, "-d", folder]
    subprocess.run(command, check=True, capture_output=True)
    return next(folder.glob("*.tgz"))


async def test_a_chart_comes_from_a_repository_that_asks_for_a_password(
    plugin: Plugin, chart: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "charts"
    package(chart, folder)
    subprocess.run([tools().path("helm"), "repo", "index", folder], check=True)
    with serving(folder) as address:
        account = {
            "repo": f"http://{address}",
            "username": "reader",
            "password": Secret("hunter2"),
        }
        inputs = release("greeter", "fetched", version=">=1.2.0", repositoryOpts=account)
        created = await plugin.create(RELEASE, "fetched", inputs)
        assert created.inputs["version"] == "1.2.3"
        assert created.inputs["repositoryOpts"]["password"] == Secret("hunter2")
        assert not changed(await plugin.diff(created, inputs))
        account["password"] = "wrong"
        checked = {**inputs, "repositoryOpts": account, "version": "1.2.3"}
        _, failures = await plugin.check(urn(RELEASE, "fetched"), checked)
    assert "check the chart name and repository configuration" in failures[0]
    assert "401" in failures[0]
    assert "wrong" not in failures[0]


def oci_layout(archive: Path, folder: Path) -> dict[str, str]:
    """Write the archive as a registry serves `charts/greeter:1.2.3`. Returns the content types.

    https://helm.sh/docs/topics/registries/#helm-chart-manifest
    """
    base = folder / "v2" / "charts" / "greeter"
    types: dict[str, str] = {}

    def write(kind: str, name: str, content: bytes, media_type: str) -> None:
        path = base / kind / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        types[f"/{path.relative_to(folder)}"] = media_type

    def blob(content: bytes, media_type: str) -> dict[str, Any]:
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        write("blobs", digest, content, "application/octet-stream")
        return {"mediaType": media_type, "digest": digest, "size": len(content)}

    metadata = json.dumps({"name": "greeter", "version": "1.2.3", "apiVersion": "v2"}).encode()
    media_type = "application/vnd.oci.image.manifest.v1+json"
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": media_type,
            "config": blob(metadata, "application/vnd.cncf.helm.config.v1+json"),
            "layers": [
                blob(archive.read_bytes(), "application/vnd.cncf.helm.chart.content.v1.tar+gzip")
            ],
        }
    ).encode()
    for name in ("1.2.3", f"sha256:{hashlib.sha256(manifest).hexdigest()}"):
        write("manifests", name, manifest, media_type)
    return types


async def test_a_chart_comes_from_a_registry_that_asks_for_a_password(
    plugin: Plugin, chart: Path, tmp_path: Path
) -> None:
    folder, authority = tmp_path / "registry", trustme.CA()
    types = oci_layout(package(chart, tmp_path / "packed"), folder)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    with serving(folder, tls=tls, types=types) as address:
        inputs = release(
            f"oci://{address}/charts/greeter",
            "pulled",
            version="1.2.3",
            repositoryOpts={
                "username": "reader",
                "password": Secret("hunter2"),
                "caFile": str(tmp_path / "ca.pem"),
            },
        )
        created = await plugin.create(RELEASE, "pulled", inputs)
    assert created.state["status"]["version"] == "1.2.3"


# --- what goes wrong ----------------------------------------------------------------------------


async def test_a_failed_install_is_upgraded_by_the_next_run(plugin: Plugin, chart: Path) -> None:
    stuck = release(chart, "halted", timeout=3, values={"nodeSelector": {"no": "such-node"}})
    with pytest.raises(PluginError) as failed:
        await plugin.create(RELEASE, "halted", stuck)
    details = failed.value.init_failed
    assert details is not None, str(failed.value)
    assert details.id == "default/halted"
    assert failed.value.state["status"]["status"] == "failed"
    assert "was created, but failed to initialize completely" in str(failed.value)
    assert details.reasons[-1] == "look on with: helm status halted -n default"

    halted = Resource(urn(RELEASE, "halted"), details.id, stuck, failed.value.state)
    # Not without values: helm would reuse those of the previous revision.
    good = release(chart, "halted", values={"greeting": "hi"})
    repaired = await plugin.update(halted, good)
    assert repaired.state["status"]["status"] == "deployed"


async def test_a_killed_install_must_be_removed_before_the_next_one(
    kubeconfig: dict[str, Any], chart: Path
) -> None:
    stuck = release(chart, "cut", timeout=60, values={"nodeSelector": {"no": "such-node"}})
    async with Plugin.serving(kubeconfig=kubeconfig) as killed:
        creating = asyncio.create_task(killed.create(RELEASE, "cut", stuck))
        async with asyncio.timeout(30):
            while (helm := running_helm("cut")) is None or not await pending(killed, "cut"):
                await asyncio.sleep(0.05)
        helm.send_signal(signal.SIGKILL)
        with pytest.raises(PluginError):
            await creating
    async with Plugin.serving(kubeconfig=kubeconfig) as plugin:
        with pytest.raises(PluginError, match="cannot re-use a name that is still in use"):
            await plugin.create(RELEASE, "cut", release(chart, "cut"))
        refreshed = await plugin.read(Resource(urn(RELEASE, "cut"), "default/cut", {}, {}))
        pending_release = Resource(urn(RELEASE, "cut"), "default/cut", stuck, refreshed.state)
        with pytest.raises(PluginError, match="is in progress"):
            await plugin.update(pending_release, release(chart, "cut"))


def running_helm(name: str) -> psutil.Process | None:
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if child.cmdline()[1:3] == ["upgrade", name]:
                return child
    return None


async def pending(plugin: Plugin, name: str) -> bool:
    read = await plugin.read(Resource(urn(RELEASE, name), f"default/{name}", {}, {}))
    return bool(read.id) and bool(read.state["status"]["status"] == "pending-install")


async def test_a_create_does_not_adopt_a_deployed_release(plugin: Plugin, chart: Path) -> None:
    await plugin.create(RELEASE, "mine", release(chart, "in-use"))
    with pytest.raises(PluginError, match="cannot re-use a name that is still in use"):
        await plugin.create(RELEASE, "other", release(chart, "in-use"))


async def test_manual_changes_of_values_are_found_and_reverted(
    cluster: ControlPlane, plugin: Plugin, chart: Path
) -> None:
    inputs = release(chart, "by-hand", values={"greeting": "hi"})
    created = await plugin.create(RELEASE, "by-hand", inputs)
    admin = cluster.kubeconfig("admin")
    command: list[str | Path] = [tools().path("helm"), "upgrade", "by-hand", chart]
    command += ["--set", "greeting=yo", "--kubeconfig", admin]
    subprocess.run(command, check=True, capture_output=True)
    read = await plugin.read(created)
    assert read.state["status"]["revision"] == 2
    assert list((await plugin.diff(read, inputs)).detailedDiff) == ["values.greeting"]
    await plugin.update(read, inputs)
    assert (await settings(cluster, "by-hand"))["greeting"] == "hi"


async def test_a_release_on_an_unreachable_cluster_is_never_deleted_from_the_state(
    kubeconfig: dict[str, Any], plugin: Plugin, chart: Path
) -> None:
    created = await plugin.create(RELEASE, "far", release(chart, "far"))
    wrong = {**kubeconfig, "users": [{**kubeconfig["users"][0], "user": {"token": "expired"}}]}
    async with Plugin.serving(kubeconfig=wrong, deleteUnreachable="true") as unreachable:
        with pytest.raises(PluginError, match="can't delete Helm Release with unreachable cluster"):
            await unreachable.delete(created)
        assert (await unreachable.read(created)).id == ""
    async with Plugin.serving(kubeconfig=wrong) as unreachable:
        with pytest.raises(PluginError, match="failed to read resource state due to unreachable"):
            await unreachable.read(created)


# --- custom resources, import -------------------------------------------------------------------


async def test_a_chart_installs_crds_for_custom_resources_of_the_same_run(
    plugin: Plugin, chart: Path
) -> None:
    # Another kind than that of the chart, which other tests have installed.
    definition = custom_resource_definition("charts", "Chart", group="new.example.com")
    (chart / "crds/charts.yaml").write_text(yaml.safe_dump(definition))
    token = "kubernetes:new.example.com/v1:Chart"
    custom = {
        "apiVersion": "new.example.com/v1",
        "kind": "Chart",
        "metadata": {"name": "c", "namespace": "default"},
        "spec": {"a": 1},
    }
    await plugin.create(RELEASE, "defs", release(chart, "defs"), preview=True)
    previewed = await plugin.create(token, "c", custom, preview=True)
    assert previewed.state["spec"] == {"a": 1}
    await plugin.create(RELEASE, "defs", release(chart, "defs"))
    assert (await plugin.create(token, "c", custom)).id == "default/c"


async def test_an_import_finds_the_inputs_of_a_release(
    cluster: ControlPlane, plugin: Plugin, chart: Path
) -> None:
    created = await plugin.create(
        RELEASE, "found", release(chart, "found", values={"greeting": "hi"})
    )
    read = await plugin.read(Resource(created.urn, "default/found", {}, {}))
    assert read.id == "default/found"
    imported = plain(read.inputs)
    assert (imported["name"], imported["namespace"]) == ("found", "default")
    assert (imported["chart"], imported["version"]) == ("greeter", "1.2.3")
    assert imported["values"] == {"greeting": "hi"}


def test_the_objects_of_a_release_are_found_in_manifests_of_any_style() -> None:
    manifest = """\
---
# Source: app/templates/a.yaml
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
rules:
- apiGroups: [""]

  resources: [pods]
metadata:
  name: reader
  namespace: app
---
kind: ConfigMap
data:
  text: |
    kind: Secret

    metadata: {name: no}
metadata: {name: settings}
apiVersion: v1
---
spec: {"group": "example.com", "names": {"kind": "Thing"}}
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
    annotations:
        spec: "no"
    name: things.example.com
---
"""
    revision = Revision("app", "app", 1, "deployed", {}, {}, manifest, "secret")
    assert revision.resource_names() == {
        "ConfigMap/v1": ["settings"],
        "CustomResourceDefinition.apiextensions.k8s.io/apiextensions.k8s.io/v1": [
            "things.example.com"
        ],
        "Role.rbac.authorization.k8s.io/rbac.authorization.k8s.io/v1": ["app/reader"],
    }
