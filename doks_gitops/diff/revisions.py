"""Two commits of a clone: their files, and what differs between them."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from doks_gitops import git
from doks_gitops.git import GitError
from doks_gitops.variables import restricted

DEFAULT_BASE = "origin/HEAD"


@dataclass(frozen=True)
class Side:
    """One of the two commits."""

    commit: str
    files: Path
    """A folder with all files of the commit."""
    store: Path
    """A bare repository as the remote will be once this commit is merged."""

    @property
    def url(self) -> str:
        """Where Argo CD's repo-server fetches the commits from."""
        return self.store.as_uri()


@dataclass(frozen=True)
class Revisions:
    """A copy of a clone's objects, in which both commits are checked out."""

    clone: Path
    """The top folder of the clone."""
    base: Side
    """The last commit that the two revisions have in common: what was merged into the base since
    then is not part of the change."""
    head: Side
    branch: str | None
    """The branch that the commits will be merged into; None: it can't be told."""

    @cached_property
    def changed(self) -> frozenset[PurePosixPath]:
        """Paths that were added, changed or deleted; both names of a renamed file."""
        names = _git(
            self.head.store, "diff", "--name-only", "--no-renames", "-z", self.base.commit,
            self.head.commit,
        )  # fmt: skip
        return frozenset(PurePosixPath(name) for name in names.split("\0") if name)

    def resolve(self, revision: str, side: Side) -> str:
        """The commit that `targetRevision` means once the change is merged: the side's own, if it
        follows the branch that is merged into; else the commit that the clone has."""
        branch, tag = _HEADS.sub("", revision), _TAGS.sub("", revision)
        if revision in ("", "HEAD") or branch == self.branch:
            return side.commit
        names = [f"refs/remotes/origin/{branch}", f"refs/tags/{tag}", f"refs/heads/{branch}"]
        names += [revision] if _COMMIT.fullmatch(revision) else []
        for name in names:
            commit = _commit(self.clone, name)
            if commit is None:
                continue
            if self.branch is None and commit != side.commit and name in (names[0], names[2]):
                raise GitError(
                    f"It can't be told whether the change will be merged into {branch}.",
                    _NO_BRANCH,
                )
            return commit
        raise GitError(
            f"The clone {self.clone} has no revision {revision}.",
            f"git -C {self.clone} fetch --tags origin",
        )


@contextmanager
def checked_out(
    folder: Path, base: str | None, head: str, *, base_needed: bool = True
) -> Iterator[Revisions]:
    """The two revisions of the clone that `folder` is in; nothing in the clone is changed.

    `base`: default: the branch that the remote calls its HEAD, or if it is not known and the base
    is not needed, head. Raises `GitError`.
    """
    clone = Path(_git(folder, "rev-parse", "--show-toplevel").strip())
    branch: str | None = None
    if base is not None or base_needed or _commit(clone, DEFAULT_BASE) is not None:
        base = base or DEFAULT_BASE
        branch = _branch(clone, base)
    else:
        base = head
    base_commit, head_commit = (_required_commit(clone, name) for name in (base, head))
    common = _git(clone, "merge-base", base_commit, head_commit, fix=_SHALLOW).strip()
    with tempfile.TemporaryDirectory(prefix="doks-gitops-revisions-") as temporary:
        sides = [
            _side(clone, Path(temporary, name), commit, branch or "main")
            for name, commit in (("base", common), ("head", head_commit))
        ]
        yield Revisions(clone, sides[0], sides[1], branch)


def _branch(clone: Path, base: str) -> str:
    """The branch that `base` names; between two releases, the remote's own: what follows it is what
    each of them has."""
    branch = _HEADS.sub("", _REMOTE_HEADS.sub("", base))
    folders = ("refs/remotes/origin", "refs/heads")
    if branch != "HEAD" and any(_commit(clone, f"{refs}/{branch}") for refs in folders):
        return branch
    default = _git(clone, "symbolic-ref", f"refs/remotes/{DEFAULT_BASE}", fix=_NO_BRANCH)
    return _REMOTE_HEADS.sub("", default.strip())


def _side(clone: Path, folder: Path, commit: str, branch: str) -> Side:
    files, store = folder / "files", folder / "store.git"
    files.mkdir(parents=True)
    _git(folder, "init", "--quiet", "--bare", f"--initial-branch={branch}", store.name)
    objects = _git(clone, "rev-parse", "--path-format=absolute", "--git-path", "objects")
    (store / "objects/info/alternates").write_text(objects)
    # The branches and tags of the remote, for what refers to them by name.
    listed = _git(clone, "for-each-ref", "--format=%(objectname) %(refname)", *_REMOTE)
    references = (line.split(" ", 1) for line in listed.splitlines())
    names = {
        name.replace("refs/remotes/origin/", "refs/heads/"): value
        for value, name in references
        if name != "refs/remotes/origin/HEAD"
    }
    names[f"refs/heads/{branch}"] = commit
    updates = "".join(f"update {name} {value}\n" for name, value in names.items())
    _git(store, "update-ref", "--stdin", text=updates)
    _git(store, f"--work-tree={files}", "checkout", "--quiet", "--force", commit, "--", ".")
    return Side(commit, files, store)


_REMOTE = ("refs/remotes/origin", "refs/tags")
_NO_BRANCH = (
    "git remote set-head origin --auto, or name the branch that it will be merged into:"
    " --base origin/main"
)
_HEADS = re.compile("^(refs/)?heads/")
_TAGS = re.compile("^(refs/)?tags/")
_REMOTE_HEADS = re.compile("^(refs/remotes/)?origin/")
_COMMIT = re.compile("[0-9a-f]{7,40}")
_SHALLOW = "Fetch the whole history: git fetch --unshallow (fetch-depth: 0 of actions/checkout)"


def _required_commit(clone: Path, name: str) -> str:
    commit = _commit(clone, name)
    if commit is None:
        raise GitError(f"The clone {clone} has no revision {name}.", f"git -C {clone} fetch origin")
    return commit


def _commit(clone: Path, name: str) -> str | None:
    try:
        # The revision can't be taken for an option.
        return _git(
            clone, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}"
        ).strip()
    except GitError:
        return None


def _git(folder: Path, *words: str, text: str | None = None, fix: str | None = None) -> str:
    # Filters and hooks that the user has set up would run for files of the commits.
    environment = restricted(os.environ, deployment=False) | {
        "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "GIT_TERMINAL_PROMPT": "0"
    }  # fmt: skip
    # `safe.directory` is a global setting, which protects from hooks and filters of others.
    setting = ("-c", f"safe.directory={folder}")
    return git.run(folder, *setting, *words, env=environment, text=text, fix=fix)
