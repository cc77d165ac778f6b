"""What the SDK tells of its own work."""

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
