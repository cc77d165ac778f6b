"""YAML of the commits that are compared, which anybody may have written."""

from __future__ import annotations

from typing import Any

import yaml

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
LARGEST = 1 << 20
"""Characters of a document."""


def load(text: str) -> Any:
    """The content of a document. Raises ValueError for what is no YAML, and for aliases, of which a
    few lines can stand for billions of values."""
    if len(text) > LARGEST:
        raise ValueError(f"it has more than {LARGEST} characters")
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=_LOADER)):
            raise ValueError("it has aliases, which are not evaluated")
        return yaml.load(text, Loader=_LOADER)
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(" ".join(str(error).split())) from None
