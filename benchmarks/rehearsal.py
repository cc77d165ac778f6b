"""The time of each step of a rehearsal, for comparison with one on a real account."""

import json
import statistics
from dataclasses import asdict
from pathlib import Path

from benchmarks.bench import Bench, Result
from doks_gitops.rehearsal.run import Step
from doks_gitops.rehearsal.stack import GIT_PASSWORD
from sandbox.paths import REPOSITORY


def measure(bench: Bench, file: Path) -> list[Result]:
    """Writes the medians to `file`, as `bin/platform rehearse --json` does."""
    runs = [_rehearse(bench) for _ in range(bench.runs)]
    medians = [
        Step(steps[0].name, round(statistics.median(step.seconds for step in steps), 1))
        for steps in zip(*runs, strict=True)
    ]
    file.write_text(json.dumps([asdict(step) for step in medians], indent=2) + "\n")
    return [Result(f"a rehearsal: {step.name}", f"{step.seconds:.0f} s") for step in medians]


def _rehearse(bench: Bench) -> list[Step]:
    password = bench.daemon.get("/sandbox/repository")["password"]
    with bench.context.clone() as clone:
        output = bench.output(
            str(REPOSITORY / "bin" / "platform"), "rehearse", "--repo", str(clone), "--yes",
            "--json", **{GIT_PASSWORD: password},
        )  # fmt: skip
    steps = [Step(**step) for step in json.loads(output)]
    bench.say(", ".join(f"{step.name}: {step.seconds:.0f} s" for step in steps))
    return steps
