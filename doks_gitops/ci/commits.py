"""Which commit of the project's own repository a stack was deployed from.

Pulumi records it in the history of the stack, whoever deployed it.
https://www.pulumi.com/docs/iac/cli/commands/pulumi_stack_history/
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from doks_gitops.errors import PlatformError
from doks_gitops.stack import Stack
from doks_gitops.variables import of_git

_INSTALLED = (".venv",)
"""Folders that no commit has, and that the program needs."""


class CommitError(PlatformError):
    """A commit can't be found, or is older than the deployed one."""


def deployed(stack: Stack) -> str | None:
    """The commit of the last deployment that has ended, whether that succeeded or not; None if
    there is none, or if it ran outside of Git. Raises `PulumiError`."""
    for update in stack.history():
        if update["result"] == "in-progress":
            continue
        if update["kind"] == "destroy":
            return None
        if update["kind"] == "update":
            commit: str | None = (update.get("environment") or {}).get("git.head")
            return commit
    return None


def head(folder: Path) -> str | None:
    """The commit that is checked out in `folder`; None outside of Git."""
    try:
        return _git(folder, "rev-parse", "--verify", "--quiet", "HEAD").strip()
    except CommitError:
        return None


def refuse_older(stack: Stack) -> None:
    """Raises `CommitError` unless the commit in the stack's folder is the deployed one, or has been
    made on top of it. A deployment that was approved late would undo what was deployed since."""
    commit, last = head(stack.folder), deployed(stack)
    if last is None or commit == last:
        return
    if commit is not None:
        try:
            _git(stack.folder, "merge-base", "--is-ancestor", last, commit)
            return
        except CommitError:
            pass
    raise CommitError(
        f"The stack {stack.name} was last deployed from the commit {last[:12]}, which"
        f" {f'{commit[:12]} does not contain' if commit else 'this folder outside of Git has not'}:"
        " it would undo later changes. It was not deployed.",
        "Deploy a commit that contains it (in a shallow clone: git fetch --unshallow). To go back"
        f" on purpose: bin/platform deploy --stack {stack.name} --allow-older",
    )


@contextmanager
def checked_out(folder: Path, commit: str | None) -> Iterator[Path]:
    """The project's folder at `commit`, in a temporary work tree; `folder` itself if that is the
    commit that is checked out, or if `commit` is None. Raises `CommitError`."""
    if commit is None or commit == head(folder):
        yield folder
        return
    prefix = _git(folder, "rev-parse", "--show-prefix").strip()
    with tempfile.TemporaryDirectory() as temporary:
        tree = Path(temporary, "tree")
        try:
            _git(folder, "worktree", "add", "--quiet", "--detach", str(tree), commit)
        except CommitError as error:
            raise CommitError(
                f"The deployed commit {commit[:12]} is not in this clone: {error.problem}",
                "git fetch --unshallow, or git fetch origin",
            ) from None
        try:
            for name in _INSTALLED:
                (tree / prefix / name).symlink_to((folder / name).resolve())
            yield tree / prefix
        finally:
            _git(folder, "worktree", "remove", "--force", str(tree))


def _git(folder: Path, *words: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *words],
            env=of_git(os.environ), text=True, capture_output=True, check=False,
        )  # fmt: skip
    except OSError as error:
        raise CommitError(f"`git` can't be run: {error.strerror}") from None
    if done.returncode:
        raise CommitError(f"`git {' '.join(words)}` failed: {done.stderr.strip()}")
    return done.stdout
