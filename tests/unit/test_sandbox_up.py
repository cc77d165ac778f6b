"""`bin/sandbox up`: which command deploys a stack."""

from types import SimpleNamespace

import pytest

from sandbox import cli, session
from sandbox.client import SandboxError


@pytest.mark.parametrize(("killed", "name"), [(True, "recover"), (False, "up")])
def test_a_stack_that_a_killed_run_has_left_is_recovered(
    monkeypatch: pytest.MonkeyPatch, killed: bool, name: str
) -> None:
    pulumi = SimpleNamespace(release_stale_lock=lambda stack: killed)
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
