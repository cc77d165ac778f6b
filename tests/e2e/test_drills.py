"""The drills of losses, as anyone runs them."""

import json
from pathlib import Path

import pytest

from tests.e2e.box import Sandbox, until

DRILLS = ("lost-argocd", "lost-volumes", "killed-up")
"""That of volumes loses the cluster, too. The weekly run has all of them, their limits, and all
moments to kill a run at."""


def test_everything_that_can_be_lost_comes_back(tmp_path_factory: pytest.TempPathFactory) -> None:
    home = tmp_path_factory.mktemp("drill") / "sandbox"
    sandbox = Sandbox(home)
    results_file, picture = home.parent / "drills.json", home.parent / "timeline.svg"
    output = sandbox(
        "drill", *DRILLS, "--moments", "4", "--replacements", "0",
        "--json", str(results_file), "--timeline", str(picture),
    )  # fmt: skip
    results = json.loads(results_file.read_text())
    assert [result["name"] for result in results] == list(DRILLS), output
    assert all(result["passed"] for result in results)
    assert all(result["seconds"] for result in results)
    assert "<svg" in picture.read_text()
    # The user's own sandbox was not touched, and the drills' sandbox is gone.
    assert not home.exists() or not any(home.iterdir())
    drills = Sandbox(Path(f"{home}-drills"))
    until("no process is left", lambda: not drills.processes())
