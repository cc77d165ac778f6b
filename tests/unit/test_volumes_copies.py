"""Copies in another region: what is copied, how, and what of it a claim gets after a loss."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import count
from typing import Any, cast

import pytest

from doks_gitops.account import DigitalOceanClient, RunningCluster, Version, Volume, VolumeSnapshot
from doks_gitops.errors import PlatformError
from doks_gitops.kubernetes import Unreachable
from doks_gitops.settings.model import Cluster as ClusterSettings
from doks_gitops.settings.model import Copies, CopyCredentials, Volumes
from doks_gitops.volumes import Choices, Claim, NotAssignable, assign, bucket, jobs
from doks_gitops.volumes.cluster import COPIES_NAMESPACE, Cluster, PersistentVolume
from doks_gitops.volumes.copies import copy, copy_tag, due_copies, empty_volume, fill
from doks_gitops.volumes.jobs import CommandFailed, CopyError, job
from doks_gitops.volumes.snapshots import surplus
from doks_gitops.volumes.stacks import StackVolumes
from doks_gitops.volumes.tags import TEMPORARY, USED, Storage, claim_tag, storage_tag
from sandbox.toolchain.recipes import RESTIC
from tests.unit.fake_api import serve
from tests.unit.stackfiles import CLUSTER
from tests.unit.test_volumes import (
    CLAIM,
    FOREIGN_MARK,
    ID,
    MARK,
    NOON,
    OTHER_ID,
    holdings,
    snapshot,
    tags,
    volume,
)

COPIES = Copies.model_validate({"bucket": "shop-copies", "region": "fra1", "keep": 3})
CREDENTIALS = CopyCredentials.model_validate(
    {"accessKey": "DO00KEY", "secretKey": "secret-of-the-key", "password": "p" * 24}
)
TAG = copy_tag(COPIES, CREDENTIALS)
REQUIRE = bucket.require
SECRETS = ("DO00KEY", "secret-of-the-key", "p" * 24)


def copied(id: str = "s", hours: int = 5, tag: str = TAG, **changes: Any) -> VolumeSnapshot:
    return snapshot(id, hours, tags=tags() | {tag}, **changes)


# What is due


def test_newest_snapshot_is_copied_when_the_newest_copy_is_old_enough() -> None:
    old, new = copied("old", 30), snapshot("new", 5)
    assert due_copies([volume()], [new, old], 24, TAG, NOON) == [new]
    assert due_copies([volume()], [new, old], 31, TAG, NOON) == []
    assert due_copies([volume()], [new], 31, TAG, NOON) == [new]
    assert due_copies([volume()], [copied("new", 5), old], 1, TAG, NOON) == []
    assert due_copies([volume()], [], 1, TAG, NOON) == []


def test_volume_that_has_grown_since_its_copy_is_copied_again() -> None:
    grown = snapshot("new", 5, disk=6)
    assert due_copies([volume(size=6)], [copied("old", 6), grown], 24, TAG, NOON) == [grown]


def test_everything_is_copied_to_another_bucket_or_with_another_password() -> None:
    elsewhere = COPIES.model_copy(update={"bucket": "other"})
    password = CREDENTIALS.model_copy(update={"password": CREDENTIALS.secret_key})
    for tag in (copy_tag(elsewhere, CREDENTIALS), copy_tag(COPIES, password)):
        assert tag != TAG
        assert due_copies([volume()], [copied()], 24, tag, NOON) == [copied()]
    assert copy_tag(COPIES, CREDENTIALS.model_copy(update={"access_key": password.password})) == TAG


def test_block_device_has_no_files_to_copy() -> None:
    block = tags() - {storage_tag(Storage())} | {storage_tag(Storage(volume_mode="Block"))}
    assert due_copies([volume(tags=block)], [snapshot()], 24, TAG, NOON) == []


def test_newest_snapshot_with_a_copy_is_kept_beyond_the_number() -> None:
    snapshots = [snapshot("1", 1), snapshot("2", 2), copied("3", 3), copied("4", 4)]
    assert [x.id for x in surplus([volume()], snapshots, 1)] == ["2", "4"]


# What a claim gets


def moved(*snapshots: VolumeSnapshot, **changes: Any) -> Any:
    fields = {"region": "sfo3", "snapshots": snapshots, "copy_tag": TAG, **changes}
    return holdings(*fields.pop("volumes", (volume(droplets=(7,)),)), **fields)


def test_claim_whose_volume_is_in_another_region_gets_the_newest_copy() -> None:
    snapshots = (copied("old", 30), copied("new", 5), snapshot("not-copied", 1))
    assert assign(moved(*snapshots), Choices(), "dev").copies == {CLAIM: snapshots[1]}
    gone = assign(moved(*snapshots, volumes=()), Choices(), "dev")
    assert (gone.copies, gone.snapshots) == ({CLAIM: snapshots[1]}, {})
    assert assign(moved(*snapshots, region="nyc1", volumes=(volume(),)), Choices(), "dev") == (
        assign(holdings(volume()), Choices(), "dev")
    )


@pytest.mark.parametrize(
    ("snapshots", "changes", "problem"),
    [
        ((snapshot(),), {}, "no snapshot of it was copied"),
        ((copied(volume=OTHER_ID),), {}, "no snapshot of it was copied"),
        ((copied(tag="doks-gitops-copy:0123"),), {}, "to another bucket, or with another password"),
        ((copied(),), {"copy_tag": None}, "does not name the bucket and its credentials"),
        (
            (replace(copied(), tags=tags(mark=FOREIGN_MARK) | {TAG}),),
            {},
            "no snapshot of it was copied",
        ),
        (
            (copied(),),
            {"volumes": (volume(), volume(OTHER_ID, region="sfo3", tags=tags(OTHER_ID)))},
            "the claim had another one too",
        ),
        ((copied(),), {"volumes": (volume(), volume(OTHER_ID, tags=tags(OTHER_ID)))}, "one too"),
    ],
    ids=["no copy", "another volume's", "another bucket", "no credentials", "another owner's",
         "a volume in the region too", "two volumes"],
)  # fmt: skip
def test_copy_that_is_not_surely_the_claims_is_refused(
    snapshots: tuple[VolumeSnapshot, ...], changes: dict[str, Any], problem: str
) -> None:
    with pytest.raises(NotAssignable, match=problem) as refused:
        assign(moved(*snapshots, **changes), Choices(), "dev")
    assert f"--leave-volume {ID}" in str(refused.value.fix)


def test_claim_that_has_its_volume_keeps_a_former_one_in_another_region() -> None:
    bound = moved(copied(), bound=frozenset({OTHER_ID}), bound_claims=frozenset({CLAIM}))
    assert assign(bound, Choices(), "dev").copies == {}
    restored = volume(OTHER_ID, region="sfo3", tags=frozenset({MARK, USED}))
    named = moved(copied(), volumes=(volume(), restored))
    chosen = assign(named, Choices({OTHER_ID: CLAIM}), "dev")
    assert (chosen.volumes, chosen.copies) == ({CLAIM: restored}, {})


# How it is copied and restored


class World:
    """An account and a cluster in it, in which each command of restic ends with the next of
    `codes` (0 when there is none)."""

    def __init__(self, *codes: int, snapshots: tuple[VolumeSnapshot, ...] = (snapshot(),)) -> None:
        self.codes = list(codes)
        self.commands: list[str] = []
        self.arguments: list[str] = []
        self.objects: dict[str, dict[str, Any]] = {}
        self.reserved: dict[str, tuple[Claim, frozenset[str]]] = {}
        self.existing = {ID: volume()}
        self.tagged: list[tuple[str, str]] = []
        self.untagged: list[tuple[str, str]] = []
        self._snapshots = snapshots
        self._uids = count()

    # The account

    def volumes(self) -> tuple[Volume, ...]:
        return tuple(self.existing.values())

    def snapshots(self) -> tuple[VolumeSnapshot, ...]:
        return self._snapshots

    def clusters(self) -> tuple[RunningCluster, ...]:
        version = Version.parse("1.34.1-do.0")
        return (RunningCluster("c", "demo", "nyc1", version, False, "running", True, "https://c",
                               mark=MARK),)  # fmt: skip

    def certificate_authority(self, cluster: str) -> bytes:
        return b""

    def create_volume(
        self, name: str, region: str, source: VolumeSnapshot | None, size: int, tags: Any
    ) -> Volume:
        known = [x for x in self.existing.values() if (x.name, x.region) == (name, region)]
        if known:
            return known[0]
        self.existing[OTHER_ID] = Volume(OTHER_ID, name, region, size, tags=frozenset(tags))
        return self.existing[OTHER_ID]

    def delete_volume(self, id: str) -> None:
        assert not self.reserved, "a volume can't be deleted while it is attached"
        self.existing.pop(id, None)

    def tag_snapshot(self, tag: str, snapshot: str) -> None:
        self.tagged.append((tag, snapshot))

    def untag_snapshot(self, tag: str, snapshot: str) -> None:
        self.untagged.append((tag, snapshot))

    def tag_volumes(self, tag: str, volumes: list[str]) -> None:
        self.tagged.append((tag, volumes[0]))

    # The cluster

    def read(self, path: str) -> dict[str, Any] | None:
        return self.objects.get(path)

    def items(self, path: str) -> list[Any]:
        collection = path.partition("?")[0]
        if collection.endswith("/pods"):
            code = self.codes.pop(0) if self.codes else 0
            state = {"terminated": {"exitCode": code, "message": "its last words"}}
            return [{"status": {"containerStatuses": [{"state": state}]}}]
        return [x for key, x in self.objects.items() if key.rpartition("/")[0] == collection]

    def create(self, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        created = {**body, "metadata": {**body["metadata"], "uid": str(next(self._uids))}}
        self.objects[f"{path}/{body['metadata']['name']}"] = created
        if body["kind"] == "Job":
            [container] = body["spec"]["template"]["spec"]["containers"]
            self.commands.append(" ".join(container["args"][:2]))
            self.arguments.append(" ".join(container["args"]))
        return created

    def delete(self, path: str) -> None:
        # With what is in the namespace.
        self.objects = {x: y for x, y in self.objects.items() if COPIES_NAMESPACE not in path
                        or (x != path and not path.endswith(COPIES_NAMESPACE))}  # fmt: skip
        self.reserved.pop(path.rpartition("/")[2], None)

    def persistent_volumes(self, *, copies: bool = False) -> list[PersistentVolume]:
        return [
            PersistentVolume(name, OTHER_ID, claim, True, "Retain", Storage())
            for name, (claim, _) in self.reserved.items()
            if copies == (claim.namespace == COPIES_NAMESPACE)
        ]

    def reserve(self, volume: Volume, claim: Claim) -> None:
        self.reserved[volume.name] = claim, volume.tags


@pytest.fixture(autouse=True)
def opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cluster and the bucket of a `World`."""
    monkeypatch.setattr(bucket, "require", lambda *_: None)

    def connected(stack: StackVolumes, _: object) -> Any:
        class Opened:
            def __enter__(self) -> Any:
                return stack.client

            def __exit__(self, *_: object) -> None: ...

        return Opened()

    monkeypatch.setattr(StackVolumes, "opened", connected)


