"""Has all stand-in plugins loaded, and forks those that `launch` asks for: `HOME` is its argument.

A plugin lives as long as the process that asked for it: it gets the signals that one gets, and is
killed with it.
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
    f"sandbox.plugins.{name}" for name in ("digitalocean", "github", "kubernetes", "language")
)


def serve(home: str) -> None:
    """Answer requests until this process is ended."""
    for module in _PLUGINS:
        _main_of(module)
    # What is loaded stays shared with the forks: their collector leaves it alone.
    gc.collect()
    gc.freeze()
    # Nobody asks how a fork ended.
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


def _become(asked: socket.socket) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    length, streams, _, _ = socket.recv_fds(asked, LENGTH, 3)
    request = json.loads(asked.recv(int.from_bytes(length, "big"), socket.MSG_WAITALL))
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = [request["module"], *request["arguments"]]
    threading.Thread(target=_follow, args=(asked,), daemon=True).start()
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
        asked.send(bytes([code]))
        os._exit(code)


def _main_of(module: str) -> Callable[[], None]:
    main: Callable[[], None] = importlib.import_module(f"{module}.__main__").main
    return main


def _follow(asked: socket.socket) -> None:
    """Pass on the signals; one that says nothing more was killed."""
    while number := asked.recv(1):
        os.kill(os.getpid(), number[0])
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    serve(sys.argv[1])
