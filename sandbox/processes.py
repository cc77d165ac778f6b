"""Child processes that never outlive the sandbox and write their output to log files."""

import asyncio
import os
import socket
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

_LOG_LIMIT = 8 * 2**20


class ProcessFailed(Exception):
    """A process ended or was not ready in time; the text names it, the reason and its log."""


def free_port() -> int:
    """A TCP port on loopback that is free at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def with_parent_death_signal(argv: Sequence[str | Path], sig: str = "KILL") -> list[str]:
    """The command line that runs `argv` as a child that gets the signal when this process ends.

    The kernel ties it to the thread that starts the child (PR_SET_PDEATHSIG, prctl(2)). It is set
    by setpriv of util-linux, which then becomes `argv`: to set it between fork and exec here
    would run Python in a copy of a process with threads, which can hang or crash. If this process
    ends before it is set, the kernel sends no signal; the shell finds that out.
    """
    check = f'[ "$PPID" -eq {os.getpid()} ] && exec "$@"'
    words = [os.fspath(word) for word in argv]
    return ["setpriv", "--pdeathsig", sig, "--", "sh", "-c", check, "sh", *words]


def started_at(pid: int) -> int | None:
    """When the process started, in clock ticks since the machine's start; None if none runs.

    Unlike a time of day, it stays the same when somebody sets the clock
    (https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html).
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    # The program's name is in parentheses, and may contain any character.
    state, *fields = text.rpartition(")")[2].split()
    return None if state in ("Z", "X") else int(fields[18])


class Process:
    """One running child process. Call `start` only in the daemon's main thread: the kernel kills
    the child when the thread that started it ends (PR_SET_PDEATHSIG, prctl(2))."""

    def __init__(self, name: str, log: Path, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self.log = log
        self._process = process

    @classmethod
    async def start(
        cls,
        name: str,
        argv: Sequence[str | Path],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> "Process":
        """Start `argv` and append its standard output and error to `log`.

        `env` is the child's whole environment (default: that of this process). The kernel kills the
        child when this process ends. A log of more than 8 MiB is renamed to `.log.1` first. Raises
        OSError if the child can't be started.
        """
        if log.exists() and log.stat().st_size > _LOG_LIMIT:
            log.replace(log.with_suffix(".log.1"))
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *with_parent_death_signal(argv),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=None if env is None else dict(env),
                cwd=cwd,
            )
        return cls(name, log, process)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.returncode is None

    async def wait(self) -> int:
        """Wait until the process ends and return its exit code (negative: the signal's number)."""
        return await self._process.wait()

    async def until_ready(self, ready: Callable[[], Awaitable[bool]], *, seconds: float) -> None:
        """Wait until `ready()` is true; an OSError from it (nothing listens yet) counts as false.
        Raises ProcessFailed if the process ends first or is not ready after `seconds`."""
        deadline = time.monotonic() + seconds
        while True:
            if not self.running:
                raise ProcessFailed(
                    f"{self.name} ended with exit code {self._process.returncode} before it was"
                    f" ready; see {self.log}"
                )
            try:
                if await ready():
                    return
            except OSError:
                pass
            if time.monotonic() > deadline:
                raise ProcessFailed(
                    f"{self.name} was not ready within {seconds:g} s; see {self.log}"
                )
            await asyncio.sleep(0.05)

    async def stop(self, *, seconds: float = 10) -> None:
        """Send SIGTERM, and SIGKILL after `seconds`; returns when the process has ended."""
        if not self.running:
            return
        self._process.terminate()
        try:
            await asyncio.wait_for(self._process.wait(), seconds)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