def stack_of(world: World) -> StackVolumes:
    settings = ClusterSettings.model_validate(CLUSTER)
    return StackVolumes("dev", settings, Volumes(), cast(DigitalOceanClient, world), "token")


def lines_of(world: World) -> Iterator[str]:
    return copy(stack_of(world), COPIES, CREDENTIALS)


def assert_nothing_is_left(world: World) -> None:
    assert set(world.existing) == {ID}
    assert world.objects == {}
    assert world.reserved == {}


def test_copy_is_made_of_a_volume_that_is_made_of_the_snapshot_and_nothing_is_left() -> None:
    world = World()
    [line] = lines_of(world)
    assert "shop/data-postgres-0: copied the snapshot name-of-s" in line
    assert world.commands == ["backup volume", "forget --host"]
    assert world.tagged == [(TAG, "s")]
    assert_nothing_is_left(world)


def test_first_copy_of_a_claim_makes_its_repository() -> None:
    world = World(jobs.NO_REPOSITORY)
    list(lines_of(world))
    assert world.commands == ["backup volume", "init --no-cache", "backup volume", "forget --host"]


def test_lock_of_a_killed_command_is_removed() -> None:
    world = World(0, jobs.LOCKED)
    list(lines_of(world))
    assert world.commands[1:] == ["forget --host", "unlock --no-cache", "forget --host"]


