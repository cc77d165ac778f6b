"""The journal of answered requests."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class RequestRecord:
    """One answered request, without query, headers and body, which may contain secrets."""

    at: datetime
    method: str
    path: str
    status: int


class Journal:
    """The latest 1000 requests, oldest first. `follow` streams new ones."""

    def __init__(self) -> None:
        self._records: deque[RequestRecord] = deque(maxlen=1000)
        self._followers: set[asyncio.Queue[RequestRecord]] = set()

    def __iter__(self) -> Iterator[RequestRecord]:
        return iter(self._records)

    def append(self, record: RequestRecord) -> None:
        self._records.append(record)
        for follower in self._followers:
            follower.put_nowait(record)

    async def follow(self) -> AsyncGenerator[RequestRecord | None, None]:
        """Yields None at once, when it has started to follow, and then each request as it is
        answered, without end."""
        queue: asyncio.Queue[RequestRecord] = asyncio.Queue()
        self._followers.add(queue)
        try:
            yield None
            while True:
                yield await queue.get()
        finally:
            self._followers.discard(queue)
