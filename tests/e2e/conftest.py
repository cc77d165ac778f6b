"""Sandboxes for the end-to-end tests."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.box import REPOSITORY, Sandbox, temporary

REAL_MONOREPO = REPOSITORY.parent / "shared" / "data" / "microservices-demo"


@pytest.fixture(scope="session")
def monorepo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The guide's own monorepo where its manifests are at hand, else the sandbox's example."""
    folder = tmp_path_factory.mktemp("monorepo")
    source = REAL_MONOREPO if REAL_MONOREPO.is_dir() else REPOSITORY / "sandbox" / "example"
    shutil.copytree(source / "kustomize", folder / "kustomize")
    shutil.copymode(REPOSITORY, folder)
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    git = ["git", "-C", str(folder), "-c", "user.name=test", "-c", "user.email=test@localhost"]
    subprocess.run([*git, "init", "-q", "-b", "main"], check=True)
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "the demo"], check=True)
    return folder


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with temporary(tmp_path_factory.mktemp("sandbox")) as box:
        yield box


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """One for the tests of a module, in which nothing is deployed at first."""
    with temporary(tmp_path_factory.mktemp("box")) as box:
        box("start")
        yield box
