"""The stack of a rehearsal is another one's without its secrets, its address and its size."""

import json
import subprocess
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from doks_gitops import settings
from doks_gitops.errors import PlatformError
from doks_gitops.rehearsal import run
from doks_gitops.rehearsal.run import Rehearsal, Step, new_name
from doks_gitops.rehearsal.stack import Plan
from tests.unit.pulumi_command import PulumiCommand
from tests.unit.stackfiles import own_files

URL = "https://git.example.com/team/shop"
NAME = "rehearsal-0123abcd"

BinPlatform = Callable[..., tuple[int, str, str]]


def stack_file(stack: str = "dev", **sections: Any) -> str:
    """A stack file of the repository with its monorepo, and with other `sections`."""
    document = yaml.safe_load(own_files()[f"Pulumi.{stack}.yaml"])
    document["config"]["doks-gitops:repositories"] = {"monorepo": {"url": URL}}
    for name, section in sections.items():
        document["config"][f"doks-gitops:{name}"] = section
    return yaml.safe_dump(document)


def test_rehearsed_stack_has_a_name_and_a_branch_of_its_own_and_the_applications_of_the_other() -> (
    None
):
    plan = Plan.like("prod", NAME, stack_file("prod"))
    file = yaml.safe_dump({"config": dict(plan.config)})
    token = {"DIGITALOCEAN_TOKEN": "dop_v1_token"}
    rehearsed = settings.parse(NAME, plan.config, {f"Pulumi.{NAME}.yaml": file}, environ=token)
    assert (rehearsed.cluster.name, rehearsed.environment) == (NAME, "dev")
    assert not rehearsed.cluster.protect
    assert not rehearsed.cluster.high_availability
    assert rehearsed.cluster.destroy_associated_resources
    assert not rehearsed.registry.create
    assert [(pool.size, pool.count) for pool in rehearsed.cluster.node_pools] == [
        ("s-4vcpu-8gb", 3)
    ]
    assert {app.revision for app in rehearsed.applications.values()} == {NAME}
    assert plan.revision == "main"


def test_address_of_the_other_argocd_is_not_taken_over() -> None:
    argocd = {
        "chart": {"version": "1.2.3"},
        "url": "https://argocd.example.com",
        "values": {"server": {"ingress": {"enabled": True}}},
        "webhookSecret": {"secure": "v1:x"},
    }
    plan = Plan.like("dev", NAME, stack_file(argocd=argocd))
    assert "example.com" not in json.dumps(plan.config["doks-gitops:argocd"])
    assert "ingress" not in json.dumps(plan.config)


def test_password_of_the_repository_never_reaches_a_command_line(
    pulumi: PulumiCommand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials = {"username": "argocd", "password": {"secure": "v1:x"}}
    text = stack_file(repositories={"monorepo": {"url": URL, "credentials": credentials}})
    plan = Plan.like("dev", NAME, text)
    (project := tmp_path / "checkout").mkdir()
    for name in ("Pulumi.yaml", "Pulumi.dev.yaml", "__main__.py"):
        (project / name).write_text("")
    monkeypatch.delenv("DOKS_GITOPS_GIT_PASSWORD", raising=False)
    with pytest.raises(PlatformError, match="export DOKS_GITOPS_GIT_PASSWORD"):
        plan.create(project, tmp_path)
    monkeypatch.setenv("DOKS_GITOPS_GIT_PASSWORD", "hush")
    pulumi.script(f"[ \"$1\" = config ] && cat >'{pulumi.folder}/input'; exit 0")
    stack = plan.create(project, tmp_path)
    assert (pulumi.folder / "input").read_text() == "hush"
    assert "hush" not in " ".join(pulumi.calls)
    assert "hush" not in stack.file.read_text()
    assert sorted(path.name for path in stack.folder.iterdir()) == [
        f"Pulumi.{NAME}.yaml", "Pulumi.yaml", "__main__.py",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("sections", "problem"),
    [
        ({"applications": None, "project": None, "appOfApps": {}}, "has no applications"),
        (
            {"repositories": {"a": {"url": URL, "credentials": {"sshPrivateKey": "x"}}}},
            "other credentials for a than",
        ),
        (
            {"applications": {"shop": {"path": "a", "helm": {"values": {"secure": "v1:x"}}}}},
            "encrypted values",
        ),
    ],
)
def test_stack_that_cannot_be_rehearsed_is_told(sections: dict[str, Any], problem: str) -> None:
    with pytest.raises(PlatformError, match=problem):
        Plan.like("dev", NAME, stack_file(**sections))


def test_names_of_rehearsals_differ() -> None:
    assert new_name() != new_name()


def test_times_stand_beside_those_of_the_sandbox() -> None:
    text = run.table([Step("deploy", 300.4), Step("destroy", 20)], [Step("deploy", 25.1)])
    assert "| deploy | 300 s | 25 s |" in text
    assert "| destroy | 20 s |  |" in text


@pytest.fixture
def rehearsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the rehearsals that were begun; each would cost up to 2.50 USD."""
    begun: list[str] = []
    (tmp_path / "Pulumi.dev.yaml").write_text(stack_file())
    (clone := tmp_path / "clone").mkdir()
    subprocess.run(["git", "init", "-q", str(clone)], check=True)
    subprocess.run(["git", "-C", str(clone), "remote", "add", "origin", str(clone)], check=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DIGITALOCEAN_TOKEN", "dop_v1_token")
    monkeypatch.setattr(run, "most_expensive", lambda *_: Decimal("2.50"))

    def begin(rehearsal: Rehearsal) -> list[Step]:
        begun.append(rehearsal.plan.name)
        return [Step("destroy", 20)]

    monkeypatch.setattr(Rehearsal, "run", begin)
    return begun


def test_rehearsal_that_could_cost_more_than_the_limit_is_not_begun(
    bin_platform: BinPlatform, rehearsed: list[str]
) -> None:
    code, _, errors = bin_platform("rehearse", "--repo", "clone", "--yes")
    assert code == 1
    assert "may cost 2.50 USD, more than the limit of 2.0 USD" in errors
    assert rehearsed == []
    code, output, _ = bin_platform("rehearse", "--repo", "clone", "--yes", "--limit", "2.5")
    assert code == 0
    assert "| destroy | 20 s |" in output
    assert len(rehearsed) == 1


def test_stack_without_a_file_can_not_be_rehearsed(
    bin_platform: BinPlatform, rehearsed: list[str]
) -> None:
    code, _, errors = bin_platform("rehearse", "--like", "prod", "--repo", "clone", "--yes")
    assert (code, "Pulumi.prod.yaml can't be read" in errors, rehearsed) == (1, True, [])


def test_nobody_spends_money_without_being_asked(
    bin_platform: BinPlatform, rehearsed: list[str]
) -> None:
    code, _, errors = bin_platform("rehearse", "--repo", "clone", "--limit", "5")
    assert code == 2
    assert "--yes" in errors
    assert rehearsed == []
