"""Reads stack files, and tells which of their values are encrypted."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path as FilePath
from typing import Any, cast

import yaml

from doks_gitops.settings.base import Path

_LOADER = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
"""Loads every scalar as text: no dates, no numbers in base 60. The C version, if PyYAML has it, is
20 times as fast, which matters with 500 applications."""

DEEPEST = 100
"""Most lists and objects inside each other. The stack files need about ten; YAML and JSON are read
by recursion, which ends in an error, or in C in a crash."""


class Storage(Enum):
    """How a stack file stores a value."""

    ENCRYPTED = "encrypted, under `secure`"
    PLAIN = "in plain text"
    ABSENT = "not at all"


class _JsonLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Loads times as text, as Pulumi does."""


_JsonLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read(path: FilePath) -> str:
    """The text of a stack file. Raises ValueError for what is no file of text; a pipe is not
    waited for."""
    if not path.is_file():
        raise ValueError("no regular file")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ValueError("no text in UTF-8") from None
    except OSError as error:
        raise ValueError(f"a file that can't be read: {error.strerror}") from None


def values(text: str) -> dict[str, object]:
    """The values under `config` by full key, as Pulumi reads them; nothing is decrypted.

    Raises ValueError for broken YAML, and for what Pulumi refuses.
    """
    document = _load(text, _JsonLoader)
    config = document.get("config") if isinstance(document, Mapping) else None
    if not isinstance(config, Mapping):
        return {}
    try:
        # Pulumi passes the configuration on as JSON, whose keys are texts.
        return cast(dict[str, object], json.loads(json.dumps(config)))
    except TypeError as error:
        raise ValueError(f"YAML that Pulumi can't read: {error}") from None


class StackFile:
    """The `config` of a stack file. Raises ValueError for broken YAML."""

    def __init__(self, text: str) -> None:
        document = _load(text, _LOADER)
        config = document.get("config") if isinstance(document, Mapping) else None
        self._config: Mapping[str, object] = config if isinstance(config, Mapping) else {}

    def storage(self, key: str, path: Path = ()) -> Storage:
        """How the value at `path` below the configuration key `key` is stored."""
        if key not in self._config:
            return Storage.ABSENT
        value = self._config[key]
        for part in path:
            if is_encrypted(value):
                return Storage.ENCRYPTED
            value = _child(value, part)
            if value is None:
                return Storage.ABSENT
        return Storage.ENCRYPTED if is_encrypted(value) else Storage.PLAIN

    def text(self, key: str, *path: str | int) -> str | None:
        """The scalar at `path` below `key`, as text; None if it is absent or encrypted."""
        value = at(self._config.get(key), path)
        return value if isinstance(value, str) else None

    def is_true(self, key: str, *path: str | int) -> bool:
        """Whether the scalar at `path` below `key` is true, in any form in which YAML has it."""
        return self.text(key, *path) in ("true", "True", "TRUE")


def _load(text: str, loader: type[yaml.BaseLoader]) -> object:
    try:
        _check(text)
        return cast(object, yaml.load(text, Loader=loader))
    except yaml.YAMLError as error:
        raise ValueError(f"broken YAML: {error}".replace("\n", " ")) from None
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"YAML that Pulumi can't read: {error}") from None


def _check(text: str) -> None:
    """Raises ValueError for what makes the values of a file differ from what its lines show (merge
    keys, aliases, tags), and for deep nesting, before anything is read by recursion."""
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        line = f"line {event.start_mark.line + 1 if event.start_mark else 1}"
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > DEEPEST:
                raise ValueError(f"{line} is nested more than {DEEPEST} deep")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if isinstance(event, yaml.AliasEvent):
            raise ValueError(f"an alias (*{event.anchor}) in {line}")
        if isinstance(event, yaml.ScalarEvent) and event.value == "<<" and event.implicit[0]:
            raise ValueError(f"a merge key (<<) in {line}")
        tag = getattr(event, "tag", None)
        # "!" makes a text of a scalar, as quotes do.
        if tag is not None and tag != "!":
            raise ValueError(f"a tag ({tag}) in {line}")


def encrypted(value: object, path: Path = ()) -> Iterator[Path]:
    """Paths of the encrypted values in a part of a stack file."""
    if is_encrypted(value):
        yield path
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from encrypted(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from encrypted(item, (*path, index))


def at(value: Any, path: Path) -> Any:
    """The value at `path` below `value`; None if there is none."""
    for part in path:
        value = _child(value, part)
    return value


def _child(value: object, part: str | int) -> object:
    if isinstance(value, Mapping):
        return value.get(part)
    if isinstance(value, list) and isinstance(part, int) and part < len(value):
        return value[part]
    return None


def is_encrypted(value: object) -> bool:
    """Whether a part of a stack file is one encrypted value."""
    return isinstance(value, Mapping) and set(value) == {"secure"}
