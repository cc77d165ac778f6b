"""The folder of finished tools, shared by all sandboxes of the user."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import tenacity

from sandbox.toolchain.progress import HEARTBEAT_SECONDS

_UNFINISHED = ".unfinished-"
_ATTEMPT_SECONDS = 0.2
_ATTEMPTS_A_REMINDER = round(HEARTBEAT_SECONDS / _ATTEMPT_SECONDS)


@dataclass(frozen=True)
class Store:
    """Folders that are created complete or not at all, and never change afterwards."""

    root: Path

    def folder(self, name: str, version: object, key: str) -> Path:
        """The folder for that name, version and key (a digest of the inputs of the build)."""
        return self.root / f"{name}-{version}-{key}"

    @contextmanager
    def locked(self, on_wait: Callable[[], None]) -> Iterator[None]:
        """Lock the store for writing; `on_wait` is called regularly while another process holds it.

        The kernel releases the lock when its holder ends, however that happens.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / ".lock").open("w") as file:

            def remind(state: tenacity.RetryCallState) -> None:
                if state.attempt_number % _ATTEMPTS_A_REMINDER == 1:
                    on_wait()

            tenacity.Retrying(
                retry=tenacity.retry_if_exception_type(BlockingIOError),
                wait=tenacity.wait_fixed(_ATTEMPT_SECONDS),
                before_sleep=remind,
            )(fcntl.flock, file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Left by a killed process: a running one would hold the lock.
            for unfinished in self.root.glob(f"{_UNFINISHED}*"):
                shutil.rmtree(unfinished, ignore_errors=True)
            yield

    @contextmanager
    def filling(self, folder: Path) -> Iterator[Path]:
        """A new folder to fill, which replaces `folder` unless an exception is raised.

        Call it with the store locked.
        """
        with self.scratch() as unfinished:
            yield unfinished
            unfinished.chmod(0o755)
            shutil.rmtree(folder, ignore_errors=True)
            unfinished.rename(folder)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A temporary folder; call it with the store locked."""
        folder = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=self.root))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def links(self, name: str, targets: dict[str, Path]) -> Path:
        """The folder `name` with symbolic links to `targets`, created if it does not exist."""
        folder = self.root / name
        if not folder.is_dir():
            self.root.mkdir(parents=True, exist_ok=True)
            unfinished = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=self.root))
            for link, target in targets.items():
                (unfinished / link).symlink_to(target)
            unfinished.chmod(0o755)
            try:
                unfinished.rename(folder)
            except OSError:
                # Another process created it with the same links: the name is their digest.
                shutil.rmtree(unfinished)
                if not folder.is_dir():
                    raise
        return folder


def copy_matching(source: Path, patterns: tuple[str, ...], target: Path) -> None:
    """Copy the files in `source` that match the glob `patterns` to the same paths in `target`.

    Unlike in Go's module cache, their owner can write the copies and everybody can read them.
    """
    for pattern in patterns:
        for file in source.glob(pattern):
            if file.is_file():
                copy = target / file.relative_to(source)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, copy)
                copy.chmod(0o755 if file.suffix == ".sh" else 0o644)


def free_bytes(path: Path) -> int:
    """Free bytes on the disk of `path`, which need not exist yet."""
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(os.fspath(path)).free
