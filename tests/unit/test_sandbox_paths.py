"""Removing the sandbox's folders."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sandbox.paths import remove_tree


def test_a_subfolder_that_can_not_be_read_is_removed_too(tmp_path: Path) -> None:
    closed = tmp_path / "home" / "pods" / "_argocd-repo"
    closed.mkdir(parents=True)
    (closed / "content").touch()
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o500)
    (closed / "link").symlink_to(outside)
    closed.chmod(0o300)
    remove_tree(tmp_path / "home")
    assert not (tmp_path / "home").exists()
    assert outside.stat().st_mode & 0o777 == 0o500


def test_several_threads_can_remove_the_same_folder(tmp_path: Path) -> None:
    for round_number in range(20):
        for number in range(100):
            (tmp_path / f"{round_number}" / f"{number}" / "deeper").mkdir(parents=True)
        with ThreadPoolExecutor(3) as threads:
            folder = tmp_path / f"{round_number}"
            list(threads.map(remove_tree, [folder] * 3))
        assert not folder.exists()


def test_removing_a_missing_folder_does_nothing(tmp_path: Path) -> None:
    remove_tree(tmp_path / "none")
