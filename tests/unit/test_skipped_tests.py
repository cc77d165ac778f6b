"""In CI a skipped test is a failure."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).resolve().parents[1] / "conftest.py"
SKIPS = {
    "by the test": "import pytest\ndef test_it():\n    pytest.skip('no helm')\n",
    "by a mark": "import pytest\n@pytest.mark.skip('no helm')\ndef test_it():\n    pass\n",
    "by the file": "import pytest\npytest.skip('no helm', allow_module_level=True)\n",
}


def run(folder: Path, test: str, ci: str) -> "subprocess.CompletedProcess[str]":
    shutil.copy(CONFTEST, folder)
    (folder / "test_it.py").write_text(test)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rs", str(folder)]
    env = {**os.environ, "CI": ci}
    return subprocess.run(command, cwd=folder, env=env, text=True, capture_output=True, check=False)


@pytest.mark.parametrize("skip", SKIPS)
def test_skipped_test_fails_in_ci_with_its_reason(tmp_path: Path, skip: str) -> None:
    done = run(tmp_path, SKIPS[skip], "true")
    assert done.returncode not in (0, 5), done.stdout
    assert "Skipped: no helm" in done.stdout
    assert "In CI a skipped test is a failure." in done.stdout


def test_skipped_test_is_no_failure_elsewhere(tmp_path: Path) -> None:
    done = run(tmp_path, SKIPS["by the test"], "")
    assert done.returncode == 0, done.stdout
    assert "no helm" in done.stdout


def test_expected_failure_is_no_skip(tmp_path: Path) -> None:
    test = "import pytest\n@pytest.mark.xfail\ndef test_it():\n    assert False\n"
    assert run(tmp_path, test, "true").returncode == 0


def test_deselected_test_is_no_skip(tmp_path: Path) -> None:
    test = f"{SKIPS['by the test']}\ndef test_other():\n    pass\n"
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --deselect=test_it.py::test_it\n")
    assert run(tmp_path, test, "true").returncode == 0
