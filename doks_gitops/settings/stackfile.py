"""Reads the text of a stack file: whether a value stands there as a secret or in plain text."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

import yaml

from doks_gitops.settings.base import Path

_LOADER = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
"""Keeps every scalar as the text it is: no date, no number in base 60. In C, where PyYAML was built
with it: twenty times as fast, which 500 applications feel."""


class Kept(Enum):
    """How a stack file keeps a value."""

    SECURE = "encrypted, under `secure`"
    PLAIN = "in plain text"
    ABSENT = "not at all"


class StackFile:
    """The `config` of a stack file, as it is written. Raises ValueError for broken YAML."""

    def __init__(self, text: str) -> None:
        try:
            document = yaml.load(text, Loader=_LOADER)
        except yaml.YAMLError as error:
            raise ValueError(str(error).replace("\n", " ")) from None
        config = document.get("config") if isinstance(document, Mapping) else None
        self._config: Mapping[str, object] = config if isinstance(config, Mapping) else {}

    def kept(self, key: str, path: Path = ()) -> Kept:
        """How the value at `path` below the configuration key `key` is kept."""
        here = self._config.get(key, None)
        if key not in self._config:
            return Kept.ABSENT
        for part in path:
            if _is_secure(here):
                return Kept.SECURE
            here = _below(here, part)
            if here is None:
                return Kept.ABSENT
        return Kept.SECURE if _is_secure(here) else Kept.PLAIN

    def text(self, key: str, *path: str | int) -> str | None:
        """The scalar at `path` below `key`, as text; None if there is none or it is encrypted."""
        here = self._config.get(key)
        for part in path:
            here = _below(here, part)
        return here if isinstance(here, str) else None


def _below(value: object, part: str | int) -> object:
    if isinstance(value, Mapping):
        return value.get(part)
    if isinstance(value, list) and isinstance(part, int) and part < len(value):
        return value[part]
    return None


def _is_secure(value: object) -> bool:
    return isinstance(value, Mapping) and set(value) == {"secure"}
