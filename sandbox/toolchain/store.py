"""The folder in which finished tools are kept, shared by every sandbox of the user."""

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
    """Folders that appear complete or not at all, and never change once they are there."""

    root: Path

    def folder(self, name: str, version: object, key: str) -> Path:
        """Where the thing of that name, version and key (a digest of what made it) is kept."""
        return self.root / f"{name}-{version}-{key}"

    @contextmanager
    def locked(self, on_wait: Callable[[], None]) -> Iterator[None]:
        """Hold the store for writing; `on_wait` is called now and then while another process does.

        The kernel gives the lock back however its holder ends.
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
            # Whoever left these was killed: it would still have the lock otherwise.
            for left in self.root.glob(f"{_UNFINISHED}*"):
                shutil.rmtree(left, ignore_errors=True)
            yield

    @contextmanager
    def filling(self, folder: Path) -> Iterator[Path]:
        """A new folder to fill, which becomes `folder` unless an exception says otherwise.

        Call it with the store locked. What stood at `folder` was incomplete, and is replaced.
        """
        with self.scratch() as unfinished:
            yield unfinished
            unfinished.chmod(0o755)
            shutil.rmtree(folder, ignore_errors=True)
            unfinished.rename(folder)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A new folder that is removed at the end; call it with the store locked."""
        folder = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=self.root))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def links(self, name: str, targets: dict[str, Path]) -> Path:
        """The folder `name` of symbolic links to `targets`, made if it is not there yet."""
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
                # Another process was first, with the same links: the name is a digest of them.
                shutil.rmtree(unfinished)
                if not folder.is_dir():
                    raise
        return folder


def copy_matching(source: Path, patterns: tuple[str, ...], target: Path) -> None:
    """Copy the files in `source` that match the glob `patterns`, at their own paths, to `target`.

    The copies can be written by their owner and read by all, unlike those in Go's module cache.
    """
    for pattern in patterns:
        for file in source.glob(pattern):
            if file.is_file():
                copy = target / file.relative_to(source)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, copy)
                copy.chmod(0o755 if file.suffix == ".sh" else 0o644)


def free_bytes(path: Path) -> int:
    """Free space where `path` is, or will be."""
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(os.fspath(path)).free
