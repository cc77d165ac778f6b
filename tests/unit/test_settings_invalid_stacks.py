"""Each stack file in invalid_stacks.yaml is refused with exactly its findings."""

import runpy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pulumi
import pytest
import yaml
from pulumi.runtime.config import set_all_config

from components.chart_values import merge
from doks_gitops import settings
from doks_gitops.settings.load import decoded
from tests.unit.mocked import registered, run
from tests.unit.stackfiles import ROOT, TextTimes, as_text, configuration

FILE = yaml.load(Path(__file__).with_name("invalid_stacks.yaml").read_text(), Loader=TextTimes)


@dataclass(frozen=True)
class InvalidStack:
    """A case of invalid_stacks.yaml, which explains the keys."""

    findings: list[dict[str, str]]
    stack: str = "dev"
    patch: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] | None = None
    beside: dict[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        return yaml.safe_dump({"config": self.config or merge(FILE["base"], self.patch)})

    @property
    def files(self) -> dict[str, str]:
        return {f"Pulumi.{self.stack}.yaml": self.text, **self.beside}


CASES = {name: InvalidStack(**case) for name, case in FILE["cases"].items()}


def engine_config(case: InvalidStack) -> tuple[dict[str, str], list[str]]:
    """The stack's configuration in the form in which the engine hands it to a program."""
    config, secret_keys = configuration(case.text)
    return as_text(config), secret_keys


def refusal(case: InvalidStack) -> settings.SettingsError:
    config, secret_keys = engine_config(case)
    with pytest.raises(settings.SettingsError) as error:
        settings.parse(
            case.stack,
            {key: decoded(key, value) for key, value in config.items()},
            case.files,
            secret_keys=secret_keys,
        )
    return error.value


@pytest.mark.parametrize("name", CASES)
def test_invalid_stack_is_refused_with_its_findings(name: str) -> None:
    case = CASES[name]
    error = refusal(case)
    expected = {finding["key"]: finding for finding in case.findings}
    assert sorted(finding.key for finding in error.findings) == sorted(expected)
    for finding in error.findings:
        assert expected[finding.key]["got"] in finding.got
        assert expected[finding.key]["expected"] in finding.expected
        assert finding.source in case.files
        assert f"{finding.source}: {finding.key}\n  got:      {finding.got}\n" in str(error)
        assert f"  expected: {finding.expected}\n" in str(error)


@pytest.mark.parametrize("name", CASES)
def test_no_secret_of_an_invalid_stack_is_shown(name: str) -> None:
    text = str(refusal(CASES[name]))
    for secret in ("dop_v1", "ghp_", "hunter2", "correct-horse", "b3BlbnNz", "AAAAC3", "x" * 73):
        assert secret not in text


def test_every_case_has_findings_and_there_are_many() -> None:
    assert len(CASES) >= 91
    assert all(case.findings for case in CASES.values())


def test_invalid_stack_creates_nothing_and_shows_no_traceback(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    case = CASES["many-findings-at-once"]
    for name, text in case.files.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DIGITALOCEAN_TOKEN", raising=False)
    monkeypatch.delenv("DIGITALOCEAN_ACCESS_TOKEN", raising=False)
    types = registered(monkeypatch)
    config, secret_keys = engine_config(case)

    def program() -> dict[str, Any]:
        set_all_config(config, secret_keys)
        return runpy.run_path(str(ROOT / "__main__.py"), run_name="__main__")

    try:
        # Pulumi shows a RunError without a traceback.
        with pytest.raises(pulumi.RunError, match=f"{len(case.findings)} findings"):
            run(program, stack=case.stack)
    finally:
        set_all_config({}, [])
    assert types == []
