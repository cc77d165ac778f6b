"""Ends a process when the one that started it ends, however that one ended."""

import os
import select
import signal
import threading


def die_with_parent() -> None:
    """Make this process terminate itself (SIGTERM) as soon as its parent process has gone.

    A process whose parent was killed outright is never told so; the kernel's pidfd for the parent
    becomes readable instead (pidfd_open(2), Linux 5.3), and a daemon thread waits for that.
    Raises OSError where the kernel has no pidfd.
    """
    parent = os.pidfd_open(os.getppid())

    def wait() -> None:
        poll = select.poll()
        poll.register(parent, select.POLLIN)
        poll.poll()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="die-with-parent", daemon=True).start()
