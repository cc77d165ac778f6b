"""The stacks of the sandbox: what a killed `pulumi` leaves on them, and their sealed secrets."""

import json
import os
from pathlib import Path

import pytest
import yaml

from doks_gitops.sealing import keys
from doks_gitops.stack import Stack
from sandbox.engine import Engine
from sandbox.paths import Home


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return Engine(Home(tmp_path / "sandbox"), {}, {})


def state(engine: Engine, *path: str) -> Path:
    file = engine.project.parent.joinpath("state", ".pulumi", *path)
    file.parent.mkdir(parents=True)
    return file


URN = "urn:pulumi:dev::doks-gitops::digitalocean:index/kubernetesCluster:KubernetesCluster::cluster"


@pytest.mark.parametrize(
    ("latest", "names"),
    [
        (None, []),
        ({}, []),
        ({"pending_operations": None}, []),
        ({"pending_operations": [{"type": "creating", "resource": {"urn": URN}}]}, ["cluster"]),
    ],
)
def test_what_a_killed_run_has_not_finished_is_in_the_stacks_state(
    engine: Engine, latest: object, names: list[str]
) -> None:
    assert engine.unfinished("dev") == []
    file = state(engine, "stacks", "doks-gitops", "dev.json")
    file.write_text(json.dumps({"version": 3, "checkpoint": {"latest": latest}}))

    assert engine.unfinished("dev") == names


@pytest.mark.parametrize(
    ("lock", "released"),
    [("", True), ("{", True), ('{"pid": 0}', True), ('{"pid": OURS}', False)],
)
def test_the_lock_of_a_process_that_no_longer_runs_is_released(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, lock: str, released: bool
) -> None:
    cancelled: list[tuple[str, ...]] = []
    monkeypatch.setattr(Engine, "run", lambda _, *words: cancelled.append(words))
    state(engine, "locks", "organization", "doks-gitops", "dev", "1.json").write_text(
        lock.replace("OURS", str(os.getpid()))
    )

    assert engine.release_stale_lock("dev") == released
    assert cancelled == [("cancel", "--stack", "dev", "--yes")] * released


@pytest.mark.parametrize("held", [False, True])
def test_what_a_full_disk_has_left_of_a_lock_is_removed_unless_another_lock_is_held(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, held: bool
) -> None:
    """The engine writes a lock under another name first, and reads that as a lock, too."""
    monkeypatch.setattr(Engine, "run", lambda *_: pytest.fail("no lock is cancelled"))
    folder = ("locks", "organization", "doks-gitops", "dev")
    (unfinished := state(engine, *folder, "1.json.18ec21b5.tmp")).touch()
    if held:
        unfinished.with_name("2.json").write_text(json.dumps({"pid": os.getpid()}))
    assert engine.release_stale_lock("dev") == (not held)
    assert unfinished.exists() == held


def test_a_stack_with_sealed_secrets_has_other_keys_in_the_sandbox(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    added: list[str] = []
    monkeypatch.setattr(Engine, "run", lambda *_, **__: "")
    monkeypatch.setattr(keys, "generate", lambda *_: "a new pair")
    monkeypatch.setattr(keys, "add", lambda stack, pairs: added.extend((stack.name, *pairs)))
    sealed = {"keys": [{"certificate": "the team's", "privateKey": {"secure": "v1:x"}}]}
    source = tmp_path / "Pulumi.dev.yaml"
    for section in ({}, {"doks-gitops:sealedSecrets": sealed}):
        source.write_text(yaml.safe_dump({"config": section}))
        engine._config = {"dev": {"values": {}, "secrets": {}}}
        engine._create_stack("dev", source)
        assert "the team's" not in Stack("dev", engine.project).file.read_text()
    assert added == ["dev", "a new pair"]


def test_a_stack_has_none_of_the_teams_secrets_in_the_sandbox(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The sandbox can't decrypt them, wherever they are."""
    monkeypatch.setattr(Engine, "run", lambda *_, **__: "")
    values = {"extraObjects": [{"kind": "Secret", "stringData": {"token": {"secure": "v1:x"}}}],
              "tokens": [{"secure": "v1:y"}, "plain"], "password": {"secure": "v1:z"}}  # fmt: skip
    source = tmp_path / "Pulumi.dev.yaml"
    source.write_text(yaml.safe_dump({"config": {"doks-gitops:argocd": {"values": values}}}))
    engine._config = {"dev": {"values": {}, "secrets": {}}}
    engine._create_stack("dev", source)
    content = yaml.safe_load(Stack("dev", engine.project).file.read_text())
    assert content["config"]["doks-gitops:argocd"]["values"] == {
        "extraObjects": [{"kind": "Secret", "stringData": {}}],
        "tokens": ["plain"],
    }


def test_a_stack_with_copies_has_the_sandboxs_bucket_credentials(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(Engine, "run", lambda *_, **__: "")
    copies = {"bucket": "shop-copies", "region": "fra1", "endpoint": "https://storage.example.com",
              "credentials": {"password": {"secure": "v1:x"}}}  # fmt: skip
    source = tmp_path / "Pulumi.dev.yaml"
    source.write_text(yaml.safe_dump({"config": {"doks-gitops:volumes": {"copies": copies}}}))
    engine._config = {"dev": {"values": {}, "secrets": {}}}
    engine._create_stack("dev", source)
    content = yaml.safe_load(Stack("dev", engine.project).file.read_text())
    derived = content["config"]["doks-gitops:volumes"]["copies"]
    assert derived == {"bucket": "shop-copies", "region": "fra1"}
