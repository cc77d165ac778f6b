"""The processes of Argo CD in the sandbox."""

import asyncio
from functools import partial

import httpx
import pytest

from sandbox.cluster.programs import health_check

URL = "http://127.0.0.1:4321/healthz"


@pytest.mark.parametrize(
    ("statuses", "healthy"),
    [
        ({"127.0.0.1": 200}, True),
        ({"::1": 200}, True),
        ({"127.0.0.1": 503, "::1": 200}, True),
        ({"127.0.0.1": 503}, False),
        ({}, False),
    ],
)
def test_a_process_is_healthy_if_it_says_so_on_either_loopback_address(
    statuses: dict[str, int], healthy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def respond(request: httpx.Request) -> httpx.Response:
        assert (request.url.port, request.url.path) == (4321, "/healthz")
        if request.url.host not in statuses:
            raise httpx.ConnectError("refused")
        return httpx.Response(statuses[request.url.host])

    async def result() -> bool:
        return await health_check(URL)()

    client = partial(httpx.AsyncClient, transport=httpx.MockTransport(respond))
    monkeypatch.setattr(httpx, "AsyncClient", client)
    assert asyncio.run(result()) is healthy
