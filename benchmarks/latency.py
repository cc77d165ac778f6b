"""From a push until Argo CD has synced it: told by webhook, and found by asking."""

import statistics
import time
from pathlib import Path

from benchmarks.bench import DEV, Bench, Result
from sandbox import session

TOLD, ASKED = 20, 5
GOAL = 5.0


def measure(bench: Bench) -> list[Result]:
    with bench.context.clone() as clone:
        asked = [_seconds(bench, clone, number) for number in range(ASKED)]
        session.start(bench.home, None, bench.console, webhooks=True)
        bench.run("pulumi", "up", "--yes", "--skip-preview", "--stack", DEV)
        bench.context.until("Argo CD is back", bench.context.is_well)
        told = [_seconds(bench, clone, ASKED + number) for number in range(TOLD)]
    median = statistics.median(told)
    return [
        Result(
            f"a push until it is Synced, by webhook (median of {TOLD})",
            f"{median:.1f} s",
            f"{GOAL:g} s",
            median <= GOAL,
        ),
        Result(
            f"a push until it is Synced, by asking every 10 s (median of {ASKED}; Argo CD's own"
            " interval is 3 minutes)",
            f"{statistics.median(asked):.1f} s",
        ),
    ]


def _seconds(bench: Bench, clone: Path, number: int) -> float:
    context = bench.context
    file = clone / "kustomize" / DEV / "benchmark.yaml"
    first = not file.exists()
    file.write_text(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: benchmark}\n"
        f'data: {{number: "{number}"}}\n'
    )
    if first:
        listed = file.with_name("kustomization.yaml")
        listed.write_text(
            listed.read_text().replace("resources:\n", "resources:\n  - benchmark.yaml\n", 1)
        )
    context.git(clone, "add", "--all")
    context.git(clone, "commit", "--quiet", "--message", f"benchmark {number}")
    begin = time.monotonic()
    context.git(clone, "push", "--quiet")
    context.until("the commit is Synced", context.is_well)
    seconds = time.monotonic() - begin
    bench.say(f"{seconds:.1f} s")
    return seconds
