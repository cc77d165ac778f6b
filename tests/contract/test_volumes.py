"""The program's commands about volumes against the emulated account, with a token of exactly the
scopes of docs/permissions.md."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any
from unittest.mock import Mock, patch

import pytest

from doks_gitops import kubernetes
from doks_gitops.account import DigitalOceanClient
from doks_gitops.errors import PlatformError
from doks_gitops.settings.model import Cluster, Copies, CopyCredentials, Snapshots, Volumes
from doks_gitops.volumes import copies as copies_module
from doks_gitops.volumes import create_from_snapshot
from doks_gitops.volumes.cluster import PersistentVolume
from doks_gitops.volumes.listing import listing, take
from doks_gitops.volumes.stacks import StackVolumes
from doks_gitops.volumes.tags import Claim, Storage
from tests import permissions
from tests.contract.digitalocean_api import Emulator

MARK = "doks-gitops-owner:doks-gitops:dev:0123456789abcdef"
CLAIM = Claim("shop", "data.postgres-0")
SNAPSHOTS = Snapshots.model_validate({"everyHours": 1, "keep": 2})


def made(do: Emulator) -> str:
    """The ID of a volume that a cluster has made."""
    cluster = do.running_cluster(tags=[MARK])
    return do.in_server(lambda: do.account.provide_volume(cluster["id"], "pvc-1", 5)).id


def recorded(do: Emulator, volume: str, token: str | None = None) -> None:
    class Bound:
        def persistent_volumes(self) -> tuple[PersistentVolume, ...]:
            return (PersistentVolume("pvc-1", volume, CLAIM, True, "Retain", Storage()),)

    with (
        patch.object(kubernetes, "connect", lambda *_: nullcontext(Bound())),
        DigitalOceanClient(token or do.token, do.url) as client,
    ):
        assert stack(client).record().problems == ()


def stack(client: DigitalOceanClient) -> StackVolumes:
    cluster = {"name": "demo", "region": "nyc1", "version": "1.34",
               "nodePools": [{"name": "a", "size": "s-2vcpu-4gb", "count": 1}]}  # fmt: skip
    return StackVolumes("dev", Cluster.model_validate(cluster), Volumes(), client, "")


def taken(do: Emulator, token: str | None = None, **options: Any) -> list[str]:
    with DigitalOceanClient(token or do.token, do.url) as client:
        return list(take(stack(client), SNAPSHOTS, **options))


def test_record_is_found_again_by_its_tags_alone(do: Emulator) -> None:
    volume = made(do)
    recorded(do, volume)
    with DigitalOceanClient(do.token, do.url) as client:
        [row] = listing(stack(client))
    assert (row["claim"], row["volume"], row["state"]) == (str(CLAIM), volume, "free")


def test_snapshots_are_taken_when_they_are_due_and_the_oldest_are_deleted(do: Emulator) -> None:
    volume = made(do)
    assert taken(do, at_once=True) == ["0 volumes are recorded"]
    recorded(do, volume)
    assert [line.partition(" snapshot")[0] for line in taken(do)] == [f"{CLAIM}:"]
    assert taken(do) == []
    for _ in range(2):
        taken(do, at_once=True)
    kept = do.pydo().snapshots.list(resource_type="volume")["snapshots"]
    assert len(kept) == 2
    volume_tags = do.pydo().volumes.get(volume)["volume"]["tags"]
    assert set(kept[0]["tags"]) == {tag for tag in volume_tags if not tag.startswith("k8s:")}


def test_volume_of_a_snapshot_is_recorded_for_the_claim(do: Emulator) -> None:
    volume = made(do)
    recorded(do, volume)
    (do.account.volume_folder(volume) / "file").write_text("saved")
    taken(do, at_once=True)
    do.pydo().volumes.delete(volume)
    with DigitalOceanClient(do.token, do.url) as client:
        [snapshot] = client.snapshots()
        new = create_from_snapshot(client, snapshot, CLAIM, "nyc1", [MARK])
        [row] = [row for row in listing(stack(client)) if row["volume"] == new.id]
    assert row["claim"] == str(CLAIM)
    assert (do.account.volume_folder(new.id) / "file").read_text() == "saved"


def restore_newest(do: Emulator, token: str) -> None:
    with DigitalOceanClient(token, do.url) as client:
        client.volumes()
        create_from_snapshot(client, client.snapshots()[0], CLAIM, "nyc1", [MARK])


def copied(do: Emulator, token: str) -> None:
    """Copy a snapshot that was just taken, without what happens in the cluster and the bucket."""
    taken(do, at_once=True)
    copies = Copies.model_validate({"bucket": "shop-copies", "region": "fra1"})
    credentials = CopyCredentials.model_validate(
        {"accessKey": "key", "secretKey": "secret", "password": "p" * 24}
    )

    def opened(*_: object) -> AbstractContextManager[object]:
        return nullcontext(Mock())

    with (
        patch.object(kubernetes, "connect", opened),
        patch.multiple(copies_module, restic=opened, clear=Mock(), bucket=Mock()),
        DigitalOceanClient(token, do.url) as client,
    ):
        list(copies_module.copy(stack(client), copies, credentials, at_once=True))


COMMANDS: dict[str, Callable[[Emulator, str, str], object]] = {
    "record": lambda do, volume, token: recorded(do, volume, token),
    "snapshot": lambda do, _, token: taken(do, token, at_once=True),
    "copy": lambda do, _, token: copied(do, token),
    "record, restore": lambda do, _, token: restore_newest(do, token),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_command_works_with_its_scopes_and_names_the_one_that_is_missing(
    do: Emulator, command: str
) -> None:
    volume = made(do)
    if command != "record":
        recorded(do, volume)
        taken(do, at_once=True)
        taken(do, at_once=True)
    scopes = permissions.scopes(*command.split(", "))
    if command == "record, restore":
        # What happens in the cluster is left out.
        scopes -= {"kubernetes:read", "kubernetes:access_cluster"}
    # A tag is removed only if it is wrong.
    for missing in sorted(scopes - {"tag:delete"}):
        with pytest.raises(PlatformError, match=missing):
            COMMANDS[command](do, volume, do.token_with(*(scopes - {missing})))
    COMMANDS[command](do, volume, do.token_with(*scopes))


def test_copy_leaves_no_volume_and_is_known_by_the_tag_of_its_snapshot(do: Emulator) -> None:
    volume = made(do)
    recorded(do, volume)
    copied(do, do.token)
    [snapshot] = do.pydo().snapshots.list(resource_type="volume")["snapshots"]
    assert [tag for tag in snapshot["tags"] if tag.startswith("doks-gitops-copy:")]
    assert [x["id"] for x in do.pydo().volumes.list()["volumes"]] == [volume]
