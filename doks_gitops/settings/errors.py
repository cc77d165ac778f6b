"""The error that reports all findings in a stack's settings, with the commands that fix them."""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pulumi

from doks_gitops.environments import short_name
from doks_gitops.errors import PlatformError
from doks_gitops.settings.base import Path


@dataclass(frozen=True, slots=True)
class Finding:
    """One error in a stack's settings."""

    source: str
    """Where the value comes from: the stack file's name, or the environment variable."""
    key: str
    """Full path of the key, such as doks-gitops:cluster.nodePools[0].size."""
    got: str
    expected: str
    fix: str | None = None
    """The command that fixes it; None if there is no single command."""

    def __post_init__(self) -> None:
        for name in ("source", "key", "got", "expected", "fix"):
            text = getattr(self, name)
            object.__setattr__(self, name, text and _visible(text))

    def __str__(self) -> str:
        lines = [
            f"{self.source}: {self.key}",
            f"  got:      {self.got}",
            f"  expected: {self.expected}",
        ]
        if self.fix:
            lines.append(f"  fix:      {self.fix}")
        return "\n".join(lines)


def _visible(text: str) -> str:
    """`text` with its control and invisible characters as escapes."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


class SettingsError(pulumi.RunError, PlatformError):
    """All findings in a stack's settings. Pulumi shows a `RunError` without a traceback."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        self.findings = tuple(findings)
        count = "1 finding" if len(findings) == 1 else f"{len(findings)} findings"
        super().__init__(
            f"The stack's settings have {count}; nothing was created or changed.\n\n"
            + "\n\n".join(map(str, findings))
            + "\n\nAll keys: docs/config.md"
        )


def stack_file(stack: str) -> str:
    """Name of the file that holds the settings of `stack`."""
    return f"Pulumi.{short_name(stack)}.yaml"


def closest(word: str, names: Iterable[str]) -> str | None:
    """The one of `names` that `word` probably means; None if no name is similar."""
    known = list(names)
    beginnings = [name for name in known if word and name.startswith(word)]
    # A similarity of one half is enough to suggest "prod" for "production".
    similar = beginnings or difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return similar[0] if similar else None


def key_of(namespace: str, path: Path) -> str:
    """`path` in the form that `pulumi config set --path` takes."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif re.fullmatch(r"[\w-]+", part, re.ASCII):
            text += f".{part}" if text else part
        else:
            text += f'["{part}"]'
    return f"{namespace}:{text}"


def set_command(stack: str, key: str, example: str | None, *, secret: bool = False) -> str:
    """The command that sets `key`. It prompts for a secret, so that no shell history keeps it."""
    words = ["pulumi config set"]
    if secret:
        words.append("--secret")
    elif re.search("pass|pwd|secret|token", key, re.IGNORECASE):
        # Pulumi takes values of such keys for secrets and refuses them in plain text otherwise.
        words.append("--plaintext")
    words.append(_key_argument(key))
    if example is not None and not secret:
        words.append(shlex.quote(example))
    return " ".join([*words, f"--stack {stack}"])


def remove_command(stack: str, key: str) -> str:
    """The command that removes `key`."""
    return f"pulumi config rm {_key_argument(key)} --stack {stack}"


def _key_argument(key: str) -> str:
    return f"--path '{key}'" if re.search(r"[.\[]", key) else key