def test_lock_that_restic_still_heeds_is_told_with_the_time_until_it_does_not() -> None:
    world = World(0, jobs.LOCKED, 0, jobs.LOCKED)
    with pytest.raises(PlatformError, match="restic forget") as failed:
        list(lines_of(world))
    assert "30 minutes" in str(failed.value.fix)
    assert_nothing_is_left(world)


def test_copies_belong_to_the_volume_so_that_those_of_a_former_one_are_kept() -> None:
    world = World()
    list(lines_of(world))
    assert all(f"--host {ID} " in arguments for arguments in world.arguments)


def test_snapshot_does_not_count_as_copied_when_its_copy_is_deleted() -> None:
    snapshots = (snapshot("new", 1), *(copied(f"s{hours}", hours) for hours in (99, 50, 75)))
    world = World(snapshots=snapshots)
    list(lines_of(world))
    assert world.tagged == [(TAG, "new")]
    assert world.untagged == [(TAG, "s99")], "two of them and the new one are kept"


def test_incomplete_copy_is_deleted_at_once() -> None:
    world = World(jobs.INCOMPLETE)
    with pytest.raises(PlatformError, match="exit code 3"):
        list(lines_of(world))
    backup, forget = world.arguments
    assert "--time" not in backup, "a later attempt is the latest copy of the snapshot"
    assert forget == f"forget --host {ID} --tag s --unsafe-allow-remove-all --no-cache"
    assert world.tagged == []


