"""The one form of error that the commands show."""

from __future__ import annotations


class PlatformError(Exception):
    """What happened, to what, and what to do next.

    `problem` is one or more sentences. `fix` is the next command, or a sentence if no command
    helps; None only where `problem` says it already.
    """

    def __init__(self, problem: str, fix: str | None = None) -> None:
        self.problem = problem
        self.fix = fix
        super().__init__(problem if fix is None else f"{problem}\nnext: {fix}")
