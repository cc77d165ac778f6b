"""The commits that revisions mean."""

import subprocess
from pathlib import Path

import pytest

from doks_gitops.diff.revisions import checked_out
from doks_gitops.git import GitError


def git(folder: Path, *words: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.com")
    return subprocess.run(
        ["git", "-C", str(folder), *identity, *words], check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone whose branch `change` has a commit more than main, without origin/HEAD, as
    actions/checkout makes it."""
    remote, folder = tmp_path / "remote", tmp_path / "clone"
    git(tmp_path, "init", "--quiet", "--initial-branch=main", str(remote))
    (remote / "a.txt").write_text("a")
    git(remote, "add", "a.txt")
    git(remote, "commit", "--quiet", "--message", "first")
    git(remote, "tag", "v1")
    git(tmp_path, "init", "--quiet", str(folder))
    git(folder, "remote", "add", "origin", str(remote))
    git(folder, "fetch", "--quiet", "origin", "+refs/heads/*:refs/remotes/origin/*")
    git(folder, "checkout", "--quiet", "--detach", "origin/main")
    git(folder, "commit", "--quiet", "--allow-empty", "--message", "second")
    # Newer versions of Git set it when they fetch.
    git(folder, "update-ref", "--no-deref", "-d", "refs/remotes/origin/HEAD")
    return folder


@pytest.mark.parametrize("base", ["origin/main", "refs/remotes/origin/main", None])
def test_revision_that_follows_the_branch_means_each_sides_own_commit(
    clone: Path, base: str | None
) -> None:
    if base is None:
        git(clone, "remote", "set-head", "origin", "--auto")
    with checked_out(clone, base, "HEAD") as revisions:
        for side, name in ((revisions.base, "origin/main"), (revisions.head, "HEAD")):
            names = ("", "HEAD", "main", "heads/main", "refs/heads/main")
            commits = {revisions.resolve(revision, side) for revision in names}
            assert commits == {git(clone, "rev-parse", name)}


def test_other_branches_and_tags_mean_the_same_commit_on_both_sides(
    clone: Path,
) -> None:
    first = git(clone, "rev-parse", "v1")
    git(clone, "update-ref", "refs/remotes/origin/other", first)
    with checked_out(clone, "origin/main", "HEAD") as revisions:
        names = ("v1", "tags/v1", "refs/tags/v1", "other", "refs/heads/other", first[:10])
        for side in (revisions.base, revisions.head):
            assert {revisions.resolve(revision, side) for revision in names} == {first}
        with pytest.raises(GitError, match="no revision origin/main"):
            # Argo CD knows no such name either.
            revisions.resolve("origin/main", revisions.head)


@pytest.mark.parametrize("base", ["v1", "HEAD~1", None])
def test_branch_that_can_not_be_told_is_an_error_with_the_next_command(
    clone: Path, base: str | None
) -> None:
    with pytest.raises(GitError) as error, checked_out(clone, base, "HEAD"):
        pass
    assert "git remote set-head origin --auto" in str(error.value)
    assert "--base origin/main" in str(error.value)


def test_base_is_head_where_it_is_not_needed_and_not_known(clone: Path) -> None:
    with checked_out(clone, None, "HEAD", base_needed=False) as revisions:
        head = revisions.head
        assert revisions.base.commit == head.commit == revisions.resolve("", head)
        with pytest.raises(GitError, match="whether the change will be merged into main"):
            revisions.resolve("main", head)
    with checked_out(clone, None, "origin/main", base_needed=False) as revisions:
        assert revisions.resolve("main", revisions.head) == revisions.head.commit
