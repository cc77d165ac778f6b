"""A condition under which Pulumi may deploy, checked while Pulumi holds the stack's lock.

A client can't take that lock on every backend. But the engine holds it while it runs the program:
the program asks the command that has started the deployment, which may then compare what it has
planned for with what is there now. Nothing can change it any more until the deployment has ended.

https://www.pulumi.com/docs/iac/concepts/state-and-backends/
"""

from __future__ import annotations

import os
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pulumi

from doks_gitops.errors import PlatformError

VARIABLE = "DOKS_GITOPS_CONDITION"
"""Environment variable with the path of the Unix socket at which the program asks."""
_GRANTED = b"granted"
_TIMEOUT_SECONDS = 300
"""Seconds that a program waits for the answer, while it keeps everybody else from the stack."""


class NotGranted(pulumi.RunError, PlatformError):
    """The program may not go on. Pulumi shows a `RunError` without a traceback."""


class Condition:
    """The condition of one deployment."""

    def __init__(self, path: Path) -> None:
        self.env = {VARIABLE: str(path)}
        """Variables for the program."""
        self.refusal: PlatformError | None = None
        """Why the condition did not hold; None: it held, or the program has not asked."""


@contextmanager
def answering(check: Callable[[], None]) -> Iterator[Condition]:
    """Answer the program for as long as the context is open. `check` raises `PlatformError` if the
    condition does not hold. It is called in another thread."""
    # Windows has no such server, and `pulumi up` imports this module there, too.
    from socketserver import StreamRequestHandler, ThreadingUnixStreamServer

    # Not in TMPDIR: a socket's path has at most 104 bytes (unix(7), and macOS).
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        condition = Condition(Path(folder) / "socket")

        class Handler(StreamRequestHandler):
            def handle(self) -> None:
                try:
                    check()
                    self.wfile.write(_GRANTED)
                except PlatformError as error:
                    condition.refusal = error

        with ThreadingUnixStreamServer(condition.env[VARIABLE], Handler) as server:
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
            thread.start()
            try:
                yield condition
            finally:
                server.shutdown()
                thread.join()


def wait(environ: Mapping[str, str] = os.environ, *, dry_run: bool) -> None:
    """In the program, before its first resource: wait for the command's answer, if the deployment
    has a condition and is no preview. Raises `NotGranted` without one, or if it is no."""
    path = environ.get(VARIABLE)
    if not path or dry_run:
        return
    answer = b""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_TIMEOUT_SECONDS)
            connection.connect(path)
            answer = connection.makefile("rb").read()
    except OSError:
        pass  # The command has ended, or hangs.
    if answer != _GRANTED:
        raise NotGranted(
            "The command that started this deployment has not allowed it, and nothing was changed.",
            "Run that command again: bin/platform deploy or recover. If you have run pulumi"
            f" yourself: unset {VARIABLE}",
        )
