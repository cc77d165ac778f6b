"""A sandbox as a user runs it: by the commands that the README gives."""

import json
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

IMAGE = re.compile(r"newName: registry\.digitalocean\.com/microservices-demo/(\S+)\s+newTag: (\S+)")
"""An image of the team's registry in an overlay: its name and its tag."""
REPOSITORY = Path(__file__).resolve().parents[2]


def until(seconds: float, what: str, condition: Callable[[], bool]) -> float:
    """Wait until `condition()`; the seconds that it took. Fails, saying `what`, if it never is."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < seconds, f"not within {seconds:g} s: {what}"
        time.sleep(0.3)
    return time.monotonic() - start


@contextmanager
def temporary(folder: Path) -> Iterator["Sandbox"]:
    """A sandbox in that folder, which is gone afterwards with all that it ran."""
    box = Sandbox(folder)
    yield box
    box("reset", "--yes")
    until(10, "no process is left", lambda: not box.processes())


@dataclass
class Sandbox:
    """A sandbox in a folder of its own, as a user would run it."""

    home: Path

    @property
    def env(self) -> dict[str, str]:
        return {**os.environ, "SANDBOX_HOME": str(self.home), "COLUMNS": "160"}

    def __call__(
        self, *args: str, seconds: float = 300, fails: bool = False, cwd: Path = REPOSITORY
    ) -> str:
        """Run `bin/sandbox ARGS`; what it printed (both streams), colours taken out."""
        done = subprocess.run(
            [str(REPOSITORY / "bin" / "sandbox"), *args],
            cwd=cwd,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
            check=False,
        )
        output = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)
        print(f"$ bin/sandbox {' '.join(args)}\n{output}")
        assert (done.returncode != 0) == fails, output
        return output

    def shell(self, script: str, **env: str) -> str:
        """Run a shell script with the environment that `bin/sandbox env` gives."""
        exports = subprocess.run(
            [str(REPOSITORY / "bin" / "sandbox"), "env"],
            env=self.env, check=True, text=True, capture_output=True,
        ).stdout  # fmt: skip
        # Not as an argument: the exports have secrets, and everyone may see arguments.
        with tempfile.NamedTemporaryFile("w", suffix=".sh") as file:
            file.write(f"{exports}\n{script}\n")
            file.flush()
            done = subprocess.run(
                ["bash", "-eu", file.name],
                cwd=self.home / "project",
                env={**self.env, **env},
                stdin=subprocess.DEVNULL,
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                check=False,
            )
        assert done.returncode == 0, f"{script}\n{done.stdout}"
        return done.stdout

    def status(self) -> dict[str, Any]:
        out = subprocess.run(
            [str(REPOSITORY / "bin" / "sandbox"), "status", "--json"],
            env=self.env, check=True, text=True, capture_output=True,
        ).stdout  # fmt: skip
        answer: dict[str, Any] = json.loads(out)
        return answer

    def application(self, name: str) -> dict[str, Any]:
        for cluster in self.status()["clusters"]:
            for application in cluster["applications"]:
                if application["name"] == name:
                    found: dict[str, Any] = application
                    return found
        raise AssertionError(f"no application {name}")

    def is_healthy(self, name: str) -> bool:
        application = self.application(name)
        return (application["sync"], application["health"]) == ("Synced", "Healthy")

    def processes(self) -> set[psutil.Process]:
        """Every process that belongs to this sandbox, whoever is its parent."""
        mine = set()
        for process in psutil.process_iter(["cmdline", "environ"]):
            environ = process.info["environ"] or {}
            words = process.info["cmdline"] or []
            if environ.get("SANDBOX_HOME") == str(self.home) or any(
                str(self.home) in word for word in words
            ):
                mine.add(process)
        return {process for process in mine if process.pid != os.getpid()}

    def strays(self) -> set[psutil.Process]:
        """Every process of this sandbox that is neither the daemon nor run by it."""
        daemon = psutil.Process(json.loads((self.home / "daemon.json").read_text())["pid"])
        return self.processes() - {daemon, *daemon.children(recursive=True)}
