"""The time and the memory that a new sandbox takes."""

import tempfile
from pathlib import Path

from benchmarks.bench import Bench, Result
from sandbox.paths import REPOSITORY

GIB = 2**30
_SANDBOX = str(REPOSITORY / "bin" / "sandbox")


def measure(bench: Bench) -> list[Result]:
    dev_memory = bench.daemon.get("/sandbox/status")["memory"]
    new_stack = bench.run("pulumi", "up", "--yes", "--skip-preview", "--stack", "staging")
    others = new_stack + bench.run(_SANDBOX, "up", "staging", "prod")
    all_memory = bench.daemon.get("/sandbox/status")["memory"]
    for stack in ("staging", "prod"):
        bench.run("pulumi", "config", "set", "--path", "doks-gitops:cluster.protect", "false",
                  "--stack", stack)  # fmt: skip
        bench.run("pulumi", "up", "--yes", "--skip-preview", "--stack", stack)
        bench.run("pulumi", "destroy", "--yes", "--skip-preview", "--stack", stack)
    return [
        Result("a new sandbox with dev, the tools being there", f"{bench.first:.0f} s", "1 min",
               bench.first <= 60),
        Result("`pulumi up` of a new stack", f"{new_stack:.0f} s", "40 s", new_stack <= 40),
        Result("staging and prod beside it", f"{others:.0f} s"),
        Result("memory of a sandbox",
               f"{_gib(dev_memory)} with dev, {_gib(all_memory)} with all three",
               "5 GiB with all three", all_memory < 5 * GIB),
    ]  # fmt: skip


def cold(bench: Bench) -> list[Result]:
    """A sandbox without cached tools: every tool is built from source."""
    with tempfile.TemporaryDirectory(prefix="cold-") as folder:
        home = str(Path(folder, "sandbox"))
        seconds = bench.run(_SANDBOX, "up", "--build", XDG_CACHE_HOME=folder, SANDBOX_HOME=home)
        bench.run(_SANDBOX, "reset", "--yes", XDG_CACHE_HOME=folder, SANDBOX_HOME=home)
    return [
        Result("a new sandbox with dev from nothing, every tool built from source",
               f"{seconds / 60:.0f} min", "35 min", seconds <= 35 * 60),
    ]  # fmt: skip


def _gib(size: float) -> str:
    return f"{size / GIB:.1f} GiB"
