"""Terminates a process when its parent process ends, for whatever reason."""

import os
import select
import signal
import threading


def die_with_parent() -> None:
    """Terminate this process (SIGTERM) as soon as its parent process has ended.

    A killed parent can't notify its children. A daemon thread therefore waits until the kernel's
    pidfd of the parent becomes readable (pidfd_open(2), Linux 5.3). Raises OSError where the kernel
    has no pidfd.
    """
    parent = os.pidfd_open(os.getppid())

    def wait() -> None:
        poll = select.poll()
        poll.register(parent, select.POLLIN)
        poll.poll()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="die-with-parent", daemon=True).start()
