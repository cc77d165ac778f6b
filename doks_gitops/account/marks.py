"""The mark of a cluster: a tag that names the project, the stack and the state that own it."""

from __future__ import annotations

import secrets
from collections.abc import Iterable

PREFIX = "doks-gitops-owner:"
"""Beginning of each mark."""


def new_mark(project: str, stack: str) -> str:
    """Returns the mark of a new state. A tag has letters, digits, `:`, `-` and `_`, at most 255."""
    return beginning(project, stack) + secrets.token_hex(8)


def beginning(project: str, stack: str) -> str:
    """Returns what the marks of all states of the stack begin with."""
    name = f"{project}:{stack}".replace(".", ":").replace("/", ":")
    return f"{PREFIX}{name}:"


def mark_in(tags: Iterable[str]) -> str | None:
    """Returns the mark among the tags of a cluster. DigitalOcean ignores the case of tags."""
    return next((tag.lower() for tag in tags if tag.lower().startswith(PREFIX)), None)


def same_stack(mark: str, other: str) -> bool:
    """Whether both marks are of states of the same project and stack."""
    return mark.lower().rpartition(":")[0] == other.lower().rpartition(":")[0]
