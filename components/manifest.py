"""Arguments in the form of Argo CD's API."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

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
