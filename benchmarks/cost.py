"""What the program itself costs: a run that changes nothing, against a program of nothing."""

from functools import partial
from pathlib import Path

from benchmarks.bench import DEV, Bench, Result
from sandbox.paths import REPOSITORY

GOAL = 1.5


def measure(bench: Bench) -> list[Result]:
    empty = empty_project(bench)
    results = []
    for name, words in (
        ("preview", ("preview",)),
        ("up", ("up", "--yes", "--skip-preview")),
    ):
        command = ("pulumi", *words, "--stack", DEV)
        seconds = bench.side_by_side(
            {
                f"{name}, empty program": partial(bench.run, *command, folder=empty),
                f"{name}, dev": partial(bench.run, *command),
            }
        )
        nothing, ours = seconds.values()
        ratio = ours / nothing
        results.append(
            Result(
                f"`pulumi {name}` that changes nothing, one application",
                f"{ours:.1f} s; the empty program {nothing:.1f} s: {ratio:.1f} times",
                f"{GOAL} times" if name == "preview" else "",
                ratio <= GOAL if name == "preview" else None,
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
