"""Command lines in texts: whether they are right usage."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import typer

from doks_gitops import cli as platform
from sandbox import cli as sandbox

REPOSITORY = Path(__file__).resolve().parents[2]
APPS = {"bin/platform": platform.app, "bin/sandbox": sandbox.app}
PLACEHOLDER = re.compile(r"\[?[A-Z][A-Z_]*\]?(\.\.\.)?")
"""A word such as NAME, [NAME] or NAME..., which stands for another one."""


def mistake(words: Sequence[str], *, complete: bool = True) -> str | None:
    """Returns what is wrong with a command line such as `["bin/platform", "costs", "--json"]`.

    It is parsed by the program, and not run. Not `complete`: required options may be missing.
    """
    program, *rest = words
    if not (REPOSITORY / program).is_file():
        return f"there is no {program}"
    if program not in APPS:
        return None
    command = typer.main.get_command(APPS[program])
    while commands := getattr(command, "commands", None):
        if not rest or rest[0].startswith("-") or PLACEHOLDER.fullmatch(rest[0]):
            return None
        if rest[0] not in commands:
            return f"{program} has no command {rest[0]}"
        command = commands[rest.pop(0)]
    if command.context_settings.get("ignore_unknown_options"):
        # It passes them on, perhaps to another program of ours.
        return mistake(rest, complete=complete) if rest and rest[0].startswith("bin/") else None
    # A number is a text and a path, too.
    values = ["1" if PLACEHOLDER.fullmatch(word) else word for word in rest]
    try:
        command.make_context(command.name, values)
    except typer.Exit:
        return None
    except typer.BadParameter as error:
        if complete or type(error).__name__ != "MissingParameter":
            return error.format_message()
    except Exception as error:
        return str(error)
    return None
