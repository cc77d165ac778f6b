"""The GitHub API over HTTP, called as the real plugin calls it: one request at a time."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx

from sandbox.plugins.bridge.client import ApiClient, ApiError, error_body, retry_after
from sandbox.plugins.bridge.schema import Properties
from sandbox.plugins.github.configuration import Configuration

_PUBLIC = "api.github.com"
_ENTERPRISE = "api/v3/"
_BROKEN = frozenset({500, 502, 503, 504})
_LIMITED = frozenset({403, 429})


class Api(ApiClient):
    """The API on behalf of one owner, whom `connect` looks up."""

    def __init__(
        self, configuration: Configuration, *, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        super().__init__(
            token=configuration.token,
            headers={"Accept": "application/vnd.github+json"},
            attempts=configuration.max_retries + 1,
            transport=transport,
        )
        self.owner = configuration.owner or ""
        self._configuration = configuration
        self._url = _rest_url(configuration.base_url)
        self._lock = asyncio.Lock()
        self._delay = 0.0

    async def connect(self) -> None:
        """Raises ApiError if GitHub does not know the token or the owner."""
        if not self.owner and self._configuration.token:
            self.owner = (await self.get("user"))["login"]
        if self.owner:
            try:
                await self.get(f"users/{self.owner}")
            except ApiError as error:
                raise ApiError(f'failed to lookup owner "{self.owner}": {error}') from None

    def repository(self, name: str) -> str:
        """The path of the owner's repository."""
        return f"repos/{self.owner}/{name}"

    async def get(self, path: str) -> Any:
        """The JSON at `path`. Raises ApiError, as all requests do."""
        return (await self._request("GET", self._url + path)).json()

    async def find(self, path: str) -> Any | None:
        """As `get`, but None for a 404."""
        response = await self._find(path)
        return None if response is None else response.json()

    async def refresh(
        self, path: str, state: Properties, describe: Callable[[Any], Properties]
    ) -> Properties | None:
        """The outputs that `describe` makes of the JSON at `path`, with its ETag.

        Returns `state` if its ETag is still current, None for a 404.
        """
        etag = state.get("etag", "")
        response = await self._find(path, {"If-None-Match": etag} if etag else {})
        if response is None:
            return None
        if response.status_code == 304:
            return state
        return {**describe(response.json()), "etag": response.headers.get("etag", "")}

    async def _find(
        self, path: str, headers: Mapping[str, str] | None = None
    ) -> httpx.Response | None:
        try:
            return await self._request("GET", self._url + path, headers=headers)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    async def send(self, method: str, path: str, body: Mapping[str, Any]) -> Any:
        """The JSON of the response to a request that changes something."""
        response = await self._request(method, self._url + path, json=body)
        return response.json() if response.content else {}

    async def delete(self, path: str) -> None:
        await self._request("DELETE", self._url + path)

    @asynccontextmanager
    async def _turn(self, method: str) -> AsyncIterator[None]:
        async with self._lock:
            await asyncio.sleep(self._delay)
            delays = self._configuration
            milliseconds = delays.read_delay_ms if method == "GET" else delays.write_delay_ms
            self._delay = milliseconds / 1000
            yield

    def _is_transient(self, response: httpx.Response) -> bool:
        status = response.status_code
        return status in _BROKEN or (status in _LIMITED and "retry-after" in response.headers)

    def _pause(self, response: httpx.Response | None, attempt: int) -> float:
        seconds = retry_after(response)
        return self._configuration.retry_delay_ms / 1000 if seconds is None else seconds

    def _refusal(self, method: str, response: httpx.Response) -> str:
        """The message as Go's client prints it."""
        body = error_body(response)
        errors = " ".join(map(_detail, body.get("errors", ())))
        url, message = response.request.url, body.get("message", "")
        return f"{method} {url}: {response.status_code} {message} [{errors}]"


def _rest_url(base: str) -> str:
    """The address of the REST API of github.com or of a GitHub Enterprise Server."""
    base = base.rstrip("/") + "/"
    if urlsplit(base).hostname == _PUBLIC or base.endswith(f"/{_ENTERPRISE}"):
        return base
    return base + _ENTERPRISE


def _detail(error: Any) -> str:
    if not isinstance(error, dict):
        return str(error)
    fields = ("resource", "field", "code", "message")
    return "{" + " ".join(f"{name.title()}:{error.get(name, '')}" for name in fields) + "}"
