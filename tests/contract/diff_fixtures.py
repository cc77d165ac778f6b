"""A clone of a monorepo whose changes `bin/platform diff` shows, with Argo CD's own repo-server."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from sandbox.toolchain import recipes
from tests.contract.built_tools import binary

DATA = Path(__file__).parents[1] / "data"
INSTALLED = shutil.which
URL = "https://git.example.com/team/microservices-demo.git"
STACK = """\
config:
  doks-gitops:cluster:
    name: microservices-demo-NAME
    region: nyc1
    version: "1.34"
    nodePools: [{name: default, size: s-2vcpu-4gb, count: 1}]
  doks-gitops:repositories: {monorepo: {url: "URL"}}
  doks-gitops:argocd: {chart: {version: 10.1.1}}
"""


def stack_file(name: str, more: str) -> str:
    return STACK.replace("NAME", name).replace("URL", URL) + more


Files = dict[str, str | None]
Commit = Callable[[Files], str]


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch) -> None:
    """Argo CD, Helm and Kustomize are installed."""
    programs = {
        "argocd": recipes.ARGOCD, "helm": recipes.HELM, "kustomize": recipes.KUSTOMIZE
    }  # fmt: skip
    paths = {name: str(binary(recipe, name)) for name, recipe in programs.items()}
    monkeypatch.setattr(shutil, "which", lambda name: paths.get(name) or INSTALLED(name))


@pytest.fixture
def clone(tools: None, tmp_path: Path) -> Path:
    """An empty clone of the monorepo, on its branch main."""
    folder = tmp_path / "clone"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "config", "user.name", "a")
    git(folder, "config", "user.email", "a@example.com")
    return folder


@pytest.fixture
def commit(clone: Path) -> Commit:
    """Commits files by their paths; None: the file is deleted. Returns the commit."""

    def write(files: Files) -> str:
        for name, text in files.items():
            path = clone / name
            if text is None:
                path.unlink()
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
        git(clone, "add", "--all")
        git(clone, "commit", "--quiet", "--message", "change")
        return git(clone, "rev-parse", "HEAD").strip()

    return write


def git(folder: Path, *words: str) -> str:
    return subprocess.run(
        ["git", "-C", str(folder), *words], check=True, capture_output=True, text=True
    ).stdout


def files_in(folder: Path) -> Files:
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in folder.rglob("*")
        if path.is_file()
    }
