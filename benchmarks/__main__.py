"""`bin/benchmark`: measures, and writes docs/benchmarks.md and its pictures."""

import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from benchmarks import cost, diff, growth, latency, pull_requests, recovery, rehearsal, setup
from benchmarks.bench import Bench, Failed, Result, bench, machine
from doks_gitops.rehearsal.run import SANDBOX as REHEARSAL
from sandbox.drills.drill import Failed as DrillFailed
from sandbox.errors import SandboxError
from sandbox.paths import REPOSITORY


class Part(StrEnum):
    """The parts, in their order."""

    COST = "cost"
    LATENCY = "latency"
    RECOVERY = "recovery"
    REHEARSAL = "rehearsal"
    SETUP = "set-up"
    DIFF = "diff"
    GROWTH = "growth"
    PULL_REQUESTS = "pull-requests"
    """The last one in the sandbox: it leaves the stack with environments of pull requests."""
    COLD = "cold"


console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)


def main(
    runs: Annotated[int, typer.Option(help="How often each value is measured.", min=1)] = 5,
    cold: Annotated[
        bool, typer.Option(help="Build every tool from nothing, too. Not with --only.")
    ] = False,
    only: Annotated[
        list[Part] | None,
        typer.Option(
            help="Print only this part, and write neither the page nor its pictures; may be given"
            " several times. The times of a rehearsal are written all the same."
        ),
    ] = None,
    write_to: Annotated[Path, typer.Option(help="The page to write.")] = REPOSITORY
    / "docs"
    / "benchmarks.md",
) -> None:
    """Measure the time that the platform takes, in a separate sandbox.

    Run nothing else on the machine at the same time.
    """
    if cold and only:
        raise typer.BadParameter("--only names the parts: --only cold", param_hint="--cold")

    def picture(name: str) -> Path | None:
        if only:
            return None
        file = write_to.parent / "pictures" / name
        file.parent.mkdir(exist_ok=True)
        return file

    measures: dict[Part, Callable[[Bench], Sequence[Result]]] = {
        Part.COST: cost.measure,
        Part.LATENCY: latency.measure,
        Part.RECOVERY: partial(recovery.measure, picture=picture("recovery.svg")),
        Part.REHEARSAL: partial(rehearsal.measure, file=REHEARSAL),
        Part.SETUP: setup.measure,
        Part.DIFF: diff.measure,
        Part.GROWTH: partial(growth.measure, picture=picture("growth.svg")),
        Part.PULL_REQUESTS: pull_requests.measure,
        Part.COLD: setup.cold,
    }
    parts = only or [part for part in Part if cold or part is not Part.COLD]
    results: list[Result] = []
    with bench(console, runs) as sandbox:
        for part in Part:
            if part in parts:
                measured = measures[part](sandbox)
                results.extend(measured)
                console.print(_table(part, measured))
    if only:
        return
    write_to.write_text(_page(results, runs))
    console.print(f"Written: {write_to}")


def _table(name: str, results: Sequence[Result]) -> Table:
    table = Table(name, "Measured", "Goal", "", box=None)
    for result in results:
        met = {None: "", True: "[green]met[/]", False: "[red]not met[/]"}[result.met]
        table.add_row(result.subject, result.measured, result.goal, met)
    return table


def _page(results: Sequence[Result], runs: int) -> str:
    met = {None: "", True: "met", False: "**not met**"}
    rows = "\n".join(
        f"| {result.subject} | {result.measured} | {result.goal} | {met[result.met]} |"
        for result in results
    )
    return f"""# Benchmarks

Written by `bin/benchmark` on {datetime.now(UTC):%Y-%m-%d}, in the sandbox, on {machine()}.
Each value is the median of {runs} runs. Runs that are compared alternate, so that other load
slows all of them. Ratios are more reliable than seconds.

| what | measured | goal | |
| --- | --- | --- | --- |
{rows}

The time of each recovery, by part ("Pulumi" is the engine, its plugins and this program):

![recovery](pictures/recovery.svg)

The time of a preview, by the number of applications:

![growth](pictures/growth.svg)
"""


if __name__ == "__main__":
    try:
        typer.run(main)
    except (Failed, DrillFailed, SandboxError) as error:
        errors.print(f"error: {error}", markup=False)
        sys.exit(1)
