"""All tools of the sandbox, in one folder."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from sandbox import paths
from sandbox.toolchain import build, machine
from sandbox.toolchain.recipes import ARGOCD, ARGOCD_ROLES, KWOK, RECIPES, VERIFY_WRAPPER, Recipe
from sandbox.toolchain.store import Store

BUILT = "built from source"
MACHINE = "this machine"
PACKAGE = "Python package"


@dataclass(frozen=True)
class Tool:
    """A program: its version, where it came from, and the file itself."""

    name: str
    version: str
    origin: str
    file: Path


@dataclass(frozen=True)
class Tools:
    """Every tool of the sandbox.

    `bin_dir` is a folder of links to all of them, to be put first on PATH; Argo CD's processes are
    there under their five names, and so is git-verify-wrapper.sh, which its repo-server calls. The
    folder never changes: other tools get another folder.
    `argocd_manifests` is the folder `manifests` of the Argo CD release that `argocd` is of.
    `kwok_stages` are the files that make kwok's nodes and pods become ready, for its `--config`.
    """

    bin_dir: Path
    all: tuple[Tool, ...]
    argocd_manifests: Path
    kwok_stages: tuple[Path, ...]

    def path(self, name: str) -> Path:
        """Where to call the tool of that name. Raises KeyError if the sandbox has no such tool."""
        path = self.bin_dir / name
        if not path.is_symlink():
            raise KeyError(name)
        return path

    @property
    def versions(self) -> Mapping[str, str]:
        """The version of each tool, by name."""
        return {tool.name: tool.version for tool in self.all}


def ensure(console: Console, recipes: Sequence[Recipe] = RECIPES) -> Tools:
    """Find or build the tools of `recipes`; `console` shows the progress of what has to be built.

    Minutes when something has to be built, a fraction of a second otherwise. Suitable tools of the
    machine go before built ones (see `machine.find`). May be called by several processes at once.
    Raises ToolchainError, whose message is for people, if a tool can't be had.
    """
    git = machine.git()
    redis, redis_version = machine.redis()
    store = Store(paths.cache_dir() / "tools")
    with ThreadPoolExecutor(len(recipes)) as pool:
        names = [recipe.name for recipe in recipes]
        found = dict(zip(names, pool.map(machine.find, recipes), strict=True))
    kept = {recipe.name: build.Kept.of(recipe, store) for recipe in recipes}
    built = frozenset(name for name in names if found[name] is None)
    build.complete(tuple(kept.values()), built, store, paths.cache_dir() / "logs", console)

    tools = [
        Tool("git", str(git.version), MACHINE, git.path),
        Tool("redis-server", redis_version, PACKAGE, redis),
    ]
    for recipe in recipes:
        for binary in recipe.binaries:
            if own := found[recipe.name]:
                program = own[binary.name]
                tools.append(Tool(binary.name, str(program.version), MACHINE, program.path))
            else:
                file = kept[recipe.name].binary(binary.name)
                tools.append(Tool(binary.name, str(recipe.version), BUILT, file))
    files = {tool.name: tool.file for tool in tools}
    files |= dict.fromkeys(ARGOCD_ROLES, files["argocd"])
    wrapper = kept[ARGOCD.name].files / VERIFY_WRAPPER
    files[wrapper.name] = wrapper
    links = build.key(*(f"{name}={file}" for name, file in sorted(files.items())))
    return Tools(
        bin_dir=Store(paths.cache_dir() / "bin").links(links, files),
        all=tuple(sorted(tools, key=lambda tool: tool.name)),
        argocd_manifests=kept[ARGOCD.name].files / "manifests",
        kwok_stages=tuple(
            file
            for file in sorted(kept[KWOK.name].files.rglob("*.yaml"))
            if file.name != "kustomization.yaml"
        ),
    )
