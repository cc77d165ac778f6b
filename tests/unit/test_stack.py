"""Pulumi is run so that no failure is overlooked and no stack is selected."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from doks_gitops.errors import PlatformError
from doks_gitops.policy.preview import PACK
from doks_gitops.stack import PulumiError, Stack, StackLocked, StackNotFound, without_passwords
from tests.unit.pulumi_command import PulumiCommand

PREVIEW: dict[str, Any] = {"steps": [], "changeSummary": {"same": 15}}


def test_a_preview_that_exits_with_an_error_fails_whatever_it_printed(
    pulumi: PulumiCommand,
) -> None:
    pulumi.prints(PREVIEW, exit_code=255)
    with pytest.raises(PulumiError, match=r"`pulumi preview .*--stack dev` failed \(exit code 255"):
        Stack("dev").preview()
    pulumi.prints(PREVIEW)
    assert Stack("dev").preview() == PREVIEW


@pytest.mark.parametrize("exit_code", [0, 255])
def test_a_failed_preview_says_what_the_engine_says(pulumi: PulumiCommand, exit_code: int) -> None:
    diagnostics = [
        {"severity": "warning", "message": "warning: plugin from PATH"},
        *[{"severity": "error", "message": "error: Pulumi.dev.yaml has 1 fault\n"}] * 2,
    ]
    pulumi.prints({**PREVIEW, "diagnostics": diagnostics}, exit_code=exit_code)
    with pytest.raises(PulumiError) as failure:
        Stack("dev").preview()
    assert failure.value.problem == "Pulumi.dev.yaml has 1 fault"
    assert failure.value.fix == "pulumi preview --stack dev"


def test_a_preview_that_is_no_json_fails(pulumi: PulumiCommand) -> None:
    pulumi.prints("Previewing update (dev):")
    with pytest.raises(PulumiError, match=r"(?s)printed no JSON.*Previewing update \(dev\)"):
        Stack("dev").preview()


@pytest.mark.parametrize(
    ("message", "kind", "fix"),
    [
        ("no stack named 'dev' found", StackNotFound, "pulumi stack init dev"),
        ("the stack is currently locked by 1 lock(s)", StackLocked, "recover --stack dev --cancel"),
        ("passphrase must be set", PulumiError, "pulumi preview --stack dev"),
        ("PULUMI_ACCESS_TOKEN must be set for login", PulumiError, 'docs/real-account.md, "State"'),
        ("unable to open bucket: unknown query", PulumiError, 'docs/real-account.md, "State"'),
        ("read .pulumi/meta.yaml: AccessDenied", PulumiError, 'docs/real-account.md, "State"'),
        ("could not list bucket: NoSuchBucket", PulumiError, 'docs/real-account.md, "State"'),
        (
            "this command requires logging in; try running `pulumi login` first",
            PulumiError,
            'docs/real-account.md, "State"',
        ),
    ],
)
def test_a_failed_command_is_an_error_with_its_message_and_the_next_command(
    pulumi: PulumiCommand, message: str, kind: type[PulumiError], fix: str
) -> None:
    pulumi.script(f"echo {shlex.quote(f'error: {message}')} >&2; exit 255")
    with pytest.raises(PulumiError) as failure:
        Stack("dev").export()
    assert type(failure.value) is kind
    assert failure.value.message == message
    assert (
        failure.value.problem
        == f"`pulumi stack export --stack dev` failed (exit code 255):\n{message}"
    )
    assert str(failure.value.fix).endswith(fix)


@pytest.mark.parametrize(
    "url",
    [
        "postgres://team:hush@db.test/state",
        "postgres://team:hu@hush@db.test/state",
        "postgres://team:hu/hush@db.test/state",
        "postgres://team:hu'hush@db.test/state",
        "postgres://team:hu:hush@db.test/state",
        "postgres://db.test/state?user=team&password=hush",
        "postgres://db.test/state?PASSWORD=hu'hush",
        "postgres://db.test:5432/db.test/state?password=hu@hush&sslmode=disable",
        "postgres://db.test/state?sslpassword=hush",
    ],
)
def test_a_password_in_the_backends_url_is_neither_shown_nor_in_an_error(
    pulumi: PulumiCommand, capfd: pytest.CaptureFixture[str], url: str
) -> None:
    message = f'unable to open "{url}": refused'
    pulumi.prints({**PREVIEW, "diagnostics": [{"severity": "error", "message": message}]})
    with pytest.raises(PulumiError, match="refused") as preview:
        Stack("dev").preview()
    text = shlex.quote(message)
    pulumi.script(f"echo {text}; echo {text} >&2; exit 1")
    with pytest.raises(PulumiError, match="refused") as run:
        Stack("dev").up(policy_pack=PACK)
    output = capfd.readouterr()
    for text in (str(preview.value), str(run.value), run.value.message, output.out, output.err):
        assert "db.test/state" in text
        assert "hush" not in text


@pytest.mark.parametrize("password", ["hu hush", 'hu"hush', "hu\\hush"])
def test_a_password_that_no_url_may_have_is_not_shown_either(
    monkeypatch: pytest.MonkeyPatch, password: str
) -> None:
    url = f"postgres://team:{password}@db.test/state"
    monkeypatch.setenv("PULUMI_BACKEND_URL", url)
    for message in (f"parse {url}: invalid", f"parse {json.dumps(url)}: invalid"):
        text = without_passwords(message)
        assert "db.test/state" in text
        assert "hush" not in text


@pytest.mark.parametrize("run", [Stack.export, lambda stack: stack.set_secret("key", "hush")])
def test_a_missing_pulumi_is_told_with_where_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, run: Callable[[Stack], object]
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(PulumiError, match=r"pulumi: No such file(?s:.*)download-install"):
        run(Stack("dev", tmp_path))


def test_a_missing_folder_is_named(pulumi: PulumiCommand, tmp_path: Path) -> None:
    with pytest.raises(PulumiError, match="nowhere: No such file"):
        Stack("dev", tmp_path / "nowhere").export()


@pytest.mark.parametrize(
    ("content", "reason"), [(None, "No such file"), (b"\xff", "no text in UTF-8")]
)
def test_a_stack_file_that_can_not_be_read_is_an_error_that_names_it(
    tmp_path: Path, content: bytes | None, reason: str
) -> None:
    if content is not None:
        (tmp_path / "Pulumi.dev.yaml").write_bytes(content)
    with pytest.raises(PlatformError, match=rf"Pulumi\.dev\.yaml can't be read: {reason}"):
        Stack("dev", tmp_path).text()


def test_every_command_names_its_stack_and_none_is_selected(pulumi: PulumiCommand) -> None:
    pulumi.prints({"value": "x", "secret": False})
    stack = Stack("prod")
    stack.config_value("key")
    stack.outputs()
    stack.export()
    stack.preview(refresh=True)
    stack.create()
    stack.cancel()
    stack.clear_pending_creates("urn")
    stack.import_state({})
    stack.up(policy_pack=PACK, refresh=True)
    pulumi.prints({})
    stack.config()
    assert len(pulumi.calls) == 10, "one command each"
    for call in pulumi.calls:
        words = call.split()
        assert words[0] == "--non-interactive"
        assert words[words.index("--stack") + 1] == "prod"
        assert "select" not in words
        assert ("--no-select" in words) == ("init" in words)


def test_a_refresh_uses_the_credentials_of_the_program_and_not_those_in_the_state(
    pulumi: PulumiCommand,
) -> None:
    pulumi.prints(PREVIEW)
    Stack("dev").preview(refresh=True)
    Stack("dev").up(policy_pack=PACK, refresh=True)
    assert all({"--refresh", "--run-program"} <= set(call.split()) for call in pulumi.calls)


def test_configuration_is_read_with_its_secrets(pulumi: PulumiCommand) -> None:
    pulumi.prints({"digitalocean:token": {"value": "dop_v1", "secret": True}})
    assert Stack("dev").config() == {"digitalocean:token": "dop_v1"}


def test_pulumi_has_the_environment_of_the_caller_and_the_deployments_own(
    pulumi: PulumiCommand, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "hush")
    pulumi.script('echo "$PULUMI_CONFIG_PASSPHRASE $ADOPT"; echo warned >&2')
    Stack("dev").up(policy_pack=PACK, env={"ADOPT": '{"registry": true}'})
    output = capfd.readouterr()
    assert output.out == 'hush {"registry": true}\n'
    assert "ADOPT='{\"registry\": true}' pulumi up" in output.err
    assert output.err.endswith("warned\n")


def test_ctrl_c_lets_pulumi_cancel_its_run_before_the_command_ends(pulumi: PulumiCommand) -> None:
    pulumi.script(
        'trap "sleep 1; echo cancelled; exit 1" INT; echo began; while :; do sleep 0.1; done'
    )
    program = "from doks_gitops.stack import Stack; Stack('dev').cancel()"
    command = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert command.stdout is not None
    assert command.stdout.readline() == "began\n"
    # As the terminal does: to all processes in the foreground.
    os.killpg(command.pid, signal.SIGINT)
    output, errors = command.communicate(timeout=30)
    assert output == "cancelled\n"
    assert errors.endswith("KeyboardInterrupt\n")


def test_the_last_run_is_neither_an_import_nor_one_that_goes_on(pulumi: PulumiCommand) -> None:
    ended = {"kind": "update", "result": "failed", "startTime": "1"}
    history = [
        {"kind": "update", "result": "in-progress", "startTime": "3"},
        {"kind": "import", "result": "succeeded", "startTime": "2"},
        ended,
    ]
    pulumi.script(f"echo '{json.dumps(history)}'")
    assert Stack("dev").last_run() == ended
    pulumi.script("echo '[]'")
    assert Stack("dev").last_run() is None
