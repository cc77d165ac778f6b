"""The workflows: sound, with no more rights than they need, and made of commands that exist."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
BIN = Path(sys.executable).parent


def loaded(path: Path) -> dict[str, Any]:
    # YAML 1.1 takes the key `on` for true.
    content: dict[Any, Any] = yaml.safe_load(path.read_text())
    content["on"] = content.pop(True)
    return content


def steps(path: Path) -> list[dict[str, Any]]:
    return [step for job in loaded(path)["jobs"].values() for step in job.get("steps", [])]


def test_workflows_are_what_github_takes() -> None:
    subprocess.run(
        [BIN / "check-jsonschema", "--builtin-schema", "vendor.github-workflows", *WORKFLOWS],
        check=True,
    )


def test_linter_of_workflows_finds_nothing() -> None:
    subprocess.run([BIN / "zizmor", "--offline", "--no-progress", ROOT / ".github"], check=True)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflow_has_no_rights_but_those_that_its_jobs_name(path: Path) -> None:
    workflow = loaded(path)
    assert workflow["permissions"] == {}
    for job in workflow["jobs"].values():
        assert "permissions" in job


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_every_action_is_pinned_to_a_commit(path: Path) -> None:
    for step in steps(path):
        if "uses" in step:
            assert re.fullmatch(r"[\w-]+(/[\w-]+)+@[0-9a-f]{40}", step["uses"])


def test_fork_gets_no_secret_and_no_environment() -> None:
    workflow = loaded(ROOT / ".github" / "workflows" / "preview.yml")
    assert workflow["on"] == "pull_request"
    fork, account = workflow["jobs"]["fork"], workflow["jobs"]["account"]
    assert account["if"].replace("==", "!=") == fork["if"]
    assert "secrets." not in str(fork)
    assert "environment" not in fork
    assert fork["permissions"] == {"contents": "read"}


def test_prod_comes_after_staging_and_staging_after_dev() -> None:
    jobs = loaded(ROOT / ".github" / "workflows" / "deploy.yml")["jobs"]
    assert [(name, job.get("needs")) for name, job in jobs.items()] == [
        ("dev", None),
        ("staging", "dev"),
        ("prod", "staging"),
    ]


def test_all_tests_run_once_on_a_change() -> None:
    jobs = loaded(ROOT / ".github" / "workflows" / "checks.yml")["jobs"]
    groups = jobs["e2e"]["strategy"]["matrix"]["files"]
    files = [str(file.relative_to(ROOT)) for file in (ROOT / "tests" / "e2e").glob("test_*.py")]
    assert sorted(" ".join(groups).split()) == sorted(files)
    commands = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    assert {"bin/test static", "bin/test unit contract"} <= set(commands)


def test_required_check_passes_only_if_every_other_job_did() -> None:
    jobs = loaded(ROOT / ".github" / "workflows" / "checks.yml")["jobs"]
    required = next(job for job in jobs.values() if job["name"] == "tests and lint")
    assert required["if"] == "always()"
    assert {*required["needs"]} == {name for name, job in jobs.items() if job is not required}
    [step] = required["steps"]
    for result in ("failure", "cancelled", "skipped"):
        assert f"contains(needs.*.result, '{result}')" in step["if"]


@pytest.mark.parametrize(
    "command",
    sorted({step["run"] for path in WORKFLOWS for step in steps(path) if "run" in step}),
)
def test_every_step_is_a_command_of_the_repository_that_takes_these_arguments(
    command: str,
) -> None:
    words = [re.sub(r'^"\$(\w+)"$', r"1", word) for word in command.split()]
    while words[:2] == ["bin/sandbox", "run"]:
        words = words[2:]
    if words == ["exit", "1"]:
        return
    program = ROOT / words[0]
    assert os.access(program, os.X_OK)
    if words[0] == "bin/setup":
        assert len(words) == 1
        return
    if words[0] == "bin/test":
        parts = {"static", "tools", "unit", "contract", "e2e"}
        assert parts >= set(words[1:]) or words[-1] == "$FILES"
        return
    done = subprocess.run(
        [program, *words[1:], "--help"], cwd=ROOT, text=True, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for option in re.findall(r"--[\w-]+", command):
        assert option in done.stdout
