"""The sandbox in which the benchmarks run, and their ways to measure."""

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
from sandbox.processes import with_parent_death_signal

DEV = "dev"
APPLICATION = f"{DEV}-microservices-demo"


class Failed(Exception):
    """A measured command failed; the message contains its output."""


@dataclass(frozen=True)
class Result:
    """One line of the table."""

    subject: str
    measured: str
    goal: str = ""
    met: bool | None = None
    """None: there is no goal."""


@dataclass
class Bench:
    """A sandbox in which the stack `dev` is deployed and healthy."""

    home: Home
    daemon: Daemon
    pulumi: Engine
    console: Console
    runs: int
    """How often each value is measured; the result is the median."""
    first: float = 0
    """Seconds until the sandbox was ready."""

    @property
    def context(self) -> Context:
        """The context of the drills, for their operations."""
        return Context(self.home, self.daemon, self.pulumi, self.console)

    def run(self, *words: str, folder: Path | None = None, **env: str) -> float:
        """Run a command and return its seconds. Raises `Failed` if it fails."""
        begin = time.monotonic()
        self.output(*words, folder=folder, **env)
        return time.monotonic() - begin

    def output(self, *words: str, folder: Path | None = None, **env: str) -> str:
        """Run a command and return its standard output. Raises `Failed` if it fails."""
        process = subprocess.run(
            with_parent_death_signal(list(words), "INT"),
            cwd=folder or self.pulumi.project,
            env={**self.pulumi.env, **env},
            stdin=subprocess.DEVNULL,
            text=True,
            capture_output=True,
            check=False,
        )
        if process.returncode:
            raise Failed(f"`{' '.join(words)}` failed:\n{process.stdout}{process.stderr}")
        return process.stdout

    def side_by_side(self, measures: Mapping[str, Callable[[], float]]) -> dict[str, float]:
        """The median of each measure. They alternate, so that other load slows all of them."""
        times: dict[str, list[float]] = {name: [] for name in measures}
        for number in range(self.runs):
            for name, measure in measures.items():
                times[name].append(measure())
                self.say(f"{number + 1}/{self.runs} {name}: {times[name][-1]:.2f} s")
        return {name: statistics.median(values) for name, values in times.items()}

    def say(self, text: str) -> None:
        self.console.print(f"    {text}", markup=False, highlight=False)


@contextmanager
def bench(console: Console, runs: int) -> Iterator[Bench]:
    """A new sandbox beside the user's; it is removed afterwards."""
    user_home = Home.default()
    home = Home(user_home.root.with_name(f"{user_home.root.name}-benchmarks"))
    os.environ["SANDBOX_HOME"] = str(home.root)
    session.remove(home)
    begin = time.monotonic()
    try:
        daemon, pulumi = session.start(home, None, console)
        sandbox = Bench(home, daemon, pulumi, console, runs)
        sandbox.context.bring_up()
        sandbox.first = time.monotonic() - begin
        yield sandbox
    finally:
        session.remove(home)


def machine() -> str:
    """The machine of the measurement: processor, memory, kernel, Python."""
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
