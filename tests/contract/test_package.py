"""The components as programs in other languages use them: here in YAML, by the real engine."""

import inspect
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, fields
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

import pulumi
import pytest

from components.host import COMPONENTS
from doks_gitops.arguments import dataclasses_in
from sandbox import paths
from sandbox.cluster.controlplane import ControlPlane
from sandbox.paths import REPOSITORY
from sandbox.toolchain.artifacts import Artifacts
from sandbox.toolchain.recipes import PULUMI_YAML
from sandbox.toolchain.store import Store
from tests.contract import github_api
from tests.contract.built_tools import tools
from tests.contract.digitalocean_api import Emulator
from tests.contract.github_api import OWNER
from tests.contract.pulumi_stack import Stack
from tests.contract.test_github_api import KEY

pytest_plugins = ["tests.contract.kubernetes_fixtures"]
pytestmark = pytest.mark.anyio

PACKAGE = REPOSITORY / "components"
PAGE = REPOSITORY / "docs" / "package.md"
PASSWORD = "correct horse battery staple"
HOOK_SECRET = "hush hush, hook"


def example(language: str) -> str:
    """The page's program in that language."""
    block = re.search(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert block is not None, language
    return block[1]


def language_host() -> Path:
    """The folder of `pulumi-language-yaml`; skips the test where there is none."""
    programs = Artifacts.of(PULUMI_YAML, Store(paths.cache_dir() / "tools")).programs()
    if not programs:
        pytest.skip("not built here; python -m sandbox.toolchain --for-tests builds it")
    return programs


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    # Its default provider has no account: only the program's own provider leads to one.
    stack = Stack.new(tmp_path, has_github=True)
    # The YAML host is no plugin of the sandbox.
    stack.env["PULUMI_IGNORE_AMBIENT_PLUGINS"] = ""
    stack.env["PATH"] = os.pathsep.join([stack.env["PATH"], str(language_host())])
    return stack


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `pulumi package get-schema` says of the package."""
    shown = Stack.new(tmp_path_factory.mktemp("schema")).run("package", "get-schema", str(PACKAGE))
    assert shown.code == 0, shown.output
    package: dict[str, Any] = json.loads(shown.output[shown.output.index("{\n") :])
    return package


@pytest.fixture
def github(tmp_path: Path) -> Iterator[github_api.Emulator]:
    (tmp_path / "github").mkdir()
    with github_api.emulator(tmp_path / "github") as served:
        yield served


@pytest.fixture
def chart(tmp_path: Path) -> Path:
    """A chart that installs what Argo CD's does for the components: its kinds."""
    folder = tmp_path / "chart"
    shutil.copytree(tools().argocd_manifests / "crds", folder / "crds")
    (folder / "crds" / "kustomization.yaml").unlink()
    (folder / "Chart.yaml").write_text("apiVersion: v2\nname: argo-cd\nversion: 1.0.0\n")
    return folder


def write(stack: Stack, resources: Mapping[str, object], **outputs: str) -> None:
    # JSON is YAML, too.
    program = {
        "name": "tests",
        "runtime": "yaml",
        "packages": {"doks-gitops": str(PACKAGE)},
        "resources": resources,
        "outputs": outputs,
    }
    (stack.folder / "Pulumi.yaml").write_text(json.dumps(program))


def account(do: Emulator) -> dict[str, Any]:
    return {
        "type": "pulumi:providers:digitalocean",
        "properties": {"token": {"fn::secret": do.token}, "apiEndpoint": do.url},
    }


def component(
    kind: str, provider: str, properties: Mapping[str, object], *after: str
) -> dict[str, Any]:
    return {
        "type": f"doks-gitops:{kind}",
        "properties": properties,
        "options": {
            "providers": [f"${{{provider}}}"],
            "dependsOn": [f"${{{dependency}}}" for dependency in after],
        },
    }


def doks(do: Emulator, **changes: object) -> dict[str, Any]:
    properties = {
        "clusterName": "shop-dev",
        "region": "nyc1",
        "version": "1.34.11-do.0",
        "nodePools": [{"name": "default", "size": "s-2vcpu-4gb", "count": 2}],
        "accessToken": {"fn::secret": do.token},
        **changes,
    }
    return component("DoksCluster", "account", properties, "registry")


async def test_a_program_in_yaml_makes_a_whole_platform(
    stack: Stack,
    do: Emulator,
    github: github_api.Emulator,
    cluster: ControlPlane,
    kubeconfig: dict[str, Any],
    chart: Path,
) -> None:
    stack.env["PATH"] = os.pathsep.join([stack.env["PATH"], str(tools().bin_dir)])

    def program(*, max_nodes: int = 3) -> None:
        pools = [
            {
                "name": "default",
                "size": "s-2vcpu-4gb",
                "count": 2,
                "labels": {"team": "shop"},
            },
            {"name": "burst", "size": "s-2vcpu-4gb", "autoscale": {"min": 1, "max": max_nodes}},
        ]
        resources = {
            "account": account(do),
            "registry": component(
                "ContainerRegistry", "account", {"registryName": "shop", "create": True}
            ),
            "cluster": doks(do, nodePools=pools, maintenance={"day": "sunday"}),
            "kubernetes": {
                "type": "pulumi:providers:kubernetes",
                "properties": {
                    "kubeconfig": {"fn::secret": json.dumps(kubeconfig)},
                    "clusterIdentifier": "${cluster.clusterId}",
                    "enableServerSideApply": True,
                },
            },
            "argocd": component(
                "ArgoCd",
                "kubernetes",
                {
                    "chart": {"path": str(chart)},
                    "repositories": {
                        "shop": {
                            "url": "https://git.test/shop",
                            "credentials": {"password": {"fn::secret": PASSWORD}},
                        }
                    },
                    "admin": {"password": {"fn::secret": PASSWORD}},
                    "clusterAnnotations": {"registry-endpoint": "${registry.endpoint}"},
                    "kubeContext": "${cluster.context}",
                    "timeout": 60,
                },
            ),
            "project": component(
                "GitOpsProject",
                "kubernetes",
                {
                    "projectName": "dev",
                    "argocdNamespace": "${argocd.namespace}",
                    "sourceRepos": ["https://git.test/shop"],
                    "namespaces": ["shop-dev"],
                    "clusterResources": [{"group": "", "kind": "Namespace"}],
                },
                "argocd",
            ),
            "application": component(
                "GitOpsApplication",
                "kubernetes",
                {
                    "applicationName": "shop",
                    "projectName": "dev",
                    "argocdNamespace": "${argocd.namespace}",
                    "sources": [
                        {
                            "repoUrl": "https://git.test/shop",
                            "path": "kustomize/dev",
                            "kustomize": {"replicas": [{"name": "shop", "count": 2}]},
                        }
                    ],
                    "namespace": "shop-dev",
                    "sync": {"selfHeal": False, "retry": {"limit": 3}},
                },
                "project",
            ),
            "github": {
                "type": "pulumi:providers:github",
                "properties": {
                    "owner": OWNER,
                    "token": {"fn::secret": github.token},
                    "baseUrl": github.base_url,
                    "writeDelayMs": 0,
                },
            },
            "delivery": component(
                "GitHubDelivery",
                "github",
                {
                    "repository": "shop",
                    "deployKey": {"title": "dev", "key": KEY},
                    "webhook": {
                        "url": github.receiver.url,
                        "secret": {"fn::secret": HOOK_SECRET},
                    },
                    "ruleset": {"name": "main", "approvals": 2},
                    "environments": {"dev": {"variables": {"CLUSTER": "${cluster.clusterId}"}}},
                },
            ),
        }
        write(
            stack,
            resources,
            cluster="${cluster.clusterId}",
            kubeconfig="${cluster.kubeconfig}",
            portForward="${argocd.portForward}",
            application="${application.fullName}",
        )

    program()
    preview = stack.run("preview", "--diff")
    assert preview.code == 0, preview.output
    assert not do.account.data.clusters
    created = stack.up()
    assert created.code == 0, created.output

    [doks_cluster] = do.account.data.clusters.values()
    assert [registry.name for registry in do.account.data.registries.values()] == ["shop"]
    pools = {pool.name: pool for pool in doks_cluster.node_pools}
    assert (pools["default"].count, pools["default"].labels) == (2, {"team": "shop"})
    assert (pools["burst"].min_nodes, pools["burst"].max_nodes) == (1, 3)
    outputs = stack.outputs()
    assert outputs["cluster"] == doks_cluster.id
    assert do.token in outputs["kubeconfig"]
    assert outputs["application"] == "dev-shop"
    assert outputs["portForward"].startswith("kubectl --context do-nyc1-shop-dev ")

    argo = "/apis/argoproj.io/v1alpha1/namespaces/argocd"
    project = await cluster.api.get(f"{argo}/appprojects/dev")
    assert project is not None
    assert project["spec"]["destinations"][0]["namespace"] == "shop-dev"
    application = await cluster.api.get(f"{argo}/applications/dev-shop")
    assert application is not None
    assert application["spec"]["source"]["kustomize"] == {
        "replicas": [{"name": "shop", "count": 2}]
    }
    policy = application["spec"]["syncPolicy"]
    assert (policy["automated"]["selfHeal"], policy["retry"]["limit"]) == (False, 3)
    in_cluster = await cluster.api.get("/api/v1/namespaces/argocd/secrets/cluster-in-cluster")
    assert in_cluster is not None
    assert in_cluster["metadata"]["annotations"]["registry-endpoint"] == (
        "registry.digitalocean.com/shop"
    )

    repository = github.github.state.repository("shop")
    assert [key.key for key in repository.keys] == [KEY]
    assert repository.hooks[0].config.secret == HOOK_SECRET
    [environment] = repository.environments
    assert environment.vault.variables["CLUSTER"].value == doks_cluster.id

    exported = json.dumps(stack.resources())
    for secret in (do.token, github.token, PASSWORD, HOOK_SECRET):
        assert secret not in exported
        assert secret not in preview.output + created.output

    program(max_nodes=5)
    changed = stack.up()
    assert changed.code == 0, changed.output
    assert changed.changes == {"same": sum(created.changes.values()) - 1, "update": 1}
    assert {pool.max_nodes for pool in doks_cluster.node_pools} == {0, 5}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"vpcId": "an-id", "vpcIpRange": "10.0.0.0/16"},
            "give either vpc_id, to join a VPC, or vpc_ip_range, to make one",
        ),
        (
            {"nodePools": [{"name": "${registry.endpoint}", "size": "s-2vcpu-4gb", "count": 1}]},
            "nodePools[0].name: it must be known at once",
        ),
    ],
)
def test_what_no_component_can_be_made_of_is_refused_by_name(
    stack: Stack, do: Emulator, changes: dict[str, object], message: str
) -> None:
    registry = component("ContainerRegistry", "account", {"registryName": "shop", "create": True})
    write(stack, {"account": account(do), "registry": registry, "cluster": doks(do, **changes)})
    preview = stack.run("preview")
    assert preview.code != 0
    assert message in preview.output
    assert do.token not in preview.output


