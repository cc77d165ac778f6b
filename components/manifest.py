"""Arguments in the form of the APIs of Argo CD and Kubernetes."""

import base64
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import pulumi
from pydantic.alias_generators import to_camel


def as_argo(value: Any) -> Any:
    """A dataclass in the form of Argo CD's API: camelCase names, without empty fields.

    Argo CD removes empty fields from an Application, which Pulumi would report as drift.
    """
    if is_dataclass(value):
        properties = {to_camel(x.name): as_argo(getattr(value, x.name)) for x in fields(value)}
        return {
            name: content
            for name, content in properties.items()
            if content is not False and content not in (None, "", [], {})
        }
    if isinstance(value, Mapping):
        return {key: as_argo(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [as_argo(item) for item in value]
    return value


def encoded(fields: Mapping[str, pulumi.Input[str]]) -> dict[str, pulumi.Output[str]]:
    """A Secret's `data`. A key that is removed from `stringData` would stay in the cluster."""
    return {
        key: pulumi.Output.secret(value).apply(
            lambda text: base64.b64encode(text.encode()).decode()
        )
        for key, value in fields.items()
    }
