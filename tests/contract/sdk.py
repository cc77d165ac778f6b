"""Names and types of Pulumi's SDKs."""

import re
from collections.abc import Iterator
from typing import Any, get_args


def camel(name: str) -> str:
    return re.sub(r"_([a-z0-9])", lambda match: match[1].upper(), name)


def nested_types(hint: Any) -> Iterator[type]:
    """The SDK's classes in a type hint."""
    if isinstance(hint, type) and hint.__name__.endswith("Args"):
        yield hint
    for part in get_args(hint):
        yield from nested_types(part)
