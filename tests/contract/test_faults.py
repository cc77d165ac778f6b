"""Each fault does what its name says, as clients of the emulated account feel it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from sandbox.faults import Fault
from tests.contract.digitalocean_api import (
    Emulator,
    InMemoryBackend,
    cluster_request,
    emulator,
    error_of,
)

CLUSTERS = "/v2/kubernetes/clusters"


@pytest.fixture
def do(tmp_path: Path) -> Iterator[Emulator]:
    with emulator(tmp_path / "account.json", InMemoryBackend()) as served:
        yield served


def offered_regions(do: Emulator) -> list[str]:
    options = do.pydo().kubernetes.list_options()["options"]
    return [region["slug"] for region in options["regions"]]


def test_a_region_that_is_down_takes_its_clusters_with_it_and_offers_nothing(do: Emulator) -> None:
    lost = do.running_cluster()
    elsewhere = do.running_cluster(name="elsewhere", region="nyc3")
    do.add_fault("region-down", "nyc1")
    assert set(do.backend.specs) == {elsewhere["id"]}
    assert do.cluster(lost["id"])["status"]["state"] == "degraded"
    assert do.cluster(elsewhere["id"])["status"]["state"] == "running"
    assert "nyc1" not in offered_regions(do)
    assert "nyc3" in offered_regions(do)
    refused = do.http().post(CLUSTERS, json=cluster_request(name="another"))
    status, _, message = error_of(refused)
    assert (status, message) == (422, "validation error: region nyc1 is not available")


def test_a_cluster_in_a_region_that_is_down_can_be_deleted_and_its_name_used_elsewhere(
    do: Emulator,
) -> None:
    lost = do.running_cluster()
    do.add_fault("region-down", "nyc1")
    do.pydo().kubernetes.delete_cluster(lost["id"])
    do.until_gone(lost["id"])
    assert do.running_cluster(region="nyc3")["name"] == lost["name"]


def test_clusters_are_as_they_were_when_their_region_is_back(do: Emulator) -> None:
    before = do.running_cluster()
    do.add_fault("region-down", "nyc1")
    do.clear_faults()
    after = do.cluster(before["id"])
    assert after["status"] == before["status"]
    assert after["endpoint"] == before["endpoint"]
    assert after["node_pools"] == before["node_pools"]
    assert set(do.backend.specs) == {before["id"]}
    assert "nyc1" in offered_regions(do)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"kind": "earthquake"}, "there is no fault 'earthquake'; choose from region-down"),
        ({"kind": "region-down", "status": 500}, "region-down is not about requests: status"),
        ({"kind": "region-down", "times": 0}, "greater than or equal to 1"),
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(wrong: dict[str, object], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        Fault.model_validate(wrong)
