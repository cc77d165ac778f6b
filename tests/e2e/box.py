"""A sandbox as a user runs it: by the commands of the README."""

import json
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

REPOSITORY = Path(__file__).resolve().parents[2]
PATIENCE = 300
"""Seconds until a wait is given up. It measures nothing: a busy machine may need most of them."""
DEADLOCK = 3600
"""Seconds after which a command is taken to hang."""
IMAGE = re.compile(r"newName: registry\.digitalocean\.com/microservices-demo/(\S+)\s+newTag: (\S+)")
"""An image of the team's registry in an overlay: its name and its tag."""


def until(what: str, condition: Callable[[], bool]) -> None:
    """Wait until `condition()` is true; the test fails with `what` if it never becomes true."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"still not true: {what}"
        time.sleep(0.3)


def run(command: list[str], folder: Path, env: Mapping[str, str]) -> tuple[int, str]:
    """The exit code of a command, and its output (both streams) without colours."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=DEADLOCK,
        check=False,
    )
    return done.returncode, re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)


@contextmanager
def temporary(folder: Path) -> Iterator["Sandbox"]:
    """A sandbox in that folder; it is removed afterwards with all its processes."""
    sandbox = Sandbox(folder)
    yield sandbox
    sandbox("reset", "--yes")
    until("no process is left", lambda: not sandbox.processes())


@dataclass(frozen=True)
class Sandbox:
    """A sandbox in a folder of its own. It shares nothing with another one but the built tools."""

    home: Path
    variables: Mapping[str, str] = field(default_factory=dict)
    """Further environment variables of whoever runs the commands."""

    @property
    def env(self) -> dict[str, str]:
        return {
            **os.environ, **self.variables, "SANDBOX_HOME": str(self.home), "COLUMNS": "160"
        }  # fmt: skip

    @property
    def daemon(self) -> dict[str, Any]:
        """The process id, the address and the token of the running sandbox."""
        daemon: dict[str, Any] = json.loads((self.home / "daemon.json").read_text())
        return daemon

    def api(self) -> httpx.Client:
        """A client of the account's API and of the sandbox's own, with the account's token."""
        return httpx.Client(
            base_url=self.daemon["url"],
            headers={"Authorization": f"Bearer {self.daemon['token']}"},
            timeout=60,
        )

    def __call__(self, *args: str, fails: bool = False, cwd: Path = REPOSITORY) -> str:
        """Run `bin/sandbox ARGS`; returns its output (both streams) without colours."""
        code, output = run([str(REPOSITORY / "bin" / "sandbox"), *args], cwd, self.env)
        print(f"$ bin/sandbox {' '.join(args)}\n{output}")
        assert (code != 0) == fails, output
        return output

    def shell(self, script: str, **env: str) -> str:
        """Run a shell script with the environment of `bin/sandbox env`; returns its output."""
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
        output = subprocess.run(
            [str(REPOSITORY / "bin" / "sandbox"), "status", "--json"],
            env=self.env, check=True, text=True, capture_output=True,
        ).stdout  # fmt: skip
        status: dict[str, Any] = json.loads(output)
        return status

    def applications(self) -> dict[tuple[str, str], dict[str, Any]]:
        """The applications of all clusters, by the names of cluster and application."""
        with self.api() as api:
            clusters = api.get("/sandbox/clusters").raise_for_status().json()
        return {
            (cluster["name"], application["name"]): application
            for cluster in clusters
            for application in cluster["applications"]
        }

    def application(self, name: str) -> dict[str, Any] | None:
        """The application of that name; None as long as no cluster has it."""
        applications = self.applications()
        return next((applications[key] for key in applications if key[1] == name), None)

    def is_healthy(self, name: str, *, revision: str | None = None, image: str = "") -> bool:
        """Whether the application is Synced and Healthy, at that commit and with an image whose
        name ends like that, if they are given."""
        application = self.application(name)
        return (
            application is not None
            and (application["sync"], application["health"]) == ("Synced", "Healthy")
            and revision in (None, application["revision"])
            and any(name.endswith(image) for name in application["images"] or [""])
        )

    def wait_for(self, name: str, *, revision: str | None = None, image: str = "") -> None:
        """Wait until the application is as `is_healthy` says."""
        until(
            f"{name} is healthy, revision {revision}, image {image}",
            lambda: self.is_healthy(name, revision=revision, image=image),
        )

    def processes(self) -> set[psutil.Process]:
        """All processes of this sandbox, whatever their parent is."""
        processes = set()
        for process in psutil.process_iter(["cmdline", "environ"]):
            environ = process.info["environ"] or {}
            words = process.info["cmdline"] or []
            if environ.get("SANDBOX_HOME") == str(self.home) or any(
                str(self.home) in word for word in words
            ):
                processes.add(process)
        return {process for process in processes if process.pid != os.getpid()}
