"""How long a recovery takes, and where the time goes."""

from pathlib import Path

from benchmarks.bench import DEV, Bench, Result
from benchmarks.cost import empty_project
from sandbox.drills import lost_argocd, lost_cluster
from sandbox.drills.drill import OURS, Phase
from sandbox.drills.timeline import write

GOAL = 0.1
CLUSTER = 60.0
"""Seconds to make a cluster, at least, where it is not emulated: DigitalOcean takes minutes."""


def measure(bench: Bench, picture: Path) -> list[Result]:
    rows: dict[str, list[Phase]] = {}
    results = []
    for drill in (lost_cluster.DRILL, lost_argocd.DRILL):
        context = bench.context
        drill.run(context)
        seconds = context.seconds
        assert seconds is not None
        assert drill.limit is not None
        rows[drill.name] = context.phases
        results.append(
            Result(
                f"{drill.name}, until every application is Healthy",
                f"{seconds:.1f} s: {_parts(context.phases)}",
                f"{drill.limit:g} s",
                seconds <= drill.limit,
            )
        )
    write(picture, rows)
    # What any Pulumi program needs is the engine's, not ours.
    engine = bench.run("pulumi", "preview", "--stack", DEV, folder=empty_project(bench))
    whole = rows[lost_cluster.DRILL.name]
    here = whole[-1].end
    ours = max(0.0, _seconds(whole, OURS) - engine)
    there = here - _seconds(whole, "cluster") + CLUSTER
    results.append(
        Result(
            "our part of lost-cluster: what is not the cluster, Argo CD or an empty program",
            f"{ours:.1f} s: {ours / here:.0%} in the sandbox, whose cluster is there in seconds;"
            f" {ours / there:.0%} with one that takes {CLUSTER:g} s",
            f"under {GOAL:.0%} with that",
            ours / there < GOAL,
        )
    )
    return results


def _seconds(phases: list[Phase], name: str) -> float:
    return sum(each.end - each.begin for each in phases if each.name == name)


def _parts(phases: list[Phase]) -> str:
    names = dict.fromkeys(each.name for each in phases)
    parts = {name: _seconds(phases, name) for name in names}
    return ", ".join(f"{name} {seconds:.1f}" for name, seconds in parts.items() if seconds >= 0.05)
