"""The workflows: sound, with no more rights than they need, and made of commands that exist."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from doks_gitops.ci.export import file_name

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


SECRET = re.compile(r"secrets\.([A-Z_]+)")


def jobs_with_secrets() -> list[Any]:
    """Each job whose steps get a secret, as the name of its workflow, its own and itself."""
    return [
        pytest.param(job, id=f"{path.stem}-{name}")
        for path in WORKFLOWS
        for name, job in loaded(path)["jobs"].items()
        if SECRET.search(str(job))
    ]


@pytest.mark.parametrize("job", jobs_with_secrets())
def test_secrets_are_given_to_the_one_step_that_needs_them(job: dict[str, Any]) -> None:
    assert not SECRET.search(str({key: value for key, value in job.items() if key != "steps"}))
    with_secrets = [step for step in job["steps"] if SECRET.search(str(step))]
    commands = [step for step in with_secrets if "run" in step]
    assert len(commands) == 1
    assert commands[0]["run"].startswith("bin/platform ")
    for step in with_secrets:
        if "uses" in step:
            assert step["uses"].startswith("actions/create-github-app-token@")


@pytest.mark.parametrize("job", jobs_with_secrets())
def test_job_with_secrets_installs_only_the_programs_locked_packages(job: dict[str, Any]) -> None:
    commands = [step["run"] for step in job["steps"] if "run" in step]
    assert commands[0] == "bin/setup --program"
    assert all(command.startswith("bin/platform ") for command in commands[1:])


def test_every_step_that_reads_a_state_can_do_so_in_pulumi_cloud_and_in_a_bucket() -> None:
    """A Spaces bucket takes keys of its own. A URL with a password is a secret, not a variable."""
    environments = [
        step["env"]
        for path in WORKFLOWS
        for step in steps(path)
        if "PULUMI_CONFIG_PASSPHRASE" in step.get("env", {})
    ]
    assert environments
    for environment in environments:
        for name in ("PULUMI_ACCESS_TOKEN", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            assert environment[name] == f"${{{{ secrets.{name} }}}}"
        url = "PULUMI_BACKEND_URL"
        assert environment[url] == f"${{{{ secrets.{url} || vars.{url} }}}}"


def test_what_a_pull_request_runs_gets_nothing_that_can_change_or_decrypt_an_environment() -> None:
    jobs = loaded(ROOT / ".github" / "workflows" / "preview.yml")["jobs"]
    account, comment = jobs["account"], jobs["comment"]
    assert SECRET.findall(str(account)) == ["DIGITALOCEAN_READ_TOKEN", "LOOKUP_TOKEN"]
    assert not re.search(r"PULUMI_(?!GITHUB_TOKEN)|AWS_", str(account))
    assert set(account["permissions"].values()) == {"read"}
    # What may write the comment runs what is in main, and no secret is near it.
    checkout = comment["steps"][0]["with"]
    # Not in the base of the pull request, which may be any branch that somebody has pushed.
    assert checkout["ref"] == "${{ github.event.repository.default_branch }}"
    assert not SECRET.search(str(comment))
    assert "environment" not in comment


def test_files_of_a_pull_requests_runs_stay_out_of_the_checkout_that_writes_the_comment() -> None:
    """They are in artifacts, which may have any file in them, such as another bin/platform."""
    comment = loaded(ROOT / ".github" / "workflows" / "preview.yml")["jobs"]["comment"]
    [download] = [x for x in comment["steps"] if "download-artifact" in x.get("uses", "")]
    command = comment["steps"][-1]
    folder = "${{ runner.temp }}/results"
    assert download["with"]["path"] == command["env"]["RESULTS"] == folder
    assert re.findall(r"\S+\.md\S*", command["run"]) == [
        '"$RESULTS/preview.md"', '"$RESULTS/diff.md"'
    ]  # fmt: skip


def test_label_allows_deletions_of_the_commit_that_it_was_set_for_and_of_no_later_one() -> None:
    jobs = loaded(ROOT / ".github" / "workflows" / "preview.yml")["jobs"]
    condition = "!github.event.label || github.event.label.name == 'allow-prune'"
    for name in ("account", "applications", "fork"):
        assert condition in jobs[name]["if"]
    [diff] = [x for x in jobs["applications"]["steps"] if "platform diff" in x.get("run", "")]
    # A push, a pull request that is opened again, and another label are other events.
    allowed = "${{ github.event.action == 'labeled' && '--allow-prune' || '' }}"
    assert diff["env"]["OPTIONS"] == allowed


@pytest.mark.parametrize(
    ("base", "options"),
    [("main", ["--check", "3f2a91c", "--passed"]), ("Main", []), ("release", [])],
)
def test_check_of_a_commit_is_about_its_merge_to_main(
    tmp_path: Path, base: str, options: list[str]
) -> None:
    """GitHub keeps it for the commit, when the pull request gets another base."""
    command = loaded(ROOT / ".github" / "workflows" / "preview.yml")["jobs"]["comment"]["steps"][-1]
    assert command["env"]["BASE"] == "${{ github.base_ref }}"
    assert command["env"]["DEFAULT"] == "${{ github.event.repository.default_branch }}"
    assert command["env"]["COMMIT"] == "${{ github.event.pull_request.head.sha }}"
    platform = tmp_path / "bin" / "platform"
    platform.parent.mkdir()
    platform.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    platform.chmod(0o755)
    variables = {"NUMBER": "7", "RESULTS": "r", "BASE": base, "DEFAULT": "main"}
    done = subprocess.run(
        ["bash", "-e", "-c", command["run"]],
        env={**os.environ, **variables, "COMMIT": "3f2a91c", "PASSED": "--passed"},
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    words = ["comment", "7", "r/preview.md", "r/diff.md", *options]
    assert done.stdout.splitlines() == words


def test_comment_tells_failures_but_none_of_a_cancelled_run() -> None:
    comment = loaded(ROOT / ".github" / "workflows" / "preview.yml")["jobs"]["comment"]
    # A job runs after failed ones if its condition has a function of their status.
    assert comment["if"] == "${{ !cancelled() && needs.account.result != 'skipped' }}"


def test_other_workflows_than_the_previews_get_the_secrets_of_another_environment() -> None:
    """Whoever may push a branch can change what a pull request's workflow does with its own."""
    for path in WORKFLOWS:
        for name, job in loaded(path)["jobs"].items():
            if job.get("environment") == "preview":
                assert (path.stem, name) == ("preview", "account")


