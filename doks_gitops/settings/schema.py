"""Finds the type of a setting by its path, and describes in words what its value must be."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, Union, cast, get_args, get_origin

from annotated_types import Ge, Le, MinLen
from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from doks_gitops.settings.base import DefaultFrom, Model, Path, Sets
from doks_gitops.settings.scalars import Rule


@dataclass(frozen=True, slots=True)
class SettingType:
    """The type of a setting: without `Annotated` and `| None`, which leave `metadata` behind.

    `field` is the field of the model that has this type; None for an item of a list or mapping.
    """

    kind: object
    metadata: tuple[object, ...] = ()
    field: FieldInfo | None = None

    @property
    def model(self) -> type[Model] | None:
        return self.kind if isinstance(self.kind, type) and issubclass(self.kind, Model) else None

    @property
    def secret(self) -> bool:
        return self.kind is SecretStr

    @property
    def scalar(self) -> bool:
        """Whether the value is a text, a number or a choice, and no secret."""
        return self.kind in (str, int, float, bool) or get_origin(self.kind) is Literal

    @property
    def example(self) -> str | None:
        examples = self.field.examples if self.field else None
        return str(examples[0]) if examples else None

    @property
    def choices(self) -> tuple[str, ...]:
        """All valid values, if they can be listed; otherwise empty."""
        if get_origin(self.kind) is Literal:
            return tuple(map(str, get_args(self.kind)))
        return self.rule.choices if self.rule else ()

    @property
    def default_from(self) -> str | None:
        """Where the value comes from if the stack file does not have it (`DefaultFrom`)."""
        return next((item.source for item in self.metadata if isinstance(item, DefaultFrom)), None)

    @property
    def required(self) -> bool:
        """Whether the stack file must have the key."""
        return self.field is not None and self.field.is_required() and self.default_from is None

    @property
    def default(self) -> object:
        """The default of the field as JSON; None if it has none, or none worth telling: an empty
        list or object, or an object of the defaults of its fields."""
        if self.field is None or self.field.is_required():
            return None
        default = self.field.get_default(call_default_factory=True, validated_data={})
        if isinstance(default, Model) or default in (None, (), {}):
            return None
        return to_jsonable_python(default, by_alias=True)

    @property
    def rule(self) -> Rule | None:
        return next((item for item in self.metadata if isinstance(item, Rule)), None)

    @property
    def sets(self) -> Sets | None:
        """The provider's arguments that this setting itself sets."""
        return next((item for item in self.metadata if isinstance(item, Sets)), None)

    @property
    def not_empty(self) -> bool:
        """Whether a list or object must have at least one item."""
        return any(isinstance(item, MinLen) for item in self.metadata)

    def child(self, key: str | int) -> SettingType | None:
        """The type of the value at `key`; None if no value can be there."""
        if self.model is not None:
            return fields(self.model).get(str(key))
        arguments = get_args(self.kind)
        if get_origin(self.kind) is tuple and isinstance(key, int):
            return setting_type(arguments[0])
        if get_origin(self.kind) is Mapping:
            return setting_type(arguments[1])
        return None

    def expected(self) -> str:
        """What the value must be, for a line that begins with "expected:"."""
        if self.rule is not None:
            return self.rule.expected
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        if self.model is not None:
            return f"an object with the keys {', '.join(fields(self.model))}"
        if self.kind is bool:
            return "true or false"
        if self.kind is float:
            return "a number from {} to {}".format(*self.bounds)
        if self.kind is int:
            low, high = self.bounds
            if high is not None:
                return f"a whole number from {low} to {high}"
            return "a whole number" if low is None else f"a whole number of at least {low}"
        if self.kind is str:
            return "text (in quotes, if it looks like a number)"
        if self.secret:
            return "a secret text"
        kind = "a list" if get_origin(self.kind) is tuple else "an object of names and values"
        return f"{kind}, with at least one item" if self.not_empty else kind

    @property
    def bounds(self) -> tuple[float | None, float | None]:
        """The least and the greatest valid number; None without a bound."""
        low = next((item.ge for item in self.metadata if isinstance(item, Ge)), None)
        high = next((item.le for item in self.metadata if isinstance(item, Le)), None)
        return cast("float | None", low), cast("float | None", high)


def setting_type(annotation: object, field: FieldInfo | None = None) -> SettingType:
    """The type that `annotation` stands for, without `Annotated` and `| None`."""
    metadata: list[object] = list(field.metadata) if field else []
    while True:
        origin = get_origin(annotation)
        if origin is Annotated:
            annotation, *more = get_args(annotation)
            for item in more:
                metadata += item.metadata if isinstance(item, FieldInfo) else [item]
        elif origin in (Union, types.UnionType):
            members = [member for member in get_args(annotation) if member is not type(None)]
            if len(members) != 1:
                return SettingType(annotation, tuple(metadata), field)
            annotation = members[0]
        else:
            return SettingType(annotation, tuple(metadata), field)


def fields(model: type[Model]) -> dict[str, SettingType]:
    """The types of the fields of `model`, by their keys in the stack file."""
    return {
        field.alias or name: setting_type(field.annotation, field)
        for name, field in model.model_fields.items()
    }


def at(root: SettingType, path: Path) -> SettingType | None:
    """The type of the value at `path` below `root`; None if no value can be there."""
    current: SettingType | None = root
    for key in path:
        current = current.child(key) if current else None
    return current


def secrets(root: SettingType, raw: object, path: Path = ()) -> Iterator[Path]:
    """Paths of the values in `raw` that have the type of a secret."""
    if root.secret:
        yield path
        return
    entries: Iterator[tuple[str | int, object]] = iter(())
    if isinstance(raw, Mapping):
        entries = iter(raw.items())
    elif isinstance(raw, list | tuple):
        entries = iter(enumerate(raw))
    for key, value in entries:
        child = root.child(key)
        if child is not None:
            yield from secrets(child, value, (*path, key))
