"""The policy pack as the real engine runs it, by the sandbox's language host."""

from pathlib import Path

import pytest

from sandbox.paths import REPOSITORY
from tests.contract.pulumi_stack import Stack

FOLDER = REPOSITORY / "doks_gitops" / "policy"
PACK = ("--policy-pack", str(FOLDER))
CONFIG = ("--policy-pack-config", str(FOLDER / "config.json"))
PROGRAM = """
import pulumi_kubernetes
pulumi_kubernetes.Provider("kubernetes", kubeconfig="{}", delete_unreachable=%s)
"""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Stack:
    return Stack.new(tmp_path_factory.mktemp("stack"))


def test_a_violation_stops_up_before_anything_is_made(stack: Stack) -> None:
    stack.program(PROGRAM % True)
    run = stack.up(*PACK, *CONFIG)
    assert run.code != 0
    assert "[mandatory]" in run.output
    assert "kubernetes-forgets-nothing" in run.output
    assert "set delete_unreachable=False" in run.output
    assert not [res for res in stack.resources() if "providers" in res["type"]]


def test_what_keeps_the_rules_is_let_through(stack: Stack) -> None:
    stack.program(PROGRAM % False)
    run = stack.run("preview", "--stack=dev", *PACK, *CONFIG)
    assert run.code == 0, run.output
    assert "doks-gitops@v1.0.0" in run.output


def test_a_pack_that_fails_is_told_with_its_own_words(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "PulumiPolicy.yaml").write_text(
        f"runtime: {{name: python, options: {{virtualenv: {REPOSITORY / '.venv'}}}}}\n"
    )
    (tmp_path / "__main__.py").write_text("raise SystemExit('no rules today')")
    run = stack.run("preview", "--stack=dev", "--policy-pack", str(tmp_path))
    assert run.code != 0
    assert "no rules today" in run.output
