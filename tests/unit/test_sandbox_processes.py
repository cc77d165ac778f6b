"""No child of the sandbox outlives it."""

import subprocess
import sys

PARENT = """\
import subprocess, sys
from sandbox.processes import with_parent_death_signal
child = subprocess.Popen(with_parent_death_signal([sys.executable, "-c", sys.argv[1]], "INT"))
child.wait()
"""
CHILD = """\
import signal, time
# A shell starts what it runs in the background with SIGINT ignored, and children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    print("ready", flush=True)
    time.sleep(600)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def test_a_command_is_interrupted_when_what_runs_it_is_killed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, CHILD], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "ready\n"
        parent.kill()
        # The child has inherited the pipe, so reading ends when the child has ended.
        assert parent.stdout.read() == "interrupted\n"


LATE = """\
import os, subprocess, sys
from sandbox.processes import with_parent_death_signal
command = with_parent_death_signal(["echo", "ran"])
if os.fork() == 0:
    # The child's parent is not the process that was to be it, as if that one had just died.
    os._exit(subprocess.run(command).returncode)
sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))
"""


def test_a_child_whose_parent_dies_before_the_child_is_tied_to_it_does_not_run() -> None:
    run = subprocess.run([sys.executable, "-c", LATE], stdout=subprocess.PIPE, text=True)
    assert run.stdout == ""
    assert run.returncode != 0
