"""`bin/platform rehearse`."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from doks_gitops.cli import options
from doks_gitops.cli.help import examples
from doks_gitops.cli.output import publish
from doks_gitops.errors import PlatformError

if TYPE_CHECKING:
    from doks_gitops.account import RunningCluster

app = typer.Typer()
_LONGEST_MINUTES = 240


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
        int,
        typer.Option(
            "--minutes",
            min=1,
            max=_LONGEST_MINUTES,
            help="When to give up, and to remove everything.",
        ),
    ] = 90,
    limit: Annotated[
        float, typer.Option("--limit", metavar="USD", help="Most that the nodes may cost.")
    ] = 2.0,
    compare: Annotated[
        Path | None,
        typer.Option("--compare", metavar="FILE", help="Result of another rehearsal, as JSON."),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option("--name", help="Name of the rehearsal's cluster. Default: a random one."),
    ] = None,
    clean_up: Annotated[
        bool,
        typer.Option(
            "--clean-up",
            help="Only delete what rehearsals have left that can't run any more, or with --name"
            " what that one has left.",
        ),
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
    from doks_gitops.rehearsal.account import NAME
    from doks_gitops.rehearsal.stack import Plan
    from doks_gitops.stack import Stack

    if name is not None and not NAME.fullmatch(name):
        raise typer.BadParameter("It must match " + NAME.pattern, param_hint="--name")
    if clean_up:
        _clean_up(name, yes=yes)
        return
    options.require_an_answer(yes=yes, how="to spend money without a question")
    plan = Plan.like(like, name or run.new_name(), Stack(like, cwd).text())
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
    results = [asdict(step) for step in steps] if as_json else None
    publish(run.table(steps, other), results=results)


def _clean_up(name: str | None, *, yes: bool) -> None:
    """Delete what rehearsals have left in the account: the one of that name, or all that began so
    long ago that they can't run any more. Raises `PlatformError`."""
    from doks_gitops.account import DigitalOceanClient
    from doks_gitops.rehearsal.account import Rehearsed, rehearsed_clusters
    from doks_gitops.rehearsal.run import split_by_age

    with DigitalOceanClient.from_environment() as client:
        clusters = [c for c in rehearsed_clusters(client) if name in (None, c.name)]
        # Whoever names a rehearsal knows that it has ended.
        longest = timedelta(minutes=_LONGEST_MINUTES)
        ended, running = split_by_age(clusters, longest) if name is None else (clusters, [])
        for cluster in running:
            print(
                f"{_described(cluster)} stays: its rehearsal may still run. If it does not:"
                f" bin/platform rehearse --clean-up --name {cluster.name}"
            )
        if not ended:
            print("There is nothing to delete.")
            return
        for cluster in ended:
            print(f"{_described(cluster)} is to be deleted, with all that it has made.")
        options.require_an_answer(yes=yes, how="to delete without a question")
        if not yes:
            typer.confirm("Delete this?", abort=True)
        Rehearsed(client, {cluster.name for cluster in ended}).delete(())
    print("Nothing of it is left.")


def _described(cluster: RunningCluster) -> str:
    age = (
        "of unknown age"
        if cluster.created is None
        else f"{(datetime.now(UTC) - cluster.created) / timedelta(hours=1):.1f} h old"
    )
    return f"The cluster {cluster.name} ({cluster.id}, {age})"
