"""Loads all stand-in plugins once and forks a process for each one that `launch` requests.

    python -m sandbox.plugins.loaded HOME

A forked plugin receives the signals of the `launch` process that requested it, and is killed when
that process ends.
"""

import contextlib
import gc
import importlib
import json
import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Final

from sandbox.plugins.launch import LENGTH, SOCKET

MODULE: Final = "sandbox.plugins.loaded"
_PLUGINS: Final = tuple(
    f"sandbox.plugins.{name}" for name in ("digitalocean", "kubernetes", "language")
)


def serve(home: str) -> None:
    """Answer requests until this process is ended by a signal."""
    for module in _PLUGINS:
        _main_of(module)
    # Excluded from garbage collection, the loaded objects stay shared with the forked processes.
    gc.collect()
    gc.freeze()
    # Nobody waits for the forked processes: the kernel removes them when they end.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    os.chdir(home)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(SOCKET)
    os.umask(0o077)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(SOCKET)
        listener.listen()
        while True:
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                _become(connection)
            connection.close()


def _become(connection: socket.socket) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    length, streams, _, _ = socket.recv_fds(connection, LENGTH, 3)
    request = json.loads(connection.recv(int.from_bytes(length, "big"), socket.MSG_WAITALL))
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = [request["module"], *request["arguments"]]
    threading.Thread(target=_follow, args=(connection,), daemon=True).start()
    code = 1
    try:
        _main_of(request["module"])()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        connection.send(bytes([code]))
        os._exit(code)


def _main_of(module: str) -> Callable[[], None]:
    main: Callable[[], None] = importlib.import_module(f"{module}.__main__").main
    return main


def _follow(connection: socket.socket) -> None:
    """Pass on the signals. A closed connection means that the requesting process was killed."""
    while number := connection.recv(1):
        os.kill(os.getpid(), number[0])
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    serve(sys.argv[1])
