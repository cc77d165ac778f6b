"""No child of the sandbox outlives it."""

import signal
import subprocess
import sys

import psutil

PARENT = """\
import subprocess, sys
from sandbox.processes import dying_with_me
child = subprocess.Popen(dying_with_me([sys.executable, "-c", sys.argv[1]], "INT"))
print(child.pid, flush=True)
child.wait()
"""
CHILD = """\
import time
print("ready", flush=True)
try:
    time.sleep(600)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def test_a_command_is_interrupted_when_what_runs_it_is_killed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, CHILD], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        lines = [parent.stdout.readline(), parent.stdout.readline()]
        [child] = [psutil.Process(int(line)) for line in lines if line.strip().isdigit()]
        parent.send_signal(signal.SIGKILL)
        # The child has inherited the pipe: reading ends when it has ended.
        rest = parent.stdout.read()
    assert "interrupted" in "".join([*lines, rest])
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
