"""Builds what is missing: downloads one tool's modules while others are compiled."""

import asyncio
import hashlib
import json
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import tenacity
from rich.console import Console

from sandbox.toolchain import go, progress, store
from sandbox.toolchain.errors import ToolchainError
from sandbox.toolchain.recipes import Recipe
from sandbox.toolchain.store import Store

BUILDS_AT_ONCE = 1
"""One build keeps all cores busy but while it links; two at once would compile the packages that
they share twice, and need twice the memory. Downloads of the next tools go on beside it."""

COLD_BYTES = 12 << 30
"""What a first build takes: 4 GiB of Go modules, 7.5 GiB of compiled packages, 0.7 of tools."""

_DOWNLOAD_ATTEMPTS = 3


@dataclass(frozen=True)
class Kept:
    """Where the store keeps what a recipe makes: its binaries, and the files of its module."""

    recipe: Recipe
    binaries: Path
    files: Path

    @classmethod
    def of(cls, recipe: Recipe, store: Store) -> "Kept":
        lock = [(recipe.folder / name).read_bytes() for name in ("go.mod", "go.sum")]
        packages = (f"{binary.name}={binary.package}" for binary in recipe.binaries)
        edits = (part for edit in recipe.edits for part in (edit.file, edit.old, edit.new))
        made_by = key(*lock, *go.identity(), recipe.linker_flags, *packages, *edits)
        return cls(
            recipe,
            store.folder(recipe.name, recipe.version, made_by),
            store.folder(f"{recipe.name}-files", recipe.version, key(*lock, *recipe.files)),
        )

    def binary(self, name: str) -> Path:
        return self.binaries / "bin" / name

    @property
    def has_binaries(self) -> bool:
        return all(self.binary(binary.name).is_file() for binary in self.recipe.binaries)

    @property
    def has_files(self) -> bool:
        return not self.recipe.files or self.files.is_dir()


def key(*parts: str | bytes) -> str:
    """A short digest of `parts`, each with its length so that none runs into the next."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(b"%d:" % len(data) + data)
    return digest.hexdigest()[:12]


def missing(things: Sequence[Kept], built: frozenset[str]) -> list[Kept]:
    """Those that lack their files, or their binaries although their recipe is in `built`."""
    return [
        kept
        for kept in things
        if not kept.has_files or (kept.recipe.name in built and not kept.has_binaries)
    ]


def complete(
    things: Sequence[Kept], built: frozenset[str], store: Store, logs: Path, console: Console
) -> None:
    """Make all that is missing (see `missing`) of `things`.

    Only one process at a time does so; a second one waits, and then finds it done.
    Raises ToolchainError if something can't be made; what is complete by then is kept.
    """
    if not missing(things, built):
        return

    def on_wait() -> None:
        console.print("Another set-up is building the tools; waiting for it to finish.")

    with ExitStack() as stack:
        stack.enter_context(store.locked(on_wait))
        lacking = missing(things, built)
        if not lacking:
            return
        scratch = stack.enter_context(store.scratch())
        compiler = go.Go(logs, scratch)
        cold = all(kept in lacking for kept in things)
        if cold:
            check_space((store.root, *compiler.caches()))
        names = [kept.recipe.name for kept in lacking]
        console.print(
            f"Preparing {', '.join(names)}; output in {logs}."
            + (" The first time takes about 20 minutes on 2 cores." if cold else ""),
            highlight=False,
            soft_wrap=True,
        )
        board = stack.enter_context(progress.board(console, names))
        try:
            asyncio.run(_Works(compiler, store, board, built).make(lacking))
        except* ToolchainError as errors:
            raise _first(errors) from None


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


class _Works:
    def __init__(
        self, compiler: go.Go, store: Store, board: progress.Board, built: frozenset[str]
    ) -> None:
        self._go = compiler
        self._store = store
        self._board = board
        self._built = built
        # Both are fair: who asks first is served first, so recipes keep their order.
        self._downloading = asyncio.Semaphore(1)
        self._compiling = asyncio.Semaphore(BUILDS_AT_ONCE)

    async def make(self, lacking: Sequence[Kept]) -> None:
        heart = asyncio.create_task(self._beat())
        try:
            async with asyncio.TaskGroup() as group:
                for kept in lacking:
                    group.create_task(self._make(kept))
        finally:
            heart.cancel()

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(progress.HEARTBEAT_SECONDS)
            self._board.beat()

    async def _make(self, kept: Kept) -> None:
        recipe = kept.recipe
        build = recipe.name in self._built and not kept.has_binaries
        packages = [binary.package for binary in recipe.binaries]
        async with self._downloading:
            self._board.begin(recipe.name)
            self._board.show(recipe.name, "downloading")
            if not kept.has_files:
                module = await self._download(recipe, "mod", "download", "-json", recipe.module)
                with self._store.filling(kept.files) as folder:
                    store.copy_matching(source_folder(module), recipe.files, folder)
            if build:
                # Loads, and so downloads, exactly what the build needs.
                listed = await self._download(recipe, "list", "-deps", *packages)
        if build:
            self._board.show(recipe.name, "waiting for the compiler")
            async with self._compiling:
                await self._build(kept, packages, total=len(listed.split()))
        self._board.end(recipe.name)

    async def _download(self, recipe: Recipe, *arguments: str) -> str:
        answer = ""
        async for attempt in tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(go.NetworkError),
            stop=tenacity.stop_after_attempt(_DOWNLOAD_ATTEMPTS),
            wait=tenacity.wait_exponential(multiplier=2),
            reraise=True,
        ):
            with attempt:
                answer = await self._go.run(recipe.name, recipe.folder, *arguments, wide=True)
        return answer

    async def _build(self, kept: Kept, packages: Sequence[str], total: int) -> None:
        recipe = kept.recipe
        compiled = 0

        def on_line(line: str) -> None:
            nonlocal compiled
            # `go build -v` prints the import path of each package that it compiles.
            if " " not in line:
                compiled += 1
                self._board.show(recipe.name, "compiling", compiled, total)

        self._board.show(recipe.name, "compiling", 0, total)
        with self._store.filling(kept.binaries) as folder, self._store.scratch() as scratch:
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

        Go lets nobody change what it has downloaded, so a copy of the lock has the copy of the
        module in its place (https://go.dev/ref/mod#go-mod-file-replace).
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
    """The folder named by what `go mod download -json` prints about one module."""
    return Path(json.loads(module)["Dir"])
