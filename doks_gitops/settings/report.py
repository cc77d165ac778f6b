"""Turns what was found wrong into faults: pydantic's errors and the rules' findings."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import cast

from pydantic_core import ErrorDetails

from doks_gitops.settings import schema
from doks_gitops.settings.base import WRONGS, Path, Wrong
from doks_gitops.settings.errors import (
    Fault,
    closest,
    key_of,
    remove_command,
    set_command,
    stack_file,
)
from doks_gitops.settings.model import NAMESPACE, Settings
from doks_gitops.settings.scalars import WRONG
from doks_gitops.settings.stackfile import Kept, StackFile

ROOT = schema.spot(Settings)
ACCOUNT = "digitalocean"
RESERVED = ("stack", ACCOUNT, "adopt")
"""Keys of the settings that are not the program's own to configure."""
SECTIONS = tuple(key for key in schema.fields(Settings) if key not in RESERVED)
"""The keys of the program's own namespace."""

LONGEST_SHOWN = 80


class Report:
    """Words for what is wrong with one stack's settings.

    Paths begin with a key of `Settings`. `raw` is what was validated, `origins` says where a value
    comes from that isn't in the stack file, `secret_keys` as in `settings.parse`.
    """

    def __init__(
        self,
        stack: str,
        raw: Mapping[str, object],
        file: StackFile | None,
        origins: Mapping[Path, str],
        secret_keys: Collection[str] | None,
    ) -> None:
        self.stack = stack
        self.raw = raw
        self.file = file
        self.origins = origins
        self.secret_keys = secret_keys

    def of_error(self, error: ErrorDetails) -> Iterator[Fault]:
        """The faults in one error of pydantic."""
        context = error.get("ctx", {})
        kind, path = error["type"], error["loc"]
        if kind == WRONGS:
            for wrong in context["wrongs"]:
                yield self.of_wrong(wrong, path)
        elif path[-1:] == ("[key]",):
            key = path[-2]
            yield self._fault(path[:-1], f'the key "{key}"', str(context.get("right", "text")))
        elif kind == "extra_forbidden":
            yield self.unknown(path)
        elif kind == "missing":
            yield self._fault(path, "nothing", self._right(path), self._example(path))
        elif kind == WRONG:
            found = "a URL that may hold a secret" if context["hidden"] else self._found(path)
            yield self._fault(path, found, self._right(path), self._example(path))
        elif kind != "too_short" or not self._value(path):
            # Items that don't fit count as missing too, but have errors of their own.
            yield self._fault(path, self._found(path), self._right(path), self._example(path))

    def of_wrong(self, wrong: Wrong, below: Path = ()) -> Fault:
        """The fault in one finding of a rule of the object at `below`."""
        path = (*below, *wrong.at)
        return self._fault(path, wrong.found or self._found(path), wrong.right, wrong.example)

    def unknown(self, path: Path) -> Fault:
        """The fault of a key that there is not."""
        parent = schema.at(ROOT, path[:-1])
        if len(path) == 1:
            known: tuple[str, ...] = SECTIONS
        else:
            known = tuple(schema.fields(parent.model)) if parent and parent.model else ()
        close = closest(str(path[-1]), known)
        key = self._key(path)
        return Fault(
            source=self._source(path),
            key=key,
            found="an unknown key",
            right=f"did you mean {close}?" if close else f"one of {', '.join(known)}",
            command=None if close else remove_command(self.stack, key),
        )

    def plain_secrets(self) -> Iterator[Fault]:
        """Secrets that stand in the stack file in plain text."""
        for path in schema.secrets(ROOT, self.raw):
            if self._kept(path) is Kept.PLAIN and isinstance(self._value(path), str):
                yield self._fault(path, "a secret in plain text", "the same, encrypted")

    def _fault(self, path: Path, found: str, right: str, example: str | None = None) -> Fault:
        spot = schema.at(ROOT, path)
        key = self._key(path)
        secret = spot is not None and spot.secret
        command = None
        if secret or example is not None:
            command = set_command(self.stack, key, example, secret=secret)
        return Fault(self._source(path), key, found, right, command)

    def _key(self, path: Path) -> str:
        if path[0] == ACCOUNT:
            return key_of(ACCOUNT, path[1:])
        return key_of(NAMESPACE, path)

    def _source(self, path: Path) -> str:
        return self.origins.get(path, stack_file(self.stack))

    def _right(self, path: Path) -> str:
        spot = schema.at(ROOT, path)
        if spot is None:
            return "nothing"
        right = spot.right()
        given = self._value(path)
        close = closest(given, spot.choices) if isinstance(given, str) else None
        if close:
            return f"{right}; did you mean {close}?"
        if isinstance(given, int | float) and spot.kind is str and "in quotes" not in right:
            return f"{right}, in quotes"
        return right

    def _example(self, path: Path) -> str | None:
        spot = schema.at(ROOT, path)
        return spot.example if spot else None

    def _found(self, path: Path) -> str:
        spot = schema.at(ROOT, path)
        value = self._value(path)
        if self._kept(path) is Kept.SECURE or (spot is not None and spot.secret):
            return "a secret"
        if value is None:
            return "an empty value"
        if isinstance(value, Mapping):
            return "an object" if value else "an empty object"
        if isinstance(value, list | tuple):
            return "a list" if value else "an empty list"
        if spot is None or not spot.scalar:
            # It may be a secret that was put one level too high.
            return "text" if isinstance(value, str) else "a single value"
        if isinstance(value, bool):
            return str(value).lower()
        if not isinstance(value, str):
            return f"the number {value}"
        shown = value if len(value) <= LONGEST_SHOWN else f"{value[:LONGEST_SHOWN]}..."
        return f'"{shown}"'

    def _value(self, path: Path) -> object:
        here = cast(object, self.raw)
        for part in path:
            if isinstance(here, Mapping):
                here = here.get(part)
            elif isinstance(here, list | tuple) and isinstance(part, int) and part < len(here):
                here = here[part]
            else:
                return None
        return here

    def _kept(self, path: Path) -> Kept:
        """How the value at `path` is kept, as far as that can be known."""
        if path in self.origins:
            return Kept.SECURE
        if path[0] == ACCOUNT:
            key, below = ":".join(map(str, path[:2])), path[2:]
        else:
            key, below = f"{NAMESPACE}:{path[0]}", path[1:]
        kept = self.file.kept(key, below) if self.file else Kept.ABSENT
        if kept is not Kept.ABSENT or self.secret_keys is None:
            return kept
        # From the project's own configuration or a Pulumi environment: all that is known is
        # whether there is a secret somewhere below the key.
        return Kept.SECURE if key in self.secret_keys else Kept.PLAIN
