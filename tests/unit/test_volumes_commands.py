"""`bin/platform volumes`: with stack files and the tokens of the environment, without a state."""

import base64
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from doks_gitops.account import AccountError, DigitalOceanClient, VolumeSnapshot
from doks_gitops.settings.model import Copies, CopyCredentials
from doks_gitops.volumes import Claim, create_from_snapshot
from doks_gitops.volumes.tags import claim_tag
from tests.unit.fake_api import FakeApi, serve
from tests.unit.pulumi_command import PulumiCommand
from tests.unit.stackfiles import CLUSTER
from tests.unit.test_account import cluster
from tests.unit.test_volumes import CLAIM, FOREIGN_MARK, FORMER_MARK, ID, MARK, OTHER_ID, tags
from tests.unit.test_volumes_cluster import BOUND_OBJECT, PERSISTENT, volume

BinPlatform = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with the stack dev, which brings its volumes back, and prod, which does not."""
    for stack, sections in (("dev", {"volumes": {"snapshots": {"keep": 1}}}), ("prod", {})):
        config = {"cluster": CLUSTER, **sections}
        content = {"config": {f"doks-gitops:{key}": value for key, value in config.items()}}
        (tmp_path / f"Pulumi.{stack}.yaml").write_text(json.dumps(content))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    """The account and the cluster of dev, in which one claim is bound."""
    with serve() as fake:
        for name in ("DIGITALOCEAN_ACCESS_TOKEN", "DIGITALOCEAN_CLUSTER_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("DIGITALOCEAN_TOKEN", "dop_v1_token")
        monkeypatch.setenv("DIGITALOCEAN_API_URL", fake.url)
        running = cluster("demo") | {"endpoint": fake.url, "tags": [MARK]}
        other = cluster("other") | {"endpoint": fake.url, "tags": [FOREIGN_MARK]}
        fake.answer("/v2/kubernetes/clusters", (200, {"kubernetes_clusters": [running, other]}))
        authority = {"certificate_authority_data": base64.b64encode(b"").decode()}
        fake.answer("/v2/kubernetes/clusters/id-of-demo/credentials", (200, authority))
        fake.answer("/v2/volumes", (200, {"volumes": [volume(ID, {"k8s:id-of-demo"})]}))
        fake.answer("/v2/snapshots", (200, {"snapshots": []}))
        fake.answer(PERSISTENT, (200, {"items": [BOUND_OBJECT]}), Content_Type="application/json")
        for tag in tags(ID):
            fake.answer(f"/v2/tags/{tag}/resources", (204, ""))
        yield fake


def test_claims_of_the_cluster_with_the_mark_of_the_stack_are_recorded(
    bin_platform: BinPlatform, api: FakeApi, pulumi: PulumiCommand
) -> None:
    code, output, errors = bin_platform("volumes", "record", "--stack", "dev", "--stack", "prod")
    assert code == 0, errors
    assert "dev: 1 volume recorded." in errors
    assert "prod: no volumes are recorded" in output
    tagged = {path for path, _ in api.requests if path.startswith("/v2/tags/")}
    assert tagged == {f"/v2/tags/{tag}/resources" for tag in tags(ID) if "k8s" not in tag}
    assert pulumi.calls == [], "no state and no passphrase is needed"


@pytest.mark.parametrize(
    ("protect", "retain", "retained"),
    [(True, None, True), (False, None, False), (False, True, True), (True, False, False)],
)
def test_volumes_are_retained_as_the_cluster_is_protected_unless_the_stack_file_says_otherwise(
    bin_platform: BinPlatform,
    api: FakeApi,
    project: Path,
    *,
    protect: bool,
    retain: bool | None,
    retained: bool,
) -> None:
    volumes = {} if retain is None else {"retain": retain}
    config = {"cluster": {**CLUSTER, "protect": protect}, "volumes": volumes}
    content = {"config": {f"doks-gitops:{key}": value for key, value in config.items()}}
    (project / "Pulumi.dev.yaml").write_text(json.dumps(content))
    api.answer("/api/v1/persistentvolumes/pvc-1", (200, {}))
    code, _, errors = bin_platform("volumes", "record", "--stack", "dev")
    assert code == 0, errors
    patched = [body for body in api.bodies if "spec" in body]
    policy = {"spec": {"persistentVolumeReclaimPolicy": "Retain"}}
    assert patched == ([policy] if retained else [])


def test_record_fails_for_a_claim_whose_volume_is_not_in_the_account(
    bin_platform: BinPlatform, api: FakeApi
) -> None:
    api.answer("/v2/volumes", (200, {"volumes": []}))
    code, _, errors = bin_platform("volumes", "record", "--stack", "dev")
    assert code == 1
    assert f"The claim {CLAIM} is not recorded: the account has no volume {ID}" in errors


@pytest.mark.parametrize("marks", [[], [FOREIGN_MARK], [MARK, MARK]])
def test_record_is_refused_without_one_cluster_of_the_stack(
    bin_platform: BinPlatform, api: FakeApi, marks: list[str]
) -> None:
    clusters = [cluster("demo") | {"endpoint": api.url, "tags": [mark]} for mark in marks]
    api.answer("/v2/kubernetes/clusters", (200, {"kubernetes_clusters": clusters}))
    code, _, errors = bin_platform("volumes", "record", "--stack", "dev")
    assert code == 1
    assert "it takes one that runs. Nothing was changed." in errors
    assert "next:  bin/platform recover --stack dev" in errors
    assert api.bodies == []


@pytest.mark.parametrize("command", ["record", "snapshot", "list"])
def test_stack_that_fails_does_not_stop_the_later_ones(
    bin_platform: BinPlatform, api: FakeApi, command: str
) -> None:
    api.answer("/v2/volumes", (200, {"volumes": [volume(ID, tags(ID))]}))
    taken = {"id": "s", "name": "s", "resource_id": ID, "created_at": "2026-01-31T12:00:00Z"}
    api.answer(f"/v2/volumes/{ID}/snapshots", (201, {"snapshot": taken}))
    code, output, errors = bin_platform("volumes", command, "--stack", "absent", "--stack", "dev")
    assert code == 1
    assert "absent: Pulumi.absent.yaml can't be read" in errors
    done = {"record": "dev: 1 volume recorded.", "snapshot": "dev: shop/", "list": "dev  shop/"}
    assert done[command] in output + errors


def test_list_shows_what_is_left_also_when_the_volume_or_the_cluster_is_gone(
    bin_platform: BinPlatform, api: FakeApi
) -> None:
    snapshot: dict[str, Any] = {
        "id": "s", "name": "daily", "resource_id": OTHER_ID, "regions": ["nyc1"],
        "created_at": "2026-01-31T12:00:00Z", "tags": sorted(tags(OTHER_ID)),
    }  # fmt: skip
    foreign = volume("foreign", tags("foreign", mark=FOREIGN_MARK))
    api.answer("/v2/volumes", (200, {"volumes": [volume(ID, tags(ID)), foreign]}))
    api.answer("/v2/snapshots", (200, {"snapshots": [snapshot]}))
    api.answer("/v2/kubernetes/clusters", (200, {"kubernetes_clusters": []}))
    code, output, _ = bin_platform("volumes", "list", "--stack", "dev")
    assert code == 0
    first, second, third = output.splitlines()
    assert first == f"dev  {CLAIM}  {ID}  5 GiB, nyc1, free"
    assert second == f"dev  {CLAIM}  {OTHER_ID}  nyc1, gone"
    assert third.startswith("    s  daily, ")


def test_snapshots_are_taken_only_if_the_stack_file_says_so(
    bin_platform: BinPlatform, api: FakeApi
) -> None:
    code, output, _ = bin_platform("volumes", "snapshot", "--stack", "prod")
    assert (code, output) == (0, "prod: the stack file has no `volumes.snapshots`.\n")
    assert api.requests == []


@pytest.mark.parametrize("command", ["record", "snapshot", "list", "restore s --yes"])
def test_token_that_does_not_see_tags_is_refused(
    bin_platform: BinPlatform, api: FakeApi, command: str
) -> None:
    """To it, nothing would be recorded, and nothing would be due."""
    api.answer("/v2/volumes", (200, {"volumes": [volume(ID, ())]}))
    code, _, errors = bin_platform("volumes", *command.split(), "--stack", "dev")
    assert code == 1
    assert "the token may lack the scope tag:read" in errors
    assert api.bodies == []


def test_volume_that_is_refused_a_snapshot_does_not_stop_the_others(
    bin_platform: BinPlatform, api: FakeApi
) -> None:
    other = volume(OTHER_ID, tags(OTHER_ID, Claim("shop", "other")))
    api.answer("/v2/volumes", (200, {"volumes": [volume(ID, tags(ID)), other]}))
    surplus = [
        {"id": f"s{day}", "name": f"s{day}", "resource_id": ID, "regions": ["nyc1"],
         "created_at": f"2026-01-{day}T12:00:00Z", "tags": sorted(tags(ID))}
        for day in (10, 11)
    ]  # fmt: skip
    api.answer("/v2/snapshots", (200, {"snapshots": surplus}))
    api.answer(f"/v2/volumes/{ID}/snapshots", (422, {"message": "no"}))
    taken = {"id": "s", "name": "s", "resource_id": OTHER_ID, "created_at": "2026-01-31T12:00:00Z"}
    api.answer(f"/v2/volumes/{OTHER_ID}/snapshots", (201, {"snapshot": taken}))
    api.answer("/v2/volumes/snapshots/s10", (422, {}), (204, ""))
    code, output, errors = bin_platform("volumes", "snapshot", "--stack", "dev", "--now")
    assert code == 1
    assert f"{CLAIM}: DigitalOcean does not take a snapshot of the volume {ID} (422 at" in errors
    assert "DigitalOcean does not delete the snapshot s10 (422 at" in errors
    assert "dev: shop/other: snapshot pvc-" in output
    code, output, _ = bin_platform("volumes", "snapshot", "--stack", "dev")
    assert "dev: deleted the snapshot s10" in output


def test_snapshots_of_another_state_of_the_same_stack_are_not_deleted(
    bin_platform: BinPlatform, api: FakeApi
) -> None:
    """Somebody else of the team has a stack of this name, and keeps more snapshots."""
    foreign = volume(OTHER_ID, tags(OTHER_ID, mark=FORMER_MARK))
    api.answer("/v2/volumes", (200, {"volumes": [volume(ID, tags(ID)), foreign]}))
    surplus = [
        {"id": f"s{day}", "name": f"s{day}", "resource_id": OTHER_ID, "regions": ["nyc1"],
         "created_at": f"2026-01-{day}T12:00:00Z", "tags": sorted(tags(OTHER_ID, mark=FORMER_MARK))}
        for day in (10, 11)
    ]  # fmt: skip
    api.answer("/v2/snapshots", (200, {"snapshots": surplus}))
    taken = {"id": "s", "name": "s", "resource_id": ID, "created_at": "2026-01-31T12:00:00Z"}
    api.answer(f"/v2/volumes/{ID}/snapshots", (201, {"snapshot": taken}))
    code, output, errors = bin_platform("volumes", "snapshot", "--stack", "dev")
    assert code == 0, errors
    assert [line.partition(" snapshot")[0] for line in output.splitlines()] == [f"dev: {CLAIM}:"]
    api.answer("/v2/kubernetes/clusters", (200, {"kubernetes_clusters": []}))
    requests = len(api.bodies)
    code, _, errors = bin_platform("volumes", "snapshot", "--stack", "dev")
    assert code == 1
    assert "The account has no cluster with a tag of the stack dev" in errors
    assert len(api.bodies) == requests


def test_volumes_of_another_state_are_left_alone_if_the_state_of_the_cluster_has_none(
    bin_platform: BinPlatform, api: FakeApi
) -> None:
    api.answer("/v2/volumes", (200, {"volumes": [volume(ID, tags(ID, mark=FORMER_MARK))]}))
    code, output, errors = bin_platform("volumes", "snapshot", "--stack", "dev", "--now")
    assert (code, output) == (0, "dev: 0 volumes are recorded\n"), errors
    assert api.bodies == []


def test_repeated_creation_of_a_volume_finds_the_one_that_it_has_made(api: FakeApi) -> None:
    """The answer to the first request was lost."""
    of = VolumeSnapshot("s", "s", OTHER_ID, ("nyc1",), datetime(2026, 1, 31, tzinfo=UTC))
    with DigitalOceanClient("token", api.url) as client:
        api.answer("/v2/volumes", (201, {"volume": volume(ID, tags())}))
        new = create_from_snapshot(client, of, CLAIM, "nyc1", [MARK])
        [body] = api.bodies
        assert claim_tag(body["name"].removeprefix("pvc-"), CLAIM) in body["tags"]
        assert MARK in body["tags"]
        existing = volume(ID, tags())
        api.answer("/v2/volumes", (409, {}), (200, {"volumes": [existing]}))
        assert client.create_volume(existing["name"], "nyc1", of, 5, []) == new
        api.answer("/v2/volumes", (409, {}), (200, {"volumes": [existing]}))
        with pytest.raises(AccountError, match=r"does not create a volume of 5 GiB .* \(409 at"):
            client.create_volume("pvc-else", "nyc1", of, 5, [])


def test_stack_without_recorded_volumes_is_told(bin_platform: BinPlatform, api: FakeApi) -> None:
    code, output, _ = bin_platform("volumes", "snapshot", "--stack", "dev")
    assert (code, output) == (0, "dev: 0 volumes are recorded\n")


def test_claim_that_can_not_be_one_is_wrong_usage(bin_platform: BinPlatform) -> None:
    code, _, errors = bin_platform("recover", "--stack", "dev", "--yes", "--volume", f"{ID}=data")
    assert code == 2
    assert "'data' is not NAMESPACE/CLAIM" in errors
    code, _, errors = bin_platform("volumes", "restore", "s", "--stack", "dev")
    assert code == 2
    assert "Add --yes" in errors


def test_copies_are_made_without_a_state_when_the_environment_has_the_credentials(
    bin_platform: BinPlatform,
    api: FakeApi,
    project: Path,
    pulumi: PulumiCommand,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    copies = {"bucket": "shop-copies", "region": "fra1", "credentials": {
        "accessKey": {"secure": "v1:x"}, "secretKey": {"secure": "v1:x"},
        "password": {"secure": "v1:x"}}}  # fmt: skip
    config = {"cluster": CLUSTER, "volumes": {"snapshots": {}, "copies": copies}}
    content = {"config": {f"doks-gitops:{key}": value for key, value in config.items()}}
    (project / "Pulumi.dev.yaml").write_text(json.dumps(content))
    calls: list[tuple[Copies, CopyCredentials, bool]] = []

    def copy(
        _: object, copies: Copies, credentials: CopyCredentials, *, at_once: bool
    ) -> list[str]:
        calls.append((copies, credentials, at_once))
        return ["copied"]

    monkeypatch.setattr("doks_gitops.volumes.copies.copy", copy)
    variables = {"SPACES_ENDPOINT_URL": api.url, "SPACES_ACCESS_KEY_ID": "key",
                 "SPACES_SECRET_ACCESS_KEY": "secret", "RESTIC_PASSWORD": "p" * 20}  # fmt: skip
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    command = ("volumes", "copy", "--stack", "dev", "--stack", "prod", "--now")
    code, output, errors = bin_platform(*command)
    assert code == 0, errors
    assert output.splitlines() == ["dev: copied", "prod: the stack file has no `volumes.copies`."]
    [(copies_read, credentials, at_once)] = calls
    assert (copies_read.url, at_once) == (f"{api.url}/shop-copies", True)
    assert credentials.password.get_secret_value() == "p" * 20
    assert pulumi.calls == [], "no state and no passphrase is needed"
    password = "correct horse battery staple"
    monkeypatch.setenv("RESTIC_PASSWORD", password)
    code, output, errors = bin_platform(*command)
    assert code == 1
    assert "RESTIC_PASSWORD" in errors
    assert password not in errors
    assert "Traceback" not in errors
    assert output.splitlines() == ["prod: the stack file has no `volumes.copies`."]
