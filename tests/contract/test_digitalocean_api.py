"""The emulated account, tested with DigitalOcean's client: authentication, pages, limits, VPCs, and
the associated resources of clusters."""

import os
import stat
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from sandbox.digitalocean.app import OPERATIONS
from sandbox.digitalocean.state import AccountState
from sandbox.emulator import StateUnreadable
from tests.contract.digitalocean_api import (
    Emulator,
    InMemoryBackend,
    emulator,
    error_of,
)


@pytest.fixture
def state_file(tmp_path: Path) -> Path:
    return tmp_path / "account.json"


@pytest.fixture
def do(state_file: Path) -> Iterator[Emulator]:
    with emulator(state_file, InMemoryBackend()) as emulated:
        yield emulated


# Authentication


def test_the_owner_s_token_can_read_the_account(do: Emulator) -> None:
    account = do.pydo().account.get()["account"]
    assert account["status"] == "active"
    assert account["droplet_limit"] == 25
    assert account["uuid"]
    assert account["team"]["uuid"]


@pytest.mark.parametrize(
    "authorization", [None, "Bearer", "Bearer dop_v1_unknown", "Basic dXNlcjpwYXNz"]
)
def test_a_request_without_a_valid_token_is_not_authenticated(
    do: Emulator, authorization: str | None
) -> None:
    with do.http() as http:
        http.headers.pop("authorization")
        headers = {"authorization": authorization} if authorization else {}
        response = http.get("/v2/account", headers=headers)
    assert error_of(response) == (401, "Unauthorized", "Unable to authenticate you")


def test_revoked_and_expired_tokens_are_not_authenticated(do: Emulator) -> None:
    revoked = do.in_server(lambda: do.account.add_token("revoked"))
    brief = do.in_server(lambda: do.account.add_token("brief", lifetime=timedelta(hours=1)))
    for token in (revoked, brief):
        assert do.http(token).get("/v2/account").status_code == 200
    do.in_server(lambda: do.account.revoke_token(revoked))
    do.in_server(lambda: do.account.advance_clock(timedelta(hours=1)))
    for token in (revoked, brief):
        assert do.http(token).get("/v2/account").status_code == 401


def test_every_operation_refuses_a_token_that_lacks_one_of_its_scopes(do: Emulator) -> None:
    all_scopes = {scope for operation in OPERATIONS for scope in operation.scopes}
    for missing in sorted(all_scopes):
        with do.http(do.token_with(*(all_scopes - {missing}))) as http:
            for operation in OPERATIONS:
                if missing in operation.scopes:
                    response = http.request(operation.method, f"/v2{operation.path}")
                    assert error_of(response) == (
                        403,
                        "forbidden",
                        "You do not have access for the attempted action.",
                    ), (operation.path, missing)


def test_custom_scopes_allow_what_they_name(do: Emulator) -> None:
    token = do.token_with("kubernetes:read", "registry:read")
    assert "options" in do.pydo(token).kubernetes.list_options()
    assert do.http(token).get("/v2/registries").status_code == 200


def test_a_read_only_token_can_not_change_clusters_or_get_credentials(do: Emulator) -> None:
    cluster = do.running_cluster()
    with do.http(do.token_with("read")) as http:
        path = f"/v2/kubernetes/clusters/{cluster['id']}"
        assert http.get(path).status_code == 200
        assert http.get(f"{path}/credentials").status_code == 403
        assert http.delete(path).status_code == 403
    assert do.cluster(cluster["id"])["status"]["state"] == "running"


# Every response


def test_every_response_has_a_request_id_and_the_rate_limit(do: Emulator) -> None:
    with do.http() as http:
        first, second = http.get("/v2/account"), http.get("/v2/nothing")
    assert first.headers["x-request-id"] != second.headers["x-request-id"]
    assert second.json()["request_id"] == second.headers["x-request-id"]
    assert first.headers["ratelimit-limit"] == "5000"
    remaining = [int(response.headers["ratelimit-remaining"]) for response in (first, second)]
    assert remaining[0] - remaining[1] == 1
    assert int(first.headers["ratelimit-reset"]) > 1_700_000_000


