"""Talks to the sandbox's daemon, and starts it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
import psutil

from doks_gitops import variables
from sandbox.errors import SandboxError
from sandbox.paths import DAEMON_LOCK, Home
from sandbox.processes import started_at


@dataclass(frozen=True)
class Daemon:
    """The running daemon of one sandbox."""

    pid: int
    url: str
    token: str
    """DigitalOcean token of the sandbox's account; also authorizes the control routes."""
    github: Mapping[str, str]
    """`api`, `repository` and `token`, as a GitHub workflow of the monorepo has them."""
    spaces: Mapping[str, str]
    """`id` and `secret` of the key of Spaces, and a `password` for copies."""

    def get(self, path: str, *, seconds: float = 30) -> Any:
        return self._call("GET", path, None, seconds)

    def post(self, path: str, body: object = None, *, seconds: float = 60) -> Any:
        return self._call("POST", path, body, seconds)

    @cached_property
    def _http(self) -> httpx.Client:
        # Cached, since each new client reads the machine's certificate authorities.
        headers = {"Authorization": f"Bearer {self.token}"}
        return httpx.Client(base_url=self.url, headers=headers, trust_env=False)

    def _call(self, method: str, path: str, body: object, seconds: float) -> Any:
        try:
            response = self._http.request(method, path, json=body, timeout=seconds)
        except httpx.HTTPError as error:
            raise SandboxError(
                f"The sandbox's daemon (process {self.pid}) does not answer: {error}."
                " Its log: bin/sandbox logs daemon"
            ) from error
        if response.is_error:
            raise SandboxError(f"{method} {path}: {response.status_code} {response.text}")
        return response.json()


def github(
    access: Mapping[str, str],
    method: str,
    path: str,
    body: object = None,
    token: str | None = None,
) -> Any:
    """The answer of GitHub's API about the monorepo. `access`: see `Daemon.github`. `token`: by
    default that of a workflow. Raises `SandboxError`."""
    response = httpx.request(
        method,
        f"{access['api']}/repos/{access['repository']}{path}",
        json=body,
        headers={"Authorization": f"Bearer {token or access['token']}"},
        timeout=60,
        trust_env=False,
    )
    if response.is_error:
        raise SandboxError(f"{method} {path}: {response.status_code} {response.text}")
    return response.json() if response.content else None


def log_file(home: Home) -> Path:
    return home.folder("logs") / "daemon.log"


def running(home: Home) -> Daemon | None:
    """The daemon of this sandbox; None if it is not running or has not announced itself yet.

    Raises SandboxError if it is running but its announcement can't be read.
    """
    pid = _process(home)
    if pid is None:
        return None
    try:
        record = json.loads((home.root / "daemon.json").read_text())
        daemon = Daemon(
            record["pid"],
            record["url"],
            record["token"],
            record["github"],
            record["spaces"],
        )
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise SandboxError(
            f"{home.root / 'daemon.json'} can't be read ({error!r}). Write it anew:"
            " bin/sandbox down, then bin/sandbox up"
        ) from None
    return daemon if daemon.pid == pid else None


def required(home: Home) -> Daemon:
    """The running daemon of this sandbox. Raises SandboxError if there is none."""
    daemon = running(home)
    if daemon is None:
        raise SandboxError("The sandbox is not running. Start it: bin/sandbox up")
    return daemon


def _process(home: Home) -> int | None:
    """The ID of the daemon's process; None if it is not running."""
    try:
        pid, started = map(int, (home.root / DAEMON_LOCK).read_text().split())
    except (FileNotFoundError, ValueError):
        return None
    return pid if started_at(pid) == started else None


def start(home: Home, *, seconds: float = 60) -> Daemon:
    """Start the daemon unless it is running; returns when it answers.

    Raises SandboxError with the end of its log if it does not start within `seconds`.
    """
    log = log_file(home)
    process = None
    if _process(home) is None:
        with log.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "sandbox.daemon", str(home.root)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                cwd=home.root,
                env=variables.restricted(os.environ, deployment=False),
            )
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if daemon := running(home):
            daemon.get("/sandbox/ready", seconds=seconds)
            return daemon
        # Ours has ended, and no other one is starting.
        if (process is None or process.poll() is not None) and _process(home) is None:
            break
        time.sleep(0.05)
    if process is not None:
        process.kill()
    tail = "".join(log.read_text(errors="replace").splitlines(keepends=True)[-15:])
    raise SandboxError(f"The sandbox's daemon did not start. The end of {log}:\n{tail}")


def stop(home: Home, *, seconds: float = 60) -> bool:
    """Stop the daemon and everything that it runs; false if it was not running."""
    pid = _process(home)
    if pid is None:
        return False
    process = psutil.Process(pid)
    process.terminate()
    try:
        process.wait(seconds)
    except psutil.TimeoutExpired:
        # The kernel kills its child processes with it.
        process.kill()
        process.wait(10)
    return True
