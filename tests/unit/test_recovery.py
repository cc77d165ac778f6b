"""What recovery does is decided by what state, account and cluster say, and by nothing else."""

from dataclasses import replace
from typing import Any

import pytest

from doks_gitops.account import Account, RunningCluster, Version
from doks_gitops.recovery.facts import Facts, History, Inside, Known, Revision, clusters_of
from doks_gitops.recovery.plan import (
    DropRevisions,
    Forget,
    FreeNamespace,
    Refused,
    TakeTurn,
    Up,
    Wait,
    plan,
)
from doks_gitops.settings import Settings
from tests.unit.stackfiles import CLUSTER, parsed

ID, OTHER = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
POOL, VPC = "33333333-3333-4333-8333-333333333333", "44444444-4444-4444-8444-444444444444"
PROVIDER = "urn:pulumi:dev::doks-gitops::pulumi:providers:kubernetes::kubernetes"
CLUSTER_URN = "urn:pulumi:dev::doks-gitops::digitalocean:index/kubernetesCluster::cluster"
STACK = "urn:pulumi:dev::doks-gitops::pulumi:pulumi:Stack::doks-gitops-dev"
INSIDE = ("argocd/argocd", "argocd/argocd-admin-password")
KNOWN = Known(
    STACK, ID, CLUSTER_URN, VPC, "team", PROVIDER, frozenset({ID, POOL, VPC, "team", *INSIDE})
)
DEPLOYED = Revision("sh.helm.release.v1.argocd.v1", 1, "deployed")


def stack(*, registry: bool = False, **cluster: Any) -> Settings:
    pools = [
        {"name": "default", "size": "s-2vcpu-4gb", "count": 3},
        {"name": "burst", "size": "s-2vcpu-4gb", "count": 1},
    ]
    return parsed(
        cluster={**CLUSTER, "nodePools": pools, **cluster},
        registry={"name": "team", "create": registry},
    )


def running(**given: Any) -> RunningCluster:
    return RunningCluster(
        **{
            "id": ID,
            "name": "demo",
            "region": "nyc1",
            "version": Version.parse("1.34.1-do.0"),
            "ha": False,
            "state": "running",
            "registry_enabled": True,
            "node_pools": {"default": OTHER, "burst": POOL},
            **given,
        }
    )


def facts(**given: Any) -> Facts:
    return Facts(
        **{
            "settings": stack(),
            "known": KNOWN,
            "running": (running(),),
            "region_up": True,
            "registry": True,
            "inside": Inside(history=History((DEPLOYED,))),
            "vpc": VPC,
            **given,
        }
    )


def test_stack_that_lost_nothing_is_only_deployed() -> None:
    assert plan(facts()) == [Up()]


def test_what_was_in_a_cluster_is_forgotten_once_the_account_says_that_it_is_gone() -> None:
    forget, up = plan(facts(running=(), inside=None))
    assert isinstance(forget, Forget)
    assert forget.urn == PROVIDER
    assert up == Up()


def test_cluster_that_has_a_new_name_in_the_stack_file_is_not_taken_for_gone() -> None:
    team = Account((), (), (), (running(name="demo"), running(id=OTHER, name="other")), ())
    assert clusters_of(team, "renamed", KNOWN) == (running(name="demo"),)
    assert clusters_of(team, "demo", Known()) == (running(name="demo"),)
    assert clusters_of(team, "renamed", Known()) == ()


def test_first_deployment_has_nothing_to_forget() -> None:
    assert plan(facts(known=Known(), running=(), inside=None)) == [Up()]


@pytest.mark.parametrize("state", ["running", "degraded", "upgrading", "error"])
def test_nothing_is_forgotten_of_a_cluster_that_is_there_and_does_not_answer(state: str) -> None:
    with pytest.raises(Refused, match=rf"is not lost.* is {state}.*\n?.*Nothing was forgotten"):
        plan(facts(running=(running(state=state),), inside=None))


