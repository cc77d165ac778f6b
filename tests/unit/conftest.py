"""What holds for all unit tests."""

import asyncio
from collections.abc import Iterator

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """The DigitalOcean SDK warns at its own import of what it renamed in itself."""
    config.addinivalue_line("filterwarnings", "ignore:digitalocean:DeprecationWarning")


@pytest.fixture(autouse=True)
def event_loop_for_pulumi() -> Iterator[None]:
    """Pulumi's SDK takes the thread's event loop; a test before that used asyncio left none."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    asyncio.set_event_loop(None)
    loop.close()
