"""The comment of `bin/platform diff` on pull requests of several kinds."""

import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from doks_gitops.cli import app
from tests.contract.diff_fixtures import DATA, Commit, Files, files_in, git, stack_file

pytest_plugins = ["tests.contract.diff_fixtures"]

TABLE = """\
### What Argo CD would apply

| stack | applications | objects | checks |
| --- | --- | --- | --- |
"""
NAMESPACE = {"dev": "microservices-demo-dev", "prod": "microservices-demo-prod"}
CLAIM = """\
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: orders}
spec:
  accessModes: [ReadWriteOnce]
  resources: {requests: {storage: 1Gi}}
"""


def overlay(clone: Path, name: str, more: str) -> Files:
    path = f"kustomize/{name}/kustomization.yaml"
    text = (clone / path).read_text()
    return {path: text.replace("  - ../base\n", f"  - ../base\n{more}")}


@pytest.fixture
def monorepo(clone: Path, commit: Commit) -> Path:
    """The guide's monorepo on main, with stacks for dev and prod, and a branch for the change."""
    stacks: Files = {
        f"Pulumi.{name}.yaml": stack_file(
            name,
            f"  doks-gitops:project: {{namespaces: [{namespace}]}}\n"
            f"  doks-gitops:applications: {{demo: {{revision: main, path: kustomize/{name},"
            f" namespace: {namespace}}}}}\n",
        )
        for name, namespace in NAMESPACE.items()
    }
    commit(files_in(DATA / "microservices-demo") | stacks)
    commit({**overlay(clone, "prod", "  - orders.yaml\n"), "kustomize/prod/orders.yaml": CLAIM})
    git(clone, "switch", "--quiet", "--create", "change")
    return clone


def comment(clone: Path, *options: str) -> tuple[int, str]:
    words = ["diff", "--repo", str(clone), "-C", str(clone), "--base", "main", "--offline"]
    result = CliRunner().invoke(app, [*words, "--stack", "dev", "--stack", "prod", *options])
    return int(result.exit_code), result.stdout


def test_change_of_the_base_is_the_same_in_every_environment(
    monorepo: Path, commit: Commit
) -> None:
    path = "kustomize/base/paymentservice.yaml"
    commit({path: (monorepo / path).read_text().replace("cpu: 100m", "cpu: 150m")})
    code, text = comment(monorepo)
    assert code == 0
    assert text.startswith(
        f"{TABLE}"
        "| `dev` | 1 of 1 changed | 1 to update | ✅ passed |\n"
        "| `prod` | 1 of 1 changed | 1 to update | ✅ passed |\n"
    )
    assert text.count("-            cpu: 100m\n+            cpu: 150m\n") == 2
    for name in NAMESPACE.values():
        assert f"! update Deployment {name}/paymentservice\n" in text


def test_renamed_object_is_one_change_from_its_old_name(monorepo: Path, commit: Commit) -> None:
    path = "kustomize/base/paymentservice.yaml"
    text = (monorepo / path).read_text()
    head, separator, service = text.rpartition("---\n")
    commit({path: head + separator + service.replace("name: paymentservice", "name: payments", 1)})
    code, text = comment(monorepo)
    assert code == 0
    assert "| `dev` | 1 of 1 changed | 1 to rename | ✅ passed |\n" in text
    name = NAMESPACE["dev"]
    assert f"! rename Service {name}/payments, was Service {name}/paymentservice\n" in text


def test_volume_claim_is_pruned_in_prod_only_with_the_label(monorepo: Path, commit: Commit) -> None:
    files = overlay(monorepo, "prod", "")
    path = "kustomize/prod/kustomization.yaml"
    text = (monorepo / path).read_text().replace("  - orders.yaml\n", "")
    commit({**files, path: text, "kustomize/prod/orders.yaml": None})
    refused, text = comment(monorepo)
    claim = f"PersistentVolumeClaim {NAMESPACE['prod']}/orders"
    assert refused == 1
    assert "| `dev` | none of 1 changed | no changes | ✅ passed |\n" in text
    assert "| `prod` | 1 of 1 changed | **1 to delete** | ❌ 1 would fail |\n" in text
    assert (
        f"\n- ❌ prod, prod-demo: **{claim} is deleted**, with its data. In prod that needs the"
        " label allow-prune on the pull request. If it has the label, take it away and set it"
        " again: a push or opening it again ends what it allows.\n"
    ) in text
    assert f"- delete {claim}\n" in text
    allowed, text = comment(monorepo, "--allow-prune")
    assert allowed == 0
    assert "| `prod` | 1 of 1 changed | **1 to delete** | ⚠️ 1 to look at |\n" in text
    assert f"- ⚠️ prod-demo: **{claim} is deleted**, with its data\n" in text


def test_code_of_a_fork_is_not_run(
    monorepo: Path, commit: Commit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIGITALOCEAN_TOKEN", "hunter2")
    fork, ran = tmp_path / "fork", tmp_path / "ran"
    subprocess.run(["git", "clone", "--quiet", monorepo, fork], check=True)
    generator = fork / "kustomize" / "dev" / "generator.yaml"
    generator.write_text(
        "apiVersion: shop.test/v1\nkind: Generator\nmetadata:\n  name: a\n  annotations:\n"
        "    config.kubernetes.io/function: |\n      exec: {path: ./run.sh}\n"
    )
    program = fork / "kustomize" / "dev" / "run.sh"
    program.write_text(f'#!/bin/sh\necho "$DIGITALOCEAN_TOKEN" >{ran}\n')
    program.chmod(0o755)
    file = fork / "kustomize" / "dev" / "kustomization.yaml"
    file.write_text(f"{file.read_text()}\ngenerators: [generator.yaml]\n")
    user = ("-c", "user.name=a", "-c", "user.email=a@example.com")
    git(fork, "add", "--all")
    git(fork, *user, "commit", "--quiet", "--message", "from a fork")
    git(monorepo, "fetch", "--quiet", str(fork), "HEAD")
    code, text = comment(monorepo, "--head", "FETCH_HEAD")
    assert code == 1
    assert "| `dev` | 1 of 1 changed | no changes | ❌ can't be rendered |\n" in text
    assert "| `prod` | none of 1 changed | no changes | ✅ passed |\n" in text
    assert "external plugins disabled" in text
    assert not ran.exists()
    assert "hunter2" not in text


def test_broken_overlay_is_told_in_kustomizes_words(monorepo: Path, commit: Commit) -> None:
    commit(overlay(monorepo, "dev", "  - missing.yaml\n"))
    code, text = comment(monorepo)
    assert code == 1
    assert "| `dev` | 1 of 1 changed | no changes | ❌ can't be rendered |\n" in text
    assert "| `prod` | none of 1 changed | no changes | ✅ passed |\n" in text
    assert "<details><summary><b>dev-demo</b></summary>\n\n```text\n" in text
    assert "missing.yaml" in text
    assert "/tmp" not in text
