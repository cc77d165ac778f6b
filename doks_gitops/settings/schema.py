"""Looks things up in the settings' types: what a path names, and what may stand there, in words."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, MinLen
from pydantic import AfterValidator, SecretStr
from pydantic.fields import FieldInfo

from doks_gitops.settings.base import Model, Path
from doks_gitops.settings.scalars import Rule, SecretRule


@dataclass(frozen=True, slots=True)
class Spot:
    """A place in the settings: its type without wrappers, what narrows it, its field if any."""

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
        """Whether the value is one text, number or choice, and no secret."""
        return self.kind in (str, int, bool) or get_origin(self.kind) is Literal

    @property
    def example(self) -> str | None:
        examples = self.field.examples if self.field else None
        return str(examples[0]) if examples else None

    @property
    def choices(self) -> tuple[str, ...]:
        """The only values that are right, if they can be listed."""
        if get_origin(self.kind) is Literal:
            return tuple(map(str, get_args(self.kind)))
        rule = self._rule()
        return rule.choices if isinstance(rule, Rule) else ()

    def child(self, key: str | int) -> Spot | None:
        """The spot below this one, or None if there can't be one."""
        if self.model is not None:
            return fields(self.model).get(str(key))
        arguments = get_args(self.kind)
        if get_origin(self.kind) is tuple and isinstance(key, int):
            return spot(arguments[0])
        if get_origin(self.kind) is Mapping:
            return spot(arguments[1])
        return None

    def right(self) -> str:
        """What the value must be, for a sentence that begins with "right:"."""
        rule = self._rule()
        if rule is not None:
            return rule.right
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        if self.model is not None:
            return f"an object with the keys {', '.join(fields(self.model))}"
        if self.kind is bool:
            return "true or false"
        if self.kind is int:
            return f"a whole number{self._bounds()}"
        if self.kind is str:
            return "text (in quotes, if it looks like a number)"
        if self.secret:
            return "a secret text"
        least = any(isinstance(each, MinLen) for each in self.metadata)
        kind = "a list" if get_origin(self.kind) is tuple else "an object of names and values"
        return f"{kind}, with at least one item" if least else kind

    def _rule(self) -> Rule | SecretRule | None:
        for each in self.metadata:
            if isinstance(each, AfterValidator) and isinstance(each.func, Rule | SecretRule):
                return each.func
        return None

    def _bounds(self) -> str:
        low = next((m.ge for m in self.metadata if isinstance(m, Ge)), None)
        above = next((m.gt for m in self.metadata if isinstance(m, Gt)), None)
        high = next((m.le for m in self.metadata if isinstance(m, Le)), None)
        if low is not None and high is not None:
            return f" from {low} to {high}"
        if low is not None:
            return f" of at least {low}"
        return f" above {above}" if above is not None else ""


def spot(annotation: object, field: FieldInfo | None = None) -> Spot:
    """`annotation` without `Annotated` and `| None`, as a spot."""
    metadata: list[object] = list(field.metadata) if field else []
    while True:
        origin = get_origin(annotation)
        if origin is Annotated:
            annotation, *more = get_args(annotation)
            for each in more:
                metadata += each.metadata if isinstance(each, FieldInfo) else [each]
        elif origin in (Union, types.UnionType):
            rest = [each for each in get_args(annotation) if each is not type(None)]
            if len(rest) != 1:
                return Spot(annotation, tuple(metadata), field)
            annotation = rest[0]
        else:
            return Spot(annotation, tuple(metadata), field)


def fields(model: type[Model]) -> dict[str, Spot]:
    """The fields of `model` by their keys in the stack file."""
    return {
        field.alias or name: spot(field.annotation, field)
        for name, field in model.model_fields.items()
    }


def at(root: Spot, path: Path) -> Spot | None:
    """The spot that `path` names below `root`, or None if there is none."""
    here: Spot | None = root
    for key in path:
        here = here.child(key) if here else None
    return here


def secrets(root: Spot, raw: object, path: Path = ()) -> Iterator[Path]:
    """Paths of the values in `raw` that are secrets by their type."""
    if root.secret:
        yield path
        return
    entries: Iterator[tuple[str | int, object]] = iter(())
    if isinstance(raw, Mapping):
        entries = iter(raw.items())
    elif isinstance(raw, list | tuple):
        entries = iter(enumerate(raw))
    for key, value in entries:
        below = root.child(key)
        if below is not None:
            yield from secrets(below, value, (*path, key))
