"""What the program itself costs: a run that changes nothing, against a program of nothing."""

from functools import partial
from pathlib import Path

from benchmarks.bench import DEV, Bench, Result
from sandbox.paths import REPOSITORY

GOAL = 1.5
_IMPORTS = """\
import gc
gc.disable()
import pulumi
import pulumi_digitalocean
import pulumi_kubernetes.apiextensions
import pulumi_kubernetes.core.v1
import pulumi_kubernetes.helm.v3
gc.freeze()
gc.enable()
"""
"""What no program can do without that declares a cluster and what is in it, loaded as fast as the
platform loads it."""


def measure(bench: Bench) -> list[Result]:
    empty = empty_project(bench)
    with_sdks = plain_project(bench, "sdks", _IMPORTS)
    results = []
    for name, words in (
        ("preview", ("preview",)),
        ("up", ("up", "--yes", "--skip-preview")),
    ):
        command = ("pulumi", *words, "--stack", DEV)
        seconds = bench.side_by_side(
            {
                f"{name}, empty program": partial(bench.run, *command, folder=empty),
                f"{name}, imports alone": partial(bench.run, *command, folder=with_sdks),
                f"{name}, dev": partial(bench.run, *command),
            }
        )
        nothing, imports, ours = seconds.values()
        ratio = ours / nothing
        results.append(
            Result(
                f"`pulumi {name}` that changes nothing, one application",
                f"{ours:.1f} s; the empty program {nothing:.1f} s: {ratio:.1f} times",
                f"{GOAL} times" if name == "preview" else "",
                ratio <= GOAL if name == "preview" else None,
            )
        )
        results.append(
            Result(
                f"`pulumi {name}` of a program that only imports the providers' SDKs",
                f"{imports:.1f} s: {imports / nothing:.1f} times the empty program;"
                f" the platform takes {ours / imports:.1f} times as long as this",
            )
        )
    return results


def empty_project(bench: Bench) -> Path:
    """A project whose program does nothing."""
    return plain_project(bench, "empty", "import pulumi\n")


def plain_project(bench: Bench, name: str, program: str) -> Path:
    """A project that runs that program as this one is run, with a stack `dev`."""
    folder = bench.home.folder(name)
    if any(folder.iterdir()):
        return folder
    (folder / ".venv").symlink_to(REPOSITORY / ".venv")
    (folder / "Pulumi.yaml").write_text(
        f"name: {folder.name}\nruntime: {{name: python, options: {{virtualenv: .venv}}}}\n"
    )
    (folder / "__main__.py").write_text(program)
    bench.run("pulumi", "stack", "init", DEV, folder=folder)
    return folder
