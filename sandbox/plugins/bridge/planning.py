"""Predicts the outputs of a resource, and derives its inputs from its outputs."""

from collections.abc import Sequence
from typing import Any

from sandbox.plugins.bridge.checking import DEFAULTS, RESERVED
from sandbox.plugins.bridge.schema import Field, Fields, Kind, Properties
from sandbox.plugins.common import UNKNOWN, Unknown


def plan(
    fields: Fields, inputs: Properties, old: Properties | None, ignored: Sequence[str] = ()
) -> Properties:
    """The outputs that the resource will have after it is created (`old` None) or updated.

    Values that the API decides are unknown in a create. In an update they keep their old value, as
    do the paths in `ignored`.
    """
    planned = _object(fields, inputs, old)
    for path in ignored:
        _restore(planned, old or {}, path.split("."))
    return planned


def known(properties: Properties) -> Properties:
    """`properties` without the unknown ones."""
    return {
        key: known(value) if isinstance(value, dict) else value
        for key, value in properties.items()
        if not isinstance(value, Unknown)
    }


def _object(fields: Fields, inputs: Properties, old: Properties | None) -> Properties:
    planned: Properties = {}
    for name, field in fields.items():
        before = None if old is None else old.get(name)
        if name in inputs and not field.output:
            planned[name] = _value(field, inputs[name], before)
        elif field.output or field.computed:
            planned[name] = UNKNOWN if old is None else before
        elif before == field.kind.zero or (field.unchanged and field.unchanged(old or {}, inputs)):
            planned[name] = before
        elif field.default is not None:
            planned[name] = field.default
    return {name: value for name, value in planned.items() if value is not None}


def _value(field: Field, value: Any, old: Any) -> Any:
    if field.kind is Kind.OBJECT and isinstance(value, dict):
        return _object(field.fields, value, old if isinstance(old, dict) else None)
    if field.element and field.element.kind is Kind.OBJECT and isinstance(value, list):
        return [_value(field.element, item, None) for item in value]
    return value


def _restore(planned: Properties, old: Properties, path: Sequence[str]) -> None:
    name, *rest = path
    if rest:
        planned_object, old_object = planned.get(name), old.get(name)
        if isinstance(planned_object, dict) and isinstance(old_object, dict):
            _restore(planned_object, old_object, rest)
    elif name in old:
        planned[name] = old[name]
    else:
        planned.pop(name, None)


def refreshed_inputs(fields: Fields, inputs: Properties, outputs: Properties) -> Properties:
    """The `inputs` of the last run, with the API's current values.

    Inputs without a value in the API are dropped. So is the list of defaults, as in the real
    plugin: the next check adds it again.
    """
    result: Properties = {}
    for name, value in inputs.items():
        field = fields.get(name)
        if field is None or name in RESERVED or outputs.get(name) is None:
            continue
        result[name] = _refreshed(field, value, outputs[name])
    return result


def _refreshed(field: Field, value: Any, current: Any) -> Any:
    match field.kind:
        case Kind.OBJECT if isinstance(value, dict) and isinstance(current, dict):
            return refreshed_inputs(field.fields, value, current)
        case Kind.MAP if isinstance(value, dict) and isinstance(current, dict):
            return {key: current[key] for key in value if key in current}
        case Kind.SET if isinstance(value, list) and isinstance(current, list):
            return [item for item in map(_bare, value) if item in current]
        case Kind.LIST if isinstance(value, list) and isinstance(current, list):
            assert field.element is not None
            return [_refreshed(field.element, *pair) for pair in zip(value, current, strict=False)]
        case _:
            # The API may return another form of the same value, such as another case.
            return value if field.normal(value) == current else current


def imported_inputs(fields: Fields, outputs: Properties) -> Properties:
    """The inputs that lead to `outputs`, without optional ones that have their default value."""
    result: Properties = {}
    for name, field in fields.items():
        value = outputs.get(name)
        if field.output or value is None:
            continue
        if field.kind is Kind.OBJECT:
            value = imported_inputs(field.fields, value)
        zero = field.kind.zero if field.default is None else field.default
        if field.required or value not in (zero, {DEFAULTS: []}):
            result[name] = value
    return {**result, DEFAULTS: []}


def _bare(item: Any) -> Any:
    if isinstance(item, dict):
        return {key: value for key, value in item.items() if key not in RESERVED}
    return item
