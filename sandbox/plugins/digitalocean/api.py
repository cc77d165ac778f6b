"""The DigitalOcean API over HTTP, called as godo calls it (https://docs.digitalocean.com/reference/api/)."""

import asyncio
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urljoin

import httpx
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt

from sandbox.plugins.common import Failure
from sandbox.plugins.digitalocean.configuration import Configuration


class ApiError(Failure):
    """The API refused a request, or could not be reached; `status` is None in the latter case."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class _Retry(Exception):
    """An attempt that failed and is to be repeated; `response` is None if there was none."""

    def __init__(self, reason: str, response: httpx.Response | None) -> None:
        super().__init__(reason)
        self.response = response


@contextmanager
def failing(operation: str) -> Iterator[None]:
    """Put `operation` before the message of an ApiError."""
    try:
        yield
    except ApiError as error:
        raise Failure(f"{operation}: {error}") from None


class Api:
    """One account's API.

    A request is repeated, whatever its method, if no response comes, or one with 429, or with 500
    and above except 501. The pause before the next attempt is that of the Retry-After header, or
    doubles with each attempt.
    """

    def __init__(
        self, configuration: Configuration, *, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        headers = {"User-Agent": "pulumi-digitalocean (stand-in)"}
        if configuration.token:
            headers["Authorization"] = f"Bearer {configuration.token.get_secret_value()}"
        self._http = httpx.AsyncClient(
            headers=headers, timeout=None, transport=transport, follow_redirects=True
        )
        self._configuration = configuration
        self._attempts = configuration.http_retry_max + 1
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
        """The JSON of a response that is no error; `options` are those of httpx."""
        url, suffix = urljoin(self._configuration.api_endpoint, path), ""
        try:
            async for attempt in AsyncRetrying(
                retry=retry_if_exception_type(_Retry),
                stop=stop_after_attempt(self._attempts),
                wait=self._wait,
                reraise=True,
            ):
                with attempt:
                    response = await self._attempt(method, url, **options)
        except _Retry as error:
            if self._attempts > 1:
                suffix = f"; giving up after {self._attempts} attempt(s)"
            if error.response is None:
                raise ApiError(f"{method} {url}: {error}{suffix}") from None
            response = error.response
        if response.is_error:
            raise ApiError(_refusal(method, response) + suffix, response.status_code)
        return response.json() if response.content else {}

    async def _attempt(self, method: str, url: str, **options: Any) -> httpx.Response:
        await self._turn()
        try:
            response = await self._http.request(method, url, **options)
        except httpx.UnsupportedProtocol as error:
            raise ApiError(f"{method} {url}: {error}") from None
        except httpx.TransportError as error:
            raise _Retry(str(error) or type(error).__name__, None) from None
        status = response.status_code
        if status == 429 or (status >= 500 and status != 501):
            raise _Retry(response.reason_phrase, response)
        return response

    async def _turn(self) -> None:
        """Wait until the next request may begin."""
        rate = self._configuration.requests_per_second
        now = time.monotonic()
        begin = max(now, self._next_begin)
        self._next_begin = begin + (1 / rate if rate else 0.0)
        await asyncio.sleep(begin - now)

    def _wait(self, state: RetryCallState) -> float:
        """Seconds until the next attempt."""
        error = state.outcome.exception() if state.outcome else None
        response = error.response if isinstance(error, _Retry) else None
        if response is not None and response.status_code in (429, 503):
            text = response.headers.get("Retry-After", "")
            if text.isdecimal():
                return float(text)
        first = self._configuration.http_retry_wait_min
        longest = self._configuration.http_retry_wait_max
        return float(min(longest, first * 2 ** (state.attempt_number - 1)))


def _refusal(method: str, response: httpx.Response) -> str:
    """The message of a refused request."""
    try:
        body: Mapping[str, Any] = response.json()
    except json.JSONDecodeError:
        body = {"message": response.text}
    request_id = body.get("request_id") or response.headers.get("x-request-id", "")
    request = f' (request "{request_id}")' if request_id else ""
    message = body.get("message", "")
    return f"{method} {response.request.url}: {response.status_code}{request} {message}"
