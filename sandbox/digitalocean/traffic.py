"""Adds request IDs, the rate limit and the journal to every request.

docs.digitalocean.com/reference/api/intro (Rate limit)
"""

from collections import defaultdict, deque
from datetime import datetime, timedelta
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sandbox.digitalocean.errors import error_response
from sandbox.digitalocean.journal import RequestRecord
from sandbox.digitalocean.operations import bearer_token
from sandbox.digitalocean.state import AccountState

REQUESTS_PER_HOUR = 5000


class Traffic:
    """ASGI middleware. Every bearer token may send 5000 requests in an hour."""

    def __init__(self, app: ASGIApp, account: AccountState) -> None:
        self._app = app
        self._account = account
        self._recent: defaultdict[int, deque[datetime]] = defaultdict(deque)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        now = self._account.clock.now()
        # The hash keeps the tokens themselves out of memory.
        recent = self._recent[hash(bearer_token(Headers(scope=scope).get("authorization", "")))]
        while recent and recent[0] <= now - timedelta(hours=1):
            recent.popleft()
        exhausted = len(recent) >= REQUESTS_PER_HOUR
        if not exhausted:
            recent.append(now)
        request_id = str(uuid4())
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = request_id
                headers["ratelimit-limit"] = str(REQUESTS_PER_HOUR)
                headers["ratelimit-remaining"] = str(REQUESTS_PER_HOUR - len(recent))
                headers["ratelimit-reset"] = str(int((recent[0] + timedelta(hours=1)).timestamp()))
                self._account.journal.append(
                    RequestRecord(now, scope["method"], scope["path"], message["status"])
                )
            await send(message)

        if exhausted:
            response = error_response(429, "API Rate limit exceeded.", request_id)
            await response(scope, receive, send_with_headers)
        else:
            await self._app(scope, receive, send_with_headers)
