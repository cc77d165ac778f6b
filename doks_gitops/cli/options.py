"""Options that mean the same in every command."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from doks_gitops.environments import ENVIRONMENTS
from doks_gitops.errors import PlatformError

Stack = Annotated[str, typer.Option("--stack", "-s", metavar="STACK", help="The stack.")]
Stacks = Annotated[
    list[str] | None,
    typer.Option(
        "--stack",
        "-s",
        metavar="STACK",
        help=f"A stack; may be repeated. Default: {', '.join(ENVIRONMENTS)}.",
    ),
]
Repo = Annotated[
    str,
    typer.Option("--repo", metavar="FOLDER_OR_URL", help="Clone of the monorepo, or its URL."),
]
Picture = Annotated[
    Path | None,
    typer.Option("--picture", metavar="FILE", help="SVG file to draw the comment in."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")]
PullRequest = Annotated[
    bool, typer.Option("--pull-request", help="Push a branch and open a pull request.")
]
Folder = Annotated[
    Path,
    typer.Option("--cwd", "-C", metavar="FOLDER", help="The project's folder.", file_okay=False),
]


def refuse_without_effect(given: str, options: Mapping[str, object]) -> None:
    """Raises `PlatformError` if one of the options, by their names, has a value: with the option or
    argument that is `given`, they have no effect."""
    if ignored := [name for name, value in options.items() if value]:
        names = " and ".join(ignored)
        raise PlatformError(f"With {given}, {names} would have no effect.", f"Leave out {names}.")


def require_an_answer(*, yes: bool, how: str) -> None:
    """Raises `BadParameter` if there is nobody to ask and no `yes`. `how` ends "Add --yes ..."."""
    if not (yes or sys.stdin.isatty()):
        raise typer.BadParameter(
            f"There is no terminal to ask at. Add --yes {how}.", param_hint="--yes"
        )
