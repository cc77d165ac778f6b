"""Runs a command whose whole process group dies with the process that asked for it.

    python -I guard.py PARENT_PID COMMAND [ARGUMENT...]

A compiler starts processes of its own, which would go on for minutes after the sandbox that
started it was killed. Started in a new session, this script holds the compiler in its process
group and kills the group, itself included, as soon as the parent has gone (pidfd_open(2)). It
imports nothing of the sandbox, so that it starts at once; its exit code is the command's.
"""

import os
import select
import signal
import subprocess
import sys


def main(parent: int, command: list[str]) -> int:
    """Run `command` to its end, or until the process `parent` ends.

    Must be called in a process that leads its own process group.
    """
    watched = os.pidfd_open(parent)
    # The parent may have ended before, and its number may be another process's by now.
    if os.getppid() != parent:
        return 1
    child = subprocess.Popen(command)
    poll = select.poll()
    poll.register(watched, select.POLLIN)
    poll.register(os.pidfd_open(child.pid), select.POLLIN)
    if any(fd == watched for fd, _ in poll.poll()):
        os.killpg(0, signal.SIGKILL)
    status = child.wait()
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
