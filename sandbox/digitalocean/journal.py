"""Which requests were answered."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class RequestRecord:
    """One answered request. Holds no query, header or body, so nothing secret."""

    at: datetime
    method: str
    path: str
    status: int


class Journal:
    """The latest 1000 requests, oldest first; whoever follows it is told each one that comes."""

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
        """None at once, to say that nothing is missed from here on; then each request as it is
        answered, without end."""
        coming: asyncio.Queue[RequestRecord] = asyncio.Queue()
        self._followers.add(coming)
        try:
            yield None
            while True:
                yield await coming.get()
        finally:
            self._followers.discard(coming)
