"""What the resources of DigitalOcean have in common."""

import asyncio
import time
from collections.abc import AsyncIterator

from sandbox.plugins.common import Failure

POLL = 1.0
"""Seconds between two polls of an operation; the real plugin waits 10."""

CREATE_TIMEOUT = 30 * 60.0
"""Seconds, unless the resource has `custom_timeouts`."""


async def polls(seconds: float, *, operation: str) -> AsyncIterator[None]:
    """Yield whenever it is time to poll. Raises Failure once `seconds` have passed."""
    deadline = time.monotonic() + seconds
    while True:
        await asyncio.sleep(POLL)
        yield
        if time.monotonic() > deadline:
            raise Failure(f"Timeout waiting to {operation}")
