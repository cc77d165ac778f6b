"""Runs a command whose whole process group is killed when its parent process ends.

    python -I guard.py PARENT_PID COMMAND [ARGUMENT...]

A compiler starts processes of its own, which would run for minutes after the sandbox was killed.
Started in a new session, this script runs the compiler in its own process group and kills the
group, itself included, as soon as the parent has ended (pidfd_open(2)). It imports nothing of the
sandbox, so that it starts fast. Its exit code is that of the command.
"""

import os
import select
import signal
import subprocess
import sys


def main(parent: int, command: list[str]) -> int:
    """Run `command` until it or the process `parent` ends.

    Must be called in the leader of a process group.
    """
    watched = os.pidfd_open(parent)
    # The parent may have ended before, and its process id may be in use again.
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
