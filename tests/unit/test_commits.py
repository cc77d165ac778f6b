"""The commit that a stack was deployed from: what is compared with it, and what may replace it."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from doks_gitops.ci import commits
from doks_gitops.stack import Stack
from tests.unit.pulumi_command import PulumiCommand

BinPlatform = Callable[..., tuple[int, str, str]]
NO_CHANGES = '{"steps": [], "changeSummary": {}, "diagnostics": []}'


def git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    done = subprocess.run(
        ["git", "-C", str(folder), *identity, *words], check=True, text=True, capture_output=True
    )
    return done.stdout.strip()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone whose three commits each change the program, and its project in a folder of it."""
    project = tmp_path / "clone" / "platform"
    (project / ".venv").mkdir(parents=True)
    (project / ".gitignore").write_text(".venv\n")
    git(tmp_path, "init", "-q", "-b", "main", "clone")
    for number in range(3):
        (project / "__main__.py").write_text(f"commit {number}\n")
        git(project, "add", ".")
        git(project, "commit", "-q", "-m", str(number))
    monkeypatch.chdir(project)
    return project


def commit(project: Path, number: int) -> str:
    return git(project, "rev-parse", f"main~{2 - number}")


def deployed(pulumi: PulumiCommand, *operations: tuple[str, str | None]) -> None:
    """The history of the stack, newest first: what was done, and at which commit."""
    history = [
        {
            "kind": kind,
            "result": "succeeded",
            "environment": {"git.head": head} if head else {},
        }
        for kind, head in operations
    ]
    (pulumi.folder / "history").write_text(json.dumps(history))
    pulumi.script(
        f"""case "$2 $3" in
          'stack history') cat '{pulumi.folder}/history' ;;
          preview*) cat __main__.py >>'{pulumi.folder}/programs'; echo '{NO_CHANGES}' ;;
        esac"""
    )


def test_deployment_that_has_not_ended_is_not_the_last_one(
    pulumi: PulumiCommand, project: Path
) -> None:
    deployed(pulumi, ("update", "b"), ("update", "a"))
    history = pulumi.folder / "history"
    history.write_text(history.read_text().replace("succeeded", "in-progress", 1))
    assert commits.deployed(Stack("dev", project)) == "a"


def test_last_deployment_counts_even_if_it_failed_and_a_destroyed_stack_has_none(
    pulumi: PulumiCommand, project: Path
) -> None:
    stack = Stack("dev", project)
    deployed(pulumi, ("refresh", "c"), ("update", "b"), ("update", "a"))
    assert commits.deployed(stack) == "b"
    deployed(pulumi, ("destroy", "c"), ("update", "b"))
    assert commits.deployed(stack) is None
    deployed(pulumi, ("update", None), ("update", "a"))
    assert commits.deployed(stack) is None, "it ran outside of Git"


@pytest.mark.parametrize("last", [0, 1])
def test_commit_on_top_of_the_deployed_one_is_deployed(
    bin_platform: BinPlatform, pulumi: PulumiCommand, project: Path, last: int
) -> None:
    deployed(pulumi, ("update", commit(project, last)))
    git(project, "checkout", "-q", commit(project, 1))
    assert bin_platform("deploy", "--stack", "dev")[0] == 0
    assert pulumi.calls[-1].split()[1] == "up"


def test_late_approval_never_deploys_an_older_commit_over_a_newer_one(
    bin_platform: BinPlatform, pulumi: PulumiCommand, project: Path
) -> None:
    deployed(pulumi, ("update", commit(project, 2)))
    git(project, "checkout", "-q", commit(project, 1))
    code, _, errors = bin_platform("deploy", "--stack", "dev")
    assert code == 1
    assert "was not deployed" in errors
    assert "--allow-older" in errors
    assert [call.split()[1] for call in pulumi.calls] == ["stack"]
    assert bin_platform("deploy", "--stack", "dev", "--allow-older")[0] == 0


def test_deployment_of_somebody_else_during_the_preview_is_not_undone(
    bin_platform: BinPlatform, pulumi: PulumiCommand, project: Path
) -> None:
    deployed(pulumi, ("update", commit(project, 2)))
    newer = (pulumi.folder / "history").rename(pulumi.folder / "newer")
    deployed(pulumi, ("update", commit(project, 1)))
    git(project, "checkout", "-q", commit(project, 1))
    program = "from doks_gitops.condition import wait; wait(dry_run=False)"
    pulumi.script(
        f"""case "$2 $3" in
          'stack history') cat '{pulumi.folder}/history' ;;
          preview*) cp '{newer}' '{pulumi.folder}/history'; echo '{NO_CHANGES}' ;;
          up*) '{sys.executable}' -P -c '{program}' ;;
        esac"""
    )
    code, _, errors = bin_platform("deploy", "--stack", "dev")
    assert code == 1
    assert "it would undo later changes" in errors


@pytest.mark.parametrize("outside", [True, False])
def test_what_cannot_be_compared_with_the_deployed_commit_is_not_deployed(
    bin_platform: BinPlatform,
    pulumi: PulumiCommand,
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    outside: bool,
) -> None:
    """Outside of Git, or in a clone that lacks the commit."""
    if outside:
        monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(project.parents[1]))
        (project.parent / ".git").rename(project.parent / "git")
    deployed(pulumi, ("update", "1" * 40))
    assert bin_platform("deploy", "--stack", "dev")[0] == 1


def test_drift_is_measured_with_the_program_of_the_deployed_commit(
    bin_platform: BinPlatform, pulumi: PulumiCommand, project: Path
) -> None:
    """A commit that waits for its approval is no drift."""
    (project / "__main__.py").write_text("not committed\n")
    for number in range(2):
        deployed(pulumi, ("update", commit(project, number)))
        assert bin_platform("drift", "--stack", "dev")[0] == 0
    assert (pulumi.folder / "programs").read_text() == "commit 0\ncommit 1\n"
    assert git(project, "worktree", "list").count("\n") == 0


def test_drift_from_a_commit_that_the_clone_lacks_is_an_error_that_names_the_way_out(
    bin_platform: BinPlatform, pulumi: PulumiCommand, project: Path
) -> None:
    deployed(pulumi, ("update", "1" * 40))
    code, output, errors = bin_platform("drift", "--stack", "dev")
    assert code == 1
    assert "### ❌ dev could not be compared" in output
    assert "111111111111 is not in this clone" in errors
