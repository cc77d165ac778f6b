"""What holds for all unit tests."""

import asyncio
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from doks_gitops import cli
from tests.unit.pulumi_command import PulumiCommand


@pytest.fixture(autouse=True)
def event_loop_for_pulumi() -> Iterator[None]:
    """Pulumi's SDK takes the thread's event loop; a test before that used asyncio left none."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    asyncio.set_event_loop(None)
    loop.close()


@pytest.fixture(autouse=True)
def interruptible_tests() -> Iterator[None]:
    """The program changes what SIGINT does to its process."""
    handler = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, handler)


@pytest.fixture
def pulumi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PulumiCommand:
    (folder := tmp_path / "path").mkdir()
    return PulumiCommand(folder, monkeypatch)


@pytest.fixture
def bin_platform(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Runs `bin/platform` with these words; returns its exit code, output and errors."""

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["platform", *words])
        monkeypatch.setenv("COLUMNS", "200")
        with pytest.raises(SystemExit) as exit:
            cli.main()
        return int(exit.value.code or 0), *capsys.readouterr()

    return run
