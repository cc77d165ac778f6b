"""A snapshot is restored for one claim, in the right cluster and by its owner alone."""

from dataclasses import replace
from typing import Any, cast

import pytest

from doks_gitops.account import DigitalOceanClient, RunningCluster, Version, Volume, VolumeSnapshot
from doks_gitops.errors import PlatformError
from doks_gitops.settings.model import Cluster, Volumes
from doks_gitops.volumes import restore as module
from doks_gitops.volumes.cluster import PersistentVolume
from doks_gitops.volumes.restore import restore
from doks_gitops.volumes.stacks import StackVolumes, VolumesError
from doks_gitops.volumes.tags import USED, Claim, Storage, claim_tag
from tests.unit.stackfiles import CLUSTER
from tests.unit.test_volumes import CLAIM, FOREIGN_MARK, ID, MARK, OTHER_ID, snapshot, tags

NEIGHBOUR = Claim("shop", "other")


class World:
    """An account with one cluster, in which a StatefulSet creates its claim and its pod again."""

    def __init__(self, *snapshots: VolumeSnapshot, recreates: bool = True) -> None:
        self.events: list[str] = []
        self.persistent = [
            PersistentVolume("pvc-old", ID, CLAIM, True, "Delete", Storage()),
            PersistentVolume("pvc-other", "other", NEIGHBOUR, True, "Delete", Storage()),
        ]
        self._snapshots = snapshots
        self._uid, self._bound_to, self._recreates = "first", "pvc-old", recreates

    # The account

    def clusters(self) -> tuple[RunningCluster, ...]:
        version = Version.parse("1.34.1-do.0")
        running = RunningCluster(
            "c", "demo", "nyc1", version, False, "running", True, "https://cluster.test", mark=MARK
        )
        return (running, replace(running, id="prod", mark=FOREIGN_MARK))

    def certificate_authority(self, cluster: str) -> bytes:
        assert cluster == "c"
        return b""

    def snapshots(self) -> tuple[VolumeSnapshot, ...]:
        return self._snapshots

    def create_volume(
        self, name: str, region: str, snapshot: VolumeSnapshot, size: int, tags: Any
    ) -> Volume:
        self.created_tags = frozenset(tags)
        assert claim_tag(name.removeprefix("pvc-"), CLAIM) in tags
        self.events.append(f"volume of {snapshot.id} in {region}, {size} GiB")
        return Volume(OTHER_ID, "pvc-new", region, 5, tags=frozenset(tags))

    def volumes(self) -> tuple[Volume, ...]:
        return (Volume(ID, "pvc-old", "nyc1", 5, tags=tags()), Volume("x", "pvc-x", "nyc1", 5))

    def untag_volumes(self, tag: str, volumes: list[str]) -> None:
        assert tag == claim_tag(ID, CLAIM)
        self.events.append(f"untag {volumes[0]}")

    # The cluster

    def persistent_volumes(self) -> list[PersistentVolume]:
        return self.persistent

    def claim(self, claim: Claim) -> dict[str, Any] | None:
        assert claim == CLAIM
        return {"metadata": {"uid": self._uid}, "spec": {"volumeName": self._bound_to}}

    def requested(self, claim: Claim) -> int:
        return 10 if claim == CLAIM else 0

    def pods_of(self, claim: Claim) -> tuple[str, ...]:
        return ("postgres-0",) if claim == CLAIM else ()

    def retain(self, volume: PersistentVolume) -> None:
        self.events.append(f"retain {volume.name}")

    def reserve(self, volume: Volume, claim: Claim, storage: Storage) -> None:
        self.events.append(f"reserve {volume.name} for {claim}")

    def delete_claim(self, claim: Claim) -> None:
        self.events.append(f"delete {claim}")

    def delete_pod(self, namespace: str, name: str) -> None:
        self.events.append(f"delete pod {namespace}/{name}")
        if self._recreates:
            self._uid, self._bound_to = "second", "pvc-new"


@pytest.fixture(autouse=True)
def _opened(monkeypatch: pytest.MonkeyPatch) -> None:
    class Opened:
        def __init__(self, world: World) -> None:
            self._world = world

        def __enter__(self) -> World:
            return self._world

        def __exit__(self, *_: object) -> None:
            """Closes nothing."""

    monkeypatch.setattr(StackVolumes, "opened", lambda self, _: Opened(self.client))
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0)


def restored(
    world: World, name: str = "s", claim: Claim | None = None, *, agrees: bool = True
) -> str:
    """The question that was asked."""
    client = cast(DigitalOceanClient, world)
    stack = StackVolumes("dev", Cluster.model_validate(CLUSTER), Volumes(), client, "token")
    questions: list[str] = []

    def approve(question: str) -> None:
        questions.append(question)
        if not agrees:
            raise PlatformError("no")

    restore(stack, name, claim, approve, lambda _: None)
    return questions[0]


def test_new_volume_is_reserved_before_the_claim_goes_and_neighbours_are_not_touched() -> None:
    world = World(snapshot(disk=5), snapshot("another"))
    question = restored(world, "name-of-s")
    assert f"the claim {CLAIM} of dev" in question
    assert "Its pods start again: postgres-0." in question
    assert world.events == [
        "volume of s in nyc1, 10 GiB",
        "retain pvc-old",
        f"reserve pvc-new for {CLAIM}",
        f"delete {CLAIM}",
        "delete pod shop/postgres-0",
        f"untag {ID}",
    ]


def test_nothing_is_changed_without_consent() -> None:
    world = World(snapshot())
    with pytest.raises(PlatformError, match="no"):
        restored(world, agrees=False)
    assert world.events == []


@pytest.mark.parametrize(
    ("snapshots", "claim", "problem"),
    [
        ((), None, "The account has no snapshot s"),
        ((snapshot(), snapshot(name="s", id="t")), None, "The account has 2 snapshots s"),
        ((snapshot(tags=tags(mark=FOREIGN_MARK)),), None, "not one of the stack dev"),
        ((snapshot(tags=frozenset({MARK})),), None, "does not tell for which claim"),
        ((snapshot(regions=("fra1",)),), None, "is in fra1, and the cluster in nyc1"),
        ((snapshot(),), Claim("shop", "nobody"), "has no claim shop/nobody with a volume"),
    ],
)
def test_what_is_not_certainly_right_is_refused(
    snapshots: tuple[VolumeSnapshot, ...], claim: Claim | None, problem: str
) -> None:
    world = World(*snapshots)
    with pytest.raises(VolumesError, match=problem):
        restored(world, claim=claim)
    assert world.events == []


def test_claim_that_nobody_creates_again_is_told_with_its_volume() -> None:
    with pytest.raises(VolumesError, match=r"was not created again .* the volume pvc-new"):
        restored(World(snapshot(), recreates=False))


def test_volume_that_is_made_of_a_used_one_is_a_used_one() -> None:
    world = World(snapshot(tags=tags() | {USED}))
    restored(world)
    assert USED in world.created_tags


def test_volume_is_never_smaller_than_the_snapshot() -> None:
    world = World(snapshot(disk=20))
    restored(world)
    assert world.events[0] == "volume of s in nyc1, 20 GiB"
