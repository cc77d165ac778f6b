"""Sections of a stack file without its secrets: nothing is decrypted, no Pulumi is needed."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from doks_gitops.environments import short_name
from doks_gitops.settings import stackfile
from doks_gitops.settings.base import Model
from doks_gitops.settings.defaults import complete
from doks_gitops.settings.errors import Finding, SettingsError, stack_file
from doks_gitops.settings.load import broken_file, namespace_values
from doks_gitops.settings.model import NAMESPACE, Cluster, Registry
from doks_gitops.settings.report import Report
from doks_gitops.settings.stackfile import StackFile, is_encrypted

SECRET = "[secret]"  # noqa: S105
"""Stands for an encrypted value where a free-form value is expected, as in Pulumi's previews."""
_FREE_FORM = frozenset({"values", "valuesObject", "parameters"})
_LOST = object()


def billable_sections(stack: str, text: str) -> tuple[Cluster, Registry]:
    """The cluster and the registry of a stack, from the text of its stack file. The other sections
    may be invalid. Raises `SettingsError`."""
    result = sections(stack, text, {"cluster": Cluster, "registry": Registry})
    return result["cluster"], result["registry"]


def sections(
    stack: str,
    text: str,
    types: Mapping[str, type[Model]],
    entries: Mapping[str, type[Model]] = MappingProxyType({}),
    optional: Mapping[str, type[Model]] = MappingProxyType({}),
) -> dict[str, Any]:
    """The sections of a stack file by their keys, and its `environment`. A pure function.

    `types`: the model of each section that must be there. `entries`: the model of each entry of a
    section. `optional`: the models of sections that are None if absent. Encrypted values are left
    out, or `SECRET` inside chart values. Raises `SettingsError`.
    """
    try:
        file, config = StackFile(text), stackfile.values(text)
    except ValueError as error:
        raise SettingsError([broken_file(stack_file(stack), error)]) from None
    raw = {key: _without_secrets(value) for key, value in namespace_values(config, NAMESPACE)}
    environment = raw.get("environment", short_name(stack))
    raw = complete(raw, str(environment))
    report = Report(stack, raw, file, {}, None)
    findings: list[Finding] = []

    def validated(path: tuple[str, ...], model: type[Model], value: object) -> Model | None:
        try:
            return model.model_validate(value)
        except ValidationError as invalid:
            for error in invalid.errors(include_url=False):
                error["loc"] = (*path, *error["loc"])
                findings.extend(report.of_error(error))
            return None

    result: dict[str, Any] = {"environment": environment}
    for key, model in {**types, **optional}.items():
        present = key in types or key in raw
        result[key] = validated((key,), model, raw.get(key)) if present else None
    for key, model in entries.items():
        section = raw.get(key)
        items = section.items() if isinstance(section, Mapping) else ()
        result[key] = {name: validated((key, name), model, value) for name, value in items}
    if findings:
        raise SettingsError(findings)
    return result


def _without_secrets(section: object) -> object:
    """A section without its encrypted keys, and without the objects in it that have some: what is
    left of such an object may be incomplete."""
    if not isinstance(section, Mapping):
        return section
    kept = {key: _readable(value, free_form=key in _FREE_FORM) for key, value in section.items()}
    return {key: value for key, value in kept.items() if value is not _LOST}


def _readable(value: object, *, free_form: bool) -> object:
    """The value; `_LOST` if it, or an object in it, is encrypted and not free-form."""
    if is_encrypted(value):
        return SECRET if free_form else _LOST
    if isinstance(value, Mapping):
        items = {
            key: _readable(item, free_form=free_form or key in _FREE_FORM)
            for key, item in value.items()
        }
        encrypted = any(is_encrypted(item) for item in value.values())
        kept = {key: item for key, item in items.items() if item is not _LOST}
        return _LOST if (encrypted and not free_form) or (value and not kept) else kept
    if isinstance(value, list):
        return [_readable(item, free_form=True) for item in value]
    return value
