"""Repositories besides the clone."""

from pathlib import Path

import pytest

from doks_gitops.diff.repo_server import RenderError, RepoServer, limited

COMMITS = {"main": "a" * 40, "release": "b" * 40, "v1": "c" * 40}


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    """A file with a line for each call of Git."""
    return tmp_path / "calls"


@pytest.fixture
def server(tmp_path: Path, calls: Path, monkeypatch: pytest.MonkeyPatch) -> RepoServer:
    """Its Git lists the commits, unless it can't read the URL."""
    listed = "".join(
        f"{commit}\\t{name}\\n"
        for name, commit in (
            ("HEAD", COMMITS["main"]), ("refs/heads/main", COMMITS["main"]),
            ("refs/heads/release", COMMITS["release"]), ("refs/tags/v1", "d" * 40),
            ("refs/tags/v1^{}", COMMITS["v1"]),
        )
    )  # fmt: skip
    git = tmp_path / "bin/git"
    git.parent.mkdir()
    git.write_text(
        f"#!/bin/sh\necho call >> {calls}\n"
        "case $3 in *missing*) echo 'no access' >&2; exit 128 ;; esac\n"
        f"printf '{listed}'\n"
    )
    git.chmod(0o755)
    server = RepoServer()
    monkeypatch.setattr(RepoServer, "_home", str(tmp_path))
    monkeypatch.setattr(server, "_env", {"PATH": "/usr/bin:/bin"}, raising=False)
    return server


def test_each_revision_of_a_repository_is_known_after_it_was_asked_once(
    server: RepoServer, calls: Path
) -> None:
    url = "https://git.test/a.git"
    assert {name: server.commit(url, name) for name in COMMITS} == COMMITS
    assert server.commit(url, "") == server.commit(url, "refs/heads/main") == COMMITS["main"]
    with pytest.raises(RenderError, match="The revision v2 of"):
        server.commit(url, "v2")
    assert calls.read_text() == "call\n"


def test_repository_that_can_not_be_read_is_asked_once(server: RepoServer, calls: Path) -> None:
    for revision in ("main", "release"):
        with pytest.raises(RenderError, match="no access"):
            server.commit("https://missing.test/a.git", revision)
    assert calls.read_text() == "call\n"


def test_nothing_is_rendered_without_a_limit_of_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(RenderError, match=r"prlimit is not installed(?s:.*)util-linux"):
        limited()
