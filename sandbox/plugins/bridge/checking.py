"""Checks the inputs of a resource, and completes them with defaults."""

from collections.abc import Callable, Mapping
from typing import Any

from sandbox.plugins.bridge.schema import Field, Fields, Kind, Properties
from sandbox.plugins.common import UNKNOWN, Unknown, plain

DEFAULTS = "__defaults"
"""The input that lists the names of those with a default value."""

RESERVED = frozenset({DEFAULTS, "__internal", "__meta"})


def check(
    fields: Fields,
    news: Mapping[str, Any],
    *,
    resource: str,
    olds: Mapping[str, Any],
    new_name: Callable[[], str],
) -> tuple[Properties, list[str]]:
    """The complete inputs, and why the inputs `news` of the program are refused.

    `olds` are the inputs of the last run, whose generated name is kept. `new_name` generates one;
    it may raise ValueError with the reason why it can't. Unknown values are not checked.
    """
    checker = _Checker(resource, new_name)
    inputs = checker.object(fields, plain(news), plain(olds), path="")
    return inputs, checker.failures


class _Checker:
    def __init__(self, resource: str, new_name: Callable[[], str]) -> None:
        self.failures: list[str] = []
        self._resource = resource
        self._new_name = new_name

    def object(
        self, fields: Fields, news: Mapping[str, Any], olds: Mapping[str, Any], path: str
    ) -> Properties:
        news = {
            key: value for key, value in news.items() if value is not None and key not in RESERVED
        }
        for key in news:
            if key not in fields:
                self._fail("Invalid or unknown key", path + key)
            elif fields[key].output:
                self._fail("This is for the API alone to set", path + key)
        result: Properties = {}
        defaults: list[str] = []
        for key, field in fields.items():
            if field.output:
                continue
            if key in news:
                old = olds.get(key)
                result[key] = self._value(field, news[key], old, path + key)
                self._conflicts(field, news, path, key)
            elif (default := self._default(key, field, olds, path)) is not None:
                result[key] = default
                defaults.append(key)
            elif field.required:
                self.failures.append(f"Missing required property '{path}{key}'")
        return {**result, DEFAULTS: sorted(defaults)}

    def _default(self, key: str, field: Field, olds: Mapping[str, Any], path: str) -> Any:
        if field.autonamed:
            autonamed = key in olds.get(DEFAULTS, [key])
            if key in olds and autonamed:
                return olds[key]
            try:
                return self._new_name()
            except ValueError as error:
                self._fail(str(error), path + key)
                return None
        # False is what the API assumes anyway: like the real plugin, add no such default.
        return field.default or None

    def _conflicts(self, field: Field, news: Mapping[str, Any], path: str, key: str) -> None:
        for other in field.conflicts:
            if other in news:
                self._fail(f'"{key}" can\'t be set beside "{other}"', path + key)

    def _value(self, field: Field, value: Any, old: Any, path: str) -> Any:
        if isinstance(value, Unknown):
            return UNKNOWN
        match field.kind:
            case Kind.OBJECT if isinstance(value, Mapping):
                old_object = old if isinstance(old, Mapping) else {}
                return self.object(field.fields, value, old_object, path + ".")
            case Kind.MAP if isinstance(value, Mapping):
                text = Field(kind=Kind.STRING)
                return {
                    key: self._value(text, item, None, f"{path}.{key}")
                    for key, item in value.items()
                    if key not in RESERVED
                }
            case Kind.LIST | Kind.SET if isinstance(value, list):
                element = field.element
                assert element is not None
                old_items = old if isinstance(old, list) and len(old) == len(value) else []
                return [
                    self._value(
                        element, item, old_items[index] if old_items else None, f"{path}[{index}]"
                    )
                    for index, item in enumerate(value)
                ]
        try:
            scalar = _scalar(field.kind, value)
        except ValueError:
            self._fail(f"expected {field.kind.value}, got {type(value).__name__}", path)
            return value
        if field.rule and (expected := field.rule(scalar)):
            self._fail(f"expected {expected}, got {scalar!r}", path)
        return scalar

    def _fail(self, reason: str, path: str) -> None:
        self.failures.append(f"{reason}. Examine values at '{self._resource}.{path}'.")


def _scalar(kind: Kind, value: Any) -> Any:
    """`value` as `kind`, converted where the real plugin converts. Raises ValueError."""
    match kind, value:
        case Kind.STRING, bool():
            return str(value).lower()
        case Kind.STRING, str() | int() | float():
            return str(value)
        case Kind.BOOLEAN, bool():
            return value
        case Kind.BOOLEAN, "true" | "false":
            return value == "true"
        case Kind.INTEGER, str():
            return int(value)
        case Kind.NUMBER, str():
            return float(value)
        case Kind.INTEGER, int() if not isinstance(value, bool):
            return value
        case Kind.NUMBER, int() | float() if not isinstance(value, bool):
            return value
        case _:
            raise ValueError(value)
