"""The working tree of a monorepo."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path


class GitError(Exception):
    """Git refused something; says what."""


@dataclass(frozen=True)
class WorkingTree:
    """A clone, with the user's own name and credentials."""

    folder: Path

    def check_clean(self) -> None:
        """Raises `GitError` if something in it is not committed."""
        if changed := self.git("status", "--porcelain").strip():
            raise GitError(
                f"{self.folder} has changes that are not committed:\n{changed}\n"
                "Commit them, or put them aside with: git stash"
            )

    def history(self, path: Path) -> list[str]:
        """The commits that touched the file, newest first."""
        return self.git("log", "--format=%H", "--", str(path)).split()

    def at(self, revision: str, path: Path) -> str:
        """The file as it was at a revision."""
        return self.git("show", f"{revision}:{path.as_posix()}")

    def commit(self, path: Path, message: str, *, branch: str | None) -> str:
        """Commit the file and push it, to `branch` if given (made anew), else to where the current
        branch goes; the branch that was pushed."""
        current = self.git("branch", "--show-current").strip()
        if branch is not None:
            self.git("switch", "--quiet", "--force-create", branch)
        try:
            self.git("commit", "--quiet", "--message", message, "--", str(path))
            target = branch or current
            force = ["--force"] if branch is not None else []
            self.git("push", "--quiet", *force, "origin", f"HEAD:{target}")
        finally:
            if branch is not None:
                self.git("switch", "--quiet", current)
        return target

    def git(self, *words: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(self.folder), *words], check=False, text=True, capture_output=True
        )
        if done.returncode:
            raise GitError(f"`git {' '.join(words)}` failed: {done.stderr.strip()}")
        return done.stdout
