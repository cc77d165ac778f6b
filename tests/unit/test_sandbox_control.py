"""The daemon's control routes are for those who have the sandbox's token."""

import asyncio

import httpx
import pytest
from starlette.responses import PlainTextResponse

from sandbox.daemon import TokenRequired


@pytest.mark.parametrize(
    ("authorization", "status"),
    [(None, 401), ("", 401), ("token", 401), ("Bearer other", 401), ("Bearer token", 200)],
)
def test_requests_without_the_sandboxs_token_are_refused(
    authorization: str | None, status: int
) -> None:
    app = TokenRequired(PlainTextResponse("done"), "token")

    async def request() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://sandbox") as client:
            headers = {} if authorization is None else {"Authorization": authorization}
            return await client.get("/", headers=headers)

    assert asyncio.run(request()).status_code == status