@pytest.mark.parametrize("name", ["promote", "revert-images"])
def test_required_checks_run_for_the_pull_request_that_a_workflow_opens(name: str) -> None:
    """GitHub runs no workflow for what the job's own token pushes and opens, but for an App's."""
    [job] = loaded(ROOT / ".github" / "workflows" / f"{name}.yml")["jobs"].values()
    assert job["permissions"] == {"contents": "read"}
    app, checkout, *_, command = job["steps"]
    token = "${{ steps.app.outputs.token }}"
    assert app["id"] == "app"
    assert {key: value for key, value in app["with"].items() if key.startswith("permission-")} == {
        "permission-contents": "write",
        "permission-pull-requests": "write",
    }
    assert checkout["with"]["token"] == command["env"]["GITHUB_TOKEN"] == token
    assert command["env"]["GITHUB_APP_SLUG"] == "${{ steps.app.outputs.app-slug }}"


def test_rehearsal_is_off_unless_the_repository_says_so_and_ends_before_its_job() -> None:
    jobs = loaded(ROOT / ".github" / "workflows" / "rehearsal.yml")["jobs"]
    assert jobs["rehearse"]["if"] == "vars.REHEARSAL == 'true'"
    assert jobs["clean-up"]["if"] == "always() && vars.REHEARSAL == 'true'"
    command = jobs["rehearse"]["steps"][-1]["run"]
    minutes = int(command.split("--minutes ")[1].split()[0])
    assert jobs["rehearse"]["timeout-minutes"] >= minutes + 30
    assert "--limit" in command


def test_each_deployment_leaves_the_export_that_the_previews_read() -> None:
    [job] = loaded(ROOT / ".github" / "workflows" / "deploy-stack.yml")["jobs"].values()
    checkout, *_, deploy, upload = job["steps"]
    assert checkout["with"]["fetch-depth"] == 0, "an older commit is told by its history"
    folder = deploy["run"].split("--export ")[1]
    name = upload["with"]["name"].replace("${{ inputs.stack }}", "dev")
    file = upload["with"]["path"].replace("${{ inputs.stack }}", "dev")
    assert (f"{folder}/{file_name('dev')}", f"{name}.json") == (file, file_name("dev"))
    # Also if the command fails after it has deployed and written it; before, there is none.
    assert upload["if"] == "${{ !cancelled() }}"
    assert upload["with"]["if-no-files-found"] == "warn"


def test_fork_gets_no_secret_and_no_environment() -> None:
    workflow = loaded(ROOT / ".github" / "workflows" / "preview.yml")
    assert set(workflow["on"]) == {"pull_request"}
    fork, account = workflow["jobs"]["fork"], workflow["jobs"]["account"]
    assert account["if"].replace("==", "!=", 1) == fork["if"]
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


def test_all_tests_run_once_on_a_change_and_those_that_take_long_each_week() -> None:
    jobs = loaded(ROOT / ".github" / "workflows" / "checks.yml")["jobs"]
    groups = jobs["e2e"]["strategy"]["matrix"]["files"]
    files = [str(file.relative_to(ROOT)) for file in (ROOT / "tests" / "e2e").glob("test_*.py")]
    assert sorted(" ".join(groups).split()) == sorted(files)
    commands = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    assert {"bin/test static", "bin/test unit contract"} <= set(commands)
    weekly = loaded(ROOT / ".github" / "workflows" / "drill.yml")["jobs"]["weekly"]
    assert weekly["steps"][-1]["run"] == "bin/test weekly"


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
    *conditions, last = command.strip().splitlines()
    assert all(re.fullmatch(r"if \[ .* \]; then set -- .*; fi", line) for line in conditions)
    words = [re.sub(r'^"\$(\w+|@)"$', r"1", word) for word in last.split()]
    while words[:2] == ["bin/sandbox", "run"]:
        words = words[2:]
    if words == ["exit", "1"]:
        return
    program = ROOT / words[0]
    assert os.access(program, os.X_OK)
    if words[0] == "bin/setup":
        assert words[1:] in ([], ["--program"])
        return
    if words[0] == "bin/test":
        parts = {"static", "tools", "unit", "contract", "e2e", "weekly"}
        assert parts >= set(words[1:]) or words[-1] == "$FILES"
        return
    done = subprocess.run(
        [program, *words[1:], "--help"], cwd=ROOT, text=True, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for option in re.findall(r"--[\w-]+", command):
        assert option in done.stdout
