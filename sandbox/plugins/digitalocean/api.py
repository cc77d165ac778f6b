"""The DigitalOcean API over HTTP, called as godo calls it (https://docs.digitalocean.com/reference/api/)."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from urllib.parse import urljoin

import httpx

from sandbox.plugins.bridge.client import ApiClient, ApiError, error_body, retry_after
from sandbox.plugins.common import Failure
from sandbox.plugins.digitalocean.configuration import Configuration


@contextmanager
def failing(operation: str) -> Iterator[None]:
    """Put `operation` before the message of an ApiError."""
    try:
        yield
    except ApiError as error:
        raise Failure(f"{operation}: {error}") from None


class Api(ApiClient):
    """One account's API.

    Responses with 429, or 500 and above except 501, are transient. The pause before the next
    attempt is that of the Retry-After header, or doubles with each attempt.
    """

    def __init__(
        self, configuration: Configuration, *, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        super().__init__(
            token=configuration.token,
            headers={"User-Agent": "pulumi-digitalocean (stand-in)"},
            attempts=configuration.http_retry_max + 1,
            transport=transport,
            follow_redirects=True,
        )
        self._configuration = configuration
        self._next_begin = 0.0

    async def get(self, path: str, **query: str | int) -> Any:
        """The JSON at `path`. Raises ApiError, as all requests do."""
        return await self._call("GET", path, params=query or None)

    async def find(self, path: str) -> Any | None:
        """As `get`, but None for a 404."""
        try:
            return await self.get(path)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    async def post(self, path: str, body: Mapping[str, Any]) -> Any:
        return await self._call("POST", path, json=body)

    async def put(self, path: str, body: Mapping[str, Any]) -> Any:
        return await self._call("PUT", path, json=body)

    async def delete(self, path: str, body: Mapping[str, Any] | None = None) -> None:
        await self._call("DELETE", path, json=body)

    async def pages(self, path: str, key: str, **query: str | int) -> list[Any]:
        """The items under `key` of all pages of `path`."""
        items: list[Any] = []
        page = 1
        while True:
            body = await self.get(path, **query, page=page)
            items += body.get(key) or []
            if not body.get("links", {}).get("pages", {}).get("next"):
                return items
            page += 1

    async def _call(self, method: str, path: str, **options: Any) -> Any:
        url = urljoin(self._configuration.api_endpoint, path)
        response = await self._request(method, url, **options)
        return response.json() if response.content else {}

    @asynccontextmanager
    async def _turn(self, method: str) -> AsyncIterator[None]:
        rate = self._configuration.requests_per_second
        now = time.monotonic()
        begin = max(now, self._next_begin)
        self._next_begin = begin + (1 / rate if rate else 0.0)
        await asyncio.sleep(begin - now)
        yield

    def _is_transient(self, response: httpx.Response) -> bool:
        status = response.status_code
        return status == 429 or (status >= 500 and status != 501)

    def _pause(self, response: httpx.Response | None, attempt: int) -> float:
        if response is not None and response.status_code in (429, 503):
            seconds = retry_after(response)
            if seconds is not None:
                return seconds
        first, longest = (
            self._configuration.http_retry_wait_min,
            self._configuration.http_retry_wait_max,
        )
        return float(min(longest, first * 2 ** (attempt - 1)))

    def _given_up(self) -> str:
        return f"; giving up after {self._attempts} attempt(s)" if self._attempts > 1 else ""

    def _refusal(self, method: str, response: httpx.Response) -> str:
        body = error_body(response)
        request_id = body.get("request_id") or response.headers.get("x-request-id", "")
        request = f' (request "{request_id}")' if request_id else ""
        message = body.get("message", "")
        return f"{method} {response.request.url}: {response.status_code}{request} {message}"
