"""Errors for people: every fault of a stack at once, each with what is wrong, what would be right,
and the command that puts it right."""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pulumi

from doks_gitops.settings.base import Path


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with a stack's settings."""

    source: str
    """Where the value stands: the stack file's name, or `environment`."""
    key: str
    """Full path of the key, such as doks-gitops:cluster.nodePools[0].size."""
    found: str
    right: str
    command: str | None = None

    def __str__(self) -> str:
        lines = [
            f"{self.source}: {self.key}",
            f"  found: {self.found}",
            f"  right: {self.right}",
        ]
        if self.command:
            lines.append(f"  run:   {self.command}")
        return "\n".join(lines)


class SettingsError(pulumi.RunError):
    """All faults of a stack's settings. Pulumi shows the text alone, without a traceback."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
        body = "\n\n".join(map(str, faults))
        super().__init__(
            f"The stack's settings have {count}; nothing was created or changed.\n\n{body}\n\n"
            "All keys: docs/config.md"
        )


def stack_file(stack: str) -> str:
    """Name of the file that holds the settings of `stack`."""
    return f"Pulumi.{stack}.yaml"


def closest(given: str, names: Iterable[str]) -> str | None:
    """The one of `names` that was probably meant by `given`."""
    known = list(names)
    begun = [name for name in known if given and name.startswith(given)]
    # Half in common is enough: "production" is meant to find "prod".
    close = begun or difflib.get_close_matches(given, known, n=1, cutoff=0.5)
    return close[0] if close else None


def key_of(namespace: str, path: Path) -> str:
    """`path` as `pulumi config set --path` takes it."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif re.fullmatch(r"[\w-]+", part):
            text += f".{part}" if text else part
        else:
            text += f'["{part}"]'
    return f"{namespace}:{text}"


def set_command(stack: str, key: str, example: str | None, *, secret: bool = False) -> str:
    """The command that sets `key`. A secret's value is asked for, so that no shell keeps it."""
    words = ["pulumi config set"]
    if secret:
        words.append("--secret")
    elif re.search("pass|pwd|secret|token", key, re.IGNORECASE):
        # Pulumi takes the values of such keys for secrets, and refuses them unless told.
        words.append("--plaintext")
    words.append(_named(key))
    if example is not None and not secret:
        words.append(shlex.quote(example))
    return " ".join([*words, f"--stack {stack}"])


def remove_command(stack: str, key: str) -> str:
    """The command that removes `key`."""
    return f"pulumi config rm {_named(key)} --stack {stack}"


def _named(key: str) -> str:
    return f"--path '{key}'" if re.search(r"[.\[]", key) else key
