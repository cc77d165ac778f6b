"""Nothing is created in the account of another team, or over the state of another backend."""

from dataclasses import replace

import pytest

from doks_gitops.account import AccountError, RunningCluster, Version
from tests.unit.fake_api import serve
from tests.unit.mocked import Run, registered
from tests.unit.test_program import FULL, TEAM, TOKEN, platform

OWN = replace(TEAM, team="own-team")
RUNNING = RunningCluster(
    "cluster-id", "demo", "nyc1", Version.parse("1.34.2-do.0"), False, "running", True
)


def mark(run: Run) -> str:
    return str(run.one("KubernetesCluster").inputs["tags"][-1])


@pytest.mark.parametrize("preview", [True, False])
def test_a_token_of_another_team_is_refused_before_anything_is_created(
    monkeypatch: pytest.MonkeyPatch, preview: bool
) -> None:
    first = platform(monkeypatch, config=FULL, team=OWN)
    types = registered(monkeypatch)
    other = replace(OWN, team="other-team")
    with pytest.raises(AccountError, match="own-team, and the token is of the team other-team"):
        platform(monkeypatch, config=FULL, team=other, previous=first, preview=preview)
    created = [kind for kind in types if not kind.startswith("doks-gitops:")]
    assert created == ["pulumi:index:Stash"]


@pytest.mark.parametrize("preview", [True, False])
def test_a_cluster_with_the_mark_of_another_state_is_refused(
    monkeypatch: pytest.MonkeyPatch, preview: bool
) -> None:
    first = platform(monkeypatch, team=OWN)
    running = replace(OWN, clusters=(replace(RUNNING, mark=mark(first)),), registries=("team",))
    assert mark(platform(monkeypatch, team=running, previous=first)) == mark(first)
    types = registered(monkeypatch)
    with pytest.raises(AccountError, match=r"another state.*\n?.*PULUMI_BACKEND_URL"):
        # The state of another backend has no mark yet, and makes its own.
        platform(monkeypatch, team=running, preview=preview)
    assert not [kind for kind in types if kind.startswith("digitalocean:")]


def test_a_cluster_without_a_mark_gets_that_of_its_state(monkeypatch: pytest.MonkeyPatch) -> None:
    unmarked = replace(OWN, clusters=(RUNNING,), registries=("team",))
    tag = mark(platform(monkeypatch, team=unmarked))
    assert tag.startswith("doks-gitops-owner:doks-gitops:dev:")


def test_the_team_and_the_mark_are_read_from_the_account() -> None:
    from doks_gitops.account import DigitalOceanClient

    tags = ["k8s", "k8s:id", "Shop", "DOKS-gitops-owner:doks-gitops:dev:1"]
    cluster = {
        "id": "id",
        "name": "demo",
        "region": "nyc1",
        "version": "1.34.2-do.0",
        "status": {"state": "running"},
        "tags": tags,
    }
    with serve() as api:
        api.answer("/v2/account", (200, {"account": {"uuid": "user", "team": {"uuid": "team"}}}))
        api.answer("/v2/kubernetes/clusters", (200, {"kubernetes_clusters": [cluster]}))
        api.answer("/v2/kubernetes/clusters/id", (202, {}))
        client = DigitalOceanClient(TOKEN, api.url)
        assert client.team() == "team"
        [running] = client.clusters()
        client.tag_cluster(running, ["Shop", "new"])
    assert running.tags == ("Shop", "DOKS-gitops-owner:doks-gitops:dev:1")
    assert running.mark == "doks-gitops-owner:doks-gitops:dev:1"
    assert api.bodies == [{"name": "demo", "tags": ["Shop", "new"]}]
