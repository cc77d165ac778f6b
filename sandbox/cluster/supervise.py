"""Keeps a process running: what dies is started again, and what is stopped stays stopped."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from sandbox.processes import Process
from sandbox.tasks import end

_log = logging.getLogger(__name__)

_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 15.0
_STEADY = 30.0
"""Seconds: a process that ran this long is no longer taken to be failing at its start."""


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


class Supervised:
    """One process that is started again whenever it ends, until `stop`."""

    def __init__(self, name: str, start: Callable[[], Awaitable[Process]]) -> None:
        self.name = name
        self._start = start
        self._task: asyncio.Task[None] | None = None
        self.process: Process | None = None
        self.restarts = 0

    async def start(self) -> Process:
        """Start it for the first time. Raises OSError if it can't be started."""
        self.process = process = await self._start()
        self._task = asyncio.create_task(self._keep_running(), name=f"supervise {self.name}")
        return process

    async def _keep_running(self) -> None:
        backoff = Backoff()
        while True:
            began = time.monotonic()
            assert self.process is not None
            await self.process.wait()
            await asyncio.sleep(backoff.after(time.monotonic() - began))
            try:
                self.process = await self._start()
            except OSError as error:
                _log.error("%s can't be started: %s", self.name, error)
            else:
                self.restarts += 1

    async def restart(self) -> None:
        """End it, and start it again at once. Raises OSError if it can't be started."""
        await self.stop(seconds=3)
        await self.start()

    async def stop(self, *, seconds: float) -> None:
        """End it for good; it is killed if it has not ended after `seconds`."""
        await end(self._task)
        self._task = None
        if self.process is not None:
            await self.process.stop(seconds=seconds)
            self.process = None
