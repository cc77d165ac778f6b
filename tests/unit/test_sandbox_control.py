"""The daemon's control routes."""

import asyncio
import errno
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import httpx
import pytest
from starlette.responses import PlainTextResponse

from sandbox import daemon
from sandbox.daemon import Sandbox, TokenRequired
from sandbox.paths import Home
from sandbox.toolchain import Tools


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


def test_a_sandbox_that_could_not_start_on_a_full_disk_tells_so_and_starts_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home := Home(tmp_path / "sandbox")).folder()
    sandbox = Sandbox(home, cast(Tools, SimpleNamespace()), 1)
    monkeypatch.setattr(Sandbox, "_ensure_charts", lambda _: None)

    async def no_network(_: str) -> bool:
        return False

    monkeypatch.setattr(daemon, "can_be_reached", no_network)

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    async def requests() -> list[httpx.Response]:
        transport = httpx.ASGITransport(sandbox.app)
        headers = {"Authorization": f"Bearer {sandbox.token}"}
        async with httpx.AsyncClient(
            transport=transport, base_url=sandbox.url, headers=headers
        ) as client:
            with monkeypatch.context() as full:
                full.setattr(daemon, "write_private", fail)
                await sandbox._start()
                first = await client.get("/sandbox/ready")
            return [first, await client.get("/sandbox/ready")]

    first, second = asyncio.run(requests())
    assert (first.status_code, second.status_code) == (503, 200)
    assert "No space left on device" in first.text
