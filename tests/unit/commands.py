"""Runs `bin/platform` in the test's own process."""

import sys
from unittest.mock import patch

import pytest

from doks_gitops.cli import main


def platform(*words: str) -> int:
    """Run the command; returns its exit code."""
    with patch.object(sys, "argv", ["platform", *words]), pytest.raises(SystemExit) as ended:
        main()
    assert isinstance(ended.value.code, int)
    return ended.value.code
