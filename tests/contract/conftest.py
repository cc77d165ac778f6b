"""What many contract tests need."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.digitalocean_api import Emulator, InMemoryBackend, emulator


@pytest.fixture
def do(tmp_path: Path) -> Iterator[Emulator]:
    """A served account, new to each test."""
    with emulator(tmp_path / "account.json", InMemoryBackend()) as served:
        yield served
