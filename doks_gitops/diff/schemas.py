"""The schemas of Kubernetes, and of the CRDs that are among the objects; what they refuse."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

# https://github.com/willthames/kubernetes-validate: the schemas of each Kubernetes version
import kubernetes_validate.utils as schemas  # type: ignore[import-untyped]
from jsonschema import Draft202012Validator, SchemaError
from referencing import Registry, Resource

from doks_gitops.diff.checks import Finding
from doks_gitops.diff.environment import Declared
from doks_gitops.diff.objects import Change, Object

_STABLE = re.compile(r"v[0-9]+")
"""Versions of APIs that clusters serve by default."""


def invalid(
    change: Change, application: Declared, kube_version: str, definitions: Sequence[Object] = ()
) -> Iterator[Finding]:
    """Objects that their schema refuses: that of the stack's Kubernetes version, or of a CRD that
    is among the objects."""
    if change.new is None:
        return
    item = change.new
    validator = _custom(item, definitions) or _built_in(
        kube_version, str(item.get("apiVersion")), str(item.get("kind"))
    )
    if validator is None:
        return
    for error in sorted(validator.iter_errors(_plain(item)), key=lambda error: list(error.path)):
        where = ".".join(str(part) for part in error.absolute_path)
        # A schema's message may quote the value.
        secret = change.key.kind == "Secret"
        message = f"{error.validator} is violated" if secret else error.message
        yield Finding(application.name, f"{change.key}: {where or 'the object'}: {message}")


def _plain(item: Object) -> Any:
    return json.loads(json.dumps(item))


def unknown_kind(
    change: Change, application: Declared, kube_version: str, definitions: Sequence[Object] = ()
) -> Iterator[Finding]:
    """Objects of a kind that neither Kubernetes nor a CRD at hand has, so that their schema was not
    checked."""
    if change.new is None or _custom(change.new, definitions) is not None:
        return
    group_version, kind = str(change.new.get("apiVersion")), str(change.new.get("kind"))
    if _built_in(kube_version, group_version, kind) is None:
        yield Finding(
            application.name,
            f"{change.key}: no schema of {group_version} {kind} for Kubernetes {kube_version}; not"
            " checked",
            mandatory=False,
        )


def _custom(item: Object, known: Sequence[Object]) -> Draft202012Validator | None:
    group, _, version = str(item.get("apiVersion")).rpartition("/")
    for definition in known:
        spec = definition.get("spec") or {}
        if (spec.get("group"), (spec.get("names") or {}).get("kind")) != (group, item.get("kind")):
            continue
        for served in spec.get("versions") or ():
            if served.get("name") == version:
                schema = (served.get("schema") or {}).get("openAPIV3Schema") or {}
                try:
                    Draft202012Validator.check_schema(schema)
                except SchemaError:
                    return None
                return Draft202012Validator(schema)
    return None


@functools.cache
def served_apis(kube_version: str) -> tuple[str, ...]:
    """The stable APIs of Kubernetes as Argo CD gives them to charts: each version of a group, and
    each kind in it that can be listed.

    https://helm.sh/docs/chart_template_guide/builtin_objects/
    """
    contents = schemas.schema_contents(f"{_folder(kube_version)}/_definitions.json", kube_version)
    kinds = {
        ("/".join(filter(None, (entry["group"], entry["version"]))), entry["kind"])
        for definition in contents["$defs"].values()
        for entry in definition.get("x-kubernetes-group-version-kind") or ()
        if _STABLE.fullmatch(entry["version"])
    }
    listed = {(group, kind) for group, kind in kinds if (group, f"{kind}List") in kinds}
    return tuple(sorted({name for group, kind in listed for name in (group, f"{group}/{kind}")}))


@functools.cache
def _registry(schema_folder: str, kube_version: str) -> Registry[Any]:
    contents = schemas.schema_contents(f"{schema_folder}/_definitions.json", kube_version)
    return Resource.from_contents(contents) @ Registry()


@functools.cache
def _folder(kube_version: str) -> str:
    """The schemas of the newest version that is not newer than the cluster's."""
    newest = schemas.Version(schemas.major_minor(kube_version))
    versions = [
        version
        for version in schemas.all_versions()
        if schemas.Version(schemas.major_minor(version)) <= newest
    ]
    return f"kubernetes-json-schema/v{versions[-1]}-local-strict"


@functools.cache
def _built_in(kube_version: str, group_version: str, kind: str) -> Draft202012Validator | None:
    folder = _folder(kube_version)
    group, _, version = group_version.rpartition("/")
    prefix = f"{group.partition('.')[0]}-" if group else ""
    try:
        schema = schemas.schema_contents(
            f"{folder}/{kind.lower()}-{prefix}{version}.json", kube_version
        )
    except FileNotFoundError:
        return None
    resource = Resource.from_contents(schema)
    return Draft202012Validator(schema, registry=resource @ _registry(folder, kube_version))
