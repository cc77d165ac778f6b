"""The differences between a resource as it is and as the program declares it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from sandbox.plugins.bridge.schema import Field, Fields, Kind, Properties
from sandbox.plugins.common import has_unknown


class How(Enum):
    ADD = "add"
    UPDATE = "update"
    DELETE = "delete"


@dataclass(frozen=True)
class Change:
    how: How
    replaces: bool


Changes = dict[str, Change]
"""By the property's path, such as `nodePool.labels.team` or `tags[0]`."""


def diff(fields: Fields, old: Properties, new: Properties, ignored: Sequence[str]) -> Changes:
    """The changes from the outputs `old` to the inputs `new`, without the paths in `ignored`.

    An absent value equals a zero one, as it does for the API.
    """
    return {
        path: change
        for path, change in _object(fields, old, new, "")
        if not any(_within(path, ignored_path) for ignored_path in ignored)
    }


def changed(changes: Iterable[str]) -> set[str]:
    """The top-level properties that contain these paths."""
    return {path.partition(".")[0].partition("[")[0] for path in changes}


def _within(path: str, ancestor: str) -> bool:
    return path == ancestor or path.startswith((f"{ancestor}.", f"{ancestor}["))


def _object(
    fields: Fields, old: Properties, new: Properties, prefix: str
) -> Iterator[tuple[str, Change]]:
    for name, field in fields.items():
        before, after = old.get(name), new.get(name)
        if field.output or (after is None and field.computed):
            continue
        if field.unchanged and not has_unknown(after) and field.unchanged(old, new):
            continue
        yield from _value(field, before, after, prefix + name)


def _value(field: Field, old: Any, new: Any, path: str) -> Iterator[tuple[str, Change]]:
    if old is None:
        old = field.kind.zero
    if new is None:
        new = field.kind.zero
    match field.kind, old, new:
        case Kind.OBJECT, Mapping(), Mapping():
            yield from _object(field.fields, dict(old), dict(new), f"{path}.")
        case Kind.LIST, list(), list():
            yield from _list(field, old, new, path)
        case Kind.SET, list(), list() if not has_unknown(new):
            yield from _set(field, old, new, path)
        case Kind.MAP, Mapping(), Mapping():
            for key in sorted({*old, *new}):
                text = Field(kind=Kind.STRING, replaces=field.replaces)
                yield from _value(text, old.get(key), new.get(key), f"{path}.{key}")
        case _:
            if has_unknown(new) or _normal(field, old) != _normal(field, new):
                yield path, Change(_how(field, old, new), _replaces(field, old, new))


def _list(field: Field, old: list[Any], new: list[Any], path: str) -> Iterator[tuple[str, Change]]:
    assert field.element is not None
    for index in range(max(len(old), len(new))):
        item_path = f"{path}[{index}]"
        if index >= len(old):
            yield item_path, Change(How.ADD, field.replaces)
        elif index >= len(new):
            yield item_path, Change(How.DELETE, field.replaces)
        else:
            yield from _value(field.element, old[index], new[index], item_path)


def _set(field: Field, old: list[Any], new: list[Any], path: str) -> Iterator[tuple[str, Change]]:
    assert field.element is not None
    before = [_normal(field.element, item) for item in old]
    after = [_normal(field.element, item) for item in new]
    for index, item in enumerate(before):
        if item not in after:
            yield f"{path}[{index}]", Change(How.DELETE, field.replaces)
    for index, item in enumerate(after):
        if item not in before:
            yield f"{path}[{index}]", Change(How.ADD, field.replaces)


def _normal(field: Field, value: Any) -> Any:
    if isinstance(value, Mapping):
        return {
            key: _normal(item, value.get(key) or item.kind.zero)
            for key, item in field.fields.items()
        }
    return field.normal(value)


def _replaces(field: Field, old: Any, new: Any) -> bool:
    if field.replaces_when and not has_unknown(new):
        return field.replaces_when(old, new)
    return field.replaces


def _how(field: Field, old: Any, new: Any) -> How:
    if old == field.kind.zero:
        return How.ADD
    return How.DELETE if new == field.kind.zero else How.UPDATE
