"""Whoever follows the account's journal misses nothing."""

import asyncio
from datetime import UTC, datetime

from sandbox.digitalocean.journal import Journal, RequestRecord


def _record(path: str) -> RequestRecord:
    return RequestRecord(datetime.now(UTC), "GET", path, 200)


def test_a_follower_is_told_each_request_from_when_it_was_told_so() -> None:
    async def follow() -> list[str]:
        journal = Journal()
        journal.append(_record("/before"))
        following = journal.follow()
        assert await anext(following) is None
        journal.append(_record("/first"))
        journal.append(_record("/second"))
        told = [await anext(following), await anext(following)]
        await following.aclose()
        journal.append(_record("/after"))
        assert len(list(journal)) == 4
        return [record.path for record in told if record]

    assert asyncio.run(follow()) == ["/first", "/second"]