def test_schema_is_that_of_the_dataclasses_with_a_description_of_each_input(
    schema: Mapping[str, Any],
) -> None:
    lines = []
    for name, part in schema["resources"].items():
        assert part["description"], name
        inputs, outputs = part.get("inputProperties", {}), part.get("properties", {})
        assert [key for key, value in inputs.items() if not value.get("description")] == [], name
        lines += schema_lines(f"{name} input", inputs, part.get("requiredInputs", []))
        lines += schema_lines(f"{name} output", outputs, part.get("required", []))
    for name, part in schema["types"].items():
        lines += schema_lines(name, part["properties"], part.get("required", []))

    expected = []
    types: list[type] = []
    for component in COMPONENTS:
        arguments = inspect.get_annotations(component.__init__)["args"]
        expected += field_lines(f"{component.__name__} input", arguments)
        for output, annotation in inspect.get_annotations(component).items():
            optional = type(None) in get_args(annotation)
            name = f"{component.__name__} output {property_name(output)}{'?' * optional}"
            expected.append(f"{name}: {type_text(annotation).removesuffix('!')}")
        types += nested_dataclasses(arguments)
    for dataclass in dict.fromkeys(types):
        expected += field_lines(dataclass.__name__, dataclass)
    assert sorted(lines) == sorted(expected)


