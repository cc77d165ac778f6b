"""`bin/platform schema`."""

from __future__ import annotations

from pathlib import Path

import typer

from doks_gitops.cli.options import Folder
from doks_gitops.settings.json_schema import FILE, json_schema


def schema(folder: Folder = Path()) -> None:
    """Write the JSON schema of the stack files, by which editors check and complete them."""
    (folder / FILE).write_text(json_schema())
    typer.echo(f"Wrote {folder / FILE}.")
