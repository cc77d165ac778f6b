"""A port that stays the same while what is behind it comes and goes: a Service, for processes."""

import asyncio
import contextlib
from collections.abc import Callable

_CHUNK = 1 << 16


class Relay:
    """Hands every connection to its port on to the port that `target()` names at that moment.

    While that is None, connections are closed at once, as if nothing listened.
    """

    def __init__(self, port: int, target: Callable[[], int | None]) -> None:
        self.port = port
        self._target = target
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen, unless it does already. Raises OSError if the port is taken."""
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    async def stop(self) -> None:
        """Stop listening, and cut the connections."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        task.add_done_callback(self._open.discard)
        with contextlib.closing(writer):
            port = self._target()
            if port is None:
                return
            try:
                behind_reader, behind_writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                return
            with contextlib.closing(behind_writer):
                await asyncio.gather(_copy(reader, behind_writer), _copy(behind_reader, writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy until the end; then say so on the other side, which may still have to answer."""
    with contextlib.suppress(OSError):
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