@pytest.mark.parametrize(
    ("code", "problem"),
    [(1, "exit code 1: its last words"), (3, "exit code 3"), (jobs.WRONG_PASSWORD, "password")],
)
def test_copy_that_fails_is_told_and_leaves_nothing(code: int, problem: str) -> None:
    world = World(code)
    with pytest.raises(PlatformError, match=problem) as failed:
        list(lines_of(world))
    assert str(CLAIM) in failed.value.problem
    assert world.tagged == []
    assert_nothing_is_left(world)


def test_what_a_killed_run_has_left_is_deleted() -> None:
    world = World(snapshots=(copied(),))
    left = Volume("left", "copy-s", "nyc1", 5, tags=frozenset({MARK, TEMPORARY}))
    world.existing["left"] = left
    kept = (
        replace(left, id="foreign", tags=frozenset({FOREIGN_MARK, TEMPORARY})),
        replace(left, id="former", name="copy-of-orders", tags=frozenset({MARK, USED})),
        replace(left, id="recorded", tags=tags("recorded") | {TEMPORARY}),
    )
    labels = {"app.kubernetes.io/managed-by": "doks-gitops"}
    namespace = f"/api/v1/namespaces/{COPIES_NAMESPACE}"
    world.objects[namespace] = {"metadata": {"labels": labels}}
    world.reserved["copy-s"] = Claim(COPIES_NAMESPACE, "copy-s"), frozenset()
    assert list(lines_of(world)) == ["deleted the volume copy-s of a run that was killed"]
    assert_nothing_is_left(world)
    world.existing.update({volume.id: volume for volume in kept})
    assert list(lines_of(world)) == ["no copies are due"]
    assert set(world.existing) == {ID, *(volume.id for volume in kept)}


