"""The working tree of the GitOps repository."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from doks_gitops import git
from doks_gitops.git import GitError


@dataclass(frozen=True)
class WorkingTree:
    """A clone, used with the user's own name and credentials. Every method raises `GitError`."""

    folder: Path

    def check_ready(self, *, pull_request: bool) -> None:
        """Raises unless a commit can be proposed from here: nothing uncommitted, no commit of the
        remote branch missing, and for a pull request at least one commit to merge it into."""
        if changes := self.git("status", "--porcelain").strip():
            raise GitError(
                f"{self.folder} has changes that are not committed:\n{changes}",
                f"Commit them, or put them aside with: git -C {self.folder} stash",
            )
        self.git("fetch", "--quiet", "origin")
        upstream = f"origin/{self.branch()}"
        if missing := self.commits_between("HEAD", upstream):
            commits = f"{missing} commit{'s' * (missing != 1)}"
            raise GitError(
                f"{self.folder} lacks {commits} of {upstream}.", f"git -C {self.folder} pull"
            )
        if pull_request and self.head() is None:
            raise GitError(
                f"{self.folder} has no commit yet, so there is nothing to merge a pull request"
                " into.",
                "Run the command without --pull-request: the first push needs no review.",
            )

    def path(self, relative: Path) -> Path:
        """The path of a file of the clone. Raises if it, or a link on the way, leads outside the
        clone or into Git's own folder."""
        path = self.folder / relative
        if not path.resolve().is_relative_to(self.folder.resolve()):
            raise GitError(
                f"{relative} leads outside the clone {self.folder}: nothing was written.",
                "Name a path inside the clone, and no link that leaves it.",
            )
        if any(part.lower() == ".git" for part in relative.parts):
            raise GitError(f"{relative} is inside Git's own folder: nothing was written.")
        return path

    def read(self, relative: Path) -> str:
        """The text of a file of the clone, line ends unchanged."""
        try:
            return self.path(relative).read_bytes().decode()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise GitError(f"{self.folder / relative} can't be read: {reason}.") from None

    def head(self) -> str | None:
        """The commit that is checked out; None if there is none yet."""
        try:
            return self.git("rev-parse", "--verify", "--quiet", "HEAD").strip()
        except GitError:
            return None

    def history(self, path: Path) -> list[str]:
        """The commits that changed the file, newest first."""
        return self.git("log", "--format=%H", "--", str(path)).split()

    def read_at(self, revision: str, path: Path) -> str:
        """The text of the file at a revision."""
        return self.git("show", "--end-of-options", f"{revision}:{path.as_posix()}")

    def branch(self) -> str:
        """The branch that is checked out. Raises if none is."""
        if name := self.git("branch", "--show-current").strip():
            return name
        raise GitError(
            f"{self.folder} has no branch checked out.", f"git -C {self.folder} switch BRANCH"
        )

    def url(self) -> str:
        """URL of the remote, without the user's credentials."""
        url = self.git("remote", "get-url", "origin").strip()
        scheme, separator, rest = url.partition("://")
        return f"{scheme}://{rest.rpartition('@')[2]}" if separator else url

    def commit_and_push(
        self, files: Mapping[Path, str], message: str, *, branch: str | None
    ) -> str:
        """Commit the files and push them; returns the branch that was pushed.

        `files`: texts by path. `branch`: another branch for the commit, in place of one that has
        this name; None: the current branch, which then has the commit too.

        The commit is made in a temporary worktree. Until it is pushed, the clone does not know it,
        whether the command fails or is killed: the next run begins anew.
        https://git-scm.com/docs/git-worktree
        """
        target, before = branch or self.branch(), self.head()
        base, amend = (before, []) if before else (self._empty_commit(), ["--amend"])
        force = ["--force"] if branch is not None else []
        with tempfile.TemporaryDirectory() as temporary:
            root = Path(temporary).resolve() / self.folder.name
            self.git("worktree", "add", "--quiet", "--detach", str(root), base)
            # The folder may be one inside the clone.
            worktree = WorkingTree(root / self.git("rev-parse", "--show-prefix").strip())
            worktree.folder.mkdir(parents=True, exist_ok=True)
            try:
                commit = worktree._commit(files, message, amend)
                worktree.git("push", "--quiet", *force, "origin", f"{commit}:refs/heads/{target}")
            finally:
                self.git("worktree", "remove", "--force", str(root))
        if branch is None:
            self.git("merge", "--quiet", "--ff-only", commit)
        return target

    def _commit(self, files: Mapping[Path, str], message: str, options: Sequence[str]) -> str:
        for path, text in files.items():
            file = self.path(path)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(text.encode())
        names = [str(path) for path in files]
        self.git("add", "--", *names)
        self.git("commit", "--quiet", *options, "--message", message, "--", *names)
        return self.git("rev-parse", "HEAD").strip()

    def _empty_commit(self) -> str:
        """A commit of no files without a parent, to begin the history of an empty repository."""
        tree = self.git("hash-object", "-t", "tree", "-w", os.devnull).strip()
        return self.git("commit-tree", "-m", "empty", tree).strip()

    def commits_between(self, old: str, new: str) -> int | None:
        """The number of commits that `new` has and `old` has not; None if the clone lacks one of
        the two."""
        try:
            return int(self.git("rev-list", "--count", f"{old}..{new}"))
        except GitError:
            return None

    def git(self, *words: str) -> str:
        """The output of a Git command."""
        try:
            return git.run(self.folder, *words)
        except GitError as error:
            if "not a git repository" in error.problem:
                error = GitError(
                    error.problem, "Name a clone of the monorepo, or its URL, with --repo."
                )
            raise error from None


@contextmanager
def clone(repository: str, folder: Path = Path()) -> Iterator[WorkingTree]:
    """The clone in the folder `repository`, relative to `folder`; or a temporary clone of the URL
    `repository`."""
    if ":" not in repository:
        yield WorkingTree((folder / repository).resolve())
        return
    with tempfile.TemporaryDirectory() as temporary:
        tree = WorkingTree(Path(temporary))
        tree.git("clone", "--quiet", repository, ".")
        yield tree
