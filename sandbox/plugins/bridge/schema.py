"""Describes the properties of a resource: names, types and rules."""

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

Properties = dict[str, Any]


class Kind(Enum):
    STRING = "a string"
    INTEGER = "a whole number"
    NUMBER = "a number"
    BOOLEAN = "true or false"
    LIST = "a list"
    SET = "a list in any order"
    """A list whose order has no meaning."""
    MAP = "a map of strings"
    OBJECT = "an object"

    @property
    def zero(self) -> Any:
        """The value that the API assumes for an absent one."""
        return {
            Kind.STRING: "",
            Kind.INTEGER: 0,
            Kind.NUMBER: 0,
            Kind.BOOLEAN: False,
            Kind.LIST: [],
            Kind.SET: [],
            Kind.MAP: {},
            Kind.OBJECT: None,
        }[self]


Rule = Callable[[Any], str | None]
"""Returns what is expected instead of a value, or None if the value is valid."""


@dataclass(frozen=True, kw_only=True)
class Field:
    """One property.

    `computed`: the API decides a value that the program leaves out. `output`: only the API sets it.
    `replaces`: a change replaces the resource. `autonamed`: the plugin generates a value that the
    program leaves out from the resource's name.
    """

    kind: Kind
    required: bool = False
    computed: bool = False
    output: bool = False
    replaces: bool = False
    autonamed: bool = False
    secret: bool = False
    default: bool | None = None
    rule: Rule | None = None
    conflicts: tuple[str, ...] = ()
    """Properties that can't be set beside this one."""
    normal: Callable[[Any], Any] = lambda value: value
    """Converts a value to the form in which it is compared, such as to lower case."""
    unchanged: Callable[[Properties, Properties], bool] | None = None
    """Called with the old and the new object that contain the field: True for no difference."""
    replaces_when: Callable[[Any, Any], bool] | None = None
    """Called with the old and the new value: True if this change replaces the resource."""
    element: "Field | None" = None
    """The element of a list or a set."""
    fields: Mapping[str, "Field"] = field(default_factory=dict)
    """The fields of an object."""


Fields = Mapping[str, Field]


def string(**options: Any) -> Field:
    return Field(kind=Kind.STRING, **options)


def integer(**options: Any) -> Field:
    return Field(kind=Kind.INTEGER, **options)


def number(**options: Any) -> Field:
    return Field(kind=Kind.NUMBER, **options)


def boolean(**options: Any) -> Field:
    return Field(kind=Kind.BOOLEAN, **options)


def strings_by_key(**options: Any) -> Field:
    return Field(kind=Kind.MAP, **options)


def list_of(element: Field, **options: Any) -> Field:
    return Field(kind=Kind.LIST, element=element, **options)


def set_of(element: Field, **options: Any) -> Field:
    return Field(kind=Kind.SET, element=element, **options)


def object_of(fields: Fields, **options: Any) -> Field:
    return Field(kind=Kind.OBJECT, fields=fields, **options)


def not_empty(value: str) -> str | None:
    return None if value else "a value that is not empty"


def one_of(*values: str, any_case: bool = False) -> Rule:
    def rule(value: str) -> str | None:
        if (value.lower() if any_case else value) in values:
            return None
        return "one of " + ", ".join(values)

    return rule


def at_least(least: int) -> Rule:
    return lambda value: None if value >= least else f"at least {least}"


def at_most_long(length: int) -> Rule:
    return lambda value: None if len(value) <= length else f"at most {length} characters"


def cidr(value: str) -> str | None:
    try:
        ipaddress.ip_network(value, strict=False)
    except ValueError:
        value = ""
    return None if "/" in value else "a range of addresses in CIDR notation, such as 10.10.0.0/20"
