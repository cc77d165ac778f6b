"""`bin/platform recover` changes nothing before it has asked."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import typer

from doks_gitops import account
from doks_gitops.policy.preview import PACK
from doks_gitops.recovery.observed import (
    ClusterState,
    Consent,
    HelmHistory,
    HelmRevision,
    Observed,
)
from doks_gitops.recovery.run import Recovery, RecoveryError
from doks_gitops.settings.model import Volumes
from doks_gitops.stack import Stack
from doks_gitops.volumes import bucket
from doks_gitops.volumes.copies import copy_tag_of
from doks_gitops.volumes.jobs import CopyError
from tests.unit.fake_api import serve
from tests.unit.pulumi_command import PulumiCommand
from tests.unit.stackfiles import CLUSTER
from tests.unit.test_account import cluster

CONFIG = {
    "digitalocean:token": "dop_v1_token",
    "doks-gitops:cluster": CLUSTER,
    "doks-gitops:registry": {"name": "team"},
    "doks-gitops:argocd": {"chart": {"version": "1.2.3"}},
    "doks-gitops:repositories": {"monorepo": {"url": "https://git.example.com/team/monorepo"}},
    "doks-gitops:project": {"namespaces": ["shop-dev"]},
}
READS = [
    "--non-interactive config --show-secrets --json --stack dev",
    "--non-interactive stack export --stack dev",
]
UP = (
    "--non-interactive up --refresh --run-program --yes"
    f" --policy-pack {PACK} --policy-pack-config {PACK}/config.json --stack dev"
)

BinPlatform = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def new_stack(
    pulumi: PulumiCommand, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> PulumiCommand:
    """A stack in the backend, without anything in its state or in the account."""
    config = {
        key: {"value": value if isinstance(value, str) else json.dumps(value), "secret": False}
        for key, value in CONFIG.items()
    }
    (pulumi.folder / "config").write_text(json.dumps(config))
    pulumi.script(
        f"""case "$2 $3" in
          config*) cat '{pulumi.folder}/config' ;;
          'stack export') echo '{{"deployment": {{}}}}' ;;
        esac"""
    )
    empty = account.Account(("nyc1",), (), (), (), ())
    monkeypatch.setattr(account, "read", lambda *_, **__: empty)
    monkeypatch.chdir(tmp_path)
    return pulumi


def without_stack(pulumi: PulumiCommand) -> None:
    """The backend has no such stack until it is created."""
    text = (pulumi.folder / "pulumi").read_text().partition("\n")[2].partition("\n")[2]
    pulumi.script(
        f"""case "$2 $3" in 'stack init') touch '{pulumi.folder}/created' ;; esac
        if [ ! -e '{pulumi.folder}/created' ]; then
          echo "error: no stack named 'dev' found" >&2; exit 1
        fi
        {text}"""
    )


def refuse(question: str) -> None:
    raise typer.Abort(question)


def test_the_plan_is_shown_and_carried_out_with_yes(
    bin_platform: BinPlatform, pulumi: PulumiCommand
) -> None:
    code, output, _ = bin_platform("recover", "--stack", "dev", "--yes")
    assert code == 0
    assert "Plan for the stack dev:\n  - Deploy.\n" in output
    assert (sorted(pulumi.calls[:2]), pulumi.calls[2:]) == (READS, [UP])


def test_a_dry_run_only_reads(bin_platform: BinPlatform, pulumi: PulumiCommand) -> None:
    code, output, _ = bin_platform("recover", "--stack", "dev", "--dry-run", "--cancel")
    assert code == 0
    assert "Plan for the stack dev:\n  - Deploy.\n" in output
    assert sorted(pulumi.calls) == READS


def test_without_a_terminal_it_is_refused_as_wrong_usage_unless_yes_is_given(
    bin_platform: BinPlatform, pulumi: PulumiCommand
) -> None:
    code, _, errors = bin_platform("recover", "--stack", "dev")
    assert code == 2
    assert "There is no terminal to ask at. Add --yes" in errors
    assert pulumi.calls == []


def test_an_answer_of_no_leaves_everything_as_it_is(pulumi: PulumiCommand) -> None:
    with pytest.raises(typer.Abort, match="Carry out the plan"):
        Recovery(Stack("dev"), refuse).run()
    assert sorted(pulumi.calls) == READS


def test_a_lock_is_released_only_after_asking(pulumi: PulumiCommand) -> None:
    with pytest.raises(typer.Abort, match="Cancel the run"):
        Recovery(Stack("dev"), refuse).run(cancel=True)
    assert pulumi.calls == []
    Recovery(Stack("dev"), lambda _: None).run(cancel=True)
    assert pulumi.calls[0] == "--non-interactive cancel --yes --stack dev"


NEW_STATE = Consent(new_state=True)


def test_a_stack_that_the_backend_lacks_is_created_only_after_asking(
    pulumi: PulumiCommand,
) -> None:
    without_stack(pulumi)
    with pytest.raises(typer.Abort, match="Create the stack dev"):
        Recovery(Stack("dev"), refuse, NEW_STATE).run()
    Recovery(Stack("dev"), None, NEW_STATE).run()
    assert sorted(set(pulumi.calls)) == READS
    Recovery(Stack("dev"), lambda _: None, NEW_STATE).run()
    assert "--non-interactive stack init --no-select --stack dev" in pulumi.calls
    assert pulumi.calls[-1] == UP


def test_a_stack_that_the_backend_lacks_is_not_created_unless_a_new_state_is_asked_for(
    pulumi: PulumiCommand, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    without_stack(pulumi)
    config = {key: value for key, value in CONFIG.items() if key != "digitalocean:token"}
    (tmp_path / "Pulumi.dev.yaml").write_text(json.dumps({"config": config}))
    monkeypatch.setenv("DIGITALOCEAN_TOKEN", "dop_v1_token")
    with serve() as api:
        monkeypatch.setenv("DIGITALOCEAN_API_URL", api.url)
        api.answer("/v2/kubernetes/clusters", (200, {"kubernetes_clusters": [cluster("demo")]}))
        with pytest.raises(RecoveryError) as refused:
            Recovery(Stack("dev"), lambda _: None).run()
    assert "the account has its cluster demo (id-of-demo)" in str(refused.value)
    assert "PULUMI_BACKEND_URL" in str(refused.value)
    assert "recover --stack dev --new-state" in str(refused.value)
    assert not [call for call in pulumi.calls if " init " in call]


def test_lock_of_a_killed_run_whose_state_is_lost_is_to_be_deleted_by_hand(
    pulumi: PulumiCommand,
) -> None:
    lock = "s3://team/.pulumi/locks/organization/doks-gitops/dev/1.json"
    pulumi.script(
        f"""case "$2 $3" in
          'stack init') echo 'error: the stack is currently locked by 1 lock(s) {lock}' >&2 ;;
          *) echo "error: no stack named 'dev' found" >&2 ;;
        esac; exit 1"""
    )
    with pytest.raises(RecoveryError) as refused:
        Recovery(Stack("dev"), lambda _: None, NEW_STATE).run(cancel=True)
    assert lock in refused.value.problem
    assert "delete the lock's file" in str(refused.value.fix)
    assert "--cancel" not in str(refused.value)


@pytest.mark.parametrize(
    ("keys", "provider"),
    [
        ("secretsprovider: awskms://alias/x\nencryptedkey: AQ==\n", "awskms://alias/x"),
        ("encryptionsalt: v1:abc\n", "passphrase"),
        ("", None),
    ],
)
def test_a_new_state_keeps_the_secrets_provider_and_the_stack_file(
    pulumi: PulumiCommand, tmp_path: Path, keys: str, provider: str | None
) -> None:
    file = tmp_path / "Pulumi.dev.yaml"
    text = f"# Kept.\n{keys}config: {{}}\n"
    file.write_text(text)
    pulumi.script(f"echo 'encryptionsalt: v1:new' >'{file}'")
    assert Stack("dev").create() is True
    assert file.read_text() == text
    option = f" --secrets-provider {provider}" if provider else ""
    assert pulumi.calls == [f"--non-interactive stack init --no-select{option} --stack dev"]
    pulumi.script("exit 0")
    assert Stack("dev").create() is False


def test_a_plan_is_made_again_under_the_lock_and_shown_if_it_differs(
    pulumi: PulumiCommand, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another run completes its upgrade after the plan has been made."""
    running = account.RunningCluster(
        "id", "demo", "nyc1", account.Version.parse("1.34.1-do.0"), False, "running", True
    )
    release = {"type": "kubernetes:helm.sh/v3:Release", "urn": "r", "id": "argocd/argocd"}
    known = {"type": "digitalocean:index/kubernetesCluster:KubernetesCluster", "urn": "c"}
    export = {"deployment": {"resources": [{**known, "id": "id"}, release]}}
    text = (pulumi.folder / "pulumi").read_text().partition("\n")[2].partition("\n")[2]
    pulumi.script(text.replace('{"deployment": {}}', json.dumps(export)))
    team = account.Account(("nyc1",), (), (), (running,), ())
    monkeypatch.setattr(account, "read", lambda *_, **__: team)
    statuses = iter(["pending-upgrade", "deployed", "deployed"])

    def cluster_state(_: Observed) -> ClusterState:
        revision = HelmRevision("sh.helm.release.v1.argocd.v2", 2, next(statuses), "7", "uid")
        return ClusterState(helm_history=HelmHistory((revision,)))

    monkeypatch.setattr(Recovery, "_cluster_state", staticmethod(cluster_state))
    checked: list[object] = []
    monkeypatch.setattr(
        "doks_gitops.recovery.run._require_copies", lambda steps, _: checked.append(steps)
    )
    questions: list[str] = []
    Recovery(Stack("dev"), questions.append).run()
    first, second = checked
    assert first != second, "the copies of either plan are sought in the bucket"
    output = capsys.readouterr()
    assert "Remove Helm's records sh.helm.release.v1.argocd.v2 (pending-upgrade)" in output.out
    assert "Something has changed since the plan was made." in output.err
    assert output.out.endswith("Plan for the stack dev:\n  - Deploy.\n")
    assert len(questions) == 2
    assert pulumi.calls[-1] == UP


