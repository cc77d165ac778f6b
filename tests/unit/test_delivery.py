"""Previews as data and as a comment; comments and issues that are updated in place."""

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from doks_gitops import markdown
from doks_gitops.account import NOT_IN_STATE
from doks_gitops.ci import report
from doks_gitops.ci.export import Export
from doks_gitops.ci.picture import svg
from doks_gitops.ci.preview import Change, Field, Preview
from doks_gitops.errors import PlatformError
from doks_gitops.github import GitHubError, Repository
from doks_gitops.policy.preview import PACK
from doks_gitops.policy.rules import CLUSTER
from tests.unit.fake_api import FakeApi, serve
from tests.unit.pulumi_command import PulumiCommand

URN = "urn:pulumi:dev::doks-gitops::doks-gitops:index:GitOpsApplication$kubernetes:v1:{}::{}"


BinPlatform = Callable[..., tuple[int, str, str]]


def operations(pulumi: PulumiCommand) -> list[str]:
    """The commands that `pulumi` was run with, without those that only read the history."""
    return [
        words[1] for words in map(str.split, pulumi.calls) if words[1:3] != ["stack", "history"]
    ]


def preview_json(*steps: dict[str, Any]) -> dict[str, Any]:
    """As `pulumi preview --json` prints it."""
    return {"steps": list(steps), "changeSummary": {"same": 15}, "diagnostics": []}


def step(operation: str, old: Any = None, new: Any = None, *paths: str) -> dict[str, Any]:
    return {
        "op": operation,
        "urn": URN.format("Application", "shop"),
        "oldState": {"inputs": old},
        "newState": {"inputs": new},
        "detailedDiff": {path: {"kind": "update"} for path in paths},
    }


def test_preview_names_what_changes_from_what_to_what() -> None:
    old = {"spec": {"a.b": 1, "list": [{"x": "old"}], "gone": True}}
    new = {"spec": {"a.b": 2, "list": [{"x": "new"}]}}
    preview = Preview.from_json(
        "dev", preview_json(step("update", old, new, 'spec["a.b"]', "spec.list[0].x", "spec.gone"))
    )
    assert preview.changes == (
        Change(
            "update",
            "kubernetes:v1:Application",
            "shop",
            (
                Field("spec.gone", True, None),
                Field("spec.list[0].x", "old", "new"),
                Field('spec["a.b"]', 1, 2),
            ),
        ),
    )
    assert (preview.count, preview.unchanged, preview.error) == ({"update": 1}, 15, None)


def test_preview_hides_the_old_value_of_what_has_become_a_secret() -> None:
    old = {"spec": {"list": [{"token": "hush", "user": "ada"}]}, "data": "hush"}
    new = {"spec": {"list": [{"token": "[secret]", "user": "ada"}]}, "data": "[secret]"}
    preview = Preview.from_json("dev", preview_json(step("update", old, new, "spec", "data")))
    assert "hush" not in report.comment([preview], "Preview")
    preview = Preview.from_json("dev", preview_json(step("update", new, old, "spec", "data")))
    assert "hush" not in report.comment([preview], "Preview")


def test_preview_leaves_out_what_stays_and_the_single_steps_of_a_replacement() -> None:
    operations = ("refresh", "same", "create-replacement", "replace", "delete-replaced")
    steps = [step(operation) for operation in operations]
    assert Preview.from_json("dev", preview_json(*steps)).count == {"replace": 1}


def test_a_resource_that_is_gone_counts_once_and_so_does_a_replaced_one() -> None:
    gone = [step("delete", {"a": 1}), step("create", None, {"a": 1})]
    assert Preview.from_json("dev", preview_json(*gone)).count == {"create": 1}
    replaced = [step("replace", {"a": 1}, {"a": 2}, "a"), step("update", {"a": 1}, {"a": 2}, "a")]
    assert Preview.from_json("dev", preview_json(*replaced)).count == {"replace": 1}


def test_preview_shows_the_warnings_of_the_program_and_not_those_about_the_machine() -> None:
    warning = {"severity": "warning", "message": "warning: This update replaces\nthe cluster\n"}
    machine = {"severity": "warning", "message": "warning: plugin from PATH"}
    diagnostics = [machine, {"urn": "urn:stack", **warning}]
    preview = Preview.from_json("dev", {**preview_json(), "diagnostics": diagnostics})
    text = report.comment([preview], "Preview")
    assert "- ⚠️ This update replaces the cluster\n" in text
    assert "PATH" not in text


