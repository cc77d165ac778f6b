"""All tools of the sandbox, in one folder."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from sandbox import paths
from sandbox.toolchain import build, machine, releases
from sandbox.toolchain.artifacts import Artifacts, key
from sandbox.toolchain.recipes import (
    ARGOCD,
    ARGOCD_ROLES,
    FOR_STACKS,
    KWOK,
    RECIPES,
    SEALED_SECRETS,
    VERIFY_WRAPPER,
    Recipe,
)
from sandbox.toolchain.store import Store

RELEASED = "downloaded from their publishers"
BUILT = "built from source"
MACHINE = "of this machine"
PACKAGE = "of a Python package"


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
        """The link to that tool, or the program of `FOR_STACKS` of that name, also if it was built
        later. Raises KeyError if the sandbox has no such tool."""
        path = self.bin_dir / name
        if path.is_symlink():
            return path
        for recipe in FOR_STACKS:
            programs = Artifacts.of(recipe, _store()).programs()
            if programs and (programs / name).is_file():
                return programs / name
        raise KeyError(name)

    @property
    def versions(self) -> Mapping[str, str]:
        """The version of each tool, by name."""
        return {tool.name: tool.version for tool in self.all}


def ensure(
    console: Console, recipes: Sequence[Recipe] = RECIPES, *, from_source: bool = False
) -> Tools:
    """Find, download or build the tools of `recipes`; `console` shows the progress.

    Suitable tools of the machine come first (see `machine.find`), then what was built or downloaded
    before; then a fraction of a second is enough. What is missing is downloaded from its publisher,
    and built if it can't be had there or if `from_source` is true. Several processes may call this
    at once. Raises ToolchainError, with a message for the user, if a tool is not available.
    """
    git = machine.git()
    redis, redis_version = machine.redis()
    store = _store()
    with ThreadPoolExecutor(len(recipes)) as pool:
        names = [recipe.name for recipe in recipes]
        installed = dict(zip(names, pool.map(machine.find, recipes), strict=True))
    artifacts = {recipe.name: Artifacts.of(recipe, store) for recipe in recipes}
    needed = frozenset(name for name in names if installed[name] is None)
    prepared = _prepare(list(artifacts.values()), needed, store, console, from_source=from_source)

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
                folder = artifacts[recipe.name].programs()
                assert folder
                origin = BUILT if folder.parent == artifacts[recipe.name].built else RELEASED
                tools.append(Tool(binary.name, str(recipe.version), origin, folder / binary.name))
    tools.sort(key=lambda tool: tool.name)
    if prepared:
        console.print(origins(tools), highlight=False, soft_wrap=True)
    # The engine warns of a plugin that it finds on PATH.
    unlinked = {binary.name for recipe in FOR_STACKS for binary in recipe.binaries}
    files = {tool.name: tool.file for tool in tools if tool.name not in unlinked}
    files |= dict.fromkeys(ARGOCD_ROLES, files["argocd"])
    wrapper = artifacts[ARGOCD.name].files / VERIFY_WRAPPER
    files[wrapper.name] = wrapper
    links = key(*(f"{name}={file}" for name, file in sorted(files.items())))
    return Tools(
        bin_dir=Store(paths.cache_dir() / "bin").links(links, files),
        all=tuple(tools),
        argocd_manifests=artifacts[ARGOCD.name].files / "manifests",
        kwok_stages=tuple(
            file
            for file in sorted(artifacts[KWOK.name].files.rglob("*.yaml"))
            if file.name != "kustomization.yaml"
        ),
    )


def download(console: Console, recipes: Sequence[Recipe]) -> dict[str, Path]:
    """The released programs of `recipes` by name, downloaded unless they are in the store.

    What can't be had is left out, and `console` says why.
    """
    store = _store()
    artifacts = [Artifacts.of(recipe, store) for recipe in recipes]

    def missing() -> list[Artifacts]:
        return [artifact for artifact in artifacts if not artifact.programs()]

    if missing():
        with store.locked(_waiting(console)):
            # Another process may have downloaded them meanwhile.
            if needed := missing():
                releases.download(needed, store, console)
    return {
        binary.name: folder / binary.name
        for artifact in artifacts
        if (folder := artifact.programs())
        for binary in artifact.recipe.binaries
    }


def sealed_secrets_chart() -> Path:
    """The folder of the chart of Sealed Secrets. `ensure` must have had its recipe."""
    return Artifacts.of(SEALED_SECRETS, _store()).files / "helm" / "sealed-secrets"


def _store() -> Store:
    return Store(paths.cache_dir() / "tools")


def _waiting(console: Console) -> Callable[[], None]:
    def say() -> None:
        console.print("Another set-up is preparing the tools; waiting for it to finish.")

    return say


def _prepare(
    artifacts: Sequence[Artifacts],
    needed: frozenset[str],
    store: Store,
    console: Console,
    *,
    from_source: bool,
) -> bool:
    """Complete the store with the files of all `artifacts` and the programs of those in `needed`.

    False if nothing was missing. Only one process at a time does it; others wait until it has
    finished.
    """

    def without_programs() -> list[Artifacts]:
        return [
            artifact
            for artifact in artifacts
            if artifact.recipe.name in needed and not artifact.programs(built=from_source)
        ]

    def without_files() -> list[Artifacts]:
        return [artifact for artifact in artifacts if not artifact.has_files]

    if not without_programs() and not without_files():
        return False
    with store.locked(_waiting(console)):
        released = [artifact for artifact in without_programs() if artifact.recipe.release]
        if released and not from_source:
            releases.download(released, store, console)
        missing = without_programs()
        compiled = frozenset(artifact.recipe.name for artifact in missing)
        missing += [artifact for artifact in without_files() if artifact not in missing]
        if missing:
            build.complete(missing, compiled, store, paths.cache_dir() / "logs", console)
    return True


def origins(tools: Sequence[Tool]) -> str:
    """One line that says where the tools come from."""
    names: dict[str, list[str]] = {origin: [] for origin in (RELEASED, BUILT, MACHINE, PACKAGE)}
    for tool in tools:
        names[tool.origin].append(tool.name)
    parts = (f"{origin}: {', '.join(tools)}" for origin, tools in names.items() if tools)
    return f"Tools. {'; '.join(parts)}."
