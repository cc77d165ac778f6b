"""What faults do to HTTP requests."""

import asyncio
import socket
import struct
from typing import Any, cast
from uuid import uuid4

from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sandbox.digitalocean.errors import error_response
from sandbox.faults.standing import Faults, Standing

_MESSAGES = {
    429: "API Rate limit exceeded.",
    500: "Unexpected server-side error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}


class Faulty:
    """ASGI application: `app` with those of `faults` that are about requests.

    Has to be what the server itself calls, for it resets the server's connections.
    """

    def __init__(self, app: ASGIApp, faults: Faults) -> None:
        self._app = app
        self._faults = faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        fault = None
        if scope["type"] == "http":
            fault = self._faults.strike_request(scope["method"], scope["path"])
        if fault is None:
            await self._app(scope, receive, send)
            return
        match fault.kind.action:
            case "delay":
                await asyncio.sleep(fault.seconds)
                await self._app(scope, receive, send)
            case "answer":
                await _answer(fault, scope["path"])(scope, receive, send)
            case "hold":
                await _hold(fault, scope, receive, send)
            case "cut":
                await _cut(receive, send)
            case "cut after":
                await self._app(scope, receive, _swallow)
                await _cut(receive, send)


def _answer(fault: Standing, path: str) -> Response:
    message = _MESSAGES.get(fault.status, "Error")
    response: Response = PlainTextResponse(f"{message}\n", fault.status)
    if path.startswith("/v2/"):
        response = error_response(fault.status, message, str(uuid4()))
    if fault.status == 429:
        response.headers["retry-after"] = f"{fault.seconds:g}"
    return response


async def _hold(fault: Standing, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer when the time is over, unless the client has gone by then."""
    try:
        async with asyncio.timeout(fault.seconds):
            await _gone(receive)
    except TimeoutError:
        await _answer(fault, scope["path"])(scope, receive, send)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _swallow(_: Message) -> None:
    """Sends nothing."""


async def _cut(receive: Receive, send: Send) -> None:
    """Reset the connection."""
    # ASGI has no word for it, so it is taken from uvicorn, whose `send` belongs to what holds it.
    transport: asyncio.Transport = cast(Any, send).__self__.transport
    # Without time to linger, closing sends RST instead of FIN (socket(7)).
    transport.get_extra_info("socket").setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
    )
    transport.abort()
    await _gone(receive)
