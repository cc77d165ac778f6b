"""The journal of the account's requests."""

import asyncio
from datetime import UTC, datetime

from sandbox.digitalocean.journal import Journal, RequestRecord


def _record(path: str) -> RequestRecord:
    return RequestRecord(datetime.now(UTC), "GET", path, 200)


def test_a_follower_gets_every_request_after_the_first_none() -> None:
    async def follow() -> list[str]:
        journal = Journal()
        journal.append(_record("/before"))
        following = journal.follow()
        assert await anext(following) is None
        journal.append(_record("/first"))
        journal.append(_record("/second"))
        records = [await anext(following), await anext(following)]
        await following.aclose()
        journal.append(_record("/after"))
        assert len(list(journal)) == 4
        return [record.path for record in records if record]

    assert asyncio.run(follow()) == ["/first", "/second"]
