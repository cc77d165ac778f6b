"""Whose claim a volume is, and which volume a claim gets in a new cluster."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from doks_gitops.account import Volume, VolumeSnapshot
from doks_gitops.volumes import Choices, Claim, NotAssignable, assign
from doks_gitops.volumes.assignment import Holdings
from doks_gitops.volumes.snapshots import age_of, due, surplus
from doks_gitops.volumes.tags import (
    Storage,
    claim_tag,
    claims_in,
    clusters_in,
    own_tags,
    storage_in,
    storage_tag,
)

ID, OTHER_ID = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
MARK = "doks-gitops-owner:doks-gitops:dev:a"
FORMER_MARK = "doks-gitops-owner:doks-gitops:dev:b"
FOREIGN_MARK = "doks-gitops-owner:doks-gitops:prod:a"
CLAIM = Claim("shop", "data-postgres-0")
LOST, RUNNING = "id-of-the-lost-cluster", "id-of-another-cluster"
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def tags(volume: str = ID, claim: Claim = CLAIM, mark: str = MARK) -> frozenset[str]:
    tag = claim_tag(volume, claim)
    assert tag is not None
    return frozenset({mark, tag, storage_tag(Storage()), f"k8s:{LOST}"})


def volume(id: str = ID, **changes: Any) -> Volume:
    return Volume(**{"id": id, "name": f"pvc-{id}", "region": "nyc1", "size": 5,
                     "tags": tags(id), **changes})  # fmt: skip


def snapshot(id: str = "s", hours: int = 5, **changes: Any) -> VolumeSnapshot:
    return VolumeSnapshot(**{
        "id": id, "name": f"name-of-{id}", "volume": ID, "regions": ("nyc1",),
        "created": NOON - timedelta(hours=hours), "tags": tags(), "disk": 5, **changes,
    })  # fmt: skip


def holdings(*volumes: Volume, **changes: Any) -> Holdings:
    return Holdings(**{"volumes": volumes, "region": "nyc1", "mark": MARK,
                       "lost": frozenset({LOST, None}), "clusters": frozenset({RUNNING}),
                       **changes})  # fmt: skip


# Tags


@pytest.mark.parametrize("claim", [CLAIM, Claim("shop", "a.b-c.d"), Claim("n" * 63, "c" * 100)])
def test_claim_is_read_back_from_the_tag_of_its_volume(claim: Claim) -> None:
    tag = claim_tag(ID, claim)
    assert tag is not None
    assert set(tag) <= set("abcdefghijklmnopqrstuvwxyz0123456789:-_")
    assert claims_in({tag, "team:shop", f"k8s:{LOST}"}) == [(ID, claim)]


def test_claim_whose_name_does_not_fit_into_a_tag_has_none() -> None:
    assert claim_tag(ID, Claim("n" * 63, "c" * 253)) is None


@pytest.mark.parametrize(
    "storage",
    [Storage(), Storage("fast.example.com", "xfs", "Block", "ReadWriteOncePod"), Storage("")],
)
def test_storage_is_read_back_from_its_tag(storage: Storage) -> None:
    assert storage_in({storage_tag(storage)}) == storage


def test_untagged_volume_is_mounted_as_the_default_class_does() -> None:
    assert storage_in(()) == Storage("do-block-storage", "ext4", "Filesystem", "ReadWriteOnce")


def test_only_the_programs_own_tags_are_recorded_ones() -> None:
    assert own_tags(tags() | {"team:shop"}) == tags() - {f"k8s:{LOST}"}
    assert clusters_in(tags()) == {LOST}


@pytest.mark.parametrize("text", ["shop", "shop/", "/data", "Shop/data", "shop/da_ta", "a/b/c"])
def test_text_that_names_no_claim_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="NAMESPACE/CLAIM"):
        Claim.parse(text)


# Assignment


def test_claim_gets_the_volume_that_was_recorded_for_it() -> None:
    other = volume(OTHER_ID, tags=tags(OTHER_ID, Claim("shop", "other")))
    assignment = assign(holdings(volume(), other), Choices(), "dev")
    assert assignment.volumes == {CLAIM: volume(), Claim("shop", "other"): other}
    assert assignment.snapshots == {}


@pytest.mark.parametrize(
    "foreign",
    [
        volume(tags=frozenset({"team:shop"})),
        volume(tags=tags(mark=FOREIGN_MARK)),
        volume(tags=frozenset({MARK})),
    ],
    ids=["unmarked", "of another stack", "of no claim any more"],
)
def test_what_the_stack_has_not_recorded_is_passed_over(foreign: Volume) -> None:
    assert assign(holdings(foreign), Choices(), "dev").volumes == {}


def test_new_state_takes_the_volumes_of_the_former_one_but_of_no_other_stack() -> None:
    choices = Choices(former_states=True)
    former, foreign = volume(tags=tags(mark=FORMER_MARK)), volume(tags=tags(mark=FOREIGN_MARK))
    assert assign(holdings(former), choices, "dev").volumes == {CLAIM: former}
    assert assign(holdings(foreign), choices, "dev").volumes == {}


UNUSABLE = {
    "was recorded by another state of the stack": [volume(tags=tags(mark=FORMER_MARK))],
    "is still attached to the Droplet 7": [volume(droplets=(7,))],
    "is in the region fra1": [volume(region="fra1")],
    f"has a claim tag with another volume's ID ({CLAIM}, {OTHER_ID}): it is probably a copy": [
        volume(tags=tags(OTHER_ID))
    ],
    "is recorded for several claims: shop/data-postgres-0 and shop/other": [
        volume(tags=tags() | tags(claim=Claim("shop", "other")))
    ],
    f"The claim {CLAIM} had several volumes": [volume(), volume(OTHER_ID)],
    f"is used by another cluster: {RUNNING}": [volume(tags=tags() | {f"k8s:{RUNNING}"})],
    f"was made by the lost cluster {LOST} after the last record of the claims (5 GiB)": [
        volume(tags=frozenset({f"k8s:{LOST}"}))
    ],
}


@pytest.mark.parametrize("problem", UNUSABLE)
def test_volume_that_can_not_be_given_back_safely_is_refused_with_the_next_command(
    problem: str,
) -> None:
    with pytest.raises(NotAssignable) as refused:
        assign(holdings(*UNUSABLE[problem]), Choices(), "dev")
    assert problem in refused.value.problem
    assert refused.value.fix is not None
    assert "--volume VOLUME=NAMESPACE/CLAIM" in refused.value.fix
    assert f"recover --stack dev --leave-volume {ID}" in refused.value.fix


def test_all_problems_are_told_at_once() -> None:
    attached, moved = volume(droplets=(7,)), volume(OTHER_ID, region="fra1")
    with pytest.raises(NotAssignable) as refused:
        assign(holdings(attached, moved), Choices(), "dev")
    assert len(refused.value.problem.splitlines()) == 2
    assert f"--leave-volume {ID} --leave-volume {OTHER_ID}" in str(refused.value.fix)


@pytest.mark.parametrize("problem", UNUSABLE)
def test_volume_is_left_as_it_is_when_the_user_says_so(problem: str) -> None:
    volumes = UNUSABLE[problem]
    choices = Choices(left=frozenset({volumes[0].id}))
    assert volumes[0] not in assign(holdings(*volumes), choices, "dev").volumes.values()


def test_unrecorded_volume_goes_to_the_claim_that_the_user_names() -> None:
    young = volume(tags=frozenset({f"k8s:{LOST}"}))
    choices = Choices({ID: CLAIM})
    assert assign(holdings(young), choices, "dev").volumes == {CLAIM: young}
    ambiguous = holdings(volume(), volume(OTHER_ID))
    assert assign(ambiguous, choices, "dev").volumes == {CLAIM: volume()}


@pytest.mark.parametrize(
    ("named", "problem"),
    [
        (volume(tags=tags(mark=FOREIGN_MARK)), f"belongs to another owner: {FOREIGN_MARK}"),
        (volume(region="fra1"), "is in the region fra1"),
        (volume(droplets=(7,)), "is still attached"),
        (volume(OTHER_ID, tags=frozenset({"team:shop"})), f"The account has no volume {ID}"),
    ],
)
def test_named_volume_must_be_usable_too(named: Volume, problem: str) -> None:
    with pytest.raises(NotAssignable, match=problem):
        assign(holdings(named), Choices({ID: CLAIM}), "dev")


def test_what_the_cluster_has_already_is_not_given_twice() -> None:
    bound = {"bound": frozenset({ID}), "bound_claims": frozenset({CLAIM})}
    assert assign(holdings(volume(droplets=(7,)), **bound), Choices(), "dev").volumes == {}
    assert assign(holdings(volume(OTHER_ID), **bound), Choices(), "dev").volumes == {}


def test_unrecorded_volume_is_found_by_the_cluster_of_the_recorded_ones() -> None:
    """A run that goes on after the new cluster was created does not know the lost one."""
    young = volume(OTHER_ID, tags=frozenset({f"k8s:{LOST}"}))
    later: dict[str, Any] = {"lost": frozenset()}
    with pytest.raises(NotAssignable, match=f"made by the lost cluster {LOST}"):
        assign(holdings(volume(), young, **later), Choices(), "dev")
    assert assign(holdings(young, **later), Choices(), "dev").volumes == {}
    foreign = volume(tags=tags(mark=FOREIGN_MARK))
    assert assign(holdings(foreign, young, **later), Choices(), "dev").volumes == {}


def test_newest_snapshot_replaces_a_volume_that_is_gone() -> None:
    snapshots = (snapshot("old", 30), snapshot("new", 5), snapshot("by-hand", 1, tags=frozenset()))
    assignment = assign(holdings(snapshots=snapshots), Choices(), "dev")
    assert assignment.snapshots == {CLAIM: snapshots[1]}
    for present in (holdings(volume(), snapshots=snapshots),
                    holdings(volume(OTHER_ID), snapshots=snapshots)):  # fmt: skip
        assert assign(present, Choices(), "dev").snapshots == {}
    left = Choices(left=frozenset({ID}))
    assert assign(holdings(snapshots=snapshots), left, "dev").snapshots == {}


def test_snapshot_that_was_taken_before_the_state_was_lost_is_not_passed_over() -> None:
    before, later = snapshot("before", tags=tags(mark=FORMER_MARK)), snapshot("later", 1)
    assert assign(holdings(snapshots=(before,)), Choices(), "dev").snapshots == {CLAIM: before}
    both = holdings(snapshots=(before, later))
    assert assign(both, Choices(), "dev").snapshots == {CLAIM: later}


def test_snapshots_of_others_and_of_other_regions_restore_nothing() -> None:
    foreign = snapshot(tags=tags(mark=FOREIGN_MARK))
    assert assign(holdings(snapshots=(foreign,)), Choices(), "dev").snapshots == {}
    with pytest.raises(NotAssignable, match="its snapshot name-of-s is in fra1, not in nyc1"):
        assign(holdings(snapshots=(snapshot(regions=("fra1",)),)), Choices(), "dev")


# Snapshots


def test_snapshot_is_due_when_the_newest_one_is_old_enough() -> None:
    snapshots = [snapshot("old", 30), snapshot("new", 5), snapshot("x", 0, tags=frozenset())]
    assert due([volume()], snapshots, 6, NOON) == []
    assert due([volume()], snapshots, 5, NOON) == [volume()]
    assert due([volume()], snapshots, 5, NOON - timedelta(minutes=5)) == [volume()]
    assert due([volume(OTHER_ID)], snapshots, 6, NOON) == [volume(OTHER_ID)]


def test_snapshot_is_due_when_the_volume_has_grown() -> None:
    """A claim binds to no volume that is smaller than its request."""
    snapshots = [snapshot("new", 1, disk=5), snapshot("old", 2, disk=10)]
    assert due([volume(size=10)], snapshots, 6, NOON) == [volume(size=10)]
    assert due([volume(size=5)], snapshots, 6, NOON) == []


def test_only_the_newest_snapshots_of_a_volume_are_kept() -> None:
    snapshots = [snapshot(str(hours), hours) for hours in (3, 1, 4, 2)]
    by_hand = snapshot("by-hand", 100, tags=frozenset())
    assert {x.id for x in surplus([volume()], [*snapshots, by_hand], 2)} == {"3", "4"}
    assert surplus([], snapshots, 1) == [], "those of a volume that is gone are all that is left"


@pytest.mark.parametrize(
    ("minutes", "text"), [(0, "0 min"), (59, "59 min"), (303, "5 h 3 min"), (3000, "2 d 2 h")]
)
def test_age_is_told_in_two_units(minutes: int, text: str) -> None:
    assert age_of(NOON - timedelta(minutes=minutes), NOON) == text


def test_volume_that_was_made_of_a_snapshot_is_known_by_its_name_until_the_next_record() -> None:
    """Its ID was not known when it was tagged."""
    new = volume(ID, name=f"pvc-{OTHER_ID}", tags=tags(OTHER_ID))
    assert assign(holdings(new), Choices(), "dev").volumes == {CLAIM: new}


def test_volume_of_a_claim_that_got_another_one_is_not_given_back() -> None:
    former = replace(volume(OTHER_ID), tags=tags(OTHER_ID) - {claim_tag(OTHER_ID, CLAIM)})
    assert assign(holdings(volume(), former), Choices(), "dev").volumes == {CLAIM: volume()}
