"""A sandbox to measure in, and how it is measured."""

import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from rich.console import Console

from sandbox import session
from sandbox.client import Daemon
from sandbox.drills.drill import Context
from sandbox.engine import Engine
from sandbox.paths import Home
from sandbox.processes import dying_with_me

DEV = "dev"
APPLICATION = f"{DEV}-microservices-demo"


class Failed(Exception):
    """Something that is measured did not work; says what it said."""


@dataclass(frozen=True)
class Result:
    """One line of the table."""

    what: str
    measured: str
    goal: str = ""
    met: bool | None = None
    """None: there is no goal."""


@dataclass
class Bench:
    """A sandbox in which `dev` is deployed and well."""

    home: Home
    daemon: Daemon
    pulumi: Engine
    console: Console
    runs: int
    """How often each thing is measured; what is told is the median."""
    first: float = 0
    """Seconds that it took until it was there."""

    @property
    def context(self) -> Context:
        """For what the drills can do."""
        return Context(self.home, self.daemon, self.pulumi, self.console)

    def run(self, *words: str, folder: Path | None = None, **env: str) -> float:
        """Seconds that a command takes. Raises `Failed` if it fails."""
        begin = time.monotonic()
        done = subprocess.run(
            dying_with_me(list(words), "INT"),
            cwd=folder or self.pulumi.project,
            env={**self.pulumi.env, **env},
            stdin=subprocess.DEVNULL,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        if done.returncode:
            raise Failed(f"`{' '.join(words)}` failed:\n{done.stdout}")
        return time.monotonic() - begin

    def side_by_side(self, measures: Mapping[str, Callable[[], float]]) -> dict[str, float]:
        """The median of each, measured in turns, so that what slows the machine slows them all."""
        times: dict[str, list[float]] = {name: [] for name in measures}
        for number in range(self.runs):
            for name, measure in measures.items():
                times[name].append(measure())
                self.say(f"{number + 1}/{self.runs} {name}: {times[name][-1]:.2f} s")
        return {name: statistics.median(each) for name, each in times.items()}

    def say(self, text: str) -> None:
        self.console.print(f"    {text}", markup=False, highlight=False)


@contextmanager
def bench(console: Console, runs: int) -> Iterator[Bench]:
    """A new sandbox beside the user's; it is gone afterwards."""
    users = Home.default()
    own = Home(users.root.with_name(f"{users.root.name}-benchmarks"))
    os.environ["SANDBOX_HOME"] = str(own.root)
    session.remove(own)
    begin = time.monotonic()
    try:
        daemon, pulumi = session.start(own, None, console)
        made = Bench(own, daemon, pulumi, console, runs)
        made.context.bring_up()
        made.first = time.monotonic() - begin
        yield made
    finally:
        session.remove(own)


def machine() -> str:
    """What it was measured on."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    memory = psutil.virtual_memory().total / 2**30
    return (
        f"{psutil.cpu_count()} cores ({model}), {memory:.0f} GiB of memory,"
        f" Linux {platform.release().split('-')[0]}, Python {platform.python_version()}"
    )
