"""`bin/sandbox drill`: break something, and restore it with the documented command."""

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
from sandbox.arguments import RealProviders
from sandbox.drills import timeline
from sandbox.drills.drill import Context, Drill, Failed, Phase
from sandbox.errors import SandboxError
from sandbox.paths import Home

# The drills that change least come first.
MODULES = (
    "lost_argocd",
    "lost_registry",
    "bad_deployment",
    "expired_credentials",
    "rotated_token",
    "lost_state",
    "lost_cluster",
    "lost_secrets",
    "lost_volumes",
    "lost_region",
    "lost_region_volumes",
    "second_pool",
    "new_region",
    "killed_up",
)
ALL = "all"
POLLING = 20
"""Seconds that a recovery may take longer with the real providers: the plugin of DigitalOcean looks
only every ten seconds whether a cluster, and then whether a pool, runs."""
console = Console(highlight=False)


def drills() -> dict[str, Drill]:
    """The drills by their names."""
    all_drills = [import_module(f"sandbox.drills.{module}").DRILL for module in MODULES]
    return {drill.name: drill for drill in all_drills}


def drill(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="DRILL...", help="Drills, or all; without: list the drills."),
    ] = None,
    timeline_file: Annotated[
        Path | None, typer.Option("--timeline", help="SVG file for a timeline of the recoveries.")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="JSON file for the results.")
    ] = None,
    moments: Annotated[
        int, typer.Option(help="killed-up: moments to kill at, in a first deployment and in all.")
    ] = 20,
    replacements: Annotated[
        int, typer.Option(help="killed-up: moments to kill at, in replacements of the cluster.")
    ] = 10,
    limits: Annotated[
        bool,
        typer.Option(
            "--limits",
            help="Fail what takes longer than its limit; for a machine with nothing else to do.",
        ),
    ] = False,
    keep: Annotated[bool, typer.Option(help="Keep the drills' sandbox for inspection.")] = False,
    real_providers: RealProviders = False,
) -> None:
    """Break something, and restore it with the documented command.

    The drills run in a sandbox of their own, beside yours.
    """
    available = drills()
    if not names:
        for drill in available.values():
            console.print(f"[bold]{drill.name}[/]  {drill.promise}")
        return
    if unknown := set(names) - {*available, ALL}:
        choices = ", ".join([*available, ALL])
        raise SandboxError(f"There is no drill {min(unknown)!r}; choose from {choices}.")
    chosen = [drill for drill in available.values() if {drill.name, ALL} & {*names}]
    options = {"moments": moments, "replacements": replacements, "limits": limits}
    results = run(chosen, options, keep=keep, real_providers=real_providers)
    console.print(_table(results))
    if json_file:
        json_file.write_text(json.dumps(results, indent=2))
    if timeline_file:
        rows = {
            result["name"]: [Phase(**phase) for phase in result["phases"]]
            for result in results
            if result["phases"]
        }
        timeline.write(timeline_file, rows)
    if failed := [result["name"] for result in results if not result["passed"]]:
        raise SandboxError(f"Not passed: {', '.join(failed)}. The reasons are above.")


def run(
    chosen: list[Drill], options: dict[str, Any], *, keep: bool, real_providers: bool
) -> list[dict[str, Any]]:
    """Run the drills one after the other in a new sandbox."""
    root = Home.default().root
    home = Home(root.with_name(f"{root.name}-drills"))
    os.environ["SANDBOX_HOME"] = str(home.root)
    results = []
    try:
        daemon, pulumi = session.start(home, None, console, real_providers=real_providers)
        for drill in chosen:
            console.rule(f"{drill.name}: {drill.promise}", align="left")
            context = Context(home, daemon, pulumi, console, options)
            started, reason = time.monotonic(), None
            try:
                drill.run(context)
                if options["limits"]:
                    check_limit(drill, context.seconds, slack=POLLING if real_providers else 0)
            except (Failed, SandboxError) as failure:
                reason = str(failure)
                console.print(f"[red]not passed:[/] {reason}", soft_wrap=True)
            results.append(
                {
                    "name": drill.name,
                    "seconds": context.seconds,
                    "limit": drill.limit,
                    "passed": reason is None,
                    "why": reason,
                    "total": time.monotonic() - started,
                    "phases": [asdict(phase) for phase in context.phases],
                }
            )
    finally:
        if not keep:
            session.remove(home)
    return results


def check_limit(drill: Drill, seconds: float | None, *, slack: float = 0) -> None:
    """Raise Failed if the recovery took longer than the drill's limit and `slack` seconds."""
    limit = drill.limit and drill.limit + slack
    if limit and seconds and seconds > limit:
        raise Failed(f"it took {seconds:.1f} s, more than {limit:g} s")


def _table(results: list[dict[str, Any]]) -> Table:
    table = Table("Drill", "Recovery", "Limit", "Whole drill", "", box=None)
    for result in results:
        table.add_row(
            result["name"],
            f"{result['seconds']:.1f} s" if result["seconds"] is not None else "-",
            f"{result['limit']:g} s" if result["limit"] else "-",
            f"{result['total']:.0f} s",
            "[green]passed[/]" if result["passed"] else "[red]not passed[/]",
        )
    return table
