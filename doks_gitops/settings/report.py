"""Turns pydantic's errors and the violations of rules into findings."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import cast

from pydantic_core import ErrorDetails

from doks_gitops.settings import schema
from doks_gitops.settings.base import VIOLATIONS, Path, Violation
from doks_gitops.settings.errors import (
    Finding,
    closest,
    key_of,
    remove_command,
    set_command,
    stack_file,
)
from doks_gitops.settings.model import NAMESPACE, Settings
from doks_gitops.settings.scalars import RULE_VIOLATION
from doks_gitops.settings.stackfile import StackFile, Storage

ROOT = schema.setting_type(Settings)
ACCOUNT = "digitalocean"
RESERVED = ("stack", ACCOUNT, "adopt")
"""Fields of `Settings` that are no keys of the program's own namespace."""
SECTIONS = tuple(key for key in schema.fields(Settings) if key not in RESERVED)
"""The keys of the program's own namespace."""

ANY = "*"
_SOURCE_OPTIONS = ("kustomize", "directory", "helm")
FREE_FORM: tuple[Path, ...] = (
    ("argocd", "values"),
    *(("applications", ANY, options) for options in (*_SOURCE_OPTIONS, "ignoreDifferences")),
    *(("applications", ANY, "sources", ANY, options) for options in _SOURCE_OPTIONS),
)
"""Sections without a type of their own for secrets, whose values go into chart values and into
Applications. `ANY` stands for each name."""

LONGEST_SHOWN = 80
"""Characters of a value that an error shows."""


