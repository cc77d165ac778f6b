"""What a year brings to a platform, some of it two at a time, and what holds after each event."""

import os
import secrets
from pathlib import Path

import pytest

from tests.e2e import year
from tests.e2e.box import Sandbox
from tests.e2e.world import SandboxWorld

SHORT_SEED = 161
"""Of a history with a new key, and the loss of the registry's access together with credentials that
expire."""
SHORT = 2
"""Number of events."""


def test_after_each_event_of_a_few_weeks_all_is_as_it_should_be(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    history = year.generated(["dev"], seed=SHORT_SEED, length=SHORT)
    assert any(isinstance(event, year.Lose) and len(event.what) == 2 for event in history)
    year.live(SandboxWorld(sandbox, ["dev"], tmp_path / "clone"), history, searching=120)


@pytest.mark.weekly
def test_after_each_event_of_a_year_all_is_as_it_should_be(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    """Variables: YEAR_SEED, YEAR_EVENTS, YEAR_SEARCHING (seconds), and YEAR_HISTORY, a list of
    events as a failure prints it."""
    seed = int(os.environ.get("YEAR_SEED") or secrets.randbelow(2**32))
    length = int(os.environ.get("YEAR_EVENTS") or 50)
    print(f"YEAR_SEED={seed}")
    stacks = ["dev", "prod"]
    history = year.generated(stacks, ["prod"], seed=seed, length=length)
    if text := os.environ.get("YEAR_HISTORY"):
        history = eval(text, vars(year))
    searching = float(os.environ.get("YEAR_SEARCHING") or 3600)
    year.live(SandboxWorld(sandbox, stacks, tmp_path / "clone"), history, searching=searching)
