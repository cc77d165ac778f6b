"""All drills, as anyone runs them."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.e2e.box import REPOSITORY, Sandbox, until

LIMIT_OF_ALL = 15 * 60
SLACK = 2
"""The limits are those of an idle machine, and nobody knows what else a test machine does."""


def test_everything_that_can_be_lost_comes_back_in_time(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    home = tmp_path_factory.mktemp("drill") / "box"
    box = Sandbox(home)
    results_file, picture = home.parent / "drills.json", home.parent / "timeline.svg"
    output = box(
        "drill", "all", "--json", str(results_file), "--timeline", str(picture),
        "--slack", str(SLACK),
        seconds=LIMIT_OF_ALL * SLACK,
    )  # fmt: skip
    results = json.loads(results_file.read_text())
    listed = re.findall(r"^([a-z]+(?:-[a-z]+)+)  ", box("drill"), re.MULTILINE)
    assert [each["name"] for each in results] == listed, output
    assert len(results) == 8
    assert all(each["passed"] for each in results)
    by_name = {each["name"]: each for each in results}
    assert by_name["lost-cluster"]["seconds"] <= 45 * SLACK
    assert by_name["lost-argocd"]["seconds"] <= 15 * SLACK
    assert sum(each["total"] for each in results) <= LIMIT_OF_ALL * SLACK
    assert "<svg" in picture.read_text()
    # Nothing of the user's was touched, and nothing is left.
    assert not home.exists() or not any(home.iterdir())
    drills = Sandbox(Path(f"{home}-drills"))
    until(10, "no process is left", lambda: not drills.processes())


def test_a_drill_that_there_is_not_is_refused_with_those_that_there_are() -> None:
    done = subprocess.run(
        [REPOSITORY / "bin" / "sandbox", "drill", "lost-keys"],
        env=os.environ, text=True, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "lost-cluster" in done.stderr
