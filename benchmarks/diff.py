"""The time and the memory of `bin/platform diff`."""

import shutil
import tempfile
import threading
import time
from functools import partial
from pathlib import Path

import psutil
import yaml

from benchmarks.bench import Bench, Result
from doks_gitops.environments import ENVIRONMENTS
from sandbox.paths import REPOSITORY

MANY = 100
"""Applications of the large repository."""
_PLATFORM = str(REPOSITORY / "bin" / "platform")
_SANDBOX = str(REPOSITORY / "bin" / "sandbox")
_GUIDE = REPOSITORY / "tests" / "data" / "microservices-demo"
_URL = "https://git.example.com/team/microservices-demo.git"
_CHANGED = Path("kustomize/base/paymentservice.yaml")
_SAMPLE = 0.05
"""Seconds between two looks at the memory."""


def measure(bench: Bench) -> list[Result]:
    guide, large = (bench.home.folder(name) for name in ("diff-guide", "diff-large"))
    _clone(bench, guide, {stack: {"demo": f"kustomize/{stack}"} for stack in ENVIRONMENTS})
    _clone(bench, large, {"dev": _overlays(large)})
    stacks = (word for stack in ENVIRONMENTS for word in ("--stack", stack))
    warm = partial(_run, bench, guide, *stacks)
    many = partial(_run, bench, large, "--stack", "dev")
    cold = partial(_cold, bench, guide)
    seconds = bench.side_by_side({"diff, warm": warm, "cold": cold, "many": many})
    warm_seconds, cold_seconds, many_seconds = seconds.values()
    warm_memory, many_memory = (_peak(command) / 2**20 for command in (warm, many))
    return [
        _result("`bin/platform diff` of a changed base, the guide's three environments",
                warm_seconds, 5),
        _result("the same with `bin/sandbox start` before it, as in a workflow, the tools being"
                " there", cold_seconds, 30),
        _result(f"`bin/platform diff` of a changed base, {MANY} applications", many_seconds, 20),
        Result("memory of `bin/platform diff`, all its processes",
               f"{warm_memory:.0f} MiB for the three environments, {many_memory:.0f} MiB for {MANY}"
               " applications"),
    ]  # fmt: skip


def _result(subject: str, seconds: float, goal: float) -> Result:
    return Result(subject, f"{seconds:.1f} s", f"{goal} s", seconds <= goal)


def _run(bench: Bench, clone: Path, *words: str) -> float:
    return bench.run(_PLATFORM, "diff", "--repo", str(clone), "-C", str(clone), "--base", "main",
                     *words)  # fmt: skip


def _cold(bench: Bench, clone: Path) -> float:
    with tempfile.TemporaryDirectory(prefix="cold-diff-") as folder:
        run = partial(bench.run, SANDBOX_HOME=str(Path(folder, "sandbox")))
        options = ("--repo", str(clone), "-C", str(clone), "--base", "main")
        seconds = run(_SANDBOX, "start") + run(_SANDBOX, "run", _PLATFORM, "diff", *options)
        run(_SANDBOX, "reset", "--yes")
    return seconds


def _peak(command: partial[float]) -> int:
    """The most memory, in bytes, that the processes of the command have at once."""
    this, peak, ended = psutil.Process(), 0, threading.Event()

    def sample() -> None:
        nonlocal peak
        before = set(this.children(recursive=True))
        while not ended.is_set():
            used = 0
            for process in set(this.children(recursive=True)) - before:
                try:
                    used += process.memory_full_info().pss
                except psutil.Error:
                    continue
            peak = max(peak, used)
            time.sleep(_SAMPLE)

    sampler = threading.Thread(target=sample)
    sampler.start()
    try:
        command()
    finally:
        ended.set()
        sampler.join()
    return peak


def _overlays(folder: Path) -> dict[str, str]:
    """Write the overlays of many applications; returns their paths by name."""
    paths = {f"app-{number}": f"overlays/{number}" for number in range(MANY)}
    for name, path in paths.items():
        (folder / path).mkdir(parents=True)
        content = {"namePrefix": f"{name}-", "resources": ["../../kustomize/base"]}
        (folder / path / "kustomization.yaml").write_text(yaml.safe_dump(content))
    return paths


def _clone(bench: Bench, folder: Path, applications: dict[str, dict[str, str]]) -> None:
    """A clone of the guide's monorepo, whose branch `change` changes the base of everything.

    `applications`: paths by name, by stack.
    """
    shutil.copytree(_GUIDE, folder, dirs_exist_ok=True)
    for stack, paths in applications.items():
        content = yaml.safe_load((REPOSITORY / f"Pulumi.{stack}.yaml").read_text())
        config = content["config"]
        config["doks-gitops:repositories"] = {"monorepo": {"url": _URL}}
        config["doks-gitops:applications"] = {
            name: {"revision": "main", "path": path, "namespace": f"microservices-demo-{stack}"}
            for name, path in paths.items()
        }
        (folder / f"Pulumi.{stack}.yaml").write_text(yaml.safe_dump(content))
    changed = folder / _CHANGED
    git = partial(bench.context.git, folder)
    git("init", "--quiet", "--initial-branch=main")
    for branch in ("main", "change"):
        if branch == "change":
            git("switch", "--quiet", "--create", branch)
            changed.write_text(changed.read_text().replace("cpu: 100m", "cpu: 150m"))
        git("add", "--all")
        git(
            *("-c", "user.name=a", "-c", "user.email=a@example.com"), "commit", "--quiet", "-m", "a"
        )
