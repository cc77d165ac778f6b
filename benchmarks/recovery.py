"""The time of a recovery and of its phases."""

from pathlib import Path

from benchmarks.bench import DEV, Bench, Result
from benchmarks.cost import empty_project
from sandbox.drills import lost_argocd, lost_cluster, lost_secrets, lost_volumes
from sandbox.drills.drill import PULUMI, Phase
from sandbox.drills.timeline import write

GOAL = 0.1
CLUSTER = 60.0
"""Seconds to create a cluster on DigitalOcean: a low estimate, as it takes minutes."""


def measure(bench: Bench, picture: Path | None) -> list[Result]:
    """`picture`: the file to draw. None: none."""
    rows: dict[str, list[Phase]] = {}
    results = []
    for drill in (
        lost_cluster.DRILL,
        lost_secrets.DRILL,
        lost_volumes.DRILL,
        lost_argocd.DRILL,
    ):
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
    if picture is not None:
        write(picture, rows)
    # The time of an empty program is the engine's, not the platform's.
    engine = bench.run("pulumi", "preview", "--stack", DEV, folder=empty_project(bench))
    phases = rows[lost_cluster.DRILL.name]
    sandbox = phases[-1].end
    platform = max(0.0, _seconds(phases, PULUMI) - engine)
    account = sandbox - _seconds(phases, "cluster") + CLUSTER
    results.append(
        Result(
            "lost-cluster without the cluster, Argo CD and an empty program: the platform's part",
            f"{platform:.1f} s: {platform / sandbox:.0%} in the sandbox, with its fast cluster;"
            f" {platform / account:.0%} with one that takes {CLUSTER:g} s",
            f"under {GOAL:.0%} with that",
            platform / account < GOAL,
        )
    )
    return results


def _seconds(phases: list[Phase], name: str) -> float:
    return sum(phase.end - phase.begin for phase in phases if phase.name == name)


def _parts(phases: list[Phase]) -> str:
    names = dict.fromkeys(phase.name for phase in phases)
    parts = {name: _seconds(phases, name) for name in names}
    return ", ".join(f"{name} {seconds:.1f}" for name, seconds in parts.items() if seconds >= 0.05)
