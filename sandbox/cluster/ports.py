"""The ports of a cluster, which stay the same after a restart."""

import json
import random
import socket
import time
from pathlib import Path

from sandbox.paths import write_private

_RANGE = range(20000, 30000)
_PATIENCE_SECONDS = 3
"""Below the ports that Linux gives to outgoing connections (from 32768) and below Kubernetes'
NodePorts, so that no other program gets one by chance while the sandbox is down."""


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


class Ports:
    """The loopback ports of one cluster, by name, in `file`."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._ports: dict[str, int] = json.loads(file.read_text()) if file.exists() else {}

    def choose(self, name: str) -> int:
        """The port of that name, which is free at this moment.

        It is the same as the last time, or a new one if another program still uses it after
        `_PATIENCE_SECONDS` (a process that is being killed releases its port sooner).
        """
        deadline = time.monotonic() + _PATIENCE_SECONDS
        port = self._ports.get(name)
        while port is not None and not _is_free(port):
            if time.monotonic() > deadline:
                port = None
            else:
                time.sleep(0.05)
        if port is None:
            taken = set(self._ports.values())
            port = next(
                candidate
                for candidate in random.sample(_RANGE, len(_RANGE))
                if candidate not in taken and _is_free(candidate)
            )
            self._ports[name] = port
            write_private(self._file, json.dumps(self._ports).encode())
        return port