def test_what_an_interrupted_replacement_has_deleted_is_removed_from_the_state(
    bin_platform: BinPlatform, pulumi: PulumiCommand
) -> None:
    kind = "digitalocean:index/kubernetesCluster:KubernetesCluster"
    deleted = {"type": kind, "urn": "urn::t::deleted", "id": "1", "pendingReplacement": True}
    owner = {"output": {"team": "", "mark": "m"}}
    kept = {"type": "pulumi:index:Stash", "urn": "urn::t::kept", "id": "2", "outputs": owner}
    state = json.dumps({"version": 3, "deployment": {"resources": [deleted, kept]}})
    pulumi.script(
        f"""case "$2 $3" in
          config*) cat '{pulumi.folder}/config' ;;
          'stack export') echo '{state}' ;;
          'stack import') cp "$5" '{pulumi.folder}/imported' ;;
          'stack history') echo '[]' ;;
        esac"""
    )
    code, output, errors = bin_platform("recover", "--stack", "dev", "--dry-run")
    assert code == 0, errors
    assert "has already deleted: t deleted." in output
    assert sorted(pulumi.calls) == READS
    code, _, _ = bin_platform("recover", "--stack", "dev", "--yes")
    assert code == 0
    imported = json.loads((pulumi.folder / "imported").read_text())
    assert imported == {"version": 3, "deployment": {"resources": [kept]}}
    assert pulumi.calls[-1] == UP


