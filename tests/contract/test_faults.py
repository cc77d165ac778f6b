"""The injected faults, tested with clients of the emulated account."""

import asyncio
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp

from doks_gitops import account, http
from sandbox.chart import repository
from sandbox.digitalocean.backend import ClusterFaults
from sandbox.faults import Fault, Faults
from sandbox.faults.requests import FaultMiddleware
from sandbox.git import GitServer
from tests.contract.digitalocean_api import (
    Emulator,
    cluster_request,
    error_of,
    pool_request,
)

CLUSTERS = "/v2/kubernetes/clusters"


def test_a_rate_limit_has_a_retry_after_header_and_ends_after_its_times(do: Emulator) -> None:
    do.add_fault("rate-limit", times=2, seconds=7)
    with do.http() as api:
        responses = [api.get("/v2/account") for _ in range(3)]
    assert [response.status_code for response in responses] == [429, 429, 200]
    assert responses[0].headers["retry-after"] == "7"
    assert responses[0].json()["id"] == "too_many_requests"
    assert responses[0].json()["request_id"]


def test_a_fault_affects_only_requests_of_its_method_and_path(do: Emulator) -> None:
    fault = do.add_fault("server-error", method="POST", path="/v2/kubernetes/clusters", status=502)
    with do.http() as api:
        assert api.get(CLUSTERS).status_code == 200
        assert api.post("/v2/vpcs", json={"name": "x", "region": "nyc1"}).status_code == 201
        assert error_of(api.post(CLUSTERS, json=cluster_request()))[:2] == (502, "bad_gateway")
    assert fault.hits == 1
    assert not do.account.data.clusters


def test_a_request_that_times_out_is_not_carried_out(do: Emulator) -> None:
    do.add_fault("timeout", seconds=0.3, times=1)
    started = time.monotonic()
    response = do.http().post(CLUSTERS, json=cluster_request())
    assert response.status_code == 504
    assert time.monotonic() - started >= 0.3
    assert not do.account.data.clusters


def test_a_client_can_disconnect_before_the_timeout(do: Emulator) -> None:
    do.add_fault("timeout", seconds=60, times=1)
    with pytest.raises(httpx.ReadTimeout):
        do.http().get("/v2/account", timeout=0.2)
    assert do.http().get("/v2/account").status_code == 200


def test_a_connection_is_reset_before_the_request_is_carried_out(do: Emulator) -> None:
    do.add_fault("reset", times=2)
    with pytest.raises(httpx.ReadError, match="reset by peer"):
        do.http().get(CLUSTERS)
    with pytest.raises(httpx.TransportError):
        do.http().post(CLUSTERS, json=cluster_request())
    assert not do.account.data.clusters
    assert do.http().get("/v2/account").status_code == 200


def test_a_request_whose_response_is_lost_is_carried_out(do: Emulator) -> None:
    do.add_fault("lost-answer", times=1)
    with pytest.raises(httpx.ReadError, match="reset by peer"):
        do.http().post(CLUSTERS, json=cluster_request())
    assert len(do.account.data.clusters) == 1


def test_an_invalid_token_is_refused_by_the_account_and_its_clusters(do: Emulator) -> None:
    cluster = do.running_cluster()
    do.add_fault("token-invalid")
    assert error_of(do.http().get("/v2/account"))[:2] == (401, "Unauthorized")
    verdict = do.in_server(lambda: do.account.authenticate_for_cluster(do.token, cluster["id"]))
    assert not verdict.authenticated
    do.clear_faults()
    assert do.http().get("/v2/account").status_code == 200


def test_a_read_only_token_can_read_and_access_clusters_but_change_nothing(do: Emulator) -> None:
    cluster = do.running_cluster()
    do.add_fault("token-read-only")
    with do.http() as api:
        assert api.get(CLUSTERS).status_code == 200
        assert api.get("/v2/kubernetes/options").status_code == 200
        refused = api.post(CLUSTERS, json=cluster_request(name="another"))
        assert error_of(refused)[:2] == (403, "forbidden")
        assert api.delete(f"{CLUSTERS}/{cluster['id']}").status_code == 403
    verdict = do.in_server(lambda: do.account.authenticate_for_cluster(do.token, cluster["id"]))
    assert verdict.authenticated


