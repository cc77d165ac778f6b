"""`bin/sandbox drill`: lose something, and get it back."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from sandbox import session
from sandbox.client import SandboxError
from sandbox.drills import timeline
from sandbox.drills.drill import Context, Drill, Failed, Phase
from sandbox.paths import Home

# In the order in which they disturb each other least.
MODULES = (
    "lost_argocd",
    "lost_registry",
    "bad_deployment",
    "expired_credentials",
    "lost_state",
    "lost_cluster",
    "lost_region",
    "killed_up",
)
ALL = "all"
console = Console(highlight=False)


def drills() -> dict[str, Drill]:
    """All drills by name."""
    found = [import_module(f"sandbox.drills.{module}").DRILL for module in MODULES]
    return {drill.name: drill for drill in found}


def drill(
    name: Annotated[str, typer.Argument(help="A drill, or all; none: list them.")] = "",
    timeline_file: Annotated[
        Path | None, typer.Option("--timeline", help="File to draw the recoveries in (SVG).")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="File to write the results in.")
    ] = None,
    moments: Annotated[
        int, typer.Option(help="killed-up: moments to kill at, in a first deployment and in all.")
    ] = 20,
    limits: Annotated[
        bool,
        typer.Option(
            "--limits",
            help="Fail what takes longer than its limit; for a machine with nothing else to do.",
        ),
    ] = False,
    keep: Annotated[bool, typer.Option(help="Keep the drills' sandbox, to look at it.")] = False,
) -> None:
    """Lose something, and get it back by the documented command.

    Runs in a sandbox of its own beside yours.
    """
    known = drills()
    if not name:
        for each in known.values():
            console.print(f"[bold]{each.name}[/]  {each.promise}")
        return
    if name != ALL and name not in known:
        raise SandboxError(f"There is no drill {name!r}; choose from {', '.join([*known, ALL])}.")
    chosen = list(known.values()) if name == ALL else [known[name]]
    results = run(chosen, {"moments": moments, "limits": limits}, keep=keep)
    console.print(_table(results))
    if json_file:
        json_file.write_text(json.dumps(results, indent=2))
    if timeline_file:
        rows = {r["name"]: [Phase(**each) for each in r["phases"]] for r in results if r["phases"]}
        timeline.write(timeline_file, rows)
    if failed := [result["name"] for result in results if not result["passed"]]:
        raise SandboxError(f"Not passed: {', '.join(failed)}. Why is above.")


def run(chosen: list[Drill], options: dict[str, Any], *, keep: bool) -> list[dict[str, Any]]:
    """Run the drills one after the other in one sandbox."""
    users = Home.default()
    own = Home(users.root.with_name(f"{users.root.name}-drills"))
    os.environ["SANDBOX_HOME"] = str(own.root)
    results = []
    try:
        daemon, pulumi = session.start(own, None, console)
        for each in chosen:
            console.rule(f"{each.name}: {each.promise}", align="left")
            context = Context(own, daemon, pulumi, console, options)
            begin, why = time.monotonic(), None
            try:
                each.run(context)
                if options["limits"]:
                    check_limit(each, context.seconds)
            except (Failed, SandboxError) as failure:
                why = str(failure)
                console.print(f"[red]not passed:[/] {why}", soft_wrap=True)
            results.append(
                {
                    "name": each.name,
                    "seconds": context.seconds,
                    "limit": each.limit,
                    "passed": why is None,
                    "why": why,
                    "total": time.monotonic() - begin,
                    "phases": [asdict(phase) for phase in context.phases],
                }
            )
    finally:
        if not keep:
            session.remove(own)
    return results


def check_limit(drill: Drill, seconds: float | None) -> None:
    """Raises Failed if the recovery took longer than the drill allows."""
    if drill.limit and seconds and seconds > drill.limit:
        raise Failed(f"it took {seconds:.1f} s, more than {drill.limit:g} s")


def _table(results: list[dict[str, Any]]) -> Table:
    table = Table("Drill", "Lost to well", "At most", "Whole drill", "", box=None)
    for result in results:
        table.add_row(
            result["name"],
            f"{result['seconds']:.1f} s" if result["seconds"] is not None else "-",
            f"{result['limit']:g} s" if result["limit"] else "-",
            f"{result['total']:.0f} s",
            "[green]passed[/]" if result["passed"] else "[red]not passed[/]",
        )
    return table
