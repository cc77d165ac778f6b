"""A deployment goes on only if the command that has started it says so."""

from __future__ import annotations

import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from doks_gitops import condition
from doks_gitops.errors import PlatformError
from doks_gitops.policy.preview import PACK
from doks_gitops.stack import Stack
from tests.unit.pulumi_command import PulumiCommand


def refuse() -> None:
    raise PlatformError("changed")


def fail() -> None:
    raise ValueError


def test_a_program_goes_on_if_the_condition_holds_or_if_there_is_none() -> None:
    with condition.answering(lambda: None) as holding:
        condition.wait(holding.env, dry_run=False)
    assert holding.refusal is None
    condition.wait({}, dry_run=False)


@pytest.mark.parametrize("check", [refuse, fail])
def test_a_program_stops_if_the_condition_does_not_hold_or_fails(
    check: Callable[[], None],
) -> None:
    with condition.answering(check) as refused:
        with pytest.raises(PlatformError, match="has not allowed it"):
            condition.wait(refused.env, dry_run=False)
        # A preview changes nothing, and Pulumi may not hold the lock.
        condition.wait(refused.env, dry_run=True)
    with pytest.raises(PlatformError, match="has not allowed it"):
        condition.wait(refused.env, dry_run=False)


def test_a_program_does_not_wait_for_ever_while_it_holds_the_lock(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(condition, "_TIMEOUT_SECONDS", 0.1)
    released = threading.Event()

    def hang() -> None:
        released.wait()

    with condition.answering(hang) as hanging:
        with pytest.raises(PlatformError, match=f"unset {condition.VARIABLE}"):
            condition.wait(hanging.env, dry_run=False)
        released.set()


def test_a_long_folder_for_temporary_files_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder := tmp_path / ("long" * 30)).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    with condition.answering(lambda: None) as holding:
        condition.wait(holding.env, dry_run=False)


def test_a_deployment_fails_with_the_words_of_the_condition(pulumi: PulumiCommand) -> None:
    program = "from doks_gitops.condition import wait; wait(dry_run=False)"
    pulumi.script(f"exec {sys.executable} -P -c '{program}'")
    stack = Stack("dev")
    with pytest.raises(PlatformError, match=r"^changed$"):
        stack.up(policy_pack=PACK, check=refuse)
    stack.up(policy_pack=PACK, check=lambda: None)