def test_refusal_in_a_region_that_is_down_says_how_to_move_to_another() -> None:
    with pytest.raises(
        Refused, match=r"cluster\.region REGION --stack dev, then bin/platform recover --stack dev"
    ):
        plan(facts(inside=None, region_up=False))
    with pytest.raises(Refused) as refused:
        plan(facts(inside=None))
    assert "cluster.region" not in str(refused.value)


def test_stack_that_moves_forgets_a_cluster_that_does_not_answer_and_replaces_it() -> None:
    forget, up = plan(facts(settings=stack(region="sfo3"), inside=None))
    assert isinstance(forget, Forget)
    assert forget.urn == PROVIDER
    assert up == Up()


def test_stack_that_moves_forgets_nothing_of_a_cluster_that_answers() -> None:
    assert plan(facts(settings=stack(region="sfo3"))) == [Up()]


def test_protected_cluster_is_not_given_up_without_being_told_to() -> None:
    moved = stack(region="sfo3", protect=True)
    with pytest.raises(Refused, match=r"protect false --stack dev.*\n?.*state unprotect"):
        plan(facts(settings=moved, inside=None))


def test_cluster_that_the_state_does_not_know_is_taken_over_with_pools_and_password() -> None:
    inside = Inside(admin_password=True, history=History((DEPLOYED,)))
    turn, drop, up = plan(facts(known=Known(), inside=inside))
    assert turn == TakeTurn(None)
    # Helm would refuse to install a release of a name that it has a record of.
    assert drop == DropRevisions("argocd", (DEPLOYED,))
    assert up == Up({"cluster": ID, "nodePools": {"burst": POOL}, "adminPassword": True})


def test_vpc_is_taken_over_only_where_the_stack_makes_one() -> None:
    own = stack(vpc={"ipRange": "10.10.0.0/20"})
    [up] = plan(facts(settings=own, known=Known(), inside=Inside()))
    assert isinstance(up, Up)
    assert up.adopt["vpc"] == VPC
    [up] = plan(facts(known=Known(), inside=Inside()))
    assert isinstance(up, Up)
    assert "vpc" not in up.adopt


def test_cluster_that_is_still_being_made_is_waited_for_and_then_taken_over() -> None:
    making = running(state="provisioning")
    known = Known(STACK, interrupted=(CLUSTER_URN,))
    steps = plan(facts(known=known, running=(making,), inside=None))
    assert steps == [
        TakeTurn(STACK, (CLUSTER_URN,)),
        Wait(making),
        Up({"cluster": ID, "nodePools": {"burst": POOL}}),
    ]


def test_what_a_killed_run_made_beside_the_cluster_is_taken_over() -> None:
    own = stack(registry=True, vpc={"ipRange": "10.10.0.0/20"})
    inside = Inside(admin_password=True, history=History((DEPLOYED,)))
    assert plan(facts(settings=own, inside=inside)) == [Up()]

    unknown = replace(KNOWN, vpc=None, registry=None, ids=frozenset({ID, "argocd/argocd"}))
    assert plan(facts(settings=own, known=unknown, inside=inside)) == [
        Up(
            {
                "nodePools": {"burst": POOL},
                "adminPassword": True,
                "vpc": VPC,
                "registry": True,
            }
        )
    ]


def test_vpc_that_a_killed_run_made_is_taken_over_before_there_is_a_cluster() -> None:
    own = stack(vpc={"ipRange": "10.10.0.0/20"})
    known = Known(STACK, interrupted=("vpc",))
    steps = plan(facts(settings=own, known=known, running=(), inside=None))
    assert steps == [TakeTurn(STACK, ("vpc",)), Up({"vpc": VPC})]


def test_registry_that_another_stack_owns_is_not_taken_over() -> None:
    assert plan(facts(known=Known(STACK), running=())) == [Up()]


