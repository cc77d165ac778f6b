"""What is recorded of a cluster's volumes, and how a new cluster gets them back."""

import base64
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any, cast

import pulumi
import pytest
import yaml

from doks_gitops import http, settings
from doks_gitops.account import (
    Account,
    AccountError,
    DigitalOceanClient,
    RunningCluster,
    Version,
    Volume,
)
from doks_gitops.volumes import Claim, Cluster, bring_back, record, record_before_replacement
from doks_gitops.volumes.cluster import DRIVER, PersistentVolume, gibibytes
from doks_gitops.volumes.copies import copy_tag_of
from doks_gitops.volumes.tags import TEMPORARY, USED, Storage, claim_tag, storage_tag
from tests.unit.fake_api import FakeApi, serve
from tests.unit.mocked import OutputValue, run
from tests.unit.stackfiles import CLUSTER, parsed
from tests.unit.test_volumes import CLAIM, FOREIGN_MARK, FORMER_MARK, ID, MARK, OTHER_ID, tags

BOUND = PersistentVolume("pvc-1", ID, CLAIM, bound=True, reclaim_policy="Delete", storage=Storage())
NEW = Volume(ID, "pvc-1", "nyc1", 5, tags=frozenset({"k8s:c"}))


class FakeAccount:
    """Keeps the tags of volumes."""

    def __init__(self, *volumes: Volume) -> None:
        self.tags = {volume.id: set(volume.tags) for volume in volumes}
        self.order: list[str] = []
        self._volumes = volumes

    def volumes(self) -> tuple[Volume, ...]:
        return tuple(replace(x, tags=frozenset(self.tags[x.id])) for x in self._volumes)

    def tag_volumes(self, tag: str, volumes: Collection[str]) -> None:
        self.order.append(tag)
        for volume in volumes:
            self.tags[volume].add(tag)

    def untag_volumes(self, tag: str, volumes: Collection[str]) -> None:
        for volume in volumes:
            self.tags[volume].remove(tag)

    @property
    def client(self) -> DigitalOceanClient:
        return cast(DigitalOceanClient, self)


class FakeCluster:
    def __init__(self, *persistent: PersistentVolume, requests: int = 0) -> None:
        self._requests = requests
        self.retained: list[str] = []
        self._persistent = persistent

    def persistent_volumes(self) -> tuple[PersistentVolume, ...]:
        return self._persistent

    def retain(self, volume: PersistentVolume) -> None:
        self.retained.append(volume.name)

    def requested(self, _: Claim) -> int:
        return self._requests

    @property
    def api(self) -> Cluster:
        return cast(Cluster, self)


def test_bound_volume_is_tagged_with_its_claim_its_storage_and_its_owner() -> None:
    account, cluster = FakeAccount(NEW), FakeCluster(BOUND)
    recorded = record(account.client, cluster.api, MARK, retain=False)
    assert recorded.claims == {CLAIM: NEW}
    assert recorded.problems == ()
    assert account.tags[ID] == {"k8s:c", MARK, claim_tag(ID, CLAIM), storage_tag(Storage())}
    assert account.order[-1] == claim_tag(ID, CLAIM), "a volume with a claim has all its tags"
    assert cluster.retained == []


def test_volume_that_was_attached_once_stays_known_as_used() -> None:
    account = FakeAccount(replace(NEW, droplets=(7,)))
    record(account.client, FakeCluster(BOUND).api, MARK, retain=False)
    assert USED in account.tags[ID]
    detached = FakeAccount(replace(NEW, tags=frozenset(account.tags[ID])))
    record(detached.client, FakeCluster(BOUND).api, MARK, retain=False)
    assert detached.tags == account.tags


def test_volume_of_a_claim_is_not_temporary_any_more() -> None:
    account = FakeAccount(replace(NEW, tags=NEW.tags | {TEMPORARY}))
    record(account.client, FakeCluster(BOUND).api, MARK, retain=False)
    assert TEMPORARY not in account.tags[ID]


def test_second_record_changes_nothing() -> None:
    account = FakeAccount(NEW)
    record(account.client, FakeCluster(BOUND).api, MARK, retain=False)
    account.order.clear()
    assert record(account.client, FakeCluster(BOUND).api, MARK, retain=False).changed == ()
    assert account.order == []


