"""`bin/platform`: help, exit codes and errors have one form in all commands."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
import typer

from doks_gitops import cli
from tests.unit.command_lines import mistake
from tests.unit.pulumi_command import PulumiCommand

BinPlatform = Callable[..., tuple[int, str, str]]


def commands(group: object, words: str = "") -> Iterator[str]:
    """The words of each command, and of those that are commands of another one."""
    for name, command in getattr(group, "commands", {}).items():
        yield f"{words}{name}"
        yield from commands(command, f"{words}{name} ")


@pytest.mark.parametrize("command", sorted(commands(typer.main.get_command(cli.app))))
def test_the_help_of_every_command_ends_with_at_least_two_examples_of_right_usage(
    bin_platform: BinPlatform, command: str
) -> None:
    code, output, _ = bin_platform(*command.split(), "--help")
    assert code == 0
    examples = re.findall(r"^ *\$ (.*?) *$", output.partition("Examples:")[2], re.MULTILINE)
    assert len(examples) >= 2
    for example in examples:
        words = shlex.split(example)
        assert shlex.join(words).startswith(f"bin/platform {command}")
        assert mistake(words) is None, example


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nothing"], "No such command 'nothing'"),
        (["deploy"], "Missing option '--stack'"),
        (["preview", "--comment", "x"], "Invalid value for '--comment'"),
    ],
)
def test_wrong_usage_ends_with_exit_code_2(
    bin_platform: BinPlatform, words: list[str], message: str
) -> None:
    code, output, errors = bin_platform(*words)
    assert (code, output) == (2, "")
    assert message in errors


def test_a_failure_ends_with_exit_code_1_the_problem_and_the_next_command(
    bin_platform: BinPlatform, pulumi: PulumiCommand
) -> None:
    pulumi.script("echo 'error: passphrase must be set' >&2; exit 255")
    code, output, errors = bin_platform("recover", "--stack", "dev", "--yes")
    assert (code, output) == (1, "")
    assert errors == (
        "error: `pulumi stack export --stack dev` failed (exit code 255):\n"
        "passphrase must be set\n"
        "next:  pulumi preview --stack dev\n"
    )


@pytest.mark.parametrize(
    ("module", "libraries"),
    [
        ("doks_gitops.cli", {"pulumi", "pydantic", "requests"}),
        ("doks_gitops.diff.compare", {"pulumi_digitalocean", "requests"}),
    ],
    ids=["the help", "the diff"],
)
def test_nobody_waits_for_libraries_that_only_other_commands_need(
    module: str, libraries: set[str]
) -> None:
    program = f"import sys, {module}; print(*{libraries} & {{*sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", program], text=True, capture_output=True, check=True
    )
    assert done.stdout == "\n"
