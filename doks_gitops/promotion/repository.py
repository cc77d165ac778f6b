"""The working tree of a monorepo."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
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

    def check_current(self) -> None:
        """Raises `GitError` if the branch lacks commits that origin's has."""
        self.git("fetch", "--quiet", "origin")
        upstream = f"origin/{self.branch()}"
        if lacking := self.commits_between("HEAD", upstream):
            commits = f"{lacking} commit{'s' * (lacking != 1)}"
            raise GitError(f"{self.folder} lacks {commits} of {upstream}: git pull")

    def check_begun(self) -> None:
        """Raises `GitError` if there is no commit yet."""
        if self.head() is None:
            raise GitError(
                f"{self.folder} has no commit yet, which a pull request needs to be merged into."
                " The first push of a branch is free: leave out --pull-request"
            )

    def head(self) -> str | None:
        """The commit that is checked out; None if there is none yet."""
        try:
            return self.git("rev-parse", "--verify", "--quiet", "HEAD").strip()
        except GitError:
            return None

    def history(self, path: Path) -> list[str]:
        """The commits that touched the file, newest first."""
        return self.git("log", "--format=%H", "--", str(path)).split()

    def at(self, revision: str, path: Path) -> str:
        """The file as it was at a revision."""
        return self.git("show", f"{revision}:{path.as_posix()}")

    def branch(self) -> str:
        """The branch that is checked out. Raises `GitError` if none is."""
        if name := self.git("branch", "--show-current").strip():
            return name
        raise GitError(f"{self.folder} has no branch checked out: git switch BRANCH")

    def url(self) -> str:
        """Where it was cloned from, without the user's credentials."""
        url = self.git("remote", "get-url", "origin").strip()
        scheme, separator, rest = url.partition("://")
        return f"{scheme}://{rest.rpartition('@')[2]}" if separator else url

    def commit(self, paths: Sequence[Path], message: str, *, branch: str | None) -> str:
        """Commit the files and push them, to `branch` if given (made anew), else to where the
        current branch goes; the branch that was pushed. What can't be pushed is not kept."""
        current, before = self.branch(), self.head()
        names = [str(path) for path in paths]
        if branch is not None:
            self.git("switch", "--quiet", "--force-create", branch)
        try:
            self.git("add", "--", *names)
            self.git("commit", "--quiet", "--message", message, "--", *names)
            target = branch or current
            force = ["--force"] if branch is not None else []
            self.git("push", "--quiet", *force, "origin", f"HEAD:{target}")
        except GitError:
            # Else the next run would find the change made, and propose nothing.
            if before is not None:
                self.git("reset", "--quiet", "--keep", before)
            raise
        finally:
            if branch is not None:
                self.git("switch", "--quiet", current)
        return target

    def commits_between(self, old: str, new: str) -> int | None:
        """How many commits `new` has that `old` has not; None if one of them is not here."""
        try:
            return int(self.git("rev-list", "--count", f"{old}..{new}"))
        except GitError:
            return None

    def git(self, *words: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(self.folder), *words],
            check=False,
            text=True,
            capture_output=True,
        )
        if done.returncode:
            raise GitError(f"`git {' '.join(words)}` failed: {done.stderr.strip()}")
        return done.stdout
