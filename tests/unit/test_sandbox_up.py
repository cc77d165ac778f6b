"""`bin/sandbox up`: which command deploys a stack."""

import sys
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import typer

from sandbox import cli, session
from sandbox.errors import SandboxError


@pytest.mark.parametrize(
    ("killed", "unfinished", "name"),
    [(True, [], "recover"), (True, ["cluster"], "recover"), (False, ["cluster"], "recover"),
     (False, [], "up")],
)  # fmt: skip
def test_a_stack_that_a_killed_run_has_left_is_recovered(
    monkeypatch: pytest.MonkeyPatch, killed: bool, unfinished: list[str], name: str
) -> None:
    pulumi = SimpleNamespace(
        release_stale_lock=lambda stack: killed, unfinished=lambda stack: unfinished
    )
    monkeypatch.setattr(session, "start", lambda *_, **__: (None, pulumi))
    commands: list[list[str]] = []

    def run(command: list[str], engine: object) -> int:
        commands.append(command)
        return 1

    monkeypatch.setattr(cli, "_run", run)
    with pytest.raises(SandboxError, match="bin/sandbox recover dev"):
        cli.up(["dev"])
    [command] = commands
    assert command[1] == name
    assert {"--stack", "dev", "--yes"} <= set(command)


@pytest.mark.parametrize(("answer", "asked"), [("y", True), ("n", True), ("n", False)])
def test_at_a_terminal_the_user_is_asked_unless_yes_is_given(
    monkeypatch: pytest.MonkeyPatch, answer: str, asked: bool
) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    questions: list[str] = []

    def confirm(question: str, **_: object) -> None:
        questions.append(question)
        if answer == "n":
            raise typer.Abort

    monkeypatch.setattr(typer, "confirm", confirm)
    refused = pytest.raises(typer.Abort) if asked and answer == "n" else nullcontext()
    with refused:
        cli._ask_to_recover("dev", ["cluster"], yes=not asked)
    assert questions == ["Recover the stack dev?"] * asked


def test_stack_that_was_deployed_is_in_the_command_for_its_password(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "write_kubeconfig", lambda *_: None)
    pulumi = SimpleNamespace(release_stale_lock=lambda _: False, unfinished=lambda _: [])
    daemon = SimpleNamespace(get=lambda _: {"clusters": [], "memory": 0, "processes": []}, token="")
    monkeypatch.setattr(session, "start", lambda *_, **__: (daemon, pulumi))
    monkeypatch.setattr(cli, "_run", lambda *_: 0)
    cli.up(["staging"], wait=0)
    assert "stack output --stack staging argocdAdminPassword" in capsys.readouterr().out


def test_help_names_the_command_as_it_is_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["sandbox/__main__.py", "--help"])
    with pytest.raises(SystemExit):
        cli.main()
    assert "Usage: bin/sandbox [OPTIONS] COMMAND" in capsys.readouterr().out
