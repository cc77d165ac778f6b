"""When a cluster may be given up for lost."""

import pytest

from account import Account, RunningCluster, Version
from account.lost import refusal


def team(*clusters: RunningCluster) -> Account:
    return Account(regions=(), sizes=(), versions=(), clusters=clusters, registries=())


def cluster(name: str, state: str) -> RunningCluster:
    return RunningCluster(
        id="id-1",
        name=name,
        region="nyc1",
        version=Version.of("1.34.1-do.0"),
        ha=False,
        state=state,
        registry_enabled=True,
    )


def test_cluster_that_the_account_does_not_have_is_lost() -> None:
    assert refusal(team(cluster("other", "running")), "shop") is None


@pytest.mark.parametrize("state", ["running", "degraded", "provisioning", "error"])
def test_cluster_that_the_account_has_is_never_given_up_for_lost(state: str) -> None:
    why = refusal(team(cluster("shop", state)), "shop")
    assert why is not None
    assert f"the account says that it is {state}, in nyc1" in why
