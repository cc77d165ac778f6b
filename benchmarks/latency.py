"""The time from a push until Argo CD has synced it, by webhook and by polling."""

import statistics
import time
from pathlib import Path

from benchmarks.bench import DEV, Bench, Result
from sandbox import session

BY_WEBHOOK, BY_POLLING = 20, 5
GOAL = 5.0


def measure(bench: Bench) -> list[Result]:
    with bench.context.clone() as clone:
        by_polling = [_seconds(bench, clone, number) for number in range(BY_POLLING)]
        session.start(bench.home, None, bench.console, webhooks=True)
        bench.run("pulumi", "up", "--yes", "--skip-preview", "--stack", DEV)
        bench.context.until("Argo CD is back", bench.context.is_well)
        by_webhook = [_seconds(bench, clone, BY_POLLING + number) for number in range(BY_WEBHOOK)]
    median = statistics.median(by_webhook)
    return [
        Result(
            f"a push until it is Synced, by webhook (median of {BY_WEBHOOK})",
            f"{median:.1f} s",
            f"{GOAL:g} s",
            median <= GOAL,
        ),
        Result(
            f"a push until it is Synced, by polling every 10 s (median of {BY_POLLING};"
            " Argo CD's own interval is 3 minutes)",
            f"{statistics.median(by_polling):.1f} s",
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
        kustomization = file.with_name("kustomization.yaml")
        kustomization.write_text(
            kustomization.read_text().replace("resources:\n", "resources:\n  - benchmark.yaml\n", 1)
        )
    context.git(clone, "add", "--all")
    context.git(clone, "commit", "--quiet", "--message", f"benchmark {number}")
    begin = time.monotonic()
    context.git(clone, "push", "--quiet")
    context.until("the commit is Synced", context.is_well)
    seconds = time.monotonic() - begin
    bench.say(f"{seconds:.1f} s")
    return seconds
