"""Wrong stack files, each refused with its reason. The files say what is expected of them:

# stack: the stack that they are the file of
# beside: FILE as NAME, another stack's file in wrong_stacks/beside
# fault: key | what was found | what would be right (the latter two begin so, or contain it)
"""

import runpy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pulumi
import pytest
from pulumi.runtime.config import set_all_config

from doks_gitops import settings
from doks_gitops.settings.load import decoded
from tests.unit.mocked import registered, run
from tests.unit.stackfiles import ROOT, as_text, configuration

FOLDER = Path(__file__).parent / "wrong_stacks"


@dataclass(frozen=True)
class WrongStack:
    stack: str
    files: dict[str, str]
    faults: tuple[tuple[str, str, str], ...]

    @property
    def text(self) -> str:
        return self.files[f"Pulumi.{self.stack}.yaml"]

    @classmethod
    def read(cls, path: Path) -> "WrongStack":
        text = path.read_text()
        header = [line[2:].partition(": ") for line in text.splitlines() if line.startswith("# ")]
        stack = next(value for key, _, value in header if key == "stack")
        files = {f"Pulumi.{stack}.yaml": text}
        for key, _, value in header:
            if key == "beside":
                file, _, name = value.partition(" as ")
                files[name] = (FOLDER / "beside" / file).read_text()
        faults = [tuple(value.split(" | ")) for key, _, value in header if key == "fault"]
        return cls(stack, files, tuple((key, found, right) for key, found, right in faults))


WRONG_STACKS = {path.stem: WrongStack.read(path) for path in sorted(FOLDER.glob("*.yaml"))}


def handed_over(wrong: WrongStack) -> tuple[dict[str, str], list[str]]:
    """The stack's configuration in the form in which the engine hands it to a program."""
    config, secret_keys = configuration(wrong.text)
    return as_text(config), secret_keys


def parsed(wrong: WrongStack) -> settings.Settings:
    config, secret_keys = handed_over(wrong)
    return settings.parse(
        wrong.stack,
        {key: decoded(key, value) for key, value in config.items()},
        wrong.files,
        secret_keys=secret_keys,
    )


@pytest.mark.parametrize("name", WRONG_STACKS)
def test_wrong_stack_is_refused_with_its_reason(name: str) -> None:
    wrong = WRONG_STACKS[name]
    with pytest.raises(settings.SettingsError) as refusal:
        parsed(wrong)
    faults = {fault.key: fault for fault in refusal.value.faults}
    assert sorted(fault.key for fault in refusal.value.faults) == sorted(
        key for key, _, _ in wrong.faults
    ), "exactly the faults that are there"
    text = str(refusal.value)
    for key, found, right in wrong.faults:
        assert found in faults[key].found
        assert right in faults[key].right
        assert faults[key].source in wrong.files
        assert f"{faults[key].source}: {key}\n  found: {faults[key].found}\n" in text
        assert f"  right: {faults[key].right}\n" in text


@pytest.mark.parametrize("name", WRONG_STACKS)
def test_no_secret_of_a_wrong_stack_is_shown(name: str) -> None:
    with pytest.raises(settings.SettingsError) as refusal:
        parsed(WRONG_STACKS[name])
    for secret in ("dop_v1", "ghp_", "hunter2", "correct-horse", "b3BlbnNz", "AAAAC3", "x" * 73):
        assert secret not in str(refusal.value)


def test_thirty_ways_to_be_wrong_are_known() -> None:
    assert len(WRONG_STACKS) >= 30
    assert all(wrong.faults for wrong in WRONG_STACKS.values())


def test_wrong_stack_creates_nothing_and_shows_no_traceback(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    wrong = WRONG_STACKS["many-faults-at-once"]
    for name, text in wrong.files.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DIGITALOCEAN_TOKEN", raising=False)
    monkeypatch.delenv("DIGITALOCEAN_ACCESS_TOKEN", raising=False)
    asked = registered(monkeypatch)
    config, secret_keys = handed_over(wrong)

    def program() -> dict[str, Any]:
        set_all_config(config, secret_keys)
        try:
            return runpy.run_path(str(ROOT / "__main__.py"), run_name="__main__")
        finally:
            set_all_config({}, [])

    # A RunError is what Pulumi shows by its text alone.
    with pytest.raises(pulumi.RunError, match=f"{len(wrong.faults)} faults"):
        run(program, stack=wrong.stack)
    assert asked == []
