"""`bin/sandbox up` after a run that was killed."""

from typing import Any

import pytest
from typer.testing import CliRunner

from sandbox import cli, session
from sandbox.errors import SandboxError
from sandbox.paths import REPOSITORY

PLATFORM = str(REPOSITORY / "bin" / "platform")
RECOVERY = [PLATFORM, "recover", "--stack", "dev", "--yes"]
UP = ["pulumi", "up", "--stack", "dev", "--yes"]


class Engine:
    def __init__(self, unfinished: list[str]) -> None:
        self._unfinished = unfinished

    def release_stale_lock(self, stack: str) -> bool:
        return False

    def unfinished(self, stack: str) -> list[str]:
        return self._unfinished


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that are run; each of them fails, so that nothing comes after them."""
    commands: list[list[str]] = []

    def run(command: list[str], _: object) -> int:
        commands.append(command)
        return 1

    monkeypatch.setattr(cli, "_run", run)
    return commands


def up(monkeypatch: pytest.MonkeyPatch, unfinished: list[str], *options: str) -> Any:
    engine = Engine(unfinished)
    monkeypatch.setattr(session, "start", lambda *_, **__: (None, engine))
    return CliRunner().invoke(cli.app, ["up", *options]).exception


@pytest.mark.parametrize(("unfinished", "command"), [([], UP), (["cluster"], RECOVERY)])
def test_a_stack_whose_last_run_was_killed_is_recovered(
    monkeypatch: pytest.MonkeyPatch,
    commands: list[list[str]],
    unfinished: list[str],
    command: list[str],
) -> None:
    error = up(monkeypatch, unfinished, "--yes")

    assert commands == [command]
    assert isinstance(error, SandboxError)
    assert "bin/sandbox up dev" in str(error)


def test_without_a_terminal_the_command_that_recovers_is_named(
    monkeypatch: pytest.MonkeyPatch, commands: list[list[str]]
) -> None:
    error = up(monkeypatch, ["cluster"])

    assert commands == []
    assert isinstance(error, SandboxError)
    assert "bin/sandbox recover dev" in str(error)