class Report:
    """Describes the errors in one stack's settings.

    Paths begin with a key of `Settings`.

    - `raw`: the values that were validated
    - `origins`: the sources of the values that are not in the stack file
    - `secret_keys`: as in `settings.parse`
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

    def of_error(self, error: ErrorDetails) -> Iterator[Finding]:
        """The findings in one error of pydantic."""
        context = error.get("ctx", {})
        kind, path = error["type"], error["loc"]
        if kind == VIOLATIONS:
            for violation in context[VIOLATIONS]:
                yield self.of_violation(violation, path)
        elif path[-1:] == ("[key]",):
            key = path[-2]
            expected = str(context.get("expected", "text"))
            yield self._finding(path[:-1], f'the key "{key}"', expected)
        elif kind == "extra_forbidden":
            yield self.unknown(path)
        elif kind == "missing":
            yield self._finding(path, "nothing", self._expected(path), self._example(path))
        elif kind == RULE_VIOLATION:
            kind = "URL" if "://" in str(self._value(path)) else "text"
            got = f"a {kind} that may hold a secret" if context["hidden"] else self._got(path)
            yield self._finding(path, got, self._expected(path), self._example(path))
        elif kind != "too_short" or not self._value(path):
            # A list with invalid items counts as too short, but the items have their own errors.
            yield self._finding(path, self._got(path), self._expected(path), self._example(path))

    def of_violation(self, violation: Violation, parent: Path = ()) -> Finding:
        """The finding for a violation of a rule of the object at `parent`."""
        path = (*parent, *violation.at)
        got = violation.got or self._got(path)
        return self._finding(path, got, violation.expected, violation.example)

    def unknown(self, path: Path) -> Finding:
        """The finding for a key that does not exist."""
        parent = schema.at(ROOT, path[:-1])
        if len(path) == 1:
            known: tuple[str, ...] = SECTIONS
        else:
            known = tuple(schema.fields(parent.model)) if parent and parent.model else ()
        close = closest(str(path[-1]), known)
        key = self._key(path)
        return Finding(
            source=self._source(path),
            key=key,
            got="an unknown key",
            expected=f"did you mean {close}?" if close else f"one of {', '.join(known)}",
            fix=None if close else remove_command(self.stack, key),
        )

    def plain_secrets(self) -> Iterator[Finding]:
        """Findings for secrets that the stack file stores in plain text."""
        for path in schema.secrets(ROOT, self.raw):
            if self._storage(path) is Storage.PLAIN and isinstance(self._value(path), str):
                yield self._finding(path, "a secret in plain text", "the same, encrypted")

    def encrypted_values(self) -> Iterator[Path]:
        """Paths of the texts and numbers below `FREE_FORM` that are encrypted.

        If the value of a key comes from another source than the stack file, Pulumi tells only that
        there is a secret somewhere below the key: then all of them are taken for secrets.
        """
        for pattern in FREE_FORM:
            yield from self._encrypted(pattern, self.raw, ())

    def _encrypted(self, pattern: Path, value: object, path: Path) -> Iterator[Path]:
        entries: Iterator[tuple[str | int, object]]
        if isinstance(value, Mapping):
            entries = iter(value.items())
        elif isinstance(value, list | tuple):
            entries = iter(enumerate(value))
        else:
            is_text_or_number = isinstance(value, str | int | float) and not isinstance(value, bool)
            # An empty text or a boolean hides nothing, and Argo CD removes empty texts.
            if is_text_or_number and value != "" and self._storage(path) is Storage.ENCRYPTED:
                yield path
            return
        for key, item in entries:
            if not pattern or pattern[0] in (ANY, key):
                yield from self._encrypted(pattern[1:], item, (*path, key))

    def _finding(self, path: Path, got: str, expected: str, example: str | None = None) -> Finding:
        setting = schema.at(ROOT, path)
        key = self._key(path)
        secret = setting is not None and setting.secret
        fix = None
        if secret or example is not None:
            fix = set_command(self.stack, key, example, secret=secret)
        return Finding(self._source(path), key, got, expected, fix)

    def _key(self, path: Path) -> str:
        if path[0] == ACCOUNT:
            return key_of(ACCOUNT, path[1:])
        return key_of(NAMESPACE, path)

    def _source(self, path: Path) -> str:
        return self.origins.get(path, stack_file(self.stack))

    def _expected(self, path: Path) -> str:
        setting = schema.at(ROOT, path)
        if setting is None:
            return "nothing"
        expected = setting.expected()
        value = self._value(path)
        close = closest(value, setting.choices) if isinstance(value, str) else None
        if close:
            return f"{expected}; did you mean {close}?"
        if isinstance(value, int | float) and setting.kind is str and "in quotes" not in expected:
            return f"{expected}, in quotes"
        return expected

    def _example(self, path: Path) -> str | None:
        setting = schema.at(ROOT, path)
        return setting.example if setting else None

    def _got(self, path: Path) -> str:
        """Description of the value at `path`, which shows no secret."""
        setting = schema.at(ROOT, path)
        value = self._value(path)
        if self._storage(path) is Storage.ENCRYPTED or (setting is not None and setting.secret):
            return "a secret"
        if value is None:
            return "an empty value"
        if isinstance(value, Mapping):
            return "an object" if value else "an empty object"
        if isinstance(value, list | tuple):
            return "a list" if value else "an empty list"
        if setting is None or not setting.scalar:
            # It may be a secret that was put one level too high.
            return "text" if isinstance(value, str) else "a single value"
        if isinstance(value, bool):
            return str(value).lower()
        if not isinstance(value, str):
            return f"the number {value}"
        shown = value if len(value) <= LONGEST_SHOWN else f"{value[:LONGEST_SHOWN]}..."
        return f'"{shown}"'

    def _value(self, path: Path) -> object:
        value = cast(object, self.raw)
        for part in path:
            if isinstance(value, Mapping):
                value = value.get(part)
            elif isinstance(value, list | tuple) and isinstance(part, int) and part < len(value):
                value = value[part]
            else:
                return None
        return value

    def _storage(self, path: Path) -> Storage:
        """How the value at `path` is stored, as far as that is known."""
        if path in self.origins:
            return Storage.ENCRYPTED
        if path[0] == ACCOUNT:
            key, rest = ":".join(map(str, path[:2])), path[2:]
        else:
            key, rest = f"{NAMESPACE}:{path[0]}", path[1:]
        storage = self.file.storage(key, rest) if self.file else Storage.ABSENT
        if storage is not Storage.ABSENT or self.secret_keys is None:
            return storage
        # The value comes from the project's configuration or a Pulumi environment. Pulumi tells
        # only whether there is a secret somewhere below the key.
        return Storage.ENCRYPTED if key in self.secret_keys else Storage.PLAIN
