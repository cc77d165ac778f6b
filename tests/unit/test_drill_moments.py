"""The moments at which a run is killed are spread over all of it, and found again in each run."""

import pytest

from sandbox.drills.drill import Failed
from sandbox.drills.moments import (
    account_happening,
    cluster_happenings,
    engine_happening,
    spread,
)

RUN = tuple("abcdefghijk")


def test_moments_go_evenly_from_the_first_happening_to_the_last() -> None:
    assert spread(RUN, 3, []) == ["a", "f", "k"]
    assert spread(RUN, 11, []) == list(RUN)
    assert spread(RUN, 1, []) == ["a"]
    assert spread(RUN, 0, []) == []


def test_a_moment_that_must_be_included_takes_the_place_of_the_nearest() -> None:
    assert spread(RUN, 3, ["e"]) == ["a", "e", "k"]
    assert spread(RUN, 3, ["f"]) == ["a", "f", "k"]
    assert spread(RUN, 3, ["e", "g"]) == ["a", "e", "g"]


def test_moments_that_a_run_does_not_have_or_that_find_no_place_are_an_error() -> None:
    with pytest.raises(Failed, match="only 11 things happen"):
        spread(RUN, 12, [])
    with pytest.raises(Failed, match="never happened in a run: z"):
        spread(RUN, 3, ["z"])
    with pytest.raises(Failed, match="none is left out: a, b"):
        spread(RUN, 1, ["a", "b"])


def test_what_the_engine_does_has_the_same_name_in_every_run() -> None:
    metadata = {
        "op": "create",
        "urn": "urn:pulumi:dev::doks-gitops::kubernetes:core/v1:Namespace::argocd",
        "type": "kubernetes:core/v1:Namespace",
    }
    begins = {"sequence": 7, "timestamp": 1, "resourcePreEvent": {"metadata": metadata}}
    done = {"sequence": 9, "timestamp": 2, "resOutputsEvent": {"metadata": metadata}}
    same = {"resourcePreEvent": {"metadata": {**metadata, "op": "same"}}}
    assert engine_happening(begins) == "engine: create kubernetes:core/v1:Namespace argocd begins"
    assert engine_happening(done) == "engine: create kubernetes:core/v1:Namespace argocd is done"
    assert engine_happening(same) is None
    assert engine_happening({"preludeEvent": {"config": {}}}) is None


def test_requests_about_different_clusters_have_the_same_name() -> None:
    first, second = (
        account_happening({"method": "GET", "path": f"/v2/kubernetes/clusters/{id}", "status": 200})
        for id in ("77031cef-92cd-415e-8553-823dbc30a7e6", "4a70c5dd-4f85-49f5-b101-76dca31c6ac0")
    )
    assert first == second == "account: GET /v2/kubernetes/clusters/ID 200"


def test_a_deployment_that_was_there_is_changed_once_for_each_generation() -> None:
    known: dict[str, int | None] = {"argocd-server": 1}

    def told(type: str, name: str, generation: int) -> list[str]:
        metadata = {"name": name, "generation": generation}
        return list(cluster_happenings({"type": type, "object": {"metadata": metadata}}, known))

    assert told("ADDED", "argocd-redis", 1) == ["helm: Deployment argocd-redis is made"]
    assert told("MODIFIED", "argocd-redis", 1) == []
    assert told("MODIFIED", "argocd-server", 1) == []
    assert told("MODIFIED", "argocd-server", 2) == ["helm: Deployment argocd-server is changed"]
    assert told("DELETED", "argocd-server", 3) == []


def test_the_state_of_helms_record_is_told() -> None:
    metadata = {"name": "sh.helm.release.v1.argocd.v1", "labels": {"status": "pending-install"}}
    change = {"type": "ADDED", "object": {"metadata": metadata}}
    assert list(cluster_happenings(change, {})) == ["helm: the release is pending-install"]
