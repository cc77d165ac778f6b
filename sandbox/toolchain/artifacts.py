"""Where the store keeps what the sandbox uses of each recipe."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from sandbox.toolchain import go, machine
from sandbox.toolchain.recipes import Recipe
from sandbox.toolchain.store import Store


@dataclass(frozen=True)
class Artifacts:
    """The folders of a recipe's programs, built or released, and of the files of its module."""

    recipe: Recipe
    built: Path
    released: Path
    files: Path

    @classmethod
    def of(cls, recipe: Recipe, store: Store) -> "Artifacts":
        files = sorted(recipe.folder.iterdir()) if recipe.module else ()
        lock = [path.read_bytes() for path in files]
        packages = (f"{binary.name}={binary.package}" for binary in recipe.binaries)
        edits = (part for edit in recipe.edits for part in (edit.file, edit.old, edit.new))

        def folder(suffix: str, *inputs: str | bytes) -> Path:
            return store.folder(f"{recipe.name}{suffix}", recipe.version, key(*inputs))

        return cls(
            recipe,
            folder("", *lock, *go.identity(), recipe.linker_flags, *packages, *edits),
            folder("-release", machine.architecture(), repr(recipe.release)),
            folder("-files", *lock, *recipe.files),
        )

    def programs(self, *, built: bool = False) -> Path | None:
        """The folder of the programs; None if they are not in the store.

        Those that were built are preferred, and the only ones if `built` is true.
        """
        for folder in (self.built,) if built else (self.built, self.released):
            if all((folder / "bin" / binary.name).is_file() for binary in self.recipe.binaries):
                return folder / "bin"
        return None

    @property
    def has_files(self) -> bool:
        return not self.recipe.files or self.files.is_dir()


def key(*parts: str | bytes) -> str:
    """A short digest of `parts` and of their lengths, so that no two lists have the same."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(b"%d:" % len(data) + data)
    return digest.hexdigest()[:12]
