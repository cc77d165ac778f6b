"""The time of the program itself: a run without changes, compared with an empty program."""

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
"""The imports of every program that declares a cluster and objects in it, as fast as the platform's
own."""


def measure(bench: Bench) -> list[Result]:
    empty_folder = empty_project(bench)
    with_sdks = plain_project(bench, "sdks", _IMPORTS)
    results = []
    for name, words in (
        ("preview", ("preview",)),
        ("up", ("up", "--yes", "--skip-preview")),
    ):
        command = ("pulumi", *words, "--stack", DEV)
        seconds = bench.side_by_side(
            {
                f"{name}, empty program": partial(bench.run, *command, folder=empty_folder),
                f"{name}, imports alone": partial(bench.run, *command, folder=with_sdks),
                f"{name}, dev": partial(bench.run, *command),
            }
        )
        empty, imports, platform = seconds.values()
        ratio = platform / empty
        results.append(
            Result(
                f"`pulumi {name}` that changes nothing, one application",
                f"{platform:.1f} s; the empty program {empty:.1f} s: {ratio:.1f} times",
                f"{GOAL} times" if name == "preview" else "",
                ratio <= GOAL if name == "preview" else None,
            )
        )
        results.append(
            Result(
                f"`pulumi {name}` of a program that only imports the providers' SDKs",
                f"{imports:.1f} s: {imports / empty:.1f} times the empty program;"
                f" the platform takes {platform / imports:.1f} times as long as this",
            )
        )
    return results


def empty_project(bench: Bench) -> Path:
    """A project with an empty program."""
    return plain_project(bench, "empty", "import pulumi\n")


def plain_project(bench: Bench, name: str, program: str) -> Path:
    """A project with that program, this checkout's virtual environment and a stack `dev`."""
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
