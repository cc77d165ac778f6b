"""Builds tools from source: downloads the modules of the next tool while the compiler works."""

import asyncio
import json
import os
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path

import tenacity
from rich.console import Console

from sandbox.toolchain import go, progress, store
from sandbox.toolchain.artifacts import Artifacts
from sandbox.toolchain.errors import ToolchainError
from sandbox.toolchain.recipes import FOR_TESTS, RECIPES, Recipe
from sandbox.toolchain.store import Store

BUILDS_AT_ONCE = 1
"""One build keeps all cores busy except while it links. Two would compile their common packages
twice and need twice the memory."""

COLD_BYTES = 10 << 30
"""The disk space of a first build: Go modules 3.2 GiB, compiled packages 5.4, tools 0.7."""

_DOWNLOAD_ATTEMPTS = 3


def complete(
    artifacts: Sequence[Artifacts],
    from_source: frozenset[str],
    store: Store,
    logs: Path,
    console: Console,
) -> None:
    """Build the programs of the recipes in `from_source`, and get the module's files of the others.

    Call it with the store locked. Raises ToolchainError if a build fails; completed artifacts stay
    in the store.
    """
    with store.scratch() as scratch:
        compiler = go.Go(logs, scratch)
        recipes = [artifact.recipe for artifact in artifacts]
        compiled = [recipe for recipe in recipes if recipe.name in from_source]
        if all(recipe in compiled for recipe in RECIPES):
            check_space((store.root, *compiler.caches()))
        if compiled:
            minutes = max(1, round(seconds({recipe.name for recipe in compiled}) / 60 / cores()))
            console.print(
                f"Compiling {', '.join(recipe.name for recipe in compiled)}; output in {logs}."
                f" With nothing compiled yet this takes about {minutes} min on {cores()} cores,"
                " and longer if they have other work.",
                highlight=False,
                soft_wrap=True,
            )
        with progress.board(console, [recipe.name for recipe in recipes]) as board:
            try:
                asyncio.run(_Builder(compiler, store, board, from_source).build_all(artifacts))
            except* ToolchainError as errors:
                raise _first(errors) from None


def seconds(names: Collection[str]) -> int:
    """What the compiler takes on one core for the recipes of these names, nothing being compiled.

    At most as long as for all recipes up to the last of them.
    """
    total = together = 0
    for recipe in (*RECIPES, *FOR_TESTS):
        together += recipe.seconds
        if recipe.name in names:
            total = min(total + (recipe.alone or recipe.seconds), together)
    return total


def cores() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0))


def check_space(folders: Sequence[Path]) -> None:
    """Raises ToolchainError if a disk that holds one of `folders` lacks COLD_BYTES of space."""
    for folder in folders:
        free = store.free_bytes(folder)
        if free < COLD_BYTES:
            raise ToolchainError(
                f"Building the tools for the first time takes {COLD_BYTES >> 30} GiB of disk, and"
                f" where {folder} is there are {free / (1 << 30):.1f} GiB free. Free some space, or"
                " name a larger disk by XDG_CACHE_HOME, GOCACHE and GOMODCACHE; then run the same"
                " command again."
            )


def _first(errors: BaseExceptionGroup[ToolchainError]) -> ToolchainError:
    error = errors.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


class _Builder:
    def __init__(
        self, compiler: go.Go, store: Store, board: progress.Board, from_source: frozenset[str]
    ) -> None:
        self._go = compiler
        self._store = store
        self._board = board
        self._from_source = from_source
        # Semaphores of asyncio are first come, first served, so recipes keep their order.
        self._downloading = asyncio.Semaphore(1)
        self._compiling = asyncio.Semaphore(BUILDS_AT_ONCE)

    async def build_all(self, artifacts: Sequence[Artifacts]) -> None:
        async with progress.beating(self._board), asyncio.TaskGroup() as group:
            for artifact in artifacts:
                group.create_task(self._complete(artifact))

    async def _complete(self, artifacts: Artifacts) -> None:
        recipe = artifacts.recipe
        build = recipe.name in self._from_source
        packages = [binary.package for binary in recipe.binaries]
        async with self._downloading:
            self._board.begin(recipe.name)
            self._board.show(recipe.name, "downloading")
            if not artifacts.has_files:
                module = await self._download(recipe, "mod", "download", "-json", recipe.module)
                with self._store.filling(artifacts.files) as folder:
                    store.copy_matching(source_folder(module), recipe.files, folder)
            if build:
                # `go list` loads, and so downloads, exactly the packages that the build needs.
                listing = await self._download(recipe, "list", "-deps", *packages)
        if build:
            self._board.show(recipe.name, "waiting for the compiler")
            async with self._compiling:
                await self._build(artifacts, packages, total=len(listing.split()))
        self._board.end(recipe.name)

    async def _download(self, recipe: Recipe, *arguments: str) -> str:
        output = ""
        async for attempt in tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(go.NetworkError),
            stop=tenacity.stop_after_attempt(_DOWNLOAD_ATTEMPTS),
            wait=tenacity.wait_exponential(multiplier=2),
            reraise=True,
        ):
            with attempt:
                output = await self._go.run(recipe.name, recipe.folder, *arguments, wide=True)
        return output

    async def _build(self, artifacts: Artifacts, packages: Sequence[str], total: int) -> None:
        recipe = artifacts.recipe
        compiled = 0

        def on_line(line: str) -> None:
            nonlocal compiled
            # `go build -v` prints the import path of each package that it compiles.
            if " " not in line:
                compiled += 1
                self._board.show(recipe.name, "compiling", compiled, total)

        self._board.show(recipe.name, "compiling", 0, total)
        with self._store.filling(artifacts.built) as folder, self._store.scratch() as scratch:
            output = folder / "bin"
            output.mkdir()
            await self._go.run(
                recipe.name,
                recipe.folder,
                *go.BUILD,
                *await self._edited(recipe, scratch),
                "-ldflags",
                recipe.linker_flags,
                "-o",
                f"{output}/",
                *packages,
                on_line=on_line,
            )
            for binary in recipe.binaries:
                built = output / go.executable_name(binary.package)
                built.rename(output / binary.name)

    async def _edited(self, recipe: Recipe, folder: Path) -> Sequence[str]:
        """Arguments that make `go build` compile an edited copy of the module, made in `folder`.

        Go's module cache is read-only, so a copy of `go.mod` replaces the module by the edited copy
        (https://go.dev/ref/mod#go-mod-file-replace).
        """
        if not recipe.edits:
            return ()
        module = await self._download(recipe, "mod", "download", "-json", recipe.module)
        copy = folder / "module"
        store.copy_matching(source_folder(module), ("**/*",), copy)
        for edit in recipe.edits:
            file = copy / edit.file
            text = file.read_text()
            if text.count(edit.old) != 1:
                raise ToolchainError(
                    f"{recipe.name} {recipe.version} can't be built: its {edit.file} does not have"
                    f" {edit.old!r} once; sandbox/toolchain/recipes.py is for another version"
                )
            file.write_text(text.replace(edit.old, edit.new))
        for name in ("go.mod", "go.sum"):
            shutil.copy(recipe.folder / name, folder / name)
        lock = folder / "go.mod"
        replace = f"-replace={recipe.module}={copy}"
        await self._go.run(recipe.name, recipe.folder, "mod", "edit", replace, str(lock))
        return ("-modfile", str(lock))


def source_folder(module: str) -> Path:
    """The folder in `module`, the output of `go mod download -json` for one module."""
    return Path(json.loads(module)["Dir"])