def test_a_used_up_quota_refuses_new_nodes_and_keeps_the_existing_ones(do: Emulator) -> None:
    cluster = do.running_cluster()
    do.add_fault("quota")
    with do.http() as api:
        refused = api.post(CLUSTERS, json=cluster_request(name="another"))
        pools = api.post(f"{CLUSTERS}/{cluster['id']}/node_pools", json=pool_request(name="more"))
        assert api.get("/v2/account").json()["account"]["droplet_limit"] == 2
    message = "2 additional nodes but not enough available droplet limit"
    for response in (refused, pools):
        assert error_of(response)[::2] == (422, f"validation error: {message}")
    assert len(do.cluster(cluster["id"])["node_pools"][0]["nodes"]) == 2


def test_new_nodes_stay_provisioning_until_there_is_capacity(do: Emulator) -> None:
    cluster = do.running_cluster()
    [pool] = cluster["node_pools"]
    do.add_fault("no-capacity", "s-2vcpu-*")

    def states() -> list[str]:
        [pool] = do.cluster(cluster["id"])["node_pools"]
        return sorted(node["status"]["state"] for node in pool["nodes"])

    do.pydo().kubernetes.update_node_pool(
        cluster["id"], pool["id"], {"name": "default", "count": 3}
    )
    do.add_fault("cluster-degraded", "another")  # Returns when the clusters are reconciled.
    assert states() == ["provisioning", "running", "running"]
    assert do.cluster(cluster["id"])["status"]["state"] == "running"
    do.clear_faults()
    assert states() == ["running", "running", "running"]


def test_a_cluster_in_error_has_a_message_and_keeps_its_name(do: Emulator) -> None:
    do.add_fault("cluster-error", times=1)
    failed = do.until_state(do.create_cluster()["id"], "error")
    assert failed["status"]["message"] == "the control plane could not be provisioned"
    assert not failed["endpoint"]
    refused = do.http().post(CLUSTERS, json=cluster_request())
    assert error_of(refused)[2].endswith("a cluster with name microservices-demo already exists")
    do.pydo().kubernetes.delete_cluster(failed["id"])
    do.until_deleted(failed["id"])
    assert do.running_cluster()["name"] == failed["name"]


def test_a_degraded_cluster_keeps_running_and_recovers(do: Emulator) -> None:
    cluster = do.running_cluster()
    do.add_fault("cluster-degraded", cluster["name"])
    assert do.cluster(cluster["id"])["status"]["state"] == "degraded"
    assert do.backend.specs
    do.clear_faults()
    assert do.cluster(cluster["id"])["status"] == {"state": "running"}


def test_the_backend_gets_the_faults_of_each_cluster(do: Emulator) -> None:
    unreachable, refusing = do.running_cluster(name="dev"), do.running_cluster(name="prod")
    do.add_fault("cluster-unreachable", "dev")
    do.add_fault("helm-fails", "prod")
    assert do.backend.cluster_faults[unreachable["id"]] == ClusterFaults(unreachable=True)
    assert do.backend.cluster_faults[refusing["id"]] == ClusterFaults(refuses_statefulsets=True)
    state = do.cluster(unreachable["id"])["status"]["state"]
    assert state == "running", "the API does not show that the cluster is unreachable"
    do.clear_faults()
    assert set(map(str, do.backend.cluster_faults.values())) == {str(ClusterFaults())}


def offered_regions(do: Emulator) -> list[str]:
    options = do.pydo().kubernetes.list_options()["options"]
    return [region["slug"] for region in options["regions"]]


def test_clusters_in_a_region_that_is_down_stop_and_none_can_be_created(do: Emulator) -> None:
    stopped = do.running_cluster()
    unaffected = do.running_cluster(name="other", region="nyc3")
    do.add_fault("region-down", "nyc1")
    assert set(do.backend.specs) == {unaffected["id"]}
    assert do.cluster(stopped["id"])["status"]["state"] == "degraded"
    assert do.cluster(unaffected["id"])["status"]["state"] == "running"
    assert "nyc1" not in offered_regions(do)
    assert "nyc3" in offered_regions(do)
    refused = do.http().post(CLUSTERS, json=cluster_request(name="another"))
    status, _, message = error_of(refused)
    assert (status, message) == (422, "validation error: region nyc1 is not available")