def test_a_preview_that_fails_is_shown_with_the_programs_own_words(
    bin_platform: BinPlatform, pulumi: PulumiCommand
) -> None:
    diagnostics = [
        {"severity": "warning", "message": "warning: plugin from PATH"},
        {"severity": "error", "message": "error: Pulumi.dev.yaml has 1 fault\n"},
    ]
    pulumi.prints({"diagnostics": diagnostics}, exit_code=255)
    code, output, errors = bin_platform("preview", "--stack", "dev")
    assert code == 1
    assert "| `dev` | ❌ failed | not checked |" in output
    assert "```text\nPulumi.dev.yaml has 1 fault\n```" in output
    assert "error: The preview of dev failed: Pulumi.dev.yaml has 1 fault" in errors
    assert "next:  bin/platform preview --stack dev" in errors


@pytest.mark.parametrize("command", ["preview", "deploy", "drift", "policy"])
def test_a_preview_that_exits_with_an_error_fails_and_nothing_is_deployed(
    bin_platform: BinPlatform, pulumi: PulumiCommand, command: str
) -> None:
    pulumi.prints(preview_json(), exit_code=255)
    code, output, errors = bin_platform(command, "--stack", "dev")
    assert code == 1
    assert "no changes" not in output
    assert "exit code 255" in errors
    assert operations(pulumi) == ["preview"]


def test_a_stack_is_deployed_after_a_preview_that_the_policies_allow(
    bin_platform: BinPlatform, pulumi: PulumiCommand
) -> None:
    pulumi.prints(preview_json())
    code, output, _ = bin_platform("deploy", "--stack", "dev")
    assert code == 0
    assert "| `dev` | no changes | ✅ kept |" in output
    _history, preview, up = pulumi.calls
    assert preview.split()[1] == "preview"
    # The engine checks the policies again, against what it deploys.
    assert up == (
        "--non-interactive up --yes --skip-preview"
        f" --policy-pack {PACK} --policy-pack-config {PACK}/config.json --stack dev"
    )


