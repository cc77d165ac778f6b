"""Background tasks."""

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any


class BackgroundTask:
    """A coroutine that runs in the background from `start` until `stop`."""

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None

    def start(self, coroutine: Coroutine[Any, Any, None], *, name: str) -> None:
        self._task = asyncio.create_task(coroutine, name=name)

    async def stop(self) -> None:
        """Cancel it and wait until it has ended; does nothing if it was not started."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
