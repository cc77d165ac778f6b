"""`bin/platform costs`."""

from __future__ import annotations

import json
from pathlib import Path

import typer

from doks_gitops.cli import options
from doks_gitops.cli.help import examples
from doks_gitops.environments import ENVIRONMENTS

app = typer.Typer()


@app.command(
    epilog=examples(
        ("bin/platform costs", "Every environment, and the registry that they share."),
        ("bin/platform costs --stack prod --json", "One stack, for programs."),
    )
)
def costs(
    stacks: options.Stacks = None,
    as_json: options.Json = False,
    cwd: options.Folder = Path(),
) -> None:
    """Estimate what stacks cost per month by the account's list prices, deployed or not."""
    from doks_gitops.costs import bill
    from doks_gitops.costs.stacks import bills

    result = bills(list(dict.fromkeys(stacks or ENVIRONMENTS)), cwd)
    print(json.dumps(bill.as_json(result), indent=2) if as_json else bill.table(result))
