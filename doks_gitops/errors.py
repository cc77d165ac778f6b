"""The one form of error that the commands show."""

from __future__ import annotations

from collections.abc import Sequence


class PlatformError(Exception):
    """What happened, to what, and what to do next.

    `problem` is one or more sentences. `fix` is the next command, or a sentence if no command
    helps; None only where `problem` says it already.
    """

    def __init__(self, problem: str, fix: str | None = None) -> None:
        self.problem = problem
        self.fix = fix
        super().__init__(problem if fix is None else f"{problem}\nnext: {fix}")


def raise_all(errors: Sequence[PlatformError]) -> None:
    """Raise the errors as one, with every problem and every fix; nothing if there are none."""
    if errors:
        fixes = dict.fromkeys(error.fix for error in errors if error.fix is not None)
        raise PlatformError("\n".join(error.problem for error in errors), "\n".join(fixes) or None)
