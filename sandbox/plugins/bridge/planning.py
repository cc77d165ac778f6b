"""What a resource will be, as far as it can be told beforehand, and what it was given."""

from collections.abc import Sequence
from typing import Any

from sandbox.plugins.bridge.checking import DEFAULTS, RESERVED
from sandbox.plugins.bridge.schema import Field, Fields, Kind, Properties
from sandbox.plugins.common import UNKNOWN, Unknown


def plan(
    fields: Fields, inputs: Properties, old: Properties | None, ignored: Sequence[str] = ()
) -> Properties:
    """The outputs that creating the resource (`old` None) or updating it will lead to.

    What only the API decides is unknown when creating, and stays as it was when updating, as do the
    paths in `ignored`.
    """
    planned = _object(fields, inputs, old)
    for path in ignored:
        _restore(planned, old or {}, path.split("."))
    return planned


def known(properties: Properties) -> Properties:
    """`properties` without those that are not known yet."""
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
            anew = old is None or (field.stale is not None and field.stale(old))
            planned[name] = UNKNOWN if anew else before
        elif before == field.kind.zero or (field.unchanged and field.unchanged(old or {}, inputs)):
            planned[name] = before
        elif field.default is not None:
            planned[name] = field.default
    return {name: value for name, value in planned.items() if value is not None}


def _value(field: Field, given: Any, old: Any) -> Any:
    if field.kind is Kind.OBJECT and isinstance(given, dict):
        return _object(field.fields, given, old if isinstance(old, dict) else None)
    if field.element and field.element.kind is Kind.OBJECT and isinstance(given, list):
        return [_value(field.element, item, None) for item in given]
    return given


def _restore(planned: Properties, old: Properties, path: Sequence[str]) -> None:
    name, *rest = path
    if rest:
        inner, before = planned.get(name), old.get(name)
        if isinstance(inner, dict) and isinstance(before, dict):
            _restore(inner, before, rest)
    elif name in old:
        planned[name] = old[name]
    else:
        planned.pop(name, None)


def refreshed_inputs(fields: Fields, inputs: Properties, outputs: Properties) -> Properties:
    """The `inputs` of the last run, with the values that the API has for them now.

    Inputs that the API has no value for are dropped. The list of defaults is, too: the real plugin
    does so, and finds it again at the next check.
    """
    result: Properties = {}
    for name, given in inputs.items():
        field = fields.get(name)
        if field is None or name in RESERVED or outputs.get(name) is None:
            continue
        result[name] = _refreshed(field, given, outputs[name])
    return result


def _refreshed(field: Field, given: Any, now: Any) -> Any:
    match field.kind:
        case Kind.OBJECT if isinstance(given, dict) and isinstance(now, dict):
            return refreshed_inputs(field.fields, given, now)
        case Kind.MAP if isinstance(given, dict) and isinstance(now, dict):
            return {key: now[key] for key in given if key in now}
        case Kind.SET if isinstance(given, list) and isinstance(now, list):
            return [item for item in map(_bare, given) if item in now]
        case Kind.LIST if isinstance(given, list) and isinstance(now, list):
            assert field.element is not None
            return [_refreshed(field.element, *pair) for pair in zip(given, now, strict=False)]
        case _:
            # Such a value comes back in another form than it was given in.
            return given if field.normal(given) == now else now


def imported_inputs(fields: Fields, outputs: Properties) -> Properties:
    """The inputs that would have led to `outputs`, but for those that need not be given."""
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
