"""A Redis that keeps nothing, for a repo-server that is to render everything from its files.

Without a Redis, each rendering would wait for seconds until Argo CD's client gives up to connect.
https://redis.io/docs/latest/develop/reference/protocol-spec/
"""

from __future__ import annotations

import socketserver
import threading
from types import TracebackType

LOOPBACK = "127.0.0.1"
_POLL = 0.02
"""Seconds until the end is noticed."""
_REPLIES = {b"GET": b"$-1\r\n", b"PING": b"+PONG\r\n", b"SET": b"+OK\r\n", b"DEL": b":0\r\n"}
_UNKNOWN = b"-ERR unknown command\r\n"
"""Clients then use an older form of the protocol, or do without."""


class _Connection(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        while header := self.rfile.readline():
            words = [self._word() for _ in range(int(header[1:]))]
            self.wfile.write(_REPLIES.get(words[0].upper(), _UNKNOWN) if words else _UNKNOWN)

    def _word(self) -> bytes:
        length = int(self.rfile.readline()[1:])
        return self.rfile.read(length + len(b"\r\n"))[:length]


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    # A connection ends with its repo-server.
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """Prints nothing: a repo-server that is killed ends its connections anywhere."""


class NoCache:
    """The server, on a port of its own on loopback."""

    def __enter__(self) -> str:
        """Returns its address, as HOST:PORT."""
        self._server = _Server((LOOPBACK, 0), _Connection)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": _POLL}, daemon=True
        )
        self._thread.start()
        return f"{LOOPBACK}:{self._server.server_address[1]}"

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
