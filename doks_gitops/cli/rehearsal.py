"""`bin/platform rehearse`."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from decimal import Decimal
from pathlib import Path
from typing import Annotated

import typer

from doks_gitops.cli import options
from doks_gitops.cli.help import examples
from doks_gitops.errors import PlatformError

app = typer.Typer()


@app.command(
    epilog=examples(
        ("bin/platform rehearse --repo ../monorepo", "A stack like dev, lost and recovered."),
        ("bin/platform rehearse --clean-up", "Delete what a killed rehearsal has left."),
    )
)
def rehearse(
    like: Annotated[
        str, typer.Option("--like", metavar="STACK", help="Stack that is rehearsed.")
    ] = "dev",
    repo: options.Repo = ".",
    minutes: Annotated[
        int, typer.Option("--minutes", min=1, help="When to give up, and to remove everything.")
    ] = 90,
    limit: Annotated[
        float, typer.Option("--limit", metavar="USD", help="Most that the nodes may cost.")
    ] = 2.0,
    compare: Annotated[
        Path | None,
        typer.Option("--compare", metavar="FILE", help="Result of another rehearsal, as JSON."),
    ] = None,
    clean_up: Annotated[
        bool, typer.Option("--clean-up", help="Only delete what earlier rehearsals have left.")
    ] = False,
    yes: options.Yes = False,
    as_json: options.Json = False,
    cwd: options.Folder = Path(),
) -> None:
    """Deploy, change, lose, recover and destroy a stack of its own in the account, and time it.

    Costs money. Touches nothing that does not carry the mark of a rehearsal.
    """
    from doks_gitops.account import DigitalOceanClient
    from doks_gitops.promotion.repository import clone
    from doks_gitops.rehearsal import run
    from doks_gitops.rehearsal.stack import Plan
    from doks_gitops.stack import Stack

    if clean_up:
        run.clean_up()
        return
    options.require_an_answer(yes=yes, how="to spend money without a question")
    plan = Plan.like(like, run.new_name(), Stack(like, cwd).text())
    with DigitalOceanClient.from_environment() as client:
        price = run.most_expensive(plan, minutes, client)
    if price > Decimal(str(limit)):
        raise PlatformError(
            f"The nodes of the rehearsal may cost {price} USD, more than the limit of {limit} USD.",
            f"bin/platform rehearse --limit {price}, or fewer --minutes",
        )
    if not yes:
        typer.confirm(
            f"Make the cluster {plan.name} in {plan.cluster.region}? Its nodes cost at most {price}"
            " USD; what its applications make is not included.",
            abort=True,
        )
    other = [run.Step(**step) for step in json.loads((compare or run.SANDBOX).read_text())]
    with clone(repo, cwd) as tree:
        tree.git("fetch", "--quiet", "origin")
        steps = run.Rehearsal(plan, cwd, tree, minutes).run()
    text = run.table(steps, other)
    print(json.dumps([asdict(step) for step in steps], indent=2) if as_json else text)
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(summary).open("a") as stream:
            stream.write(text + "\n")