def test_the_page_s_program_in_yaml_shows_what_it_makes(stack: Stack, do: Emulator) -> None:
    address = "github.com/TEAM/REPOSITORY/components"
    text = example("yaml")
    assert address in text
    # The stack is of the project `tests`.
    program = text.replace(address, str(PACKAGE)).replace("name: shop\n", "name: tests\n", 1)
    (stack.folder / "Pulumi.yaml").write_text(program)
    stack.env |= {
        "DIGITALOCEAN_API_URL": do.url,
        "PATH": os.pathsep.join([stack.env["PATH"], str(tools().bin_dir)]),
    }
    assert stack.run("config", "set", "--secret", "token", do.token).code == 0
    preview = stack.run("preview")
    assert preview.code == 0, preview.output
    for kind in ("KubernetesCluster", "KubernetesNodePool", "Release"):
        assert f":{kind} " in preview.output


def test_the_page_s_program_in_typescript_names_what_the_schema_has(
    schema: Mapping[str, Any],
) -> None:
    program = example("typescript")
    kinds = re.findall(r"new platform\.(\w+)\(", program)
    assert kinds
    assert {f"doks-gitops:index:{kind}" for kind in kinds} <= set(schema["resources"])
    known = {"providers"}
    for part in (*schema["resources"].values(), *schema["types"].values()):
        known |= {*part.get("inputProperties", {}), *part.get("properties", {})}
    assert set(re.findall(r"(\w+): ", program)) <= known


