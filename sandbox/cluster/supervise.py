"""Runs a process and starts it again when it ends, until it is stopped."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from sandbox.processes import Process
from sandbox.tasks import BackgroundTask

_log = logging.getLogger(__name__)

_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 15.0
_STEADY = 30.0
"""Seconds: the pauses start again from the first one after a run of this length."""


class Backoff:
    """How long to wait before the next start: longer after each run that ended early."""

    def __init__(self) -> None:
        self._pause = _FIRST_PAUSE

    def after(self, ran_seconds: float) -> float:
        """Seconds to wait after a run of that length."""
        if ran_seconds > _STEADY:
            self._pause = _FIRST_PAUSE
        pause = self._pause
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        return pause


class ProcessOwner:
    """A process and the background task that looks after it."""

    def __init__(self) -> None:
        self.process: Process | None = None
        self._task = BackgroundTask()

    async def stop(self, *, seconds: float) -> None:
        """End the task and the process, which is killed if it still runs after `seconds`."""
        await self._task.stop()
        if self.process is not None:
            await self.process.stop(seconds=seconds)
            self.process = None


class Supervised(ProcessOwner):
    """A process that is started again whenever it ends, until `stop`."""

    def __init__(self, name: str, start: Callable[[], Awaitable[Process]]) -> None:
        super().__init__()
        self.name = name
        self._start = start
        self.restarts = 0

    async def start(self) -> Process:
        """Start the process for the first time. Raises OSError if it can't be started."""
        self.process = process = await self._start()
        self._task.start(self._keep_running(), name=f"supervise {self.name}")
        return process

    async def _keep_running(self) -> None:
        backoff = Backoff()
        while True:
            started = time.monotonic()
            assert self.process is not None
            await self.process.wait()
            await asyncio.sleep(backoff.after(time.monotonic() - started))
            try:
                self.process = await self._start()
            except OSError as error:
                _log.error("%s can't be started: %s", self.name, error)
            else:
                self.restarts += 1

    async def restart(self) -> None:
        """Stop the process and start it again. Raises OSError if it can't be started."""
        await self.stop(seconds=3)
        await self.start()
