"""Injects faults into HTTP requests."""

import asyncio
import socket
import struct
from typing import Any, cast
from uuid import uuid4

from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sandbox.digitalocean.errors import error_response
from sandbox.faults.active import ActiveFault, Faults

_MESSAGES = {
    429: "API Rate limit exceeded.",
    500: "Unexpected server-side error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}


class FaultMiddleware:
    """ASGI middleware that injects those of `faults` that affect requests.

    It must be the outermost one: it resets connections of the server itself.
    """

    def __init__(self, app: ASGIApp, faults: Faults) -> None:
        self._app = app
        self._faults = faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        fault = None
        if scope["type"] == "http":
            fault = self._faults.hit_request(scope["method"], scope["path"])
        if fault is None:
            await self._app(scope, receive, send)
            return
        match fault.kind.action:
            case "delay":
                await asyncio.sleep(fault.seconds)
                await self._app(scope, receive, send)
            case "answer":
                await _response(fault, scope["path"])(scope, receive, send)
            case "hold":
                await _hold(fault, scope, receive, send)
            case "cut":
                await _cut(receive, send)
            case "cut after":
                await self._app(scope, receive, _discard)
                await _cut(receive, send)


def _response(fault: ActiveFault, path: str) -> Response:
    message = _MESSAGES.get(fault.status, "Error")
    response: Response = PlainTextResponse(f"{message}\n", fault.status)
    if path.startswith("/v2/"):
        response = error_response(fault.status, message, str(uuid4()))
    if fault.status == 429:
        response.headers["retry-after"] = f"{fault.seconds:g}"
    return response


async def _hold(fault: ActiveFault, scope: Scope, receive: Receive, send: Send) -> None:
    """Respond when the time is over, unless the client has disconnected by then."""
    try:
        async with asyncio.timeout(fault.seconds):
            await _disconnected(receive)
    except TimeoutError:
        await _response(fault, scope["path"])(scope, receive, send)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _discard(_: Message) -> None:
    """Send nothing."""


async def _cut(receive: Receive, send: Send) -> None:
    """Reset the connection."""
    # ASGI has no message for it, but uvicorn's `send` is a method of the transport's owner.
    transport: asyncio.Transport = cast(Any, send).__self__.transport
    # With SO_LINGER and a time of 0, closing sends RST instead of FIN (socket(7)).
    transport.get_extra_info("socket").setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
    )
    transport.abort()
    await _disconnected(receive)
