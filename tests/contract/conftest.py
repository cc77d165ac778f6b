"""Fixtures of several contract tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.digitalocean_api import Emulator, InMemoryBackend, emulator


@pytest.fixture
def do(tmp_path: Path) -> Iterator[Emulator]:
    """An emulated account on an HTTP server, a new one for each test."""
    with emulator(tmp_path / "account.json", InMemoryBackend()) as emulated:
        yield emulated
