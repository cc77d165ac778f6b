"""What the resources of DigitalOcean have in common."""

import asyncio
import time
from collections.abc import AsyncIterator

from sandbox.plugins.common import Failure

POLL = 1.0
"""Seconds between two looks at something that is under way; the real plugin waits 10."""

CREATE_TIMEOUT = 30 * 60.0
"""Seconds; `custom_timeouts` of the resource may say otherwise."""


async def polls(seconds: float, *, of: str) -> AsyncIterator[None]:
    """Yield at each moment when it is time to look; raises Failure once `seconds` have passed."""
    deadline = time.monotonic() + seconds
    while True:
        await asyncio.sleep(POLL)
        yield
        if time.monotonic() > deadline:
            raise Failure(f"Timeout waiting to {of}")