@pytest.mark.parametrize("ip_range", ["10.10.0.0/20", "10.20.0.0/20"])
def test_vpc_that_a_destroyed_stack_has_left_is_adopted_and_no_other_one(
    bin_platform: BinPlatform,
    pulumi: PulumiCommand,
    monkeypatch: pytest.MonkeyPatch,
    ip_range: str,
) -> None:
    """The program is told to adopt nothing, too: it then knows that the state is read anew."""
    vpc = account.Vpc(str(UUID(int=1)), "demo", "nyc1", "10.10.0.0/20", default=True)
    left = account.Account(("nyc1",), (), (), (), (), vpcs=(vpc,))
    monkeypatch.setattr(account, "read", lambda *_, **__: left)
    config = json.loads((pulumi.folder / "config").read_text())
    section = {**CLUSTER, "vpc": {"ipRange": ip_range}}
    config["doks-gitops:cluster"]["value"] = json.dumps(section)
    (pulumi.folder / "config").write_text(json.dumps(config))
    script = (pulumi.folder / "pulumi").read_text().partition("\n")[2].partition("\n")[2]
    note = f"printenv DOKS_GITOPS_ADOPT >'{pulumi.folder}/adopt'"
    pulumi.script(f'case "$2" in up) {note} ;; esac\n{script}')
    code, _, errors = bin_platform("recover", "--stack", "dev", "--yes")
    assert code == 0, errors
    adopted = json.loads((pulumi.folder / "adopt").read_text())
    assert adopted == ({"vpc": vpc.id} if ip_range == vpc.ip_range else {})


def deployed_with_volumes(pulumi: PulumiCommand, mark: str, section: Mapping[str, object]) -> None:
    """A stack that was deployed with that mark, and has that section `volumes` now. What `up` is
    told to adopt gets into the file `adopt`."""
    owner = {"output": {"team": "", "mark": mark}}
    stash = {"type": "pulumi:index:Stash", "urn": "u", "id": "1", "outputs": owner}
    state = json.dumps({"deployment": {"resources": [stash]}})
    config = json.loads((pulumi.folder / "config").read_text())
    config["doks-gitops:volumes"] = section
    (pulumi.folder / "config").write_text(json.dumps(config))
    pulumi.script(
        f"""case "$2 $3" in
          config*) cat '{pulumi.folder}/config' ;;
          'stack export') echo '{state}' ;;
          up*) printenv DOKS_GITOPS_ADOPT >'{pulumi.folder}/adopt' ;;
        esac"""
    )


