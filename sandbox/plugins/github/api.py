"""The GitHub API over HTTP, called as the real plugin calls it: one request at a time."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    stop_after_attempt,
)

from sandbox.plugins.common import Failure
from sandbox.plugins.github.configuration import Configuration

_PUBLIC = "api.github.com"
_ENTERPRISE = "api/v3/"
_RETRIED = frozenset({500, 502, 503, 504})
_LIMITED = frozenset({403, 429})


class ApiError(Failure):
    """The API refused a request, or could not be reached; `status` is None in the latter case."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class Unchanged(Exception):
    """The thing is as it was when its ETag was last seen (304)."""


class _Again(Exception):
    """A failed attempt that is worth another one."""

    def __init__(self, failure: str, response: httpx.Response | None) -> None:
        super().__init__(failure)
        self.response = response


class Api:
    """The API as one owner's. `connect` finds out who that is."""

    def __init__(
        self, configuration: Configuration, *, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self.owner = configuration.owner or ""
        self._configuration = configuration
        self._url = _rest_url(configuration.base_url)
        headers = {"Accept": "application/vnd.github+json"}
        if configuration.token:
            headers["Authorization"] = f"Bearer {configuration.token.get_secret_value()}"
        self._client = httpx.AsyncClient(headers=headers, timeout=None, transport=transport)
        self._turn = asyncio.Lock()
        self._pause = 0.0

    async def connect(self) -> None:
        """Raises ApiError if the token or the owner is not known there."""
        if not self.owner and self._configuration.token:
            self.owner = (await self.get("user"))["login"]
        if self.owner:
            try:
                await self.get(f"users/{self.owner}")
            except ApiError as error:
                raise ApiError(f'failed to lookup owner "{self.owner}": {error}') from None

    async def close(self) -> None:
        await self._client.aclose()

    def repository(self, name: str) -> str:
        """The path of a repository of the owner's."""
        return f"repos/{self.owner}/{name}"

    async def get(self, path: str) -> Any:
        """The JSON that `path` answers. Raises ApiError, as all of these do."""
        return (await self._request("GET", path)).json()

    async def find(self, path: str, etag: str = "") -> tuple[Any, str] | None:
        """The JSON and its ETag; None if there is no such thing (404). Raises Unchanged if it has
        the given ETag still."""
        headers = {"If-None-Match": etag} if etag else {}
        try:
            response = await self._request("GET", path, headers=headers)
        except ApiError as error:
            if error.status == 404:
                return None
            raise
        if response.status_code == 304:
            raise Unchanged
        return response.json(), response.headers.get("etag", "")

    async def send(self, method: str, path: str, body: Mapping[str, Any]) -> Any:
        """What the API answers to a request that changes something."""
        response = await self._request(method, path, body=body)
        return response.json() if response.content else {}

    async def delete(self, path: str) -> None:
        await self._request("DELETE", path)

    async def _request(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        url = self._url + path
        try:
            async for attempt in AsyncRetrying(
                retry=retry_if_exception_type(_Again),
                stop=stop_after_attempt(self._configuration.max_retries + 1),
                wait=self._wait,
                reraise=True,
            ):
                with attempt:
                    response = await self._attempt(method, url, body, headers)
        except _Again as error:
            if error.response is None:
                raise ApiError(f"{method} {url}: {error}") from None
            response = error.response
        if response.is_error:
            raise ApiError(_refusal(method, response), response.status_code)
        return response

    async def _attempt(
        self,
        method: str,
        url: str,
        body: Mapping[str, Any] | None,
        headers: Mapping[str, str] | None,
    ) -> httpx.Response:
        async with self._turn:
            await asyncio.sleep(self._pause)
            delays = self._configuration
            self._pause = (
                delays.read_delay_ms if method == "GET" else delays.write_delay_ms
            ) / 1000
            try:
                response = await self._client.request(method, url, json=body, headers=headers)
            except httpx.UnsupportedProtocol as error:
                raise ApiError(f"{method} {url}: {error}") from None
            except httpx.TransportError as error:
                raise _Again(str(error) or type(error).__name__, None) from None
        status = response.status_code
        if status in _RETRIED or (status in _LIMITED and "retry-after" in response.headers):
            raise _Again(response.reason_phrase, response)
        return response

    def _wait(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        response = error.response if isinstance(error, _Again) else None
        after = response.headers.get("retry-after", "") if response is not None else ""
        return float(after) if after.isdecimal() else self._configuration.retry_delay_ms / 1000


def _rest_url(base: str) -> str:
    """Where the REST API is, of github.com or of a GitHub Enterprise Server."""
    base = base.rstrip("/") + "/"
    if urlsplit(base).hostname == _PUBLIC or base.endswith(f"/{_ENTERPRISE}"):
        return base
    return base + _ENTERPRISE


def _refusal(method: str, response: httpx.Response) -> str:
    """A refusal as Go's client prints it."""
    try:
        answer = response.json()
    except json.JSONDecodeError:
        answer = {"message": response.text}
    errors = [_detail(each) for each in answer.get("errors", ())]
    message = answer.get("message", "")
    url = response.request.url
    return f"{method} {url}: {response.status_code} {message} [{' '.join(errors)}]"


def _detail(error: Any) -> str:
    if not isinstance(error, dict):
        return str(error)
    fields = ("resource", "field", "code", "message")
    return "{" + " ".join(f"{name.title()}:{error.get(name, '')}" for name in fields) + "}"
