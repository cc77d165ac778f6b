"""What `pulumi up` would change in a stack, as data.

It is taken from `pulumi preview --json`, in which Pulumi has already replaced every secret by
`[secret]` (https://www.pulumi.com/docs/iac/cli/commands/pulumi_preview/).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from doks_gitops.policy.preview import errors, run

WORDS = {
    "create": "create",
    "update": "update",
    "delete": "delete",
    "replace": "replace",
    "import": "import",
    "read": "read",
}
"""The engine's operations that are worth a word; a replacement's single steps are not, nor is a
refresh, which is told of every resource: what it found to differ is updated or created after it."""
_IN_A_PATH = re.compile(r'\["((?:[^"\\]|\\.)*)"\]|\[(\d+)\]|([^.\[\]]+)')


class Unreadable(Exception):
    """`pulumi preview` said something that is no preview."""


@dataclass(frozen=True)
class Field:
    """One property that differs, by its path as Pulumi writes it."""

    path: str
    old: object
    new: object


@dataclass(frozen=True)
class Change:
    """What would happen to one resource."""

    operation: str
    """A value of `WORDS`."""
    type: str
    name: str
    fields: tuple[Field, ...] = ()


@dataclass(frozen=True)
class Preview:
    """The preview of one stack. With an `error`, it is what was found until then."""

    stack: str
    changes: tuple[Change, ...] = ()
    unchanged: int = 0
    error: str | None = None
    violations: tuple[str, ...] = ()
    """Policies that it breaks, mandatory ones first."""
    forbidden: bool = False
    """Whether one of them is mandatory."""

    @property
    def count(self) -> dict[str, int]:
        """How many resources are created, updated and so on."""
        words = [change.operation for change in self.changes]
        return {word: words.count(word) for word in dict.fromkeys(words)}


def preview(stack: str, *, refresh: bool = False) -> tuple[Preview, Mapping[str, Any]]:
    """Preview `stack` in the working directory, and the engine's own words for whoever needs more.

    With `refresh`, what was changed outside of Pulumi is a change too, back to what it should be. A
    preview that fails is a result, with its error. Raises `Unreadable` if Pulumi could not even say
    what failed.
    """
    done, said = run(stack, *(["--refresh"] if refresh else []))
    if said is None:
        raise Unreadable(
            f"`pulumi preview --stack {stack}` failed (exit code {done.returncode}):\n"
            + (done.stderr.strip() or done.stdout.strip())
        )
    return of(stack, said), said


def of(stack: str, said: Mapping[str, Any]) -> Preview:
    """The preview in what `pulumi preview --json` said."""
    failed = [each.strip().removeprefix("error: ") for each in errors(said)]
    return Preview(
        stack,
        tuple(
            Change(WORDS[step["op"]], _type(step["urn"]), _name(step["urn"]), tuple(_fields(step)))
            for step in said.get("steps") or []
            if step["op"] in WORDS and not _type(step["urn"]).startswith("pulumi:")
        ),
        (said.get("changeSummary") or {}).get("same", 0),
        "\n".join(failed) or None,
    )


def _type(urn: str) -> str:
    return urn.split("::")[2].rpartition("$")[2]


def _name(urn: str) -> str:
    return urn.split("::", 3)[3]


def _fields(step: Mapping[str, Any]) -> Iterator[Field]:
    states = [(step.get(key) or {}).get("inputs") or {} for key in ("oldState", "newState")]
    for path in sorted(step.get("detailedDiff") or {}):
        yield Field(path, *(_at(state, path) for state in states))


def _at(value: object, path: str) -> object:
    for quoted, index, plain in _IN_A_PATH.findall(path):
        if index and isinstance(value, list):
            value = value[int(index)] if int(index) < len(value) else None
        elif isinstance(value, Mapping):
            value = value.get(quoted or plain or index)
        else:
            return None
    return value
