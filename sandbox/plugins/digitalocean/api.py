"""The DigitalOcean API over HTTP, called as godo calls it (https://docs.digitalocean.com/reference/api/)."""

import asyncio
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urljoin

import httpx
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    stop_after_attempt,
)

from sandbox.plugins.common import Failure
from sandbox.plugins.digitalocean.configuration import Configuration


class ApiError(Failure):
    """The API refused a request, or could not be reached; `status` is None in the latter case."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


@contextmanager
def failing(what: str) -> Iterator[None]:
    """Says in a failure of the API what it was that failed."""
    try:
        yield
    except ApiError as error:
        raise Failure(f"{what}: {error}") from None


class _Again(Exception):
    """A failed attempt that is worth another one."""

    def __init__(self, failure: str, response: httpx.Response | None) -> None:
        super().__init__(failure)
        self.response = response


class Api:
    """One account's API.

    A request is made again, whatever its method, when no answer comes, or one of 429 or of 500 and
    above but 501: waiting as `Retry-After` says, or else twice as long each time.
    """

    def __init__(
        self, configuration: Configuration, *, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._configuration = configuration
        headers = {"User-Agent": "pulumi-digitalocean (stand-in)"}
        if configuration.token:
            headers["Authorization"] = f"Bearer {configuration.token.get_secret_value()}"
        self._client = httpx.AsyncClient(
            headers=headers, timeout=None, transport=transport, follow_redirects=True
        )
        self._pace = _Pace(configuration.requests_per_second)

    async def close(self) -> None:
        await self._client.aclose()

    async def get(self, path: str, **query: str | int) -> Any:
        """The JSON that `path` answers. Raises ApiError, as all of these do."""
        return await self._request("GET", path, query=query)

    async def find(self, path: str) -> Any | None:
        """As `get`, but None if there is no such thing (404)."""
        try:
            return await self.get(path)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    async def post(self, path: str, body: Mapping[str, Any]) -> Any:
        return await self._request("POST", path, body=body)

    async def put(self, path: str, body: Mapping[str, Any]) -> Any:
        return await self._request("PUT", path, body=body)

    async def delete(self, path: str, body: Mapping[str, Any] | None = None) -> None:
        await self._request("DELETE", path, body=body)

    async def pages(self, path: str, key: str, **query: str | int) -> list[Any]:
        """The items called `key` of all pages of `path`."""
        items: list[Any] = []
        page = 1
        while True:
            answer = await self.get(path, **query, page=page)
            items += answer.get(key) or []
            if not answer.get("links", {}).get("pages", {}).get("next"):
                return items
            page += 1

    async def _request(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, str | int] | None = None,
    ) -> Any:
        url = urljoin(self._configuration.api_endpoint, path)
        attempts = self._configuration.http_retry_max + 1
        given_up = f"; giving up after {attempts} attempt(s)" if attempts > 1 else ""
        try:
            async for attempt in AsyncRetrying(
                retry=retry_if_exception_type(_Again),
                stop=stop_after_attempt(attempts),
                wait=self._wait,
                reraise=True,
            ):
                with attempt:
                    response = await self._attempt(method, url, body, query)
        except _Again as error:
            if error.response is None:
                raise ApiError(f"{method} {url}: {error}{given_up}") from None
            response, suffix = error.response, given_up
        else:
            suffix = ""
        if not response.is_success:
            raise ApiError(_refusal(method, response) + suffix, response.status_code)
        return response.json() if response.content else {}

    async def _attempt(
        self,
        method: str,
        url: str,
        body: Mapping[str, Any] | None,
        query: Mapping[str, str | int] | None,
    ) -> httpx.Response:
        await self._pace.turn()
        try:
            response = await self._client.request(method, url, json=body, params=query or None)
        except httpx.UnsupportedProtocol as error:
            raise ApiError(f"{method} {url}: {error}") from None
        except httpx.TransportError as error:
            raise _Again(str(error) or type(error).__name__, None) from None
        status = response.status_code
        if status == 429 or (status >= 500 and status != 501):
            raise _Again(response.reason_phrase, response)
        return response

    def _wait(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        response = error.response if isinstance(error, _Again) else None
        if response is not None and response.status_code in (429, 503):
            after = response.headers.get("Retry-After", "")
            if after.isdecimal():
                return float(after)
        first, longest = (
            self._configuration.http_retry_wait_min,
            self._configuration.http_retry_wait_max,
        )
        return float(min(longest, first * 2 ** (state.attempt_number - 1)))


class _Pace:
    """Lets no more than so many requests begin in a second; 0: any number."""

    def __init__(self, per_second: float) -> None:
        self._interval = 1 / per_second if per_second else 0.0
        self._next = 0.0

    async def turn(self) -> None:
        now = time.monotonic()
        begin = max(now, self._next)
        self._next = begin + self._interval
        await asyncio.sleep(begin - now)


def _refusal(method: str, response: httpx.Response) -> str:
    try:
        answer = response.json()
    except json.JSONDecodeError:
        answer = {"message": response.text}
    request_id = answer.get("request_id") or response.headers.get("x-request-id", "")
    request = f' (request "{request_id}")' if request_id else ""
    message = answer.get("message", "")
    return f"{method} {response.request.url}: {response.status_code}{request} {message}"
