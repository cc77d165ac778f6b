"""Reads the text of a stack file, and tells which of its values are encrypted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum

import yaml

from doks_gitops.settings.base import Path

_LOADER = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
"""Loads every scalar as text: no dates, no numbers in base 60. The C version, if PyYAML has it, is
20 times as fast, which matters with 500 applications."""


class Storage(Enum):
    """How a stack file stores a value."""

    ENCRYPTED = "encrypted, under `secure`"
    PLAIN = "in plain text"
    ABSENT = "not at all"


class StackFile:
    """The `config` of a stack file. Raises ValueError for broken YAML."""

    def __init__(self, text: str) -> None:
        try:
            document = yaml.load(text, Loader=_LOADER)
        except yaml.YAMLError as error:
            raise ValueError(str(error).replace("\n", " ")) from None
        config = document.get("config") if isinstance(document, Mapping) else None
        self._config: Mapping[str, object] = config if isinstance(config, Mapping) else {}

    def storage(self, key: str, path: Path = ()) -> Storage:
        """How the value at `path` below the configuration key `key` is stored."""
        if key not in self._config:
            return Storage.ABSENT
        value = self._config[key]
        for part in path:
            if _is_encrypted(value):
                return Storage.ENCRYPTED
            value = _child(value, part)
            if value is None:
                return Storage.ABSENT
        return Storage.ENCRYPTED if _is_encrypted(value) else Storage.PLAIN

    def text(self, key: str, *path: str | int) -> str | None:
        """The scalar at `path` below `key`, as text; None if it is absent or encrypted."""
        value = self._config.get(key)
        for part in path:
            value = _child(value, part)
        return value if isinstance(value, str) else None


def encrypted(value: object, path: Path = ()) -> Iterator[Path]:
    """Paths of the encrypted values in a part of a stack file."""
    if _is_encrypted(value):
        yield path
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from encrypted(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from encrypted(item, (*path, index))


def _child(value: object, part: str | int) -> object:
    if isinstance(value, Mapping):
        return value.get(part)
    if isinstance(value, list) and isinstance(part, int) and part < len(value):
        return value[part]
    return None


def _is_encrypted(value: object) -> bool:
    return isinstance(value, Mapping) and set(value) == {"secure"}