def test_volumes_of_a_protected_cluster_outlive_their_claims() -> None:
    retained = replace(BOUND, name="pvc-2", volume=OTHER_ID, claim=Claim("shop", "b"),
                       reclaim_policy="Retain")  # fmt: skip
    account, cluster = FakeAccount(NEW, replace(NEW, id=OTHER_ID)), FakeCluster(BOUND, retained)
    record(account.client, cluster.api, MARK, retain=True)
    assert cluster.retained == ["pvc-1"]


def test_wrong_tags_of_the_own_stack_are_replaced_and_others_stay() -> None:
    before = tags(claim=Claim("shop", "renamed"), mark=FORMER_MARK) | {"team:shop"}
    account = FakeAccount(replace(NEW, tags=before))
    record(account.client, FakeCluster(BOUND).api, MARK, retain=False)
    assert {"team:shop", MARK, claim_tag(ID, CLAIM)} <= account.tags[ID]
    assert not {FORMER_MARK, claim_tag(ID, Claim("shop", "renamed"))} & account.tags[ID]


def test_former_volume_of_a_claim_is_its_no_longer() -> None:
    former = Volume(OTHER_ID, "old", "nyc1", 5, tags=tags(OTHER_ID))
    account = FakeAccount(NEW, former)
    record(account.client, FakeCluster(BOUND).api, MARK, retain=False)
    assert account.tags[OTHER_ID] == tags(OTHER_ID) - {claim_tag(OTHER_ID, CLAIM)}


def test_former_volume_that_is_known_by_its_name_alone_is_the_claims_no_longer() -> None:
    named = frozenset({MARK, str(claim_tag("of-its-name", CLAIM))})
    account = FakeAccount(NEW, Volume(OTHER_ID, "pvc-of-its-name", "nyc1", 5, tags=named))
    record(account.client, FakeCluster(BOUND).api, MARK, retain=False)
    assert account.tags[OTHER_ID] == {MARK}


def test_volume_that_is_being_restored_for_a_claim_stays_recorded_for_it() -> None:
    """The claim still has its former volume."""
    restored = Volume(OTHER_ID, "pvc-2", "nyc1", 5, tags=tags(OTHER_ID))
    account = FakeAccount(NEW, restored)
    reserved = replace(BOUND, name="pvc-2", volume=OTHER_ID, bound=False)
    record(account.client, FakeCluster(BOUND, reserved).api, MARK, retain=False)
    assert account.tags[OTHER_ID] == tags(OTHER_ID)
    released = replace(reserved, released=True)
    record(account.client, FakeCluster(BOUND, released).api, MARK, retain=False)
    assert account.tags[OTHER_ID] == tags(OTHER_ID) - {claim_tag(OTHER_ID, CLAIM)}


def test_volume_of_a_claim_that_is_gone_keeps_its_record() -> None:
    account = FakeAccount(replace(NEW, tags=tags()))
    released = replace(BOUND, bound=False)
    assert record(account.client, FakeCluster(released).api, MARK, retain=False).claims == {}
    assert account.tags[ID] == tags()


@pytest.mark.parametrize(
    ("volume", "bound", "problem"),
    [
        (replace(NEW, tags=frozenset({FOREIGN_MARK})), BOUND, "belongs to another owner"),
        (replace(NEW, id=OTHER_ID), BOUND, f"the account has no volume {ID}"),
        (NEW, replace(BOUND, claim=Claim("n" * 63, "c" * 253)), "too long"),
    ],
)
def test_volume_that_can_not_be_recorded_is_told_and_not_touched(
    volume: Volume, bound: PersistentVolume, problem: str
) -> None:
    account = FakeAccount(volume)
    recorded = record(account.client, FakeCluster(bound).api, MARK, retain=False)
    assert problem in recorded.problems[0]
    assert recorded.claims == {}
    assert account.tags[volume.id] == set(volume.tags)


def test_claim_that_outgrew_its_reserved_volume_is_told() -> None:
    """Kubernetes passes a volume over that is smaller than the request, and makes an empty one."""
    reserved = replace(BOUND, name="pvc-2", volume=OTHER_ID, bound=False, size=5)
    account, cluster = FakeAccount(NEW), FakeCluster(BOUND, reserved, requests=10)
    recorded = record(account.client, cluster.api, MARK, retain=False)
    assert f"requests more than the 5 GiB of the volume {OTHER_ID}" in recorded.problems[0]
    cluster = FakeCluster(BOUND, reserved, requests=5)
    assert record(account.client, cluster.api, MARK, retain=False).problems == ()