def schema_lines(owner: str, properties: Mapping[str, Any], required: list[str]) -> list[str]:
    """A line for each property: its name, whether it is optional, its type."""
    owner = owner.removeprefix("doks-gitops:index:")
    return [
        f"{owner} {key}{'' if key in required else '?'}: {schema_text(value)}"
        for key, value in properties.items()
    ]


def schema_text(part: Mapping[str, Any]) -> str:
    """A property's type in the schema, with an exclamation mark if its value must be known."""
    mark = "!" if part.get("plain") else ""
    if "$ref" in part:
        return str(part["$ref"]).rpartition(":")[2].rpartition("/")[2] + mark
    if "items" in part:
        return f"[{schema_text(part['items'])}]{mark}"
    if "additionalProperties" in part:
        return f"{{{schema_text(part['additionalProperties'])}}}{mark}"
    return str(part["type"]) + mark


def field_lines(owner: str, dataclass: Any) -> list[str]:
    """The same lines for the fields of a dataclass."""
    return [
        f"{owner} {property_name(field.name)}{'?' * is_optional(field)}: {type_text(field.type)}"
        for field in fields(dataclass)
    ]


def is_optional(field: Field[Any]) -> bool:
    return field.default is not MISSING or field.default_factory is not MISSING


def type_text(annotation: Any) -> str:
    """The type of an annotation, with an exclamation mark if its value must be known."""
    members = [member for member in get_args(annotation) if member is not type(None)]
    origin = get_origin(annotation)
    if origin in (Union, UnionType) and len(members) == 1:
        return type_text(members[0])
    if origin in (Union, pulumi.Output):
        # pulumi.Input is a union of the type itself, outputs and awaitables.
        return type_text(members[0]).removesuffix("!")
    if origin is Sequence:
        return f"[{type_text(members[0])}]!"
    if origin is Mapping:
        return f"{{{type_text(members[1])}}}!"
    names: dict[object, str] = {
        str: "string", bool: "boolean", int: "integer", float: "number"
    }  # fmt: skip
    return f"{names.get(annotation) or annotation.__name__}!"


def property_name(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(word[0].upper() + word[1:] for word in others)


def nested_dataclasses(dataclass: Any) -> list[type]:
    nested = [item for field in fields(dataclass) for item in dataclasses_in(field.type)]
    return [*nested, *(more for item in nested for more in nested_dataclasses(item))]
