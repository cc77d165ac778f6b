"""All tools of the sandbox, in one folder."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from sandbox import paths
from sandbox.toolchain import build, machine
from sandbox.toolchain.recipes import (
    ARGOCD,
    ARGOCD_ROLES,
    KWOK,
    PULUMI_GITHUB,
    RECIPES,
    VERIFY_WRAPPER,
    Recipe,
)
from sandbox.toolchain.store import Store

BUILT = "built from source"
MACHINE = "this machine"
PACKAGE = "Python package"
GITHUB_PROVIDER = PULUMI_GITHUB.binaries[0].name


@dataclass(frozen=True)
class Tool:
    """A program: its version, its origin, and its file."""

    name: str
    version: str
    origin: str
    file: Path


@dataclass(frozen=True)
class Tools:
    """Every tool of the sandbox.

    `bin_dir` is a folder of links to all of them, to be put first on PATH. It also contains Argo
    CD's processes under their five names and git-verify-wrapper.sh, which its repo-server calls.
    The folder never changes: another set of tools has another folder.
    `argocd_manifests` is the folder `manifests` of the same Argo CD release as `argocd`.
    `kwok_stages` are the files for kwok's `--config` that make nodes and pods become ready.
    """

    bin_dir: Path
    all: tuple[Tool, ...]
    argocd_manifests: Path
    kwok_stages: tuple[Path, ...]

    def path(self, name: str) -> Path:
        """The link to that tool. Raises KeyError if the sandbox has no such tool."""
        path = self.bin_dir / name
        if not path.is_symlink():
            raise KeyError(name)
        return path

    @property
    def github_provider(self) -> Path | None:
        """The plugin of pulumi-github; None unless it was among the recipes."""
        return next((tool.file for tool in self.all if tool.name == GITHUB_PROVIDER), None)

    @property
    def versions(self) -> Mapping[str, str]:
        """The version of each tool, by name."""
        return {tool.name: tool.version for tool in self.all}


def ensure(console: Console, recipes: Sequence[Recipe] = RECIPES) -> Tools:
    """Find or build the tools of `recipes`; `console` shows the progress of builds.

    Takes minutes if something has to be built, otherwise a fraction of a second. Suitable tools of
    the machine take precedence over built ones (see `machine.find`). Several processes may call it
    at once. Raises ToolchainError, with a message for the user, if a tool is not available.
    """
    git = machine.git()
    redis, redis_version = machine.redis()
    store = Store(paths.cache_dir() / "tools")
    with ThreadPoolExecutor(len(recipes)) as pool:
        names = [recipe.name for recipe in recipes]
        installed = dict(zip(names, pool.map(machine.find, recipes), strict=True))
    artifacts = {recipe.name: build.Artifacts.of(recipe, store) for recipe in recipes}
    built = frozenset(name for name in names if installed[name] is None)
    build.complete(tuple(artifacts.values()), built, store, paths.cache_dir() / "logs", console)

    tools = [
        Tool("git", str(git.version), MACHINE, git.path),
        Tool("redis-server", redis_version, PACKAGE, redis),
    ]
    for recipe in recipes:
        for binary in recipe.binaries:
            if programs := installed[recipe.name]:
                program = programs[binary.name]
                tools.append(Tool(binary.name, str(program.version), MACHINE, program.path))
            else:
                file = artifacts[recipe.name].binary(binary.name)
                tools.append(Tool(binary.name, str(recipe.version), BUILT, file))
    # Not the plugin: the engine warns of one that it finds on PATH.
    files = {tool.name: tool.file for tool in tools if tool.name != GITHUB_PROVIDER}
    files |= dict.fromkeys(ARGOCD_ROLES, files["argocd"])
    wrapper = artifacts[ARGOCD.name].files / VERIFY_WRAPPER
    files[wrapper.name] = wrapper
    links = build.key(*(f"{name}={file}" for name, file in sorted(files.items())))
    return Tools(
        bin_dir=Store(paths.cache_dir() / "bin").links(links, files),
        all=tuple(sorted(tools, key=lambda tool: tool.name)),
        argocd_manifests=artifacts[ARGOCD.name].files / "manifests",
        kwok_stages=tuple(
            file
            for file in sorted(artifacts[KWOK.name].files.rglob("*.yaml"))
            if file.name != "kustomization.yaml"
        ),
    )