@pytest.mark.parametrize(
    ("quantity", "size"),
    [("5Gi", 5), ("5G", 5), ("5120Mi", 5), ("5121Mi", 6), ("5368709120", 5), ("1e9", 1),
     ("1Ti", 1024), ("1k", 1), ("1.5Gi", 2), ("0", 0)],
)  # fmt: skip
def test_size_of_a_claim_is_rounded_up_to_whole_gibibytes(quantity: str, size: int) -> None:
    assert gibibytes(quantity) == size


# A new cluster

PERSISTENT, APPLICATIONS = "/api/v1/persistentvolumes", "/apis/argoproj.io/v1alpha1/applications"
ENDPOINT = "registry.digitalocean.com/team"


@pytest.fixture(autouse=True)
def _retry_without_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "RETRIES", http.RETRIES.new(backoff_factor=0, total=1))


@pytest.fixture
def api() -> Iterator[FakeApi]:
    """The account and the cluster, in which nothing has been synced yet."""
    with serve() as fake:
        fake.answer("/v2/volumes", (200, {"volumes": [volume(ID, tags())]}))
        fake.answer("/v2/snapshots", (200, {"snapshots": []}))
        fake.answer("/v2/kubernetes/clusters", (200, {"kubernetes_clusters": []}))
        fake.answer(APPLICATIONS, (404, {}), Content_Type="application/json")
        fake.answer(PERSISTENT, (200, {"items": []}), (201, {}), Content_Type="application/json")
        yield fake


def volume(id: str, own_tags: Collection[str], **changes: Any) -> dict[str, Any]:
    return {"id": id, "name": f"pvc-{id}", "region": {"slug": "nyc1"}, "size_gigabytes": 5,
            "droplet_ids": [], "tags": sorted(own_tags), **changes}  # fmt: skip


def restored(
    api: FakeApi,
    *,
    preview: bool = False,
    adopt: Mapping[str, str] | None = None,
    adopted_copies: Mapping[str, str] | None = None,
    clusters: tuple[RunningCluster, ...] = (),
    **sections: Any,
) -> OutputValue:
    """The registry's endpoint in a run of a stack that brings its volumes back."""
    stack = parsed(**{"volumes": {"snapshots": {"keep": 3}}, **sections})
    account = stack.digitalocean.model_copy(update={"api_endpoint": api.url})
    planned = settings.model.Adopt(volumes=adopt, copies=adopted_copies or {}) if adopt else None
    stack = stack.model_copy(update={"digitalocean": account, "adopt": planned})
    cluster = {"server": api.url, "certificate-authority-data": base64.b64encode(b"").decode()}
    kubeconfig = yaml.safe_dump({"clusters": [{"name": "c", "cluster": cluster}]})
    team = Account((), (), (), clusters, (), mark=MARK)

    def program() -> dict[str, Any]:
        cluster_id, endpoint = (pulumi.Output.from_input(x) for x in ("id-of-new", ENDPOINT))
        config = pulumi.Output.secret(kubeconfig)
        return {"endpoint": bring_back(stack, team, cluster_id, config, endpoint)}

    return run(program, preview=preview).outputs["endpoint"]


def test_claim_of_a_new_cluster_gets_its_volume_before_anything_is_synced(api: FakeApi) -> None:
    assert restored(api) == OutputValue(ENDPOINT, known=True, secret=False)
    [created] = api.bodies
    assert created["metadata"]["name"] == f"pvc-{ID}"
    spec = created["spec"]
    assert (spec["claimRef"]["namespace"], spec["claimRef"]["name"]) == (
        CLAIM.namespace,
        CLAIM.name,
    )
    assert spec["csi"] == {"driver": DRIVER, "volumeHandle": ID, "fsType": "ext4"}
    assert spec["persistentVolumeReclaimPolicy"] == "Retain"
    assert (spec["storageClassName"], spec["capacity"]) == ("do-block-storage", {"storage": "5Gi"})


def test_driver_never_formats_a_volume_that_was_in_use(api: FakeApi) -> None:
    api.answer("/v2/volumes", (200, {"volumes": [volume(ID, tags() | {USED})]}))
    restored(api)
    [created] = api.bodies
    assert created["spec"]["csi"]["volumeAttributes"] == {"com.digitalocean.csi/noformat": "true"}


