"""An HTTP client of an API, which repeats failed requests."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx
from pydantic import SecretStr
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt

from sandbox.plugins.common import Failure


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


class ApiClient(ABC):
    """One account's API.

    A request is repeated, whatever its method, if no response comes or `_is_transient` says so.
    """

    def __init__(
        self,
        *,
        token: SecretStr | None,
        headers: Mapping[str, str],
        attempts: int,
        transport: httpx.AsyncBaseTransport | None,
        follow_redirects: bool = False,
    ) -> None:
        authorization = {"Authorization": f"Bearer {token.get_secret_value()}"} if token else {}
        self._attempts = attempts
        self._http = httpx.AsyncClient(
            headers={**headers, **authorization},
            timeout=None,
            transport=transport,
            follow_redirects=follow_redirects,
        )

    async def close(self) -> None:
        await self._http.aclose()

    @abstractmethod
    def _turn(self, method: str) -> AbstractAsyncContextManager[object]:
        """Held during a request; entering it waits until the request may begin."""

    @abstractmethod
    def _is_transient(self, response: httpx.Response) -> bool:
        """True if the same request may succeed later."""

    @abstractmethod
    def _pause(self, response: httpx.Response | None, attempt: int) -> float:
        """Seconds between the failed attempt with that number (from 1) and the next one."""

    @abstractmethod
    def _refusal(self, method: str, response: httpx.Response) -> str:
        """The message of a refused request."""

    def _given_up(self) -> str:
        """What the message of a request says in addition after its last attempt."""
        return ""

    async def _request(self, method: str, url: str, **options: Any) -> httpx.Response:
        """A response that is no error; `options` are those of httpx. Raises ApiError."""
        suffix = ""
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
            suffix = self._given_up()
            if error.response is None:
                raise ApiError(f"{method} {url}: {error}{suffix}") from None
            response = error.response
        if response.is_error:
            raise ApiError(self._refusal(method, response) + suffix, response.status_code)
        return response

    async def _attempt(self, method: str, url: str, **options: Any) -> httpx.Response:
        async with self._turn(method):
            try:
                response = await self._http.request(method, url, **options)
            except httpx.UnsupportedProtocol as error:
                raise ApiError(f"{method} {url}: {error}") from None
            except httpx.TransportError as error:
                raise _Retry(str(error) or type(error).__name__, None) from None
        if self._is_transient(response):
            raise _Retry(response.reason_phrase, response)
        return response

    def _wait(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        response = error.response if isinstance(error, _Retry) else None
        return self._pause(response, state.attempt_number)


def retry_after(response: httpx.Response | None) -> float | None:
    """The seconds in the response's Retry-After header, if it has one."""
    text = response.headers.get("Retry-After", "") if response is not None else ""
    return float(text) if text.isdecimal() else None


def error_body(response: httpx.Response) -> Mapping[str, Any]:
    """The JSON of an error; a response that is not JSON becomes its `message`."""
    try:
        body: Mapping[str, Any] = response.json()
    except json.JSONDecodeError:
        return {"message": response.text}
    return body
