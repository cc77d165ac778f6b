"""The folders of the sandbox: its state, and the cache of tools that all sandboxes share."""

import contextlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from sandbox.errors import SandboxError

REPOSITORY = Path(__file__).resolve().parent.parent
"""The checkout that contains this code."""


DAEMON_LOCK = "daemon.lock"
"""File in the sandbox's folder that the daemon keeps locked, with its process."""
_MARKER = ".doks-gitops-sandbox"
"""Empty file in the folder of every sandbox."""


def cache_dir() -> Path:
    """The folder of the tools that are downloaded or built: `$XDG_CACHE_HOME/doks-gitops`."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "doks-gitops"


def write_private(path: Path, content: bytes) -> None:
    """Write a file atomically, with mode 0600."""
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    draft.replace(path)


def remove_tree(folder: Path) -> None:
    """Remove the folder and its content, if it exists.

    Removes subfolders that their owner may not read, as Argo CD creates them, too. Two processes
    may call this for the same folder at the same time.
    """
    if not folder.exists():
        return
    removed = Path(tempfile.mkdtemp(prefix=".removed-", dir=folder.parent))
    with contextlib.suppress(FileNotFoundError):
        folder.rename(removed / folder.name)
    for parent, names, _ in os.walk(removed):
        for name in names:
            path = Path(parent, name)
            if not path.is_symlink():
                path.chmod(0o700)
    shutil.rmtree(removed)


@dataclass(frozen=True)
class Home:
    """The folder of one sandbox: everything that `reset` removes.

    `$SANDBOX_HOME`, by default `$XDG_STATE_HOME/doks-gitops-sandbox`. Only its owner can read it:
    the sandbox's keys and passwords are in it.
    """

    root: Path

    @classmethod
    def default(cls) -> "Home":
        if root := os.environ.get("SANDBOX_HOME"):
            return cls(Path(root).resolve())
        base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
        return cls(Path(base) / "doks-gitops-sandbox")

    @property
    def is_sandbox(self) -> bool:
        """Whether the folder is a sandbox's, and so may be removed."""
        return any((self.root / name).exists() for name in (_MARKER, DAEMON_LOCK))

    def folder(self, *parts: str) -> Path:
        """The subfolder of that path, created if it does not exist (mode 0700).

        Raises SandboxError if the sandbox's folder has files that are not a sandbox's.
        """
        path = self.root
        if not self.is_sandbox:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Another process may have begun with the same sandbox.
            if any(path.iterdir()) and not self.is_sandbox:
                raise SandboxError(
                    f"{path} has files but is no sandbox. Name another folder: SANDBOX_HOME=FOLDER"
                )
            (path / _MARKER).touch(mode=0o600)
        for part in ("", *parts):
            path = path / part
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return path