def test_run_is_refused_while_another_one_works_or_the_namespace_is_somebody_elses() -> None:
    world = World()
    namespace = f"/api/v1/namespaces/{COPIES_NAMESPACE}"
    world.objects[namespace] = {"metadata": {"labels": {}}}
    with pytest.raises(CopyError, match="is not the platform's"):
        list(lines_of(world))
    world.objects[namespace]["metadata"]["labels"] = {"app.kubernetes.io/managed-by": "doks-gitops"}
    running = f"/apis/batch/v1/namespaces/{COPIES_NAMESPACE}/jobs/backup-1"
    world.objects[running] = {"metadata": {"name": "backup-1"}}
    with pytest.raises(CopyError, match="still works: backup-1"):
        list(lines_of(world))
    assert set(world.existing) == {ID}
    world.objects[running]["status"] = {"conditions": [{"type": "Failed", "status": "True"}]}
    list(lines_of(world))
    assert_nothing_is_left(world)


def filled(world: World) -> None:
    client = cast(DigitalOceanClient, world)
    empty = empty_volume(client, copied(), CLAIM, "sfo3", [MARK, storage_tag(Storage())], 8)
    assert empty.size == 8
    fill(client, cast(Cluster, world), empty, CLAIM, "s", "r", COPIES, CREDENTIALS)


def test_volume_is_the_claims_only_when_it_has_all_data() -> None:
    world = World(1)
    with pytest.raises(CopyError, match="restore"):
        filled(world)
    assert world.tagged == []
    assert world.reserved == {}
    filled(world)
    assert len(world.existing) == 2, "the repeated run goes on with the volume of the first one"
    assert world.commands == ["restore latest"] * 2
    assert "--no-lock" in world.arguments[0], "the lock of a killed command does not bar it"
    assert world.tagged == [(USED, OTHER_ID), (claim_tag(OTHER_ID, CLAIM), OTHER_ID)]
    [(claim, known_tags)] = world.reserved.values()
    assert claim == CLAIM
    assert USED in known_tags, "DigitalOcean's driver must not format it"


def test_volume_that_may_have_been_used_since_it_was_filled_is_not_filled_again() -> None:
    world = World()
    filled(world)
    used = replace(world.existing[OTHER_ID], tags=frozenset({MARK, USED}))
    world.existing[OTHER_ID] = used
    with pytest.raises(CopyError, match="may have been in use since") as refused:
        filled(world)
    assert f"--volume {OTHER_ID}={CLAIM}" in str(refused.value.fix)


# The Jobs


@pytest.mark.parametrize("command", ["backup", "restore", "forget", "init", "unlock"])
def test_job_has_no_more_rights_than_its_command_needs(command: str) -> None:
    body = job("pvc-1", "fra1", "s3:https://fra1.example.com/b/r", command, ["--x"])
    spec = body["spec"]["template"]["spec"]
    [container] = spec["containers"]
    assert spec["automountServiceAccountToken"] is False
    assert (spec["restartPolicy"], body["spec"]["backoffLimit"]) == ("Never", 0)
    assert body["spec"]["activeDeadlineSeconds"] == jobs.LONGEST_SECONDS
    security = container["securityContext"]
    assert security["allowPrivilegeEscalation"] is False
    assert security["readOnlyRootFilesystem"] is True
    assert security["capabilities"]["drop"] == ["ALL"]
    assert {"cpu", "memory"} == set(container["resources"]["limits"])
    mounts = {x["mountPath"]: x.get("readOnly", False) for x in container["volumeMounts"]}
    mounted = {"backup": {"/volume": True}, "restore": {"/volume": False}}.get(command, {})
    assert mounts == {"/tmp": False, **mounted}
    assert bool(security["capabilities"]["add"]) == bool(mounted)
    assert container["args"][0] == command


