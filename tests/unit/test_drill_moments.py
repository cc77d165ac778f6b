"""The moments at which runs are killed are spread over a run and have the same names in each."""

import pytest

from sandbox.drills.drill import Failed
from sandbox.drills.moments import (
    account_happening,
    cluster_happenings,
    engine_happening,
    spread,
)

RUN = tuple("abcdefghijk")


def test_moments_are_spread_evenly_from_the_first_happening_to_the_last() -> None:
    assert spread(RUN, 3, []) == ["a", "f", "k"]
    assert spread(RUN, 11, []) == list(RUN)
    assert spread(RUN, 1, []) == ["a"]
    assert spread(RUN, 0, []) == []


def test_a_required_moment_replaces_the_nearest_one() -> None:
    assert spread(RUN, 3, ["e"]) == ["a", "e", "k"]
    assert spread(RUN, 3, ["f"]) == ["a", "f", "k"]
    assert spread(RUN, 3, ["e", "g"]) == ["a", "e", "g"]


def test_too_many_or_unknown_moments_are_an_error() -> None:
    with pytest.raises(Failed, match="only 11 things happen"):
        spread(RUN, 12, [])
    with pytest.raises(Failed, match="never happened in a run: z"):
        spread(RUN, 3, ["z"])
    with pytest.raises(Failed, match="none is left out: a, b"):
        spread(RUN, 1, ["a", "b"])


def test_a_step_of_the_engine_has_the_same_name_in_every_run() -> None:
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


def test_requests_for_different_clusters_have_the_same_name() -> None:
    first, second = (
        account_happening({"method": "GET", "path": f"/v2/kubernetes/clusters/{id}", "status": 200})
        for id in ("77031cef-92cd-415e-8553-823dbc30a7e6", "4a70c5dd-4f85-49f5-b101-76dca31c6ac0")
    )
    assert first == second == "account: GET /v2/kubernetes/clusters/ID 200"


def test_an_existing_deployment_is_changed_once_for_each_generation() -> None:
    known: dict[str, int | None] = {"argocd-server": 1}

    def happenings(type: str, name: str, generation: int) -> list[str]:
        metadata = {"name": name, "generation": generation}
        return list(cluster_happenings({"type": type, "object": {"metadata": metadata}}, known))

    created, changed = (
        f"helm: Deployment {name}"
        for name in ("argocd-redis is created", "argocd-server is changed")
    )
    assert happenings("ADDED", "argocd-redis", 1) == [created]
    assert happenings("MODIFIED", "argocd-redis", 1) == []
    assert happenings("MODIFIED", "argocd-server", 1) == []
    assert happenings("MODIFIED", "argocd-server", 2) == [changed]
    assert happenings("DELETED", "argocd-server", 3) == []


def test_a_change_of_helms_release_is_named_by_its_state() -> None:
    metadata = {"name": "sh.helm.release.v1.argocd.v1", "labels": {"status": "pending-install"}}
    change = {"type": "ADDED", "object": {"metadata": metadata}}
    assert list(cluster_happenings(change, {})) == ["helm: the release is pending-install"]