def test_volume_that_can_not_be_recorded_does_not_hold_up_the_next_stacks(
    bin_platform: BinPlatform, pulumi: PulumiCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> None:
        raise PlatformError("The claim shop/data is not recorded.", "bin/platform volumes record")

    monkeypatch.setattr("doks_gitops.cli.delivery.record_after", refuse)
    pulumi.prints(preview_json())
    code, _, errors = bin_platform("deploy", "--stack", "dev")
    assert code == 0
    assert "warning: The claim shop/data is not recorded." in errors
    assert "next:  bin/platform volumes record" in errors


def test_a_stack_that_breaks_a_mandatory_policy_is_not_deployed(
    bin_platform: BinPlatform, pulumi: PulumiCommand
) -> None:
    cluster = {"urn": URN.format("x", "y"), "type": CLUSTER, "inputs": {"nodePool": {}}}
    pulumi.prints(preview_json({"op": "same", "urn": cluster["urn"], "newState": cluster}))
    code, output, errors = bin_platform("deploy", "--stack", "dev")
    assert code == 1
    assert "❌ forbidden" in output
    assert "dev breaks a mandatory policy, see above.\nIt was not deployed." in errors
    assert operations(pulumi) == ["preview"]


def test_previews_and_drift_are_json_for_programs(
    bin_platform: BinPlatform, pulumi: PulumiCommand
) -> None:
    change = step("update", {"count": 1}, {"count": 2}, "count")
    pulumi.prints(preview_json(change | {"newState": {**change["newState"], "type": "x"}}))
    for command in ("preview", "drift"):
        code, output, _ = bin_platform(command, "--stack", "dev", "--json")
        assert code == 0
        [result] = json.loads(output)
        assert result["changes"][0]["fields"] == [{"path": "count", "old": 1, "new": 2}]
    preview, _history, drift = pulumi.calls
    assert "--refresh" not in preview
    assert "--refresh" in drift


def test_the_comment_is_added_to_the_workflows_summary_and_to_a_file(
    bin_platform: BinPlatform,
    pulumi: PulumiCommand,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    pulumi.prints(preview_json())
    (tmp_path / "summary").write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary"))
    _, output, _ = bin_platform("preview", "--stack", "dev", "--file", str(tmp_path / "file"))
    assert (tmp_path / "file").read_text() == output
    assert (tmp_path / "summary").read_text() == "before\n" + output


def test_comment_has_a_line_for_each_stack_and_stresses_what_is_lost() -> None:
    changes = (Change("replace", "KubernetesCluster", "cluster"), Change("create", "Vpc", "vpc"))
    text = report.comment(
        [
            Preview("dev", unchanged=16),
            Preview("staging", changes, 14, violations=("too few nodes",)),
            Preview("prod", error="no token"),
            Preview("blue", changes[1:], forbidden=True, violations=("no tags",)),
        ],
        "Preview",
    )
    assert "| `dev` | no changes | ✅ kept |" in text
    assert "| `staging` | **1 to replace**, 1 to create, 14 unchanged | ⚠️ 1 advised |" in text
    assert "| `prod` | ❌ failed | not checked |" in text
    assert "| `blue` | 1 to create, 0 unchanged | ❌ forbidden |" in text
    assert "! replace KubernetesCluster cluster" in text
    assert "- too few nodes" in text
    assert "no token" in text
    assert "<code>dev</code>" not in text


def test_comment_shows_a_changed_secret_as_such_and_shortens_long_values() -> None:
    fields = (Field("data", "[secret]", "[secret]"), Field("values", {"a": "x" * 200}, None))
    text = report.comment([Preview("dev", (Change("update", "Secret", "s", fields),))], "Preview")
    assert 'data: "[secret]", changed' in text
    assert f'values: {{"a": "{"x" * 52}… → nothing' in text


def test_comment_is_never_longer_than_github_takes() -> None:
    many = tuple(Change("create", "Application", f"app-{number}") for number in range(5000))
    text = report.comment([Preview("dev", many), Preview("prod", many[:3])], "Preview")
    assert len(text) <= markdown.LONGEST
    assert "5000 to create" in text
    assert "app-2\n" in text


def test_the_picture_shows_the_whole_comment() -> None:
    change = Change("update", "kubernetes:v1:Secret", "s", (Field("count", 1, 2),))
    previews = [Preview("dev", (change,), 3), Preview("prod", error="Pulumi.prod.yaml has a fault")]
    drawn = ElementTree.fromstring(svg(report.comment(previews, "Preview")))
    text = "".join(drawn.itertext()).replace("\N{NO-BREAK SPACE}", " ")
    for words in ("1 to update, 3 unchanged", "▾ prod", "count: 1 → 2", "prod.yaml has a fault"):
        assert words in text
    assert "<" not in text


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with serve() as fake:
        yield fake


def repository(api: FakeApi) -> Repository:
    return Repository("team/demo", "token", api.url)


@pytest.mark.parametrize("name", ["GITHUB_REPOSITORY", "GITHUB_TOKEN"])
@pytest.mark.parametrize("value", [None, ""])
def test_error_for_a_missing_environment_names_what_to_set(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str | None
) -> None:
    environment = {"GITHUB_REPOSITORY": "team/demo", "GITHUB_TOKEN": "token", name: value}
    for variable, text in environment.items():
        if text is None:
            monkeypatch.delenv(variable, raising=False)
        else:
            monkeypatch.setenv(variable, text)
    with pytest.raises(GitHubError, match=f"no {name}.*\n.*export GITHUB_REPOSITORY=OWNER/NAME"):
        Repository.from_environment()


def test_error_has_the_message_of_github(api: FakeApi) -> None:
    errors = [{"message": "No commits between main and a"}]
    body = {"message": "Validation Failed", "errors": errors}
    api.answer("/repos/team/demo/issues/1/comments", (422, body))
    with pytest.raises(GitHubError, match=r"422 Validation Failed: No commits between main and a"):
        repository(api).comment(1, "preview", "")


@pytest.mark.parametrize(
    ("status", "fix"), [(401, "GITHUB_TOKEN"), (403, "issues: write"), (404, "GITHUB_REPOSITORY")]
)
def test_error_for_a_refused_request_has_a_fix(api: FakeApi, status: int, fix: str) -> None:
    api.answer("/repos/team/demo/issues", (status, {"message": "Refused"}))
    with pytest.raises(GitHubError, match=f"(?s){status} Refused.*next: .*{fix}"):
        repository(api).issue("drift", "Drift", "text")


def test_unreachable_github_is_an_error_with_its_address() -> None:
    with pytest.raises(GitHubError, match=r"http://127\.0\.0\.1:1\): .*Connection refused"):
        Repository("team/demo", "token", "http://127.0.0.1:1").close_issue("drift", "")


def test_token_is_never_sent_to_github_unprotected() -> None:
    with pytest.raises(GitHubError, match="others could read the token"):
        Repository("team/demo", "token", "http://github.example.com/api/v3")


def test_request_to_github_on_loopback_has_the_token_and_no_proxy(
    api: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    api.answer("/repos/team/demo/issues", (200, []))
    assert repository(api).close_issue("drift", "") is None
    assert api.requests == [("/repos/team/demo/issues?per_page=100&state=open", "token token")]


def test_every_page_is_searched_for_an_issue(api: FakeApi) -> None:
    path = "/repos/team/demo/issues"
    others = [{"number": number, "body": None} for number in range(100)]
    api.answer(f"{path}#1", (200, others), Link=f'<{api.url}{path}?page=2>; rel="next"')
    body = "<!-- doks-gitops: drift -->\nold"
    issue = {"number": 100, "body": body, "url": f"{api.url}{path}/100", "html_url": "the issue"}
    issue |= {"user": {"login": "bot"}, "pull_request": None}
    api.answer("/user", (200, {"login": "bot"}))
    api.answer(f"{path}#2", (200, [issue]))
    api.answer(f"{path}/100", (200, issue))
    assert repository(api).issue("drift", "Drift", "new") == "the issue"
    assert api.bodies == [{"title": "Drift", "body": "<!-- doks-gitops: drift -->\nnew"}]


INTEGRATION = {"message": "Resource not accessible by integration"}


@pytest.mark.parametrize(
    ("user", "app", "author"),
    [
        ((200, {"login": "bot"}), "", "bot"),
        ((403, INTEGRATION), "", "github-actions[bot]"),
        ((403, INTEGRATION), "our-platform", "our-platform[bot]"),
    ],
)
def test_only_the_tokens_own_comment_is_rewritten(
    api: FakeApi, user: tuple[int, Any], app: str, author: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_APP_SLUG", app)
    path = "/repos/team/demo/issues"
    body = "<!-- doks-gitops: preview -->\nold"
    comments = [
        {"body": text, "user": {"login": login}, "url": f"{api.url}/{number}"}
        for number, (text, login) in enumerate(
            [(body, "mallory"), (f"> {body}", author), (body, author)]
        )
    ]
    for number, comment in enumerate(comments):
        comment["html_url"] = f"comment {number}"
    api.answer("/user", user)
    api.answer(f"{path}/7/comments", (200, comments))
    api.answer("/2", (200, comments[2]))
    assert repository(api).comment(7, "preview", "new") == "comment 2"


@pytest.fixture
def pull_request(platform_repository: FakeApi) -> FakeApi:
    """A repository with pull request 7, without comments."""
    api, path = platform_repository, "/repos/team/demo/issues/7/comments"
    api.answer("/user", (200, {"login": "bot"}))
    api.answer(path, (200, []), (201, {"html_url": "the comment"}))
    api.answer("/repos/team/demo/check-runs", (201, {"html_url": "the check"}))
    return api


@pytest.mark.parametrize(
    ("words", "conclusion"),
    [
        (["diff.md", "--passed"], "success"),
        (["diff.md"], "failure"),
        (["diff.md", "missing.md", "--passed"], "failure"),
    ],
)
def test_check_passes_only_if_that_is_said_and_nothing_is_missing(
    bin_platform: BinPlatform,
    pull_request: FakeApi,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    conclusion: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "diff.md").write_text("the text")
    code, _, errors = bin_platform("comment", "7", *words, "--check", "3f2a91c")
    assert (code, errors.split("\n")[-2]) == (0, "the check")
    comment, check = pull_request.bodies
    assert (check["name"], check["head_sha"]) == ("preview", "3f2a91c")
    assert (check["status"], check["conclusion"]) == ("completed", conclusion)
    assert check["output"]["summary"] in comment["body"]


def test_pull_request_or_issue_of_someone_else_is_never_taken_for_the_drift_issue(
    api: FakeApi,
) -> None:
    body = "<!-- doks-gitops: drift -->\nmine"
    issues = [
        {"number": 1, "body": body, "user": {"login": "bot"}, "pull_request": {"url": "x"}},
        {"number": 2, "body": body, "user": {"login": "mallory"}, "pull_request": None},
        {"number": 3, "body": body, "user": None, "pull_request": None},
    ]
    api.answer("/user", (200, {"login": "bot"}))
    api.answer("/repos/team/demo/issues", (200, issues))
    assert repository(api).close_issue("drift", "") is None
    assert api.bodies == []


def test_refused_look_at_the_tokens_user_is_an_error(api: FakeApi) -> None:
    issue = {"number": 2, "body": "<!-- doks-gitops: drift -->", "user": {"login": "bot"}}
    api.answer("/user", (403, {"message": "Forbidden"}))
    api.answer("/repos/team/demo/issues", (200, [issue | {"pull_request": None}]))
    with pytest.raises(GitHubError, match="403 Forbidden"):
        repository(api).close_issue("drift", "")


def test_text_from_outside_never_leaves_its_place_in_the_comment() -> None:
    change = Change("update", "Secret", "a\n```\n# b", (Field("x\ny", "````", "\n```\n<b>"),))
    text = report.comment(
        [
            Preview("dev", (change,), violations=("a `b` </details>\n# c [d](e)",)),
            Preview("a|b`", error="one\n```\n<script>\n`````\ntwo"),
        ],
        "Preview",
    )
    lines = text.splitlines()
    fences = [line for line in lines if line.startswith("```")]
    assert fences == ["`````diff", "`````", "``````text", "```", "`````", "``````"]
    assert r'    x y: "````" → "\n```\n<b>"' in lines
    assert "- a &#96;b&#96; &lt;/details> # c [d]&#40;e)" in lines
    assert "| `a\\|b'` | ❌ failed | not checked |" in lines


DRIFT = step("update", {"a": 1}, {"a": 2}, "a")


@pytest.fixture
def issues(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> FakeApi:
    """A repository with an open issue about drift."""
    for name, value in (
        ("GITHUB_API_URL", api.url), ("GITHUB_REPOSITORY", "team/demo"), ("GITHUB_TOKEN", "token"),
    ):  # fmt: skip
        monkeypatch.setenv(name, value)
    path = "/repos/team/demo/issues"
    issue = {"number": 1, "body": "<!-- doks-gitops: drift -->", "user": {"login": "bot"}}
    issue |= {"pull_request": None, "url": f"{api.url}{path}/1", "html_url": "the issue"}
    api.answer("/user", (200, {"login": "bot"}))
    api.answer(path, (200, [issue]))
    api.answer(f"{path}/1", (200, issue))
    return api


def test_stack_that_cannot_be_compared_is_a_failure_and_neither_drift_nor_its_end(
    bin_platform: BinPlatform, pulumi: PulumiCommand, issues: FakeApi
) -> None:
    pulumi.prints("", exit_code=1)
    code, output, _ = bin_platform("drift", "--stack", "dev", "--issue")
    assert code == 1
    assert "### ❌ dev could not be compared\n" in output
    assert "No drift" not in output
    assert issues.bodies == [], "the issue stays as it is"


def test_drift_is_told_in_the_issue_that_is_open(
    bin_platform: BinPlatform, pulumi: PulumiCommand, issues: FakeApi
) -> None:
    changed = {**DRIFT, "newState": {"type": "x", "urn": DRIFT["urn"], **DRIFT["newState"]}}
    pulumi.prints(preview_json(changed))
    code, _, _ = bin_platform("drift", "--stack", "dev", "--issue")
    assert code == 0
    assert [body["title"] for body in issues.bodies] == ["Drift in dev"]


def test_stacks_that_cannot_be_compared_are_named_beside_those_that_can(
    bin_platform: BinPlatform, pulumi: PulumiCommand, issues: FakeApi
) -> None:
    (pulumi.folder / "preview").write_text(json.dumps(preview_json()))
    pulumi.script(
        f"""[ "$2 $3" = 'stack history' ] && {{ echo '[]'; exit; }}
        case "$*" in *prod*) exit 1 ;; esac; cat '{pulumi.folder}/preview'"""
    )
    code, output, _ = bin_platform("drift", "--stack", "dev", "--stack", "prod", "--issue")
    assert code == 1
    assert "### No drift; prod could not be compared\n" in output
    assert issues.bodies == [], "the issue stays as it is"


def test_a_node_pool_that_the_state_lacks_is_drift(
    bin_platform: BinPlatform, pulumi: PulumiCommand, issues: FakeApi
) -> None:
    warning = f"warning: {NOT_IN_STATE} the node pool burst (id)."
    diagnostic = {"severity": "warning", "urn": URN, "message": warning}
    pulumi.prints(preview_json() | {"diagnostics": [diagnostic]})
    code, output, _ = bin_platform("drift", "--stack", "dev", "--issue")
    assert code == 0
    assert "no changes, **1 not in the state**" in output
    [issue] = issues.bodies
    assert issue["title"] == "Drift in dev"
    assert "the node pool burst" in issue["body"]
    assert "up --refresh" not in issue["body"], "that does not remove it"


@pytest.fixture
def platform_repository(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> FakeApi:
    for name, value in (
        ("GITHUB_API_URL", api.url), ("GITHUB_REPOSITORY", "team/demo"), ("GITHUB_TOKEN", "token"),
    ):  # fmt: skip
        monkeypatch.setenv(name, value)
    return api


def has_deployments(api: FakeApi, *deployments: tuple[str, str]) -> None:
    """Commits and states of the deployments to dev, newest first."""
    path = "/repos/team/demo/deployments"
    items = []
    for number, (commit, status) in enumerate(deployments):
        statuses = f"{path}/{number}/statuses"
        items.append({"sha": commit, "url": f"{api.url}{path}/{number}"})
        items[-1]["statuses_url"] = f"{api.url}{statuses}"
        api.answer(statuses, (200, [{"state": status}]))
    api.answer(path, (200, items))


def has_artifacts(api: FakeApi, *artifacts: dict[str, Any]) -> None:
    """Artifacts, newest first, each different from that of a deployment from main."""
    run = {"head_branch": "main", "repository_id": 1, "head_repository_id": 1}
    items = [
        {
            "expired": False,
            "url": f"{api.url}/{number}",
            "archive_download_url": f"{api.url}/{number}/zip",
            **artifact,
            "workflow_run": {**run, **artifact.get("workflow_run", {})},
        }
        for number, artifact in enumerate(artifacts)
    ]
    path = "/repos/team/demo/actions/artifacts"
    api.answer(path, (200, {"total_count": len(items), "artifacts": items}))


def archive(commit: str) -> bytes:
    """An artifact with the export of dev."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as files:
        export = Export("dev", commit, {}, {"version": 3, "deployment": {}})
        files.writestr("export-dev.json", json.dumps(asdict(export)))
    return content.getvalue()


def test_newest_export_of_main_is_downloaded_and_none_of_a_branch_or_a_fork(
    bin_platform: BinPlatform, platform_repository: FakeApi, tmp_path: Path
) -> None:
    api = platform_repository
    has_deployments(api, ("waits", "waiting"), ("failed", "failure"), ("works", "success"))
    has_artifacts(
        api,
        {"workflow_run": {"head_branch": "feature"}},
        {"workflow_run": {"head_repository_id": 2}},
        {"expired": True},
        {},
        {},
    )
    api.answer("/3/zip", (302, ""), Location=f"{api.url}/storage")
    api.answer("/storage", (200, archive("works")))
    code, _, errors = bin_platform("exports", str(tmp_path), "--stack", "dev")
    assert code == 0, errors
    export = Export.read(tmp_path / "export-dev.json")
    assert (export.commit, export.deployed) == ("works", "failed")
    assert ("/storage", None) in api.requests, "the other host gets no token"


def test_signed_address_of_an_artifact_that_can_not_be_downloaded_is_in_no_error(
    bin_platform: BinPlatform, platform_repository: FakeApi, tmp_path: Path
) -> None:
    api = platform_repository
    has_deployments(api, ("works", "success"))
    has_artifacts(api, {})
    api.answer("/0/zip", (302, ""), Location=f"{api.url}/storage?sig=hush")
    api.answer("/storage", (403, "expired"))
    code, output, errors = bin_platform("exports", str(tmp_path), "--stack", "dev")
    assert code == 1
    assert "127.0.0.1 answered 403" in errors
    assert "hush" not in output + errors


def test_stack_that_was_never_deployed_has_an_empty_export(
    bin_platform: BinPlatform, platform_repository: FakeApi, tmp_path: Path
) -> None:
    has_deployments(platform_repository)
    has_artifacts(platform_repository)
    assert bin_platform("exports", str(tmp_path), "--stack", "dev")[0] == 0
    assert Export.read(tmp_path / "export-dev.json") == Export("dev", None, {}, None)


def test_deployed_stack_without_an_export_is_told(
    bin_platform: BinPlatform, platform_repository: FakeApi, tmp_path: Path
) -> None:
    has_deployments(platform_repository, ("works", "success"))
    has_artifacts(platform_repository, {"expired": True})
    code, _, errors = bin_platform("exports", str(tmp_path), "--stack", "dev")
    assert code == 1
    assert "next:  run the workflow deploy again" in errors


def test_preview_of_an_export_needs_no_passphrase_and_tells_what_it_cannot_show(
    bin_platform: BinPlatform,
    pulumi: PulumiCommand,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "that of the stack")
    monkeypatch.setenv("PULUMI_BACKEND_URL", "s3://that-of-the-stack")
    file = tmp_path / "Pulumi.dev.yaml"
    file.write_text("config: {doks-gitops:argocd: {webhookSecret: {secure: v1:new}}}\n")
    state = {"version": 3, "deployment": {"secrets_providers": {}}}
    export = Export("dev", "a" * 40, {}, state, deployed="b" * 40)
    export.write(tmp_path / "export-dev.json")
    (pulumi.folder / "state").write_text(json.dumps(state))
    pulumi.prints(preview_json())
    pulumi.script(
        f"""echo "$PULUMI_BACKEND_URL $PULUMI_CONFIG_PASSPHRASE" >>'{pulumi.folder}/environment'
        case "$2 $3" in
          'stack export') cat '{pulumi.folder}/state' ;;
          preview*) cat '{pulumi.folder}/output' ;;
        esac"""
    )
    words = ("preview", "--stack", "dev", "--exports", str(tmp_path), "--cwd", str(tmp_path))
    code, output, errors = bin_platform(*words)
    assert code == 0, errors
    assert "| `dev` | no changes |" in output
    assert "argocd.webhookSecret has another encrypted value than the deployed one" in output
    assert f"{'b' * 40} has been deployed since" in output
    assert "that" not in (pulumi.folder / "environment").read_text()
    assert [call.split()[1:3] for call in pulumi.calls] == [
        ["stack", "init"], ["config", "set-all"], ["stack", "export"], ["stack", "import"],
        ["preview", "--json"],
    ]  # fmt: skip
    assert file.read_text().count("v1:new") == 1


def test_preview_without_the_export_of_a_stack_fails(
    bin_platform: BinPlatform, pulumi: PulumiCommand, tmp_path: Path
) -> None:
    code, output, _ = bin_platform("preview", "--stack", "dev", "--exports", str(tmp_path))
    assert code == 1
    assert "| `dev` | ❌ failed | not checked |" in output
    assert pulumi.calls == []


def test_preview_of_a_stack_whose_file_was_deleted_fails(
    bin_platform: BinPlatform, pulumi: PulumiCommand, tmp_path: Path
) -> None:
    Export("dev", None, {}, None).write(tmp_path / "export-dev.json")
    words = ("preview", "--stack", "dev", "--exports", str(tmp_path), "--cwd", str(tmp_path))
    code, output, errors = bin_platform(*words)
    assert code == 1
    assert "| `dev` | ❌ failed | not checked |" in output
    assert "Pulumi.dev.yaml can't be read" in errors
    assert pulumi.calls == []


def test_text_of_a_preview_becomes_its_comment(
    bin_platform: BinPlatform, platform_repository: FakeApi, tmp_path: Path
) -> None:
    path = "/repos/team/demo/issues/7/comments"
    platform_repository.answer("/user", (200, {"login": "bot"}))
    platform_repository.answer(path, (200, []), (201, {"html_url": "the comment"}))
    (file := tmp_path / "preview.md").write_text("x" * 100_000)
    code, _, errors = bin_platform("comment", "7", str(file))
    assert (code, errors) == (0, "the comment\n")
    [body] = platform_repository.bodies
    assert body["body"].startswith("<!-- doks-gitops: preview -->\nxxx")
    assert len(body["body"]) < 65_536


def test_text_that_is_a_link_to_another_file_is_not_read(
    bin_platform: BinPlatform, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("hunter2")
    (link := tmp_path / "preview.md").symlink_to(tmp_path / "token")
    code, _, errors = bin_platform("comment", "7", str(link))
    assert (code, "is a link" in errors) == (1, True)