def test_requests_beyond_the_hourly_limit_are_refused_until_the_hour_is_over(
    do: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sandbox.digitalocean.traffic.REQUESTS_PER_HOUR", 3)
    with do.http() as http:
        statuses = [http.get("/v2/account").status_code for _ in range(4)]
        assert statuses == [200, 200, 200, 429]
        assert http.get("/v2/account").json()["id"] == "too_many_requests"
        do.in_server(lambda: do.account.advance_clock(timedelta(hours=1)))
        assert http.get("/v2/account").status_code == 200


def test_unknown_paths_ids_and_methods_are_errors(do: Emulator) -> None:
    with do.http() as http:
        assert error_of(http.get("/v2/droplets"))[:2] == (404, "not_found")
        assert error_of(http.get("/v2/kubernetes/clusters/none")) == (
            404,
            "not_found",
            "cluster not found",
        )
        assert error_of(http.patch("/v2/account"))[:2] == (405, "method_not_allowed")


def test_a_body_that_is_not_json_is_a_bad_request(do: Emulator) -> None:
    response = do.http().post("/v2/vpcs", content="{")
    assert error_of(response)[:2] == (400, "bad_request")


def test_the_journal_records_requests_but_no_secrets(do: Emulator) -> None:
    cluster = do.running_cluster()
    do.http().get(f"/v2/kubernetes/clusters/{cluster['id']}/credentials?expiry_seconds=60")
    *_, last = do.account.journal
    assert (last.method, last.status) == ("GET", 200)
    assert last.path == f"/v2/kubernetes/clusters/{cluster['id']}/credentials"
    assert do.token not in str(list(do.account.journal))


# Pages


def test_collections_have_pages_that_link_to_each_other(do: Emulator) -> None:
    for number in range(5):
        do.pydo().vpcs.create(body={"name": f"network-{number}", "region": "nyc1"})
    first = do.pydo().vpcs.list(per_page=2, page=1)
    assert [vpc["name"] for vpc in first["vpcs"]] == ["network-0", "network-1"]
    assert first["meta"]["total"] == 5
    assert set(first["links"]["pages"]) == {"next", "last"}

    with do.http() as http:
        second = http.get(first["links"]["pages"]["next"]).json()
        assert [vpc["name"] for vpc in second["vpcs"]] == ["network-2", "network-3"]
        assert set(second["links"]["pages"]) == {"first", "prev", "next", "last"}
        last = http.get(first["links"]["pages"]["last"]).json()
    assert [vpc["name"] for vpc in last["vpcs"]] == ["network-4"]
    assert set(last["links"]["pages"]) == {"first", "prev"}


def test_a_single_page_has_no_links(do: Emulator) -> None:
    response = do.pydo().kubernetes.list_clusters()
    assert (response["kubernetes_clusters"], response["links"], response["meta"]) == (
        [],
        {},
        {"total": 0},
    )


@pytest.mark.parametrize("query", ["per_page=201", "per_page=0", "page=0", "page=two"])
def test_invalid_page_numbers_and_sizes_are_refused(do: Emulator, query: str) -> None:
    assert do.http().get(f"/v2/vpcs?{query}").status_code == 422


# VPCs


def test_the_first_vpc_of_a_region_becomes_its_default_which_can_not_be_deleted(
    do: Emulator,
) -> None:
    vpcs = do.pydo().vpcs
    first = vpcs.create(body={"name": "first", "region": "nyc1"})["vpc"]
    second = vpcs.create(body={"name": "second", "region": "nyc1"})["vpc"]
    assert (first["default"], second["default"]) == (True, False)
    assert first["urn"] == f"do:vpc:{first['id']}"
    assert error_of(do.http().delete(f"/v2/vpcs/{first['id']}"))[:2] == (403, "forbidden")
    assert error_of(do.http().patch(f"/v2/vpcs/{first['id']}", json={"default": False})) == (
        403,
        "forbidden",
        "Can not unset default VPCs",
    )

    vpcs.patch(second["id"], body={"default": True})
    assert vpcs.get(first["id"])["vpc"]["default"] is False
    assert do.http().delete(f"/v2/vpcs/{first['id']}").status_code == 204
    assert [vpc["name"] for vpc in vpcs.list()["vpcs"]] == ["second"]


def test_a_vpc_keeps_its_fields_and_can_be_renamed(do: Emulator) -> None:
    vpcs = do.pydo().vpcs
    created = vpcs.create(
        body={"name": "env.dev", "region": "fra1", "ip_range": "10.10.0.0/20", "description": "d"}
    )["vpc"]
    vpcs.update(created["id"], body={"name": "env.staging", "description": ""})
    vpc = vpcs.get(created["id"])["vpc"]
    assert (vpc["name"], vpc["description"]) == ("env.staging", "")
    assert (vpc["region"], vpc["ip_range"]) == ("fra1", "10.10.0.0/20")


@pytest.mark.parametrize(
    "invalid",
    [
        {"ip_range": "10.10.8.0/24"},
        {"ip_range": "10.20.0.0/15"},
        {"ip_range": "10.20.0.0/29"},
        {"ip_range": "8.8.0.0/16"},
        {"ip_range": "10.10.0.1/20"},
        {"name": "under_score"},
        {"name": "taken"},
        {"name": None},
        {"region": "moon1"},
        {"description": "d" * 256},
    ],
)
def test_an_invalid_vpc_is_refused(do: Emulator, invalid: dict[str, str]) -> None:
    taken = {"name": "taken", "region": "nyc1", "ip_range": "10.10.0.0/20"}
    do.pydo().vpcs.create(body=taken)
    body = {"name": "new", "region": "nyc1", "ip_range": "10.30.0.0/20"} | invalid
    assert error_of(do.http().post("/v2/vpcs", json=body))[:2] == (422, "unprocessable_entity")
    assert len(do.pydo().vpcs.list()["vpcs"]) == 1


def test_a_vpc_with_members_can_not_be_deleted(do: Emulator) -> None:
    do.pydo().vpcs.create(body={"name": "default", "region": "nyc1"})
    vpc = do.pydo().vpcs.create(body={"name": "another", "region": "nyc1"})["vpc"]
    cluster = do.running_cluster(vpc_uuid=vpc["id"])
    do.in_server(lambda: do.account.add_load_balancer(cluster["id"], "ingress", "203.0.113.7"))
    members = do.pydo().vpcs.list_members(vpc["id"])["members"]
    assert [member["urn"].split(":")[1] for member in members] == ["kubernetes", "loadbalancer"]
    clusters = do.pydo().vpcs.list_members(vpc["id"], resource_type="kubernetes")["members"]
    assert [member["urn"] for member in clusters] == [f"do:kubernetes:{cluster['id']}"]
    assert error_of(do.http().delete(f"/v2/vpcs/{vpc['id']}")) == (
        409,
        "conflict",
        "Can not delete VPC with members",
    )

    do.pydo().kubernetes.destroy_associated_resources_dangerous(cluster["id"])
    do.until_deleted(cluster["id"])
    assert do.http().delete(f"/v2/vpcs/{vpc['id']}").status_code == 204


# Associated resources


def test_deleting_a_cluster_keeps_its_load_balancers_and_volumes(do: Emulator) -> None:
    cluster = do.running_cluster()
    balancer = do.in_server(
        lambda: do.account.add_load_balancer(cluster["id"], "ingress", "203.0.113.7")
    )
    volume = do.in_server(lambda: do.account.provide_volume(cluster["id"], "pvc-1", 10))
    associated = do.pydo().kubernetes.list_associated_resources(cluster["id"])
    assert associated == {
        "load_balancers": [{"id": balancer.id, "name": "ingress"}],
        "volumes": [{"id": volume.id, "name": "pvc-1"}],
        "volume_snapshots": [],
    }

    do.pydo().kubernetes.delete_cluster(cluster["id"])
    do.until_deleted(cluster["id"])
    balancers = do.pydo().load_balancers.list()["load_balancers"]
    assert [(b["ip"], b["region"]["slug"]) for b in balancers] == [("203.0.113.7", "nyc1")]
    volumes = do.pydo().volumes.list()["volumes"]
    assert [(volume["name"], volume["size_gigabytes"]) for volume in volumes] == [("pvc-1", 10)]

    do.pydo().load_balancers.delete(balancer.id)
    do.pydo().volumes.delete(volume.id)
    assert do.pydo().load_balancers.list()["load_balancers"] == []
    assert do.pydo().volumes.list()["volumes"] == []


def test_a_cluster_can_be_deleted_with_selected_resources(do: Emulator) -> None:
    cluster = do.running_cluster()
    kept = do.in_server(lambda: do.account.provide_volume(cluster["id"], "kept", 1))
    deleted = do.in_server(lambda: do.account.provide_volume(cluster["id"], "deleted", 1))
    kubernetes = do.pydo().kubernetes
    response = kubernetes.destroy_associated_resources_selective(
        cluster["id"], body={"volumes": [deleted.id, "another"]}
    )
    assert response is not None
    assert response["id"] == "not_found"
    assert len(do.pydo().volumes.list()["volumes"]) == 2
    kubernetes.destroy_associated_resources_selective(cluster["id"], body={"volumes": [deleted.id]})
    do.until_deleted(cluster["id"])
    assert [volume["id"] for volume in do.pydo().volumes.list()["volumes"]] == [kept.id]


def test_a_cluster_can_be_deleted_with_all_its_resources(do: Emulator) -> None:
    cluster, other = do.running_cluster(), do.running_cluster(name="other")
    do.in_server(lambda: do.account.provide_volume(cluster["id"], "own", 1))
    do.in_server(lambda: do.account.provide_volume(other["id"], "other", 1))
    do.pydo().kubernetes.destroy_associated_resources_dangerous(cluster["id"])
    do.until_deleted(cluster["id"])
    assert [volume["name"] for volume in do.pydo().volumes.list()["volumes"]] == ["other"]


# Restarts


def test_acknowledged_changes_survive_a_restart(state_file: Path) -> None:
    with emulator(state_file, InMemoryBackend()) as do:
        cluster = do.running_cluster(tags=["team"])
        do.pydo().registries.create(
            body={"name": "microservices-demo", "subscription_tier_slug": "basic"}
        )
        advanced = do.in_server(lambda: do.account.advance_clock(timedelta(days=3)))
        token = do.token

    with emulator(state_file, InMemoryBackend()) as do:
        do.until_state(cluster["id"], "running")
        after = do.pydo(token).kubernetes.get_cluster(cluster["id"])["kubernetes_cluster"]
        assert {**after, "updated_at": ""} == {**cluster, "updated_at": ""}
        assert [r["name"] for r in do.pydo().registries.list()["registries"]] == [
            "microservices-demo"
        ]
        assert do.account.clock.now() >= advanced


def test_only_the_owner_can_read_the_state_file_and_no_token_is_in_it(
    do: Emulator, state_file: Path
) -> None:
    cluster = do.running_cluster()
    cluster_token = do.pydo().kubernetes.get_credentials(cluster["id"])["token"]
    assert stat.S_IMODE(os.stat(state_file).st_mode) == 0o600
    content = state_file.read_text()
    assert do.token not in content
    assert cluster_token not in content


def test_an_unreadable_state_file_is_named_with_the_next_command(state_file: Path) -> None:
    state_file.write_text('{"uuid": 1}')
    with pytest.raises(StateUnreadable, match=r"account\.json(?s:.*)bin/sandbox reset"):
        AccountState.load(state_file)


def test_a_restart_finishes_unfinished_creations_and_deletions(state_file: Path) -> None:
    blocked = InMemoryBackend(gate=threading.Event())
    with emulator(state_file, blocked) as do:
        running = do.running_cluster(name="running")
        blocked.gate.clear()
        provisioning = do.create_cluster(name="provisioning")
        deleting = do.create_cluster(name="deleting")
        do.pydo().kubernetes.delete_cluster(deleting["id"])
        saved = state_file.read_bytes()
    state_file.write_bytes(saved)

    backend = InMemoryBackend()
    with emulator(state_file, backend) as do:
        do.until_state(provisioning["id"], "running")
        do.until_deleted(deleting["id"])
        do.until_state(running["id"], "running")
    assert sorted(backend.created) == sorted([running["id"], provisioning["id"]])
    assert sorted(backend.nodes) == sorted([running["id"], provisioning["id"]])
