"""What the commands say on a machine, or in a clone, that lacks what they need."""

import hashlib
import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone in which nothing is installed."""
    shutil.copytree(REPOSITORY / "bin", tmp_path / "a clone" / "bin")
    for name in ("requirements.txt", "requirements-dev.txt", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, tmp_path / "a clone")
    return tmp_path / "a clone"


def run(clone: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PIP_")}
    return subprocess.run(
        [str(clone / words[0]), *words[1:]],
        env={**kept, **env}, text=True, capture_output=True, check=False,
    )  # fmt: skip


def test_platform_without_its_packages_says_what_installs_them(clone: Path) -> None:
    done = run(clone, "bin/platform", "status")
    assert done.returncode == 1
    assert f"next:  {clone}/bin/setup" in done.stderr


@pytest.mark.parametrize("command", ["setup", "sandbox", "test"])
def test_a_machine_without_a_python_that_fits_is_told_which_one_does(
    clone: Path, command: str
) -> None:
    tools = clone.parent / "tools"
    tools.mkdir()
    for tool in ("sh", "sha256sum", "cut", "cat", "dirname", "readlink"):
        program = shutil.which(tool)
        assert program
        (tools / tool).symlink_to(program)
    old = tools / "python3"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.2 || exit 1\n')
    old.chmod(0o755)
    done = run(clone, f"bin/{command}", PATH=str(tools))
    assert done.returncode == 1
    assert "Python 3.11 or newer with its venv module was not found" in done.stderr
    assert "python3 here: Python 3.9.2" in done.stderr


def test_program_alone_is_installed_with_its_own_lock_file(clone: Path, tmp_path: Path) -> None:
    """A local folder takes the place of the package index."""
    wheel = tmp_path / "index" / "probe-1.0-py3-none-any.whl"
    wheel.parent.mkdir()
    with zipfile.ZipFile(wheel, "w") as files:
        files.writestr("probe.py", "")
        files.writestr(
            "probe-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: probe\nVersion: 1.0\n"
        )
        files.writestr(
            "probe-1.0.dist-info/WHEEL",
            "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        files.writestr("probe-1.0.dist-info/RECORD", "")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    (clone / "requirements.txt").write_text(f"probe==1.0 --hash=sha256:{digest}\n")
    index = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheel.parent)}
    for _ in range(2):
        assert run(clone, "bin/setup", "--program", **index).returncode == 0
    probe = [str(clone / ".venv/bin/python"), "-c", "import probe, sys; print(sys.path[-1])"]
    assert subprocess.run(probe, text=True, capture_output=True, check=True).stdout == f"{clone}\n"
    done = run(clone, "bin/setup", **index)
    assert "requirements-dev.txt" in done.stderr, "the other packages are still missing"


def test_part_that_the_checks_do_not_have_is_wrong_usage(clone: Path) -> None:
    done = run(clone, "bin/test", "static", "integration")
    assert done.returncode == 2
    assert "error: integration is no part of the checks" in done.stderr
    assert done.stdout == "", "nothing has run"


def test_a_python_without_pip_of_its_own_is_not_taken(clone: Path) -> None:
    """As Debian's is without python3-venv."""
    (modules := clone.parent / "modules").mkdir()
    (modules / "ensurepip.py").write_text("raise ImportError('not packaged')\n")
    done = run(clone, "bin/setup", PYTHONPATH=str(modules))
    assert done.returncode == 1
    assert "apt-get install python3-venv" in done.stderr
    assert not (clone / ".venv").exists()


def test_without_a_network_the_installation_says_what_to_check_and_can_be_repeated(
    clone: Path,
) -> None:
    # A port that nobody listens at.
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "0"}
    for _ in range(2):
        done = run(clone, "bin/setup", **nowhere)
        assert done.returncode == 1
        assert "check the network" in done.stderr
        assert not (clone / ".venv" / ".installed").exists()
