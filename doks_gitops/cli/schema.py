"""`bin/platform schema`."""

from __future__ import annotations

from pathlib import Path

import typer

from doks_gitops.cli import options
from doks_gitops.cli.help import examples

app = typer.Typer()


@app.command(
    epilog=examples(
        ("bin/platform schema", "After a change of the settings."),
        ("bin/platform schema -C ../shop-platform", "In another checkout."),
    )
)
def schema(cwd: options.Folder = Path()) -> None:
    """Write the JSON schema of the stack files, with which editors check and complete them."""
    from doks_gitops.settings.json_schema import FILE, json_schema

    (cwd / FILE).write_text(json_schema())
    typer.echo(f"Wrote {cwd / FILE}.")