def test_only_the_planned_volumes_are_given_if_there_is_a_plan(api: FakeApi) -> None:
    other = volume(OTHER_ID, tags(OTHER_ID, Claim("shop", "other")))
    api.answer("/v2/volumes", (200, {"volumes": [volume(ID, tags()), other]}))
    api.answer(PERSISTENT, (201, {}), Content_Type="application/json")
    restored(api, adopt={OTHER_ID: "shop/else"})
    assert [body["spec"]["claimRef"]["name"] for body in api.bodies] == ["else"]


@pytest.mark.parametrize("case", ["preview", "no volumes", "synced"])
def test_no_volume_is_touched(api: FakeApi, case: str) -> None:
    api.answer(
        APPLICATIONS,
        (200, {"items": [{}]} if case == "synced" else {"items": []}),
        Content_Type="application/json",
    )
    sections: dict[str, Any] = {"volumes": None} if case == "no volumes" else {}
    assert restored(api, preview=case == "preview", **sections).value == ENDPOINT
    assert api.bodies == []
    assert all(path.startswith(APPLICATIONS) for path, _ in api.requests)


def test_run_ends_before_argocd_is_installed_if_something_has_to_be_decided(api: FakeApi) -> None:
    api.answer("/v2/volumes", (200, {"volumes": [volume(ID, tags(OTHER_ID))]}))
    with pytest.raises(AccountError, match="it is probably a copy"):
        restored(api)
    assert api.bodies == []


def test_run_ends_if_the_cluster_that_it_replaces_has_left_an_unrecorded_volume(
    api: FakeApi,
) -> None:
    api.answer("/v2/volumes", (200, {"volumes": [volume(ID, {"k8s:id-of-old"})]}))
    old = RunningCluster("id-of-old", "demo", "nyc1", Version(1, 34, 1), False, "running", True, "",
                         mark=MARK)  # fmt: skip
    with pytest.raises(AccountError, match="made by the lost cluster id-of-old after"):
        restored(api, clusters=(old,))
    assert restored(api, clusters=(replace(old, mark=FOREIGN_MARK),)).value == ENDPOINT


def test_token_that_does_not_see_tags_is_refused_before_claims_begin_empty(api: FakeApi) -> None:
    api.answer("/v2/volumes", (200, {"volumes": [volume(ID, ())]}))
    with pytest.raises(AccountError, match="the token may lack the scope tag:read"):
        restored(api)
    api.answer("/v2/volumes", (200, {"volumes": [volume(ID, (), name="made-by-hand")]}))
    assert restored(api).value == ENDPOINT
    assert api.bodies == []


BOUND_OBJECT = {
    "metadata": {"name": "pvc-1"},
    "spec": {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "do-block-storage",
        "persistentVolumeReclaimPolicy": "Delete",
        "claimRef": {"namespace": CLAIM.namespace, "name": CLAIM.name},
        "csi": {"driver": DRIVER, "volumeHandle": ID},
    },
    "status": {"phase": "Bound"},
}
"""A volume that a claim uses, as Kubernetes has it."""


def kept(api: FakeApi, **changes: Any) -> None:
    """Before a run that moves the cluster, with one claim, to another region."""
    stack = parsed(volumes={"snapshots": {"keep": 3}}, cluster={**CLUSTER, "region": "fra1"})
    do = stack.digitalocean.model_copy(update={"api_endpoint": api.url})
    old = RunningCluster("old", "demo", "nyc1", Version(1, 34, 1), False, "running", True, api.url,
                         mark=MARK)  # fmt: skip
    authority = {"certificate_authority_data": base64.b64encode(b"").decode()}
    api.answer("/v2/kubernetes/clusters/old/credentials", (200, authority))
    api.answer(PERSISTENT, (200, {"items": [BOUND_OBJECT]}), Content_Type="application/json")
    api.answer(f"{PERSISTENT}/pvc-1", (200, {}), Content_Type="application/json")
    stack = stack.model_copy(update={"digitalocean": do, **changes})
    record_before_replacement(stack, Account((), (), (), (old,), (), mark=MARK))


def test_volumes_of_a_cluster_that_is_replaced_outlive_the_claims_that_argocd_deletes(
    api: FakeApi,
) -> None:
    kept(api)
    assert {"spec": {"persistentVolumeReclaimPolicy": "Retain"}} in api.bodies


