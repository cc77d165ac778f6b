"""Finding, starting and stopping the daemon, in a folder in any state."""

import io
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
from rich.console import Console

from sandbox import cli, client, daemon, session
from sandbox.client import Daemon
from sandbox.errors import SandboxError
from sandbox.paths import DAEMON_LOCK, Home
from sandbox.processes import started_at


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "sandbox")
    home.folder("logs")
    return home


@pytest.fixture
def process() -> Iterator["subprocess.Popen[str]"]:
    """In the daemon's place."""
    code = "import time; print(flush=True); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        child.stdout.readline()
        yield child
        child.kill()


def lock(home: Home, process: "subprocess.Popen[str]") -> None:
    (home.root / DAEMON_LOCK).write_text(f"{process.pid} {started_at(process.pid)}\n")


def announce(home: Home, pid: int) -> None:
    record = {
        "pid": pid,
        "url": "http://127.0.0.1:1",
        "token": "t",
        "github": {},
        "spaces": {},
        "started": 1.5,
    }
    (home.root / "daemon.json").write_text(json.dumps(record))


def test_a_daemon_is_known_by_its_process_and_not_by_the_time_of_day(
    home: Home, process: "subprocess.Popen[str]"
) -> None:
    announce(home, process.pid)
    lock(home, process)

    assert client.required(home).pid == process.pid
    assert client.stop(home)
    assert started_at(process.pid) is None
    assert client.running(home) is None


def test_another_process_with_the_number_of_an_earlier_daemon_is_left_alone(
    home: Home, process: "subprocess.Popen[str]"
) -> None:
    announce(home, process.pid)
    (home.root / DAEMON_LOCK).write_text(f"{process.pid} 1\n")

    assert client.running(home) is None
    assert not client.stop(home)
    assert process.poll() is None


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"pid": 1}', "null", "\x00"])
def test_a_daemon_whose_file_is_damaged_is_told_and_can_be_stopped(
    home: Home, process: "subprocess.Popen[str]", content: str
) -> None:
    lock(home, process)
    (home.root / "daemon.json").write_text(content)

    with pytest.raises(SandboxError, match="bin/sandbox down"):
        client.required(home)
    assert client.stop(home)


@pytest.mark.parametrize("content", ["", "x", "1", "1 2 3"])
def test_a_damaged_lock_file_is_that_of_no_daemon(home: Home, content: str) -> None:
    (home.root / DAEMON_LOCK).write_text(content)

    assert client.running(home) is None


def test_a_second_start_waits_for_the_daemon_of_the_first(
    home: Home, process: "subprocess.Popen[str]", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Daemon, "get", lambda *_, **__: {})
    lock(home, process)
    first = threading.Timer(0.3, announce, [home, process.pid])
    first.start()

    assert client.start(home).pid == process.pid
    first.join()


def test_a_command_waits_while_another_one_prepares_the_sandbox_and_says_so(home: Home) -> None:
    console = Console(file=io.StringIO())
    order: list[str] = []

    def second() -> None:
        with session._alone(home, console):
            order.append("second")

    thread = threading.Thread(target=second)
    with session._alone(home, Console(file=io.StringIO())):
        thread.start()
        while "waiting" not in (shown := cast(io.StringIO, console.file).getvalue()):
            assert thread.is_alive(), shown
        order.append("first")
    thread.join()

    assert order == ["first", "second"]


@pytest.mark.parametrize("content", ["", "x", "99999999"])
def test_a_damaged_port_file_is_replaced(home: Home, content: str) -> None:
    file = home.root / "port"
    file.write_text(content)

    with daemon._listen(home) as listener:
        assert int(file.read_text()) == listener.getsockname()[1]


def test_a_folder_that_is_no_sandbox_is_neither_used_nor_removed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("x")

    with pytest.raises(SandboxError, match="has files but is no sandbox"):
        Home(tmp_path).folder("logs")
    with pytest.raises(SandboxError, match="nothing is removed"):
        session.remove(Home(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]


@pytest.mark.parametrize("before", ["no folder", "an empty folder", "an older sandbox"])
def test_a_sandbox_is_made_and_removed(tmp_path: Path, before: str) -> None:
    home = Home(tmp_path / "sandbox")
    if before != "no folder":
        home.root.mkdir()
    if before == "an older sandbox":
        (home.root / DAEMON_LOCK).touch()
        (home.root / "account.json").touch()
    home.folder("logs")

    session.remove(home)

    assert not home.root.exists()


@pytest.mark.parametrize("free", [0, 2**30])
def test_an_error_of_the_file_system_is_told_with_its_file_and_the_full_disk(
    home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], free: int
) -> None:
    monkeypatch.setenv("SANDBOX_HOME", str(home.root))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type("Usage", (), {"free": free}))

    with pytest.raises(SystemExit), cli._errors_as_messages():
        raise OSError(30, "Read-only file system", "account.json")

    shown = " ".join(capsys.readouterr().err.split())
    assert "Read-only file system: 'account.json'" in shown
    assert str(home.root) in shown.replace(" ", "")
    assert ("is full" in shown) == (free == 0)
