"""The examples that each command's --help ends with."""

from __future__ import annotations


def examples(*lines: tuple[str, str]) -> str:
    """Returns a help text's epilog. `lines`: a command line, and what it does."""
    shown = [f"[bold]$ {command}[/]\n    {meaning}" for command, meaning in lines]
    return "\n".join(["Examples:", *shown])