def test_volumes_that_were_planned_and_restored_are_given_to_the_run(
    bin_platform: BinPlatform, pulumi: PulumiCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cluster is gone, and with it one of its two volumes, of which there is a snapshot."""
    kept, gone, new = (str(UUID(int=number)) for number in (1, 2, 3))
    mark = "doks-gitops-owner:doks-gitops:dev:a"

    def tags(volume: str, claim: str) -> frozenset[str]:
        return frozenset({mark, f"doks-gitops-claim:{volume}:shop:{claim}"})

    survivor = account.Volume(kept, "pvc-1", "nyc1", 5, tags=tags(kept, "kept"))
    taken = datetime(2026, 1, 31, tzinfo=UTC)
    snapshot = account.VolumeSnapshot("s", "daily", gone, ("nyc1",), taken, tags=tags(gone, "gone"))
    tagged: list[str] = []
    monkeypatch.setattr(account.DigitalOceanClient, "volumes", lambda _: (survivor,))
    monkeypatch.setattr(account.DigitalOceanClient, "snapshots", lambda _: (snapshot,))

    def create(_: object, name: str, region: str, __: object, ___: int, tags: Any) -> Any:
        tagged.extend([name, *tags])
        return account.Volume(new, name, region, 5)

    monkeypatch.setattr(account.DigitalOceanClient, "create_volume", create)
    monkeypatch.setattr("doks_gitops.cli.recovery.record_after", lambda *_: None)
    deployed_with_volumes(pulumi, mark, {"value": "{}", "secret": False})
    code, _, errors = bin_platform("recover", "--stack", "dev", "--yes")
    assert code == 1
    assert "Its newest snapshot, daily (s), is" in errors
    assert not [call for call in pulumi.calls if " up " in call]
    code, output, errors = bin_platform("recover", "--stack", "dev", "--yes", "--from-snapshots")
    assert code == 0, errors
    assert f"the claim shop/kept gets the volume {kept}" in output
    name = tagged[0].removeprefix("pvc-")
    assert set(tagged[1:]) == {mark, f"doks-gitops-claim:{name}:shop:gone"}
    adopted = json.loads((pulumi.folder / "adopt").read_text())
    assert adopted == {"volumes": {kept: "shop/kept", new: "shop/gone"}}


def test_copy_is_sought_in_the_bucket_before_the_question_and_restored_by_the_run(
    bin_platform: BinPlatform, pulumi: PulumiCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cluster is gone, and its volume is in another region."""
    former, empty, copied = (str(UUID(int=number)) for number in (1, 2, 3))
    mark = "doks-gitops-owner:doks-gitops:dev:a"
    credentials = {"accessKey": "k", "secretKey": "s", "password": "p" * 20}
    copies = {"bucket": "shop-copies", "region": "fra1", "credentials": credentials}
    tag = copy_tag_of(Volumes.model_validate({"snapshots": {}, "copies": copies}))
    assert tag is not None
    tags = frozenset({mark, f"doks-gitops-claim:{former}:shop:data"})
    volume = account.Volume(former, "pvc-1", "sfo3", 5, tags=tags)
    taken = datetime(2026, 1, 31, tzinfo=UTC)
    snapshot = account.VolumeSnapshot(copied, "daily", former, ("sfo3",), taken, tags=tags | {tag})
    monkeypatch.setattr(account.DigitalOceanClient, "volumes", lambda _: (volume,))
    monkeypatch.setattr(account.DigitalOceanClient, "snapshots", lambda _: (snapshot,))
    created: list[tuple[str, object, set[str]]] = []

    def create(_: object, name: str, region: str, source: object, size: int, tags: Any) -> Any:
        created.append((region, source, {*tags}))
        return account.Volume(empty, name, region, size)

    def require(_: object, __: object, repository: str) -> None:
        assert repository == "doks-gitops/dev/shop/data"
        raise CopyError("There is no copy. Nothing was changed.")

    monkeypatch.setattr(account.DigitalOceanClient, "create_volume", create)
    monkeypatch.setattr(bucket, "require", require)
    monkeypatch.setattr("doks_gitops.cli.recovery.record_after", lambda *_: None)
    section = json.dumps({"snapshots": {}, "copies": copies})
    deployed_with_volumes(pulumi, mark, {"value": section, "secret": True})
    command = ("recover", "--stack", "dev", "--yes", "--from-copies")
    code, _, errors = bin_platform(*command)
    assert code == 1
    assert "There is no copy. Nothing was changed." in errors
    assert created == []
    monkeypatch.setattr(bucket, "require", lambda *_: None)
    code, output, errors = bin_platform(*command)
    assert code == 0, errors
    assert "into which the deployment restores the copy of the snapshot daily" in output
    assert created == [("nyc1", None, {mark})], "it is not recorded for the claim yet"
    adopted = json.loads((pulumi.folder / "adopt").read_text())
    assert adopted == {"volumes": {empty: "shop/data"}, "copies": {empty: copied}}