def test_a_cluster_in_a_region_that_is_down_can_be_deleted_and_its_name_reused(
    do: Emulator,
) -> None:
    lost = do.running_cluster()
    do.add_fault("region-down", "nyc1")
    do.pydo().kubernetes.delete_cluster(lost["id"])
    do.until_deleted(lost["id"])
    assert do.running_cluster(region="nyc3")["name"] == lost["name"]


def test_clusters_run_unchanged_when_their_region_is_back(do: Emulator) -> None:
    before = do.running_cluster()
    do.add_fault("region-down", "nyc1")
    do.clear_faults()
    after = do.cluster(before["id"])
    assert after["status"] == before["status"]
    assert after["endpoint"] == before["endpoint"]
    assert after["node_pools"] == before["node_pools"]
    assert set(do.backend.specs) == {before["id"]}
    assert "nyc1" in offered_regions(do)


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "RETRIES", http.RETRIES.new(backoff_factor=0))


@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize("kind", ["rate-limit", "server-error", "reset", "lost-answer"])
def test_the_program_retries_until_a_fault_is_over(do: Emulator, kind: str) -> None:
    fault = do.add_fault(kind, times=2)
    assert "nyc1" in account.read(do.token, do.url).regions
    assert fault.hits == 2


@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (
            "rate-limit",
            {"seconds": 1},
            "request limit .* is used up .*\nnext: Run .* again in 1 s.",
        ),
        ("server-error", {}, "answers 500, .*\nnext: See https://status.digitalocean.com"),
        ("timeout", {"seconds": 0.1}, "answers 504, .*\nnext: See https://status.digitalocean.com"),
        ("reset", {}, "can't be reached at .*: Connection reset by peer\nnext: Check the network"),
        ("token-invalid", {}, "refused the API token .*\nnext: Make a token at https://cloud"),
    ],
)
def test_a_lasting_fault_is_reported_with_its_cause_and_the_next_step(
    do: Emulator, kind: str, options: dict[str, Any], message: str
) -> None:
    do.add_fault(kind, **options)
    with pytest.raises(account.AccountError, match=message):
        account.read(do.token, do.url)


@pytest.mark.usefixtures("no_waiting")
def test_the_program_gives_up_when_the_api_never_answers(
    do: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "TIMEOUT", (5.0, 0.2))
    do.add_fault("timeout", seconds=60)
    with pytest.raises(account.AccountError, match=r"can't be reached at .*: Read timed out"):
        account.read(do.token, do.url)


def status_of(app: ASGIApp, path: str) -> int:
    """The status of the application's response to GET."""

    async def get() -> int:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://sandbox") as client:
            return (await client.get(path)).status_code

    return asyncio.run(get())


def test_git_and_the_chart_repository_can_fail_independently(
    tmp_path: Path,
) -> None:
    faults = Faults()
    app = Starlette(
        routes=[
            Mount("/git", GitServer(tmp_path).app),
            Mount("/charts", repository(tmp_path)),
        ]
    )

    def statuses() -> tuple[int, int]:
        git = status_of(
            FaultMiddleware(app, faults), "/git/monorepo.git/info/refs?service=git-upload-pack"
        )
        return git, status_of(FaultMiddleware(app, faults), "/charts/index.yaml")

    assert statuses() == (404, 200)
    faults.add(Fault(kind="git-down"))
    assert statuses() == (503, 200)
    faults.clear()
    faults.add(Fault(kind="charts-down"))
    assert statuses() == (404, 503)
    faults.clear("charts-down")
    assert statuses() == (404, 200)


def test_slow_git_sends_the_same_response_later(tmp_path: Path) -> None:
    faults = Faults()
    fault = faults.add(Fault(kind="git-slow", path="/", seconds=0.3))
    started = time.monotonic()
    assert status_of(FaultMiddleware(repository(tmp_path), faults), "/") == 404
    assert time.monotonic() - started >= 0.3
    assert fault.hits == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "earthquake"}, "there is no fault 'earthquake'; choose from rate-limit, "),
        ({"kind": "region-down", "status": 500}, "region-down does not take status"),
        ({"kind": "quota", "target": "nyc1"}, "quota takes no target"),
        ({"kind": "reset", "times": 0}, "greater than or equal to 1"),
    ],
)
def test_an_invalid_fault_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Fault.model_validate(options)
