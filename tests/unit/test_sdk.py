"""What the SDK tells of its own work."""

import signal
import subprocess
import sys

import pulumi
import pytest

from components.sdk import disable_debug_messages
from tests.unit.mocked import run


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    messages: list[str] = []
    monkeypatch.setattr(pulumi.log, "debug", lambda msg, *_: messages.append(msg))
    return messages


def program() -> None:
    component = pulumi.ComponentResource("test:index:Safe", "safe")
    component.register_outputs({"password": pulumi.Output.secret("open sesame")})


def test_the_sdk_still_tells_secret_outputs_unless_it_is_kept_from_it(told: list[str]) -> None:
    """If this fails, `components.secrecy` has had its day."""
    run(program)
    assert any("open sesame" in message for message in told)


def test_the_sdk_tells_nothing_once_it_is_silenced(told: list[str]) -> None:
    disable_debug_messages()
    run(program)
    assert told == []


def test_a_program_that_the_language_host_interrupts_writes_no_traceback() -> None:
    program = (
        "import os, signal; from components import sdk;"
        " sdk.end_when_interrupted(); os.kill(os.getpid(), signal.SIGINT)"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert (ended.returncode, ended.stdout + ended.stderr) == (-signal.SIGINT, b"")
