"""Every field of Argo CD's Application is set by a stack file, or is not for a reason."""

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from components.application import application_spec
from doks_gitops import arguments
from doks_gitops.settings import schema
from doks_gitops.settings.model import Application, PartialSource
from doks_gitops.settings.not_taken import REASONS
from sandbox.toolchain.recipes import ARGOCD
from tests.contract.built_tools import files
from tests.unit.stackfiles import parsed

KUSTOMIZE = {
    "namePrefix": "a-",
    "nameSuffix": "-b",
    "images": ["shop:v1"],
    "replicas": [{"name": "shop", "count": 2}],
    "components": ["debug"],
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


def spec_schema() -> dict[str, Any]:
    crd = files(ARGOCD) / "manifests" / "crds" / "application-crd.yaml"
    [version] = yaml.load(crd.read_text(), Loader=yaml.CSafeLoader)["spec"]["versions"]
    spec: dict[str, Any] = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    return spec


def test_the_application_of_this_test_has_every_key_of_a_stack_file() -> None:
    of_application = set(keys(schema.setting_type(Application)))
    of_one_source = {name for name in of_application if f"sources.{name}" in of_application}
    assert set(paths(APPLICATION)) >= of_application - of_one_source
    assert of_one_source == set(keys(schema.setting_type(PartialSource))) - {"ref"}


def test_every_field_of_an_application_is_set_or_is_not_for_a_reason() -> None:
    stack = parsed(repositories=REPOSITORIES, applications={"shop": APPLICATION})
    spec = application_spec(arguments.applications_args(stack, "argocd")["shop"])
    # The program sets the name, which is no key.
    present = {path.replace("sources", "source", 1) for path in paths(spec)} - {"source.name"}
    described = spec_schema()
    assert described["source"]["properties"] == described.pop("sources")["items"]["properties"]
    taken = {field for field in fields(described) if field in present}
    reasoned = {
        field
        for field in fields(described)
        if any(field == path or field.startswith(f"{path}.") for path in REASONS)
    }
    assert set(fields(described)) == taken | reasoned
    assert not taken & reasoned


def test_every_reason_is_for_a_field_that_exists() -> None:
    known = set(fields(spec_schema()))
    for path in REASONS:
        assert any(field == path or field.startswith(f"{path}.") for field in known), path
