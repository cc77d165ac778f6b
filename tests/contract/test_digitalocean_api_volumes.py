"""The emulated account's volumes, their snapshots and their tags, with DigitalOcean's client."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.contract.digitalocean_api import Emulator, error_of


def created(do: Emulator, name: str = "data", **fields: Any) -> dict[str, Any]:
    body = {"name": name, "region": "nyc1", "size_gigabytes": 5, "tags": [], **fields}
    return dict(do.pydo().volumes.create(body=body)["volume"])


def write(do: Emulator, volume: str, text: str) -> None:
    (do.account.volume_folder(volume) / "file").write_text(text)


def content(do: Emulator, volume: str) -> str:
    return (do.account.volume_folder(volume) / "file").read_text()


def refusal(do: Emulator, volume: dict[str, Any], action: dict[str, Any]) -> str:
    """The message with which the action is refused."""
    response = do.http().post(f"/v2/volumes/{volume['id']}/actions", json=action)
    status, _, message = error_of(response)
    assert status == 422
    return message


def droplet_of(cluster: dict[str, Any]) -> int:
    return int(cluster["node_pools"][0]["nodes"][0]["droplet_id"])


def test_a_volume_has_the_fields_that_it_was_made_with_until_it_is_deleted(do: Emulator) -> None:
    volume = created(do, tags=["team:a"], description="files", filesystem_type="ext4")
    created(do, "data", region="fra1")
    assert (volume["region"]["slug"], volume["size_gigabytes"]) == ("nyc1", 5)
    assert (volume["tags"], volume["droplet_ids"]) == (["team:a"], [])
    [listed] = do.pydo().volumes.list(name="data", region="nyc1")["volumes"]
    assert listed == volume == do.pydo().volumes.get(volume["id"])["volume"]
    do.pydo().volumes.delete(volume["id"])
    assert do.pydo().volumes.get(volume["id"])["id"] == "not_found"
    assert not do.account.volume_folder(volume["id"]).exists()


@pytest.mark.parametrize(
    ("invalid", "status"),
    [
        ({"name": "Data"}, 422),
        ({"name": "1data"}, 422),
        ({"size_gigabytes": 0}, 422),
        ({"region": "moon1"}, 422),
        ({"tags": ["a.b"]}, 422),
        ({"snapshot_id": "none"}, 404),
        ({"name": "taken"}, 409),
    ],
)
def test_an_invalid_volume_is_refused(do: Emulator, invalid: dict[str, Any], status: int) -> None:
    created(do, "taken")
    body = {"name": "data", "region": "nyc1", "size_gigabytes": 5, **invalid}
    assert error_of(do.http().post("/v2/volumes", json=body))[0] == status
    assert len(do.pydo().volumes.list()["volumes"]) == 1


def test_a_volume_is_attached_to_one_droplet_of_its_region_until_that_is_gone(
    do: Emulator,
) -> None:
    cluster, elsewhere = do.running_cluster(), do.running_cluster(name="other", region="fra1")
    volume = created(do)
    attach = {"type": "attach", "droplet_id": droplet_of(elsewhere), "region": "nyc1"}
    assert "same region" in refusal(do, volume, attach)
    attach["droplet_id"] = droplet_of(cluster)
    actions = do.pydo().volume_actions
    assert actions.post_by_id(volume["id"], body=attach)["action"]["status"] == "completed"
    assert refusal(do, volume, attach) == "This volume is already attached"
    assert error_of(do.http().delete(f"/v2/volumes/{volume['id']}"))[0] == 409
    detach = {**attach, "type": "detach"}
    actions.post_by_id(volume["id"], body=detach)
    assert refusal(do, volume, detach) == "Attachment not found"
    actions.post_by_id(volume["id"], body=attach)
    do.pydo().kubernetes.delete_cluster(cluster["id"])
    do.until_deleted(cluster["id"])
    assert do.pydo().volumes.get(volume["id"])["volume"]["droplet_ids"] == []


def test_a_volume_only_grows(do: Emulator) -> None:
    volume = created(do)
    for size, status in ((4, 422), (6, 202)):
        body = {"type": "resize", "size_gigabytes": size, "region": "nyc1"}
        path = f"/v2/volumes/{volume['id']}/actions"
        assert do.http().post(path, json=body).status_code == status
    assert do.pydo().volumes.get(volume["id"])["volume"]["size_gigabytes"] == 6


def test_a_snapshot_keeps_what_the_volume_was_after_the_volume_is_gone(do: Emulator) -> None:
    volume = created(do)
    write(do, volume["id"], "first")
    body = {"name": "daily", "tags": ["claim"]}
    snapshot = do.pydo().volume_snapshots.create(volume["id"], body=body)["snapshot"]
    write(do, volume["id"], "second")
    assert (snapshot["resource_id"], snapshot["resource_type"]) == (volume["id"], "volume")
    assert (snapshot["regions"], snapshot["min_disk_size"]) == (["nyc1"], 5)
    assert do.pydo().volume_snapshots.list(volume["id"])["snapshots"] == [snapshot]
    do.pydo().volumes.delete(volume["id"])
    assert do.pydo().snapshots.list(resource_type="volume")["snapshots"] == [snapshot]
    assert do.pydo().snapshots.list(resource_type="droplet")["snapshots"] == []

    restored = created(do, "restored", snapshot_id=snapshot["id"])
    assert content(do, restored["id"]) == "first"
    elsewhere = {"name": "far", "region": "fra1", "snapshot_id": snapshot["id"]}
    assert error_of(do.http().post("/v2/volumes", json=elsewhere))[0] == 422
    do.pydo().volume_snapshots.delete_by_id(snapshot["id"])
    assert do.pydo().snapshots.list()["snapshots"] == []
    assert not do.account.snapshot_folder(snapshot["id"]).exists()


def test_tags_are_given_and_taken_without_regard_to_case(do: Emulator) -> None:
    volume = created(do, tags=["Team:A"])
    snapshot = do.pydo().volume_snapshots.create(volume["id"], body={"name": "s"})["snapshot"]
    resources = {
        "resources": [
            {"resource_id": volume["id"], "resource_type": "volume"},
            {"resource_id": snapshot["id"], "resource_type": "volume_snapshot"},
        ]
    }
    tags = do.pydo().tags
    refusal = tags.assign_resources("claim", body=resources)
    assert refusal is not None
    assert refusal["id"] == "not_found"
    tags.create(body={"name": "claim"})
    for name in ("claim", "team:a"):
        tags.assign_resources(name, body=resources)
    assert do.pydo().volumes.get(volume["id"])["volume"]["tags"] == ["Team:A", "claim"]
    [listed] = do.pydo().volume_snapshots.list(volume["id"])["snapshots"]
    assert listed["tags"] == ["claim", "Team:A"]
    counts = {tag["name"]: tag["resources"]["count"] for tag in tags.list()["tags"]}
    assert counts == {"claim": 2, "Team:A": 2}
    tags.unassign_resources("CLAIM", body=resources)
    tags.delete("team:a")
    assert do.pydo().volumes.get(volume["id"])["volume"]["tags"] == []
    assert [tag["name"] for tag in tags.list()["tags"]] == ["claim"]
    assert error_of(do.http().post("/v2/tags", json={"name": "a.b"}))[0] == 422


def test_a_snapshot_is_as_old_for_the_machine_as_for_the_clock_that_was_set_forward(
    do: Emulator,
) -> None:
    volume = created(do, "data")
    do.in_server(lambda: do.account.advance_clock(timedelta(days=30)))
    do.pydo().volume_snapshots.create(volume["id"], body={"name": "daily"})
    do.in_server(lambda: do.account.advance_clock(timedelta(days=3)))
    [snapshot] = do.pydo().snapshots.list()["snapshots"]
    age = datetime.now(UTC) - datetime.fromisoformat(snapshot["created_at"])
    assert timedelta(days=3) <= age < timedelta(days=4)


def test_volumes_and_their_snapshots_are_destroyed_with_the_cluster_only_if_that_is_asked_for(
    do: Emulator,
) -> None:
    for destroyed in (False, True):
        cluster = do.running_cluster(name=f"cluster-{destroyed}".lower())
        volume = do.in_server(
            lambda cluster=cluster: do.account.provide_volume(cluster["id"], "pvc-1", 1)  # type: ignore[misc]
        )
        body = {"name": "daily"}
        snapshot = do.pydo().volume_snapshots.create(volume.id, body=body)["snapshot"]
        associated = do.pydo().kubernetes.list_associated_resources(cluster["id"])
        assert associated["volume_snapshots"] == [{"id": snapshot["id"], "name": "daily"}]
        if destroyed:
            do.pydo().kubernetes.destroy_associated_resources_dangerous(cluster["id"])
        else:
            do.pydo().kubernetes.delete_cluster(cluster["id"])
        do.until_deleted(cluster["id"])
        left = (do.pydo().volumes.list()["volumes"], do.pydo().snapshots.list()["snapshots"])
        assert tuple(map(len, left)) == ((0, 0) if destroyed else (1, 1))
        if not destroyed:
            do.pydo().volumes.delete(volume.id)
            do.pydo().volume_snapshots.delete_by_id(snapshot["id"])


def test_tags_are_shown_only_to_a_token_that_may_read_them(do: Emulator) -> None:
    volume = created(do, tags=["claim"])
    body = {"name": "daily", "tags": ["claim"]}
    do.pydo().volume_snapshots.create(volume["id"], body=body)
    blind = do.pydo(do.token_with("block_storage:read", "snapshot:read"))
    assert blind.volumes.list()["volumes"][0]["tags"] == []
    assert blind.snapshots.list()["snapshots"][0]["tags"] is None