@pytest.mark.parametrize(
    ("terminated", "condition", "text"),
    [
        ({"exitCode": 137, "reason": "OOMKilled"}, None, "exit code 137: OOMKilled"),
        ({"exitCode": 1, "reason": "Error", "message": "words\n"}, None, "exit code 1: words"),
        (
            None,
            {"type": "Failed", "reason": "BackoffLimitExceeded", "message": "Too often"},
            "restic forget was stopped: BackoffLimitExceeded: Too often",
        ),
        (None, {"type": "Complete"}, None),
    ],
    ids=["out of memory", "by itself", "its pod is gone", "complete, and its pod is gone"],
)
def test_end_of_a_job_is_told_as_the_cluster_tells_it(
    terminated: dict[str, Any] | None, condition: dict[str, Any] | None, text: str | None
) -> None:
    class Ended(World):
        def read(self, path: str) -> dict[str, Any] | None:
            ended = {"status": {"conditions": [{**(condition or {}), "status": "True"}]}}
            return ended if condition else {}

        def items(self, path: str) -> list[Any]:
            state = {"state": {"terminated": terminated}}
            return [{"status": {"containerStatuses": [state]}}] if terminated else []

    commands = jobs.Restic(cast(Cluster, Ended()), volume(), "fra1", "r")
    if text is None:
        commands.run("forget")
        return
    with pytest.raises(CommandFailed, match=f"{text}\n"):
        commands.run("forget")


def test_keys_of_the_bucket_are_in_the_secret_alone() -> None:
    world = World(1)
    created: list[Mapping[str, Any]] = []
    create = world.create
    world.create = lambda path, body: created.append(body) or create(path, body)  # type: ignore[method-assign, func-returns-value]
    with pytest.raises(PlatformError):
        list(lines_of(world))
    with_keys = {x["kind"] for x in created if any(secret in str(x) for secret in SECRETS)}
    assert with_keys == {"Secret"}


def test_image_has_the_version_that_the_sandbox_runs() -> None:
    assert str(RESTIC.version) == jobs.VERSION


# The bucket


@pytest.mark.parametrize(
    ("status", "problem"), [(403, "The keys may not read the bucket"), (404, "There is no copy at")]
)
def test_bucket_is_asked_with_signed_requests_before_anything_is_changed(
    status: int, problem: str
) -> None:
    with serve() as api:
        copies = COPIES.model_copy(update={"endpoint": api.url})
        path = f"/shop-copies/doks-gitops/dev/{CLAIM}"
        api.answer(f"{path}/config", (200, ""), (status, ""))
        REQUIRE(copies, CREDENTIALS, path.removeprefix("/shop-copies/"))
        with pytest.raises(CopyError, match=problem):
            REQUIRE(copies, CREDENTIALS, path.removeprefix("/shop-copies/"))
        signatures = [authorization or "" for _, authorization in api.requests]
    assert all("Credential=DO00KEY/" in x and "/fra1/s3/" in x for x in signatures)
    with pytest.raises(CopyError, match="can't be reached"):
        REQUIRE(copies, CREDENTIALS)


def test_nothing_is_copied_into_the_region_of_the_cluster() -> None:
    world = World()
    [running] = world.clusters()
    same = COPIES.model_copy(update={"region": running.region})
    stack = stack_of(world)
    for region in (running.region, "sfo3"):
        moved = replace(stack, cluster=stack.cluster.model_copy(update={"region": region}))
        with pytest.raises(CopyError, match="the region of the cluster"):
            list(copy(moved, same, CREDENTIALS))
    assert world.commands == []


def test_command_outlives_a_control_plane_that_does_not_answer_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    items, silent = world.items, [Unreachable("503"), Unreachable("503")]

    def answer(path: str) -> list[Any]:
        if "/pods" in path and silent:
            raise silent.pop()
        return items(path)

    monkeypatch.setattr(world, "items", answer)
    monkeypatch.setattr(jobs, "_PAUSE_SECONDS", 0)
    list(lines_of(world))
    assert world.tagged == [(TAG, "s")]
    silent.append(Unreachable("503"))
    monkeypatch.setattr(jobs, "ANSWER_TIMEOUT_SECONDS", -1)
    with pytest.raises(PlatformError, match="503"):
        list(lines_of(world))
    assert_nothing_is_left(world)