def test_cluster_of_which_the_state_knows_another_is_taken_over_in_its_place() -> None:
    steps = plan(facts(known=replace(KNOWN, cluster=OTHER)))
    # With the cluster goes all that depends on it: its provider, and what was in it.
    assert [step.urn for step in steps if isinstance(step, Forget)] == [CLUSTER_URN]
    assert isinstance(steps[-1], Up)
    assert steps[-1].adopt["cluster"] == ID


def test_namespace_that_waits_for_a_dead_argocd_is_let_go() -> None:
    steps = plan(facts(inside=Inside(terminating=True)))
    assert steps == [FreeNamespace("argocd"), Up()]


@pytest.mark.parametrize("status", ["pending-upgrade", "failed"])
def test_upgrade_that_was_not_completed_is_made_again_from_the_revision_before(status: str) -> None:
    unfinished = Revision("sh.helm.release.v1.argocd.v2", 2, status)
    turn, drop, up = plan(facts(inside=Inside(history=History((DEPLOYED, unfinished)))))
    # To Helm, a release that another run is working on looks the same.
    assert turn == TakeTurn(STACK)
    assert drop == DropRevisions("argocd", (unfinished,), outdated=DEPLOYED)
    assert up == Up()


@pytest.mark.parametrize("status", ["pending-install", "failed"])
def test_installation_that_was_not_completed_is_begun_anew(status: str) -> None:
    unfinished = Revision("sh.helm.release.v1.argocd.v1", 1, status)
    _, drop, _ = plan(facts(inside=Inside(history=History((unfinished,)))))
    assert drop == DropRevisions("argocd", (unfinished,))


def test_failure_that_a_later_revision_has_mended_is_history() -> None:
    failed = Revision("sh.helm.release.v1.argocd.v1", 1, "failed")
    deployed = Revision("sh.helm.release.v1.argocd.v2", 2, "deployed")
    assert plan(facts(inside=Inside(history=History((failed, deployed))))) == [Up()]


def test_stack_that_moves_does_not_give_up_a_cluster_that_its_state_does_not_know() -> None:
    with pytest.raises(Refused, match=r"(?s)cluster\.region nyc1 --stack dev.*cluster delete"):
        plan(facts(settings=stack(region="sfo3"), known=Known(STACK)))


def test_two_clusters_of_one_name_are_for_a_person_to_decide() -> None:
    with pytest.raises(Refused, match=f"{ID} and {OTHER}"):
        plan(facts(running=(running(), running(id=OTHER))))


def test_state_is_read_from_what_pulumi_exports() -> None:
    export = {
        "deployment": {
            "resources": [
                {"type": "pulumi:pulumi:Stack", "urn": STACK},
                {"type": "digitalocean:index/kubernetesCluster:KubernetesCluster", "id": ID,
                 "urn": CLUSTER_URN},
                {"type": "digitalocean:index/vpc:Vpc", "id": VPC, "urn": "v"},
                {"type": "digitalocean:index/containerRegistry:ContainerRegistry", "id": "team",
                 "urn": "c"},
                {"type": "digitalocean:index/kubernetesNodePool:KubernetesNodePool", "id": POOL,
                 "urn": "n"},
                {"type": "pulumi:providers:kubernetes", "id": "x", "urn": PROVIDER},
                {"type": "kubernetes:helm.sh/v3:Release", "id": INSIDE[0], "urn": "r"},
                {"type": "kubernetes:core/v1:Secret", "id": INSIDE[1], "urn": "s"},
                {"type": "digitalocean:index/kubernetesCluster:KubernetesCluster", "id": OTHER,
                 "urn": CLUSTER_URN, "delete": True},
            ],
            "pending_operations": [
                {"type": "creating", "resource": {"urn": "created"}},
                {"type": "updating", "resource": {"urn": "updated"}},
            ],
        }
    }  # fmt: skip
    known = Known.of(export)
    assert known == replace(KNOWN, ids=KNOWN.ids | {"x"}, interrupted=("created",))
    assert Known.of({"deployment": None}) == Known()
