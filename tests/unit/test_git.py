"""Git, as the commands run it."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from doks_gitops.ci import commits
from doks_gitops.diff import revisions
from doks_gitops.git import GitError
from doks_gitops.promotion import repository


@pytest.mark.parametrize(
    "opened",
    [
        lambda folder: repository.clone("https://git.test/shop.git", folder),
        lambda folder: revisions.checked_out(folder, None, "HEAD"),
        lambda folder: commits.checked_out(folder, "a" * 40),
    ],
)
def test_missing_git_is_told_with_where_to_get_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    opened: Callable[[Path], AbstractContextManager[object]],
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(GitError, match=r"(?s)`git` can't be run.*Install Git"), opened(tmp_path):
        pass
