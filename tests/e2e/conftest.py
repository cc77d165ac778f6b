"""Sandboxes for the end-to-end tests. Each file has its own, so that files can run side by side."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.box import REPOSITORY, Sandbox, temporary

LONGEST_FIRST = ("test_docs.py", "test_drills.py", "test_faults.py", "test_day_two.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files, so that the workers end at about the same time."""
    order = {name: place for place, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))


@pytest.fixture(scope="module")
def monorepo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Git repository with the manifests of the Online Boutique."""
    folder = tmp_path_factory.mktemp("monorepo")
    source = REPOSITORY / "tests" / "data" / "microservices-demo"
    shutil.copytree(source, folder, dirs_exist_ok=True)
    git = ["git", "-C", str(folder), "-c", "user.name=test", "-c", "user.email=test@localhost"]
    subprocess.run([*git, "init", "-q", "-b", "main"], check=True)
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "the demo"], check=True)
    return folder


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """The sandbox of a file, in which nothing runs at first."""
    with temporary(tmp_path_factory.mktemp("sandbox")) as sandbox:
        yield sandbox
