"""The stack of `doks_gitops.stack`, with the real engine."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from doks_gitops.policy.preview import PACK
from doks_gitops.policy.rules import KUBERNETES
from doks_gitops.stack import PulumiError, Stack, StackNotFound
from tests.contract import pulumi_stack

PROGRAM = """
import pulumi, pulumi_kubernetes
pulumi_kubernetes.Provider(
    "kubernetes", kubeconfig=pulumi.Output.secret('{"current-context": "hush"}'), namespace="%s",
    delete_unreachable=False,
    opts=pulumi.ResourceOptions(protect=True),
)
pulumi.export("password", pulumi.Output.secret("hush"))
"""


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pulumi_stack.Stack]:
    """The project with a deployed stack `dev`, and its environment."""
    real = pulumi_stack.Stack.new(tmp_path_factory.mktemp("stack"))
    real.program(PROGRAM % "one")
    with pytest.MonkeyPatch.context() as monkeypatch:
        for key, value in real.env.items():
            monkeypatch.setenv(key, value)
        Stack("dev", real.folder).up(policy_pack=PACK)
        yield real


@pytest.fixture
def stack(real: pulumi_stack.Stack) -> Stack:
    return Stack("dev", real.folder)


def test_a_preview_lists_unchanged_and_changed_resources_without_secrets(
    real: pulumi_stack.Stack, stack: Stack
) -> None:
    for namespace, operation in (("one", "same"), ("two", "update")):
        real.program(PROGRAM % namespace)
        preview = stack.preview()
        [step] = [entry for entry in preview["steps"] if entry["urn"].split("::")[2] == KUBERNETES]
        assert step["op"] == operation
        assert step["oldState"]["inputs"]["namespace"] == "one"
        assert step["newState"]["inputs"]["namespace"] == namespace
        assert step["newState"]["inputs"]["kubeconfig"] == "[secret]"
        assert step["newState"]["protect"] is True
        assert preview["changeSummary"][operation] >= 1
        assert "hush" not in json.dumps(preview)


def test_a_preview_of_a_program_that_fails_has_its_words(
    real: pulumi_stack.Stack, stack: Stack
) -> None:
    real.program("raise ValueError('no such region')")
    with pytest.raises(PulumiError, match="no such region"):
        stack.preview()


def test_a_deployment_that_breaks_a_mandatory_policy_is_over_before_it_begins(
    real: pulumi_stack.Stack, stack: Stack, capfd: pytest.CaptureFixture[str]
) -> None:
    before = stack.export()["deployment"]
    forbidden = 'pulumi_kubernetes.Provider("other", delete_unreachable=True)'
    real.program(f"{PROGRAM % 'two'}\n{forbidden}")
    with pytest.raises(PulumiError):
        stack.up(policy_pack=PACK, preview=True)
    assert "kubernetes-forgets-nothing" in capfd.readouterr().out
    assert stack.export()["deployment"]["resources"] == before["resources"]


def test_secrets_are_read_in_clear_only_where_they_are_needed(stack: Stack) -> None:
    assert stack.outputs() == {"password": "hush"}
    assert "hush" not in json.dumps(stack.export())


def test_a_stack_is_created_without_becoming_the_current_one(
    real: pulumi_stack.Stack,
) -> None:
    other = Stack("other", real.folder)
    for read in (other.config, other.export, other.preview, other.cancel):
        with pytest.raises(StackNotFound):
            read()
    other.create()
    assert other.config() == {}
    stacks = json.loads(real.run("stack", "ls", "--json").output)
    assert {entry["name"]: entry["current"] for entry in stacks} == {"dev": True, "other": False}
