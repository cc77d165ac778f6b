"""Which commit of the project's own repository a stack was deployed from.

Pulumi records it in the history of the stack, whoever deployed it.
https://www.pulumi.com/docs/iac/cli/commands/pulumi_stack_history/
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from doks_gitops import git
from doks_gitops.errors import PlatformError
from doks_gitops.git import GitError
from doks_gitops.stack import Stack

_INSTALLED = (".venv",)
"""Folders that no commit has, and that the program needs."""


class CommitError(PlatformError):
    """The commit of a deployment can't be found, or is older than the deployed one."""


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
        return git.run(folder, "rev-parse", "--verify", "--quiet", "HEAD").strip()
    except GitError:
        return None


def refuse_older(stack: Stack) -> None:
    """Raises `CommitError` unless the commit in the stack's folder is the deployed one, or has been
    made on top of it. A deployment that was approved late would undo what was deployed since."""
    commit, last = head(stack.folder), deployed(stack)
    if last is None or commit == last:
        return
    if commit is not None:
        try:
            git.run(stack.folder, "merge-base", "--is-ancestor", last, commit)
            return
        except GitError:
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
    commit that is checked out, or if `commit` is None. Raises `CommitError` and `GitError`."""
    if commit is None or commit == head(folder):
        yield folder
        return
    prefix = git.run(folder, "rev-parse", "--show-prefix").strip()
    with tempfile.TemporaryDirectory() as temporary:
        tree = Path(temporary, "tree")
        try:
            git.run(folder, "worktree", "add", "--quiet", "--detach", str(tree), commit)
        except GitError as error:
            raise CommitError(
                f"The deployed commit {commit[:12]} is not in this clone: {error.problem}",
                "git fetch --unshallow, or git fetch origin",
            ) from None
        try:
            for name in _INSTALLED:
                (tree / prefix / name).symlink_to((folder / name).resolve())
            yield tree / prefix
        finally:
            git.run(folder, "worktree", "remove", "--force", str(tree))