def test_cluster_is_not_replaced_while_a_claim_can_not_be_recorded(api: FakeApi) -> None:
    api.answer("/v2/volumes", (200, {"volumes": []}))
    with pytest.raises(AccountError, match=r"demo is not replaced: .* has no volume"):
        kept(api)


@pytest.mark.parametrize(
    "changes",
    [
        {"volumes": None},
        {"adopt": settings.model.Adopt(volumes={})},
        {"cluster": parsed().cluster},
    ],
    ids=["stack without volumes", "plan for a cluster that is lost", "nothing is replaced"],
)
def test_volumes_of_the_cluster_are_not_touched(api: FakeApi, changes: dict[str, Any]) -> None:
    kept(api, **changes)
    assert api.requests == []


def test_run_ends_if_only_snapshots_are_left(api: FakeApi) -> None:
    snapshot = {"id": "s", "name": "daily", "resource_id": ID, "regions": ["nyc1"],
                "created_at": "2026-01-31T12:00:00Z", "tags": sorted(tags())}  # fmt: skip
    api.answer("/v2/volumes", (200, {"volumes": []}))
    api.answer("/v2/snapshots", (200, {"snapshots": [snapshot]}))
    with pytest.raises(AccountError, match="but they have snapshots: shop/data-postgres-0"):
        restored(api)


def test_repeated_run_finds_the_volume_that_it_has_made(api: FakeApi) -> None:
    existing = {
        "metadata": {"name": f"pvc-{ID}"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "claimRef": {"namespace": CLAIM.namespace, "name": CLAIM.name},
            "csi": {"driver": DRIVER, "volumeHandle": ID},
        },
    }
    api.answer(PERSISTENT, (200, {"items": []}), (409, {}), Content_Type="application/json")
    api.answer(f"{PERSISTENT}/pvc-{ID}", (200, existing), Content_Type="application/json")
    assert restored(api).value == ENDPOINT
    existing["spec"]["csi"]["volumeHandle"] = OTHER_ID  # type: ignore[index]
    api.answer(PERSISTENT, (200, {"items": []}), (409, {}), Content_Type="application/json")
    with pytest.raises(AccountError, match="409"):
        restored(api)


def test_planned_copy_is_restored_into_its_volume_before_the_claim_gets_that(
    api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials = {"accessKey": "key", "secretKey": "secret", "password": "p" * 24}
    copies = {"bucket": "shop-copies", "region": "fra1", "credentials": credentials}
    api.answer("/v2/volumes", (200, {"volumes": [volume(ID, {MARK}), volume(OTHER_ID, tags())]}))
    filled: list[tuple[object, ...]] = []

    def fill(_: object, __: object, empty: Volume, *rest: object) -> None:
        filled.append((empty.id, *rest[:3]))

    monkeypatch.setattr("doks_gitops.volumes.copies.fill", fill)
    restored(
        api,
        adopt={ID: str(CLAIM)},
        adopted_copies={ID: OTHER_ID},
        volumes={"snapshots": {}, "copies": copies},
    )
    assert filled == [(ID, CLAIM, OTHER_ID, f"doks-gitops/dev/{CLAIM}")]
    assert api.bodies == [], "it is reserved only when it has its data"


def test_run_ends_if_the_volumes_are_in_another_region_and_have_copies(api: FakeApi) -> None:
    credentials = {"accessKey": "key", "secretKey": "secret", "password": "p" * 24}
    copies = {"bucket": "shop-copies", "region": "fra1", "credentials": credentials}
    sections: dict[str, Any] = {"volumes": {"snapshots": {}, "copies": copies}}
    known = parsed(**sections).volumes
    assert known is not None
    snapshot = {"id": "s", "name": "daily", "resource_id": ID, "regions": ["sfo3"],
                "created_at": "2026-01-31T12:00:00Z",
                "tags": sorted(tags() | {str(copy_tag_of(known))})}  # fmt: skip
    moved = volume(ID, tags(), region={"slug": "sfo3"})
    api.answer("/v2/volumes", (200, {"volumes": [moved]}))
    api.answer("/v2/snapshots", (200, {"snapshots": [snapshot]}))
    with pytest.raises(AccountError, match="but they have copies: shop/data-postgres-0"):
        restored(api, **sections)
