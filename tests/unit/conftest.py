"""What holds for all unit tests."""

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """The DigitalOcean SDK warns at its own import of what it renamed in itself."""
    config.addinivalue_line("filterwarnings", "ignore:digitalocean:DeprecationWarning")
