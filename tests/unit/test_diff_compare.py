"""What two renderings say about a change."""

from pathlib import Path
from typing import Any

import pytest

from doks_gitops.diff import report
from doks_gitops.diff.applicationsets import Generated
from doks_gitops.diff.checks import Finding
from doks_gitops.diff.compare import ApplicationDiff, Comparison, EnvironmentDiff
from doks_gitops.diff.environment import Declared, Environment
from doks_gitops.diff.render import Rendered, Rendering
from doks_gitops.diff.repo_server import Options
from doks_gitops.diff.revisions import Revisions, Side
from doks_gitops.diff.sources import Tree

SIDE = Side("0" * 40, Path(), Path())
CLAIM = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"}}
SET = "ApplicationSet apps"


def declared(name: str, parent: str = "Pulumi.prod.yaml", **spec: Any) -> Declared:
    return Declared(name, spec, parent)


ROOT = declared("root")


def rendering(*applications: Rendered, stack: str = "prod") -> Rendering:
    env = Environment(stack, stack, Options("1.34.0"), (), {}, {})
    side = Rendering(env, SIDE, Tree(Path(), frozenset(), lambda _: False))
    for application in applications:
        side.applications[application.declared.name] = application
        side.declared[application.declared.name] = application.declared
    return side


def with_set(side: Rendering, *names: str, **outcome: Any) -> Rendering:
    """The rendering with the ApplicationSet `apps`, which generates Applications of these names."""
    children = tuple(declared(name, SET) for name in names)
    side.sets[SET] = Generated(SET, "root", children, **outcome)
    side.declared["root"] = ROOT
    for child in children:
        side.declared[child.name] = child
        side.applications[child.name] = Rendered(child, (CLAIM,))
    return side


def result(old: Rendering, new: Rendering, **options: Any) -> EnvironmentDiff:
    revisions = Revisions(Path(), SIDE, SIDE, "main")
    assert new.environment is not None
    return Comparison(revisions, None, Path(), **options).result(new.environment.stack, old, new)


@pytest.mark.parametrize(
    ("stack", "allowed", "failed"),
    [("prod", False, True), ("prod", True, False), ("dev", False, False)],
)
def test_deleted_application_that_could_not_be_read_may_have_data(
    stack: str, allowed: bool, failed: bool
) -> None:
    old = rendering(Rendered(declared("shop"), error="no such file"), stack=stack)
    diff = result(old, rendering(stack=stack), prune_allowed=allowed)
    [finding] = diff.findings
    assert "What is deleted could not be read: no such file" in finding.message
    assert ("allow-prune" in finding.message) == failed
    assert diff.failed == failed


def test_repair_of_an_application_that_was_broken_shows_it_as_new_and_passes() -> None:
    old = rendering(Rendered(declared("shop"), error="no such file"))
    diff = result(old, rendering(Rendered(declared("shop"), (CLAIM,))))
    [application] = diff.applications
    assert [change.operation for change in application.changes] == ["create"]
    [finding] = diff.findings
    assert finding.message.endswith("is shown as new: no such file")
    assert not diff.failed


@pytest.mark.parametrize("existed", [True, False])
def test_private_source_without_its_credentials_is_told_and_no_failure(existed: bool) -> None:
    new = Rendered(declared("shop", a=1), error="no access", private=True, foreign=True)
    old = Rendered(declared("shop", a=2), error="no access", private=True, foreign=True)
    diff = result(rendering(*([old] if existed else [])), rendering(new))
    [application] = diff.applications
    assert (application.name, application.error) == ("shop", None)
    [finding] = diff.findings
    assert finding.message == "It was not rendered, nor what it may declare: no access"
    assert not diff.failed


def test_application_that_can_not_be_rendered_fails() -> None:
    diff = result(rendering(), rendering(Rendered(declared("shop"), error="broken")))
    assert (diff.applications[0].error, diff.failed) == ("broken", True)


def test_broken_applicationset_fails_and_deletes_nothing() -> None:
    old = with_set(rendering(), "shop")
    nested = declared("nested", "shop")
    old.declared["nested"] = nested
    old.applications["nested"] = Rendered(nested, (CLAIM,))
    diff = result(old, with_set(rendering(), error="config.json is broken"))
    assert (diff.applications, diff.failed) == ((), True)
    [finding] = diff.findings
    assert finding.application == SET
    assert "config.json is broken" in finding.message


def test_applicationset_that_is_broken_anyway_fails_no_other_change() -> None:
    diff = result(*(with_set(rendering(), error="config.json is broken") for _ in range(2)))
    assert (len(diff.findings), diff.failed) == (1, False)
    diff = result(with_set(rendering(), error="broken"), with_set(rendering(), "shop"))
    assert (diff.applications[0].operation, diff.failed) == ("create", False)
    assert "are shown as new" in diff.findings[0].message


def test_generator_that_is_not_evaluated_is_a_note_that_the_table_counts() -> None:
    sides = [with_set(rendering(), "shop", notes=("not evaluated",)) for _ in range(2)]
    sides[1].notes.append("not evaluated")
    diff = result(*sides)
    assert not diff.failed
    assert "✅ passed, 1 note |" in report.summary([diff])


@pytest.mark.parametrize(("allowed", "failed"), [(False, True), (True, False)])
def test_what_a_generator_may_no_longer_generate_needs_the_label_in_prod(
    allowed: bool, failed: bool
) -> None:
    old, new = with_set(rendering(), "shop"), with_set(rendering(), notes=("not evaluated",))
    diff = result(old, new, prune_allowed=allowed)
    [finding] = diff.findings
    assert (finding.application, diff.failed) == ("shop", failed)
    assert "may be deleted" in finding.message


def test_deleted_applicationset_whose_applications_are_unknown_needs_the_label_in_prod() -> None:
    new = rendering()
    new.declared["root"] = ROOT
    diff = result(with_set(rendering(), error="config.json is broken"), new)
    [finding] = diff.findings
    assert (finding.application, diff.failed) == (SET, True)
    assert not result(with_set(rendering(), error="broken"), new, prune_allowed=True).failed


def test_application_that_can_not_be_rendered_deletes_none_of_those_that_it_declared() -> None:
    child = Rendered(declared("child", "root"), (CLAIM,))
    old = rendering(Rendered(ROOT), child)
    diff = result(old, rendering(Rendered(ROOT, error="broken")))
    assert [(item.name, item.error) for item in diff.applications] == [("root", "broken")]
    assert diff.findings == ()


def test_long_finding_leaves_room_for_the_others() -> None:
    messages = ("x" * 50_000, "y" * 50_000)
    findings = tuple(Finding("shop", message) for message in messages)
    notes = ("z" * 50_000,)
    text = report.comment([EnvironmentDiff("prod", findings=findings, notes=notes)])
    assert all(f"{letter * 400}" in text for letter in "xyz")
    assert len(text) < 5000
    assert "left out" not in text


def test_name_of_an_application_notifies_nobody() -> None:
    diff = EnvironmentDiff("prod", (ApplicationDiff("@org/team"),))
    assert "@org" not in report.comment([diff])
