"""A change of the GitOps repository: shown first, then pushed or proposed as a pull request."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from doks_gitops.git import GitError
from doks_gitops.promotion.repository import WorkingTree


@dataclass(frozen=True)
class Proposal:
    """One commit that does not exist yet."""

    tree: WorkingTree
    files: Mapping[Path, str]
    """New texts by path in the clone; empty if there is nothing to change."""
    message: str
    branch: str
    """Branch of the pull request."""

    def summary(self) -> str:
        """The difference of each changed file, and the name of each new one."""
        return "".join(self._summary(path) for path in self.files)

    def _summary(self, path: Path) -> str:
        if not self.tree.path(path).exists():
            return f"+ {path}\n"
        old, new = self.tree.read(path), self.files[path]
        return "".join(
            difflib.unified_diff(
                old.splitlines(keepends=True),
                new.splitlines(keepends=True),
                f"a/{path}",
                f"b/{path}",
            )
        )

    def publish(self, *, pull_request: bool) -> tuple[str, str | None]:
        """Push the commit; returns the branch that was pushed and the URL of the pull request.

        `pull_request`: push to the proposal's own branch and open a pull request, unless it has one
        already; else push to the current branch. If that fails or is killed, the clone is as it was
        before. Raises `GitError` and `GitHubError`.
        """
        if not pull_request:
            return self.tree.commit_and_push(self.files, self.message, branch=None), None
        # Imported here: its library takes a quarter of a second.
        from doks_gitops.github import Repository

        # Before the push, so that a missing token leaves no branch behind.
        repository = Repository.from_environment()
        base = self.tree.branch()
        if base == self.branch:
            raise GitError(
                f"{self.tree.folder} has the pull request's own branch {base} checked out.",
                f"git -C {self.tree.folder} switch main",
            )
        pushed = self.tree.commit_and_push(self.files, self.message, branch=self.branch)
        return pushed, repository.pull_request(self.branch, base, self.message)
