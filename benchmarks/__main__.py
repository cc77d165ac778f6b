"""`bin/benchmark`: measures, and writes docs/benchmarks.md and its pictures."""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from benchmarks import cost, diff, growth, latency, pull_requests, recovery, rehearsal, setup
from benchmarks.bench import Failed, Result, bench, machine
from doks_gitops.rehearsal.run import SANDBOX as REHEARSAL
from sandbox.drills.drill import Failed as DrillFailed
from sandbox.errors import SandboxError
from sandbox.paths import REPOSITORY

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)


def main(
    runs: Annotated[int, typer.Option(help="How often each value is measured.", min=1)] = 5,
    cold: Annotated[bool, typer.Option(help="Build every tool from nothing, too.")] = False,
    only_rehearsal: Annotated[
        bool, typer.Option("--rehearsal", help="Only what `bin/platform rehearse` compares with.")
    ] = False,
    write_to: Annotated[Path, typer.Option(help="The page to write.")] = REPOSITORY
    / "docs"
    / "benchmarks.md",
) -> None:
    """Measure the time that the platform takes, in a separate sandbox.

    Run nothing else on the machine at the same time.
    """
    if only_rehearsal:
        with bench(console, runs) as sandbox:
            console.print(_table("Rehearsal", rehearsal.measure(sandbox, REHEARSAL)))
        console.print(f"Written: {REHEARSAL}")
        return
    pictures = write_to.parent / "pictures"
    pictures.mkdir(exist_ok=True)
    results: list[Result] = []

    def part(name: str, measured: Sequence[Result]) -> None:
        results.extend(measured)
        console.print(_table(name, measured))

    with bench(console, runs) as sandbox:
        part("Cost", cost.measure(sandbox))
        part("Latency", latency.measure(sandbox))
        part("Recovery", recovery.measure(sandbox, pictures / "recovery.svg"))
        part("Rehearsal", rehearsal.measure(sandbox, REHEARSAL))
        part("Set-up", setup.measure(sandbox))
        part("Diff", diff.measure(sandbox))
        part("Growth", growth.measure(sandbox, pictures / "growth.svg"))
        part("Pull requests", pull_requests.measure(sandbox))
        if cold:
            part("Cold set-up", setup.cold(sandbox))
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
