"""A stack's full name, `ORGANIZATION/PROJECT/STACK`, means in every command what its own name means
(https://www.pulumi.com/docs/iac/concepts/stacks/#stack-naming)."""

from __future__ import annotations

from pathlib import Path

import pulumi as sdk
import pytest
import yaml

from doks_gitops.ci.export import Export, download, file_name
from doks_gitops.ci.preview import preview_of_export
from doks_gitops.diff import environment
from doks_gitops.environments import short_name
from doks_gitops.github import Repository
from doks_gitops.promotion import promote
from doks_gitops.promotion.repository import WorkingTree
from doks_gitops.promotion.scaffold import read_environment, read_sections
from doks_gitops.recovery.run import Recovery
from doks_gitops.settings.offline import billable_sections
from doks_gitops.stack import Stack, running_stack
from doks_gitops.volumes.stacks import volumes_from_environment
from tests.unit.fake_api import serve
from tests.unit.pulumi_command import PulumiCommand
from tests.unit.stackfiles import CLUSTER, as_text
from tests.unit.test_volumes import volume

FULL = "acme/doks-gitops/dev"
NAMES = ("dev", "acme/dev", FULL)
CONFIG = {
    "doks-gitops:cluster": CLUSTER,
    "doks-gitops:registry": {"name": "team"},
    "doks-gitops:argocd": {"chart": {"version": "1.2.3"}},
    "doks-gitops:repositories": {"monorepo": {"url": "https://git.example.com/team/monorepo"}},
    "doks-gitops:project": {"namespaces": ["shop-dev"]},
    "doks-gitops:volumes": {},
}


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with the stack file of dev, which has no `environment`."""
    (tmp_path / "Pulumi.dev.yaml").write_text(yaml.safe_dump({"config": CONFIG}))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", NAMES)
def test_its_stack_file_and_its_environment_are_those_of_its_own_name(
    name: str, project: Path, pulumi: PulumiCommand
) -> None:
    config = as_text({**CONFIG, "digitalocean:token": "dop_v1_token"})
    pulumi.prints({key: {"value": value, "secret": False} for key, value in config.items()})
    stack = Stack(name, project)
    assert stack.file == project / "Pulumi.dev.yaml"
    settings = stack.settings()
    assert (settings.stack, settings.environment) == ("dev", "dev")
    assert all(f"--stack {name}" in call for call in pulumi.calls)
    cluster, _ = billable_sections(name, stack.file.read_text())
    assert cluster == settings.cluster, "with the defaults of its environment"
    assert read_environment(read_sections(project, name), name) == "dev"
    declared = environment.read(name, project)
    assert declared is not None
    assert (declared.stack, declared.name) == ("dev", "dev")


@pytest.mark.parametrize("name", NAMES)
def test_its_cluster_and_its_volumes_have_the_mark_of_its_own_name(
    name: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIGITALOCEAN_TOKEN", "dop_v1_token")
    assert Recovery(Stack(name), None)._mark.startswith("doks-gitops-owner:doks-gitops:dev:")
    with volumes_from_environment(name, project) as volumes:
        assert volumes is not None
        assert volumes.owns(volume())


@pytest.mark.parametrize("exported", NAMES)
@pytest.mark.parametrize("name", NAMES)
def test_its_export_is_that_of_its_own_name(
    exported: str, name: str, project: Path, pulumi: PulumiCommand
) -> None:
    file = project / file_name(exported)
    Export(exported, None, {}, None).write(file)
    pulumi.prints({"steps": []})
    assert file.name == file_name(name) == "export-dev.json"
    assert preview_of_export(Stack(name, project), file).error is None
    init, *_ = pulumi.calls
    assert init.endswith("--stack dev"), "a folder has no organizations"


def test_its_deployments_on_github_are_those_of_the_environment_of_its_own_name(
    project: Path,
) -> None:
    with serve() as api:
        deployments = "/repos/team/demo/deployments"
        api.answer(deployments, (200, []))
        api.answer("/repos/team/demo/actions/artifacts", (200, {"total_count": 0, "artifacts": []}))
        download(Repository("team/demo", "token", api.url), FULL, "main", project)
        [query] = [path for path, _ in api.requests if path.startswith(deployments)]
        assert "environment=dev&" in query


@pytest.mark.parametrize("name", NAMES)
def test_its_overlay_and_its_applications_are_those_of_its_own_name(
    name: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked = []
    (project / "Pulumi.staging.yaml").write_text(yaml.safe_dump({"config": CONFIG}))
    monkeypatch.setattr(promote, "check_pushed", lambda _: None)
    monkeypatch.setattr(promote, "check_deployed", lambda *words: checked.append(words[:2]))
    for environment_name, tag in (("dev", "v2"), ("staging", "v1")):
        folder = project / "kustomize" / environment_name
        folder.mkdir(parents=True)
        (folder / "kustomization.yaml").write_text(f"images: [{{name: web, newTag: {tag}}}]\n")
    target = name.replace("dev", "staging")
    tree = WorkingTree(project)
    proposal = promote.promote(tree, "shop", source=name, target=target, folder=project)
    assert checked == [(name, "dev-shop")]
    assert list(proposal.files) == [Path("kustomize/staging/kustomization.yaml")]
    assert proposal.branch == f"images/{short_name(target)}-shop"


@pytest.mark.parametrize(
    ("organization", "name"), [("acme", FULL), ("organization", "dev"), ("", "dev")]
)
def test_program_reads_the_state_of_its_own_stack_and_of_no_namesake(
    monkeypatch: pytest.MonkeyPatch, organization: str, name: str
) -> None:
    monkeypatch.setattr(sdk, "get_organization", lambda: organization)
    monkeypatch.setattr(sdk, "get_project", lambda: "doks-gitops")
    monkeypatch.setattr(sdk, "get_stack", lambda: "dev")
    assert running_stack().name == name
