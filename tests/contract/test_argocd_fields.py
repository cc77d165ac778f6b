"""Every field of an Application and an AppProject is set by a stack file, or not for a reason."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import yaml
from pulumi import ResourceOptions

from components.application import application_spec
from components.project import GitOpsProject
from doks_gitops import arguments
from doks_gitops.settings import schema
from doks_gitops.settings.model import Application, PartialSource, Project
from doks_gitops.settings.not_taken import OF_APPLICATION, OF_PROJECT
from sandbox.toolchain.recipes import ARGOCD
from tests.contract.built_tools import files
from tests.unit.mocked import kubernetes_provider, run
from tests.unit.stackfiles import parsed

KUSTOMIZE = {
    "namePrefix": "a-",
    "nameSuffix": "-b",
    "images": ["shop:v1"],
    "replicas": [{"name": "shop", "count": 2}],
    "components": ["debug"],
    "ignoreMissingComponents": True,
    "commonLabels": {"a": "b"},
    "labelWithoutSelector": True,
    "labelIncludeTemplates": True,
    "forceCommonLabels": True,
    "commonAnnotations": {"a": "b"},
    "forceCommonAnnotations": True,
}
DIRECTORY = {"recurse": True, "include": "*", "exclude": "a", "disableExtensionFilter": True}
HELM = {
    "releaseName": "shop",
    "valueFiles": ["$values/shop.yaml"],
    "ignoreMissingValueFiles": True,
    "valuesObject": {"a": "b"},
    "parameters": [{"name": "a", "value": "1", "forceString": True}],
    "fileParameters": [{"name": "a", "path": "a.txt"}],
    "skipCrds": True,
    "skipTests": True,
    "skipSchemaValidation": True,
}
SYNC = {
    "automated": True,
    "prune": True,
    "selfHeal": True,
    "allowEmpty": True,
    "retry": {
        "limit": 1,
        "refresh": True,
        "backoff": {"duration": "1s", "factor": 3, "maxDuration": "1m"},
    },
    "options": ["CreateNamespace=true"],
    "managedNamespaceMetadata": {"labels": {"a": "b"}, "annotations": {"a": "b"}},
}
IGNORED = {
    "group": "apps",
    "kind": "Deployment",
    "name": "shop",
    "namespace": "shop-dev",
    "jsonPointers": ["/spec/replicas"],
    "jqPathExpressions": [".spec.replicas"],
    "managedFieldsManagers": ["keda"],
}
SOURCES = [
    {"repository": "git", "revision": "main", "path": "a", "ref": "values", "kustomize": KUSTOMIZE},
    {"repository": "git", "path": "b", "directory": DIRECTORY},
    {"repository": "charts", "chart": "shop", "version": "1.2.3", "helm": HELM},
]
APPLICATION = {
    "namespace": "shop-dev",
    "sources": SOURCES,
    "sync": SYNC,
    "ignoreDifferences": [IGNORED],
    "info": [{"name": "On call", "value": "team"}],
    "revisionHistoryLimit": 3,
    "finalizer": True,
}
PROJECT = {
    "name": "dev",
    "description": "Development",
    "namespaces": ["shop-dev"],
    "clusterResources": [{"group": "", "kind": "Namespace"}],
    "namespaceResources": [{"group": "", "kind": "Service"}],
    "deniedClusterResources": [{"group": "", "kind": "Node"}],
    "deniedNamespaceResources": [{"group": "apps", "kind": "Deployment"}],
    "sourceRepos": ["https://git.example.com/team/other"],
    "allowAny": False,
    "roles": {
        "deployer": {
            "description": "CI",
            "policies": ["p, proj:dev:deployer, applications, sync, dev/*, allow"],
            "groups": ["team"],
            "jwtTokens": [{"id": "ci", "iat": 1, "exp": 2}],
        }
    },
    "syncWindows": [
        {
            "kind": "allow",
            "schedule": "0 8 * * *",
            "duration": "1h",
            "timeZone": "UTC",
            "applications": ["shop"],
            "namespaces": ["shop-dev"],
            "andOperator": True,
            "manualSync": True,
            "syncOverrun": True,
            "description": "In the morning",
        }
    ],
    "orphanedResources": {
        "warn": True,
        "ignore": [{"group": "apps", "kind": "Deployment", "name": "shop"}],
    },
}
PROJECT_SETTINGS = schema.setting_type(Project)
REPOSITORIES = {
    "git": {"url": "https://git.example.com/team/shop"},
    "charts": {"url": "https://charts.example.com", "type": "helm"},
}


def keys(setting: schema.SettingType, path: str = "") -> Iterator[str]:
    """The paths of all keys below `setting`."""
    while setting.model is None:
        child = setting.child(0) or setting.child("")
        if child is None:
            return
        setting = child
    for name, field in schema.fields(setting.model).items():
        yield f"{path}.{name}".lstrip(".")
        yield from keys(field, f"{path}.{name}".lstrip("."))


def paths(value: object, path: str = "") -> Iterator[str]:
    """The paths of all keys in `value`; those of the items of a list are together."""
    if isinstance(value, list | tuple):
        for item in value:
            yield from paths(item, path)
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield f"{path}.{name}".lstrip(".")
            yield from paths(item, f"{path}.{name}".lstrip("."))


def fields(properties: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """The paths of all fields of an OpenAPI schema that have no fields themselves."""
    for name, field in properties.items():
        below = field.get("items", field).get("properties")
        if below:
            yield from fields(below, f"{path}.{name}".lstrip("."))
        else:
            yield f"{path}.{name}".lstrip(".")


def spec_schema(kind: str) -> dict[str, Any]:
    """The OpenAPI schemas of the fields of `spec` of a kind of Argo CD."""
    crd = files(ARGOCD) / "manifests" / "crds" / f"{kind}-crd.yaml"
    [version] = yaml.load(crd.read_text(), Loader=yaml.CSafeLoader)["spec"]["versions"]
    spec: dict[str, Any] = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    return spec


def is_explained(field: str, reasons: Mapping[str, str]) -> bool:
    return any(field == path or field.startswith(f"{path}.") for path in reasons)


def test_the_sections_of_this_test_have_every_key_of_a_stack_file() -> None:
    of_application = set(keys(schema.setting_type(Application)))
    of_one_source = {name for name in of_application if f"sources.{name}" in of_application}
    assert set(paths(APPLICATION)) >= of_application - of_one_source
    assert of_one_source == set(keys(schema.setting_type(PartialSource))) - {"ref"}
    of_project = {key.replace("roles.", "roles.deployer.") for key in keys(PROJECT_SETTINGS)}
    assert set(paths(PROJECT)) >= of_project


def test_every_field_of_an_application_is_set_or_is_not_for_a_reason() -> None:
    stack = parsed(repositories=REPOSITORIES, applications={"shop": APPLICATION})
    spec = application_spec(arguments.applications_args(stack, "argocd")["shop"])
    # The program sets the name, which is no key.
    present = {path.replace("sources", "source", 1) for path in paths(spec)} - {"source.name"}
    described = spec_schema("application")
    assert described["source"]["properties"] == described.pop("sources")["items"]["properties"]
    for field in fields(described):
        assert (field in present) != is_explained(field, OF_APPLICATION), field


def test_every_field_of_a_project_is_set_or_is_not_for_a_reason() -> None:
    applications = {"shop": {"path": "shop", "namespace": "shop-dev"}}
    stack = parsed(project=PROJECT, applications=applications)

    def program() -> None:
        opts = ResourceOptions(providers=[kubernetes_provider()])
        GitOpsProject("project", arguments.project_args(stack, "argocd"), opts)

    present = set(paths(run(program).one("AppProject").inputs["spec"]))
    for field in fields(spec_schema("appproject")):
        assert (field in present) != is_explained(field, OF_PROJECT), field


@pytest.mark.parametrize(
    ("kind", "reasons"), [("application", OF_APPLICATION), ("appproject", OF_PROJECT)]
)
def test_every_reason_is_for_a_field_that_exists(kind: str, reasons: Mapping[str, str]) -> None:
    known = set(fields(spec_schema(kind)))
    for path in reasons:
        assert any(is_explained(field, {path: ""}) for field in known), path
