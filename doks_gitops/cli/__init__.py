"""The platform's command line, `bin/platform`: one file for each group of commands."""

from __future__ import annotations

import sys

import typer
from rich.console import Console

from doks_gitops.cli import (
    costs,
    delivery,
    diff,
    gitops,
    recovery,
    rehearsal,
    sealing,
    volumes,
)
from doks_gitops.errors import PlatformError

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="What a team runs around the platform: previews, deployments, recovery, promotion.",
)


@app.callback()
def platform() -> None:
    """What a team runs around the platform: previews, deployments, recovery, promotion."""


app.add_typer(recovery.app)
app.add_typer(delivery.app)
app.add_typer(diff.app)
app.add_typer(gitops.app)
app.add_typer(sealing.app)
app.add_typer(rehearsal.app)
app.add_typer(costs.app)
app.add_typer(volumes.app, name="volumes")


def main() -> None:
    """Run the command line. Exit code 1: the command failed; 2: it was used wrongly."""
    try:
        # A name without a folder: shells complete every path that ends in it.
        app(prog_name="platform")
    except PlatformError as error:
        show(error)
        sys.exit(1)


def show(error: PlatformError) -> None:
    """Print an error on standard error: what happened, to what, and the next command."""
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    console.print(f"error: {error.problem}")
    if error.fix is not None:
        console.print(f"next:  {error.fix}")
