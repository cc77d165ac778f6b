"""Previews as data and as a comment; comments and issues that are updated in place."""

import json
from typing import Any
from xml.etree import ElementTree

import pytest
import requests

from doks_gitops.ci import preview, report
from doks_gitops.ci.github import GitHubError, Repository
from doks_gitops.ci.picture import svg
from doks_gitops.ci.preview import Change, Field, Preview

URN = "urn:pulumi:dev::doks-gitops::doks-gitops:index:GitOpsApplication$kubernetes:v1:{}::{}"


def said(*steps: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"steps": list(steps), "changeSummary": {"same": 15}, "diagnostics": [], **more}


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
    found = preview.of(
        "dev", said(step("update", old, new, 'spec["a.b"]', "spec.list[0].x", "spec.gone"))
    )
    assert found.changes == (
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
    assert (found.count, found.unchanged, found.error) == ({"update": 1}, 15, None)


def test_preview_leaves_out_what_stays_and_the_single_steps_of_a_replacement() -> None:
    words = ("refresh", "same", "create-replacement", "replace", "delete-replaced")
    steps = [step(each) for each in words]
    assert preview.of("dev", said(*steps)).count == {"replace": 1}


def test_preview_that_fails_keeps_the_program_s_own_words() -> None:
    found = preview.of(
        "dev",
        said(
            diagnostics=[
                {"severity": "warning", "message": "warning: plugin from PATH"},
                {"severity": "error", "message": "error: Pulumi.dev.yaml has 1 fault\n"},
            ]
        ),
    )
    assert found.error == "Pulumi.dev.yaml has 1 fault"


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
    assert "| `prod` | ❌ failed | not asked |" in text
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
    assert len(text) <= report.LONGEST
    assert "5000 to create" in text
    assert "app-2\n" in text


def test_picture_shows_all_that_the_comment_says() -> None:
    change = Change("update", "kubernetes:v1:Secret", "s", (Field("count", 1, 2),))
    found = [Preview("dev", (change,), 3), Preview("prod", error="Pulumi.prod.yaml has a fault")]
    drawn = ElementTree.fromstring(svg(report.comment(found, "Preview")))
    text = "".join(drawn.itertext()).replace("\N{NO-BREAK SPACE}", " ")
    for said in ("1 to update, 3 unchanged", "▾ prod", "count: 1 → 2", "prod.yaml has a fault"):
        assert said in text
    assert "<" not in text


def test_missing_environment_is_named_with_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_REPOSITORY", raising=False)
    with pytest.raises(GitHubError, match="export GITHUB_REPOSITORY=OWNER/NAME"):
        Repository.of_environment()


def test_what_github_refuses_is_told_in_its_own_words(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = requests.Response()
    answer.status_code = 422
    errors = [{"message": "No commits between main and a"}]
    answer._content = json.dumps({"message": "Validation Failed", "errors": errors}).encode()
    monkeypatch.setattr(requests.Session, "request", lambda *_, **__: answer)
    with pytest.raises(GitHubError, match=r"422 Validation Failed: No commits between main and a"):
        Repository("team/demo", "token", "https://github.example.com").comment(1, "preview", "")
