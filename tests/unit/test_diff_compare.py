"""What two renderings say about a change."""

from pathlib import Path
from typing import Any

import pytest

from doks_gitops.diff.compare import Comparison, EnvironmentDiff
from doks_gitops.diff.environment import Declared, Environment
from doks_gitops.diff.render import Rendered, Rendering
from doks_gitops.diff.repo_server import Options
from doks_gitops.diff.revisions import Revisions, Side
from doks_gitops.diff.sources import Tree

SIDE = Side("0" * 40, Path(), Path())
CLAIM = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"}}


def declared(name: str, parent: str = "Pulumi.prod.yaml", **spec: Any) -> Declared:
    return Declared(name, spec, parent)


def rendering(*applications: Rendered, stack: str = "prod") -> Rendering:
    env = Environment(stack, stack, Options("1.34.0"), (), {}, {})
    side = Rendering(env, SIDE, Tree(Path(), frozenset(), lambda _: False))
    for application in applications:
        side.applications[application.declared.name] = application
        side.declared[application.declared.name] = application.declared
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
