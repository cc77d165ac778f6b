"""The stand-in kubernetes plugin and the language host under the real engine, on a real cluster."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from sandbox.cluster.controlplane import ControlPlane
from tests.contract.built_tools import tools
from tests.contract.kubernetes_plugin import custom_resource_definition
from tests.contract.pulumi_stack import Stack

pytest_plugins = ["tests.contract.kubernetes_fixtures"]
pytestmark = pytest.mark.anyio

PROGRAM = """
import json
import pulumi
import pulumi_kubernetes as k8s

kubeconfig = json.load(open({kubeconfig!r}))
provider = k8s.Provider(
    "cluster",
    kubeconfig=pulumi.Output.secret(json.dumps(kubeconfig)),
    cluster_identifier="one",
    enable_server_side_apply=True,
    enable_patch_force=True,
)
on = pulumi.ResourceOptions(provider=provider)
namespace = k8s.core.v1.Namespace("namespace", metadata={{"name": "engine"}}, opts=on)
credentials = k8s.core.v1.Secret(
    "credentials",
    metadata={{"name": "credentials", "namespace": namespace.metadata["name"]}},
    string_data={{"password": pulumi.Output.secret("hunter2")}},
    opts=on,
)
release = k8s.helm.v3.Release(
    "release",
    name="greeter",
    namespace=namespace.metadata["name"],
    chart={chart!r},
    timeout={timeout},
    values={{"greeting": {greeting!r}, "password": pulumi.Output.secret("hunter2")}},
    opts=on,
)
custom = k8s.apiextensions.CustomResource(
    "custom",
    api_version="example.com/v1",
    kind="Gift",
    metadata={{"name": "gift", "namespace": namespace.metadata["name"]}},
    spec={{"size": 3}},
    opts=pulumi.ResourceOptions(provider=provider, depends_on=[release]),
)
pulumi.export("revision", release.status.revision)
"""
CONFIG_MAP = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {greeting: {{ .Values.greeting | quote }}}
---
{{- if eq .Values.greeting "stuck" }}
apiVersion: v1
kind: Pod
metadata: {name: stuck}
spec:
  nodeSelector: {no: such-node}
  containers: [{name: app, image: app:1}]
{{- end }}
"""


@pytest.fixture
def chart(tmp_path: Path) -> Path:
    folder = tmp_path / "chart"
    (folder / "templates").mkdir(parents=True)
    (folder / "Chart.yaml").write_text("apiVersion: v2\nname: greeter\nversion: 1.0.0\n")
    (folder / "templates" / "crd.yaml").write_text(
        yaml.safe_dump(custom_resource_definition("gifts", "Gift"))
    )
    (folder / "templates" / "settings.yaml").write_text(CONFIG_MAP)
    return folder


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    stack = Stack.new(tmp_path)
    stack.env["PATH"] = f"{stack.env['PATH']}{os.pathsep}{tools().bin_dir}"
    return stack


async def test_a_stack_is_created_refreshed_updated_and_destroyed(
    cluster: ControlPlane, kubeconfig: dict[str, Any], stack: Stack, chart: Path, tmp_path: Path
) -> None:
    file = tmp_path / "kubeconfig.json"
    file.write_text(json.dumps(kubeconfig))

    def program(*, greeting: str = "hi", timeout: int = 60) -> None:
        stack.program(
            PROGRAM.format(
                kubeconfig=str(file),
                chart=str(chart),
                greeting=greeting,
                timeout=timeout,
            )
        )

    program()
    preview = stack.run("preview", "--diff")
    assert preview.code == 0, preview.output
    assert "6 to create" in preview.output
    assert "hunter2" not in preview.output

    created = stack.up()
    assert created.code == 0, created.output
    assert created.changes == {"create": 6}
    assert "hunter2" not in stack.run("stack", "export").output
    assert stack.up("--refresh").changes == {"same": 6}

    # A release that does not become ready stays in the state, and the next run upgrades it. A new
    # user in the kubeconfig, as after the rotation of a token, changes only the provider.
    kubeconfig["users"][0]["name"] = kubeconfig["contexts"][0]["context"]["user"] = "rotated"
    file.write_text(json.dumps(kubeconfig))
    program(greeting="stuck", timeout=2)
    failed = stack.up()
    assert failed.code != 0
    assert 'Helm release "engine/greeter" failed to initialize completely' in failed.output
    program(greeting="good day")
    repaired = stack.up()
    assert repaired.code == 0, repaired.output
    assert repaired.changes == {"same": 5, "update": 1}
    assert stack.outputs()["revision"] == 3

    # A manual change is found and reverted.
    path = "/apis/example.com/v1/namespaces/engine/gifts/gift"
    await cluster.api.merge(path, {"spec": {"size": 4}})
    assert stack.up("--refresh").changes == {"same": 5, "update": 1}
    live = await cluster.api.get(path)
    assert live is not None
    assert live["spec"]["size"] == 3

    destroyed = stack.destroy()
    assert destroyed.code == 0, destroyed.output
    assert await cluster.api.get("/api/v1/namespaces/engine") is None
    assert stack.resources() == []
