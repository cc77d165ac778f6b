"""The plan of a recovery depends on the state, the account and the cluster alone."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from doks_gitops.account import (
    Account,
    AccountError,
    Change,
    Owner,
    RunningCluster,
    Version,
    Volume,
    VolumeSnapshot,
)
from doks_gitops.account.model import RunningPool
from doks_gitops.account.recorded import CLUSTER as CLUSTER_TYPE
from doks_gitops.recovery.observed import (
    NODE_POOL,
    ClusterState,
    Consent,
    HelmHistory,
    HelmRevision,
    Observed,
    StackState,
    clusters_of,
    remove_deleted,
    without,
)
from doks_gitops.recovery.plan import (
    AcquireLock,
    DeleteFromState,
    DeleteHelmRevisions,
    Deploy,
    FinalizeNamespace,
    Forget,
    KeepAssociated,
    MarkCluster,
    Refused,
    RemoveDeleted,
    RestoreCopy,
    RestoreSnapshot,
    WaitForCluster,
    left_alone,
    plan,
)
from doks_gitops.settings import Settings
from doks_gitops.volumes import Claim, NotAssignable
from doks_gitops.volumes.cluster import PersistentVolume
from doks_gitops.volumes.copies import copy_tag_of
from doks_gitops.volumes.tags import USED, Storage, claim_tag, storage_tag
from tests.unit.sealing_keys import pair, section
from tests.unit.stackfiles import CLUSTER, parsed

ID, OTHER = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
POOL, VPC = "33333333-3333-4333-8333-333333333333", "44444444-4444-4444-8444-444444444444"
PROVIDER = "urn:pulumi:dev::doks-gitops::pulumi:providers:kubernetes::kubernetes"
CLUSTER_URN = "urn:pulumi:dev::doks-gitops::digitalocean:index/kubernetesCluster::cluster"
STACK = "urn:pulumi:dev::doks-gitops::pulumi:pulumi:Stack::doks-gitops-dev"
IN_CLUSTER = ("argocd/argocd", "argocd/argocd-admin-password")
TEAM = "55555555-5555-4555-8555-555555555555"
MARK, OTHER_MARK = "doks-gitops-owner:doks-gitops:dev:a", "doks-gitops-owner:doks-gitops:dev:b"
OWNER = Owner(TEAM, MARK)
STATE = StackState(
    STACK,
    ID,
    CLUSTER_URN,
    VPC,
    "team",
    PROVIDER,
    frozenset({ID, POOL, VPC, "team", *IN_CLUSTER}),
    {POOL: "n"},
    owner=OWNER,
)
NEW_STATE = Consent(new_state=True)
UNKNOWN = StackState(STACK, owner=OWNER)
"""Without the cluster, which has its mark."""
ABANDON = Consent(abandon_cluster=True)
MOVED = (Change(("cluster", "region"), "sfo3", "nyc1", "nyc1"),)
RESIZED = (Change(("cluster", "nodePools", 0, "size"), "s-4vcpu-8gb", *["s-2vcpu-4gb"] * 2),)
DEPLOYED = HelmRevision("sh.helm.release.v1.argocd.v1", 1, "deployed", "7", "uid")


def stack(*, registry: bool = False, **cluster: Any) -> Settings:
    pools = [
        {"name": "default", "size": "s-2vcpu-4gb", "count": 3},
        {"name": "burst", "size": "s-2vcpu-4gb", "count": 1},
    ]
    return parsed(
        cluster={**CLUSTER, "nodePools": pools, **cluster},
        registry={"name": "team", "create": registry},
    )


def running(**changes: Any) -> RunningCluster:
    return RunningCluster(
        **{
            "id": ID,
            "name": "demo",
            "region": "nyc1",
            "version": Version.parse("1.34.1-do.0"),
            "ha": False,
            "state": "running",
            "registry_enabled": True,
            "pools": {
                name: RunningPool(id, "s-2vcpu-4gb", 1)
                for name, id in (("default", OTHER), ("burst", POOL))
            },
            "default_pool": "default",
            "endpoint": "https://cluster.test",
            "tags": ("shop", MARK),
            "mark": MARK,
            **changes,
        }
    )


def revisions(*revisions: HelmRevision) -> ClusterState:
    return ClusterState(helm_history=HelmHistory(revisions))


def observed(**changes: Any) -> Observed:
    return Observed(
        **{
            "settings": stack(),
            "state": STATE,
            "clusters": (running(),),
            "region_available": True,
            "registry_exists": True,
            "cluster_state": revisions(DEPLOYED),
            "vpc": VPC,
            "team": TEAM,
            "mark": OTHER_MARK,
            **changes,
        }
    )


def test_a_stack_that_lost_nothing_is_only_deployed() -> None:
    assert plan(observed()) == [Deploy()]


def test_what_was_in_a_cluster_that_is_gone_from_the_account_is_deleted_from_the_state() -> None:
    lock, delete, deploy = plan(observed(clusters=(), cluster_state=None))
    assert lock == AcquireLock(STACK)
    assert isinstance(delete, DeleteFromState)
    # And its pool, which the stack file may not have any more.
    assert (delete.urn, delete.dependents) == (PROVIDER, ("n",))
    assert deploy == Deploy()
    # A run that was killed before there was a provider.
    state = replace(STATE, provider=None)
    _, delete, _ = plan(observed(state=state, clusters=(), cluster_state=None))
    assert isinstance(delete, DeleteFromState)
    assert (delete.urn, delete.dependents) == ("n", ())


def test_a_cluster_with_a_new_name_in_the_stack_file_is_not_considered_gone() -> None:
    team = Account((), (), (), (running(name="demo"), running(id=OTHER, name="other")), ())
    assert clusters_of(team, "renamed", STATE) == (running(name="demo"),)
    assert clusters_of(team, "demo", StackState()) == (running(name="demo"),)
    assert clusters_of(team, "renamed", StackState()) == ()


def test_a_first_deployment_deletes_nothing() -> None:
    assert plan(observed(state=StackState(), clusters=(), cluster_state=None)) == [Deploy()]


@pytest.mark.parametrize("state", ["running", "degraded", "upgrading", "error"])
def test_nothing_is_deleted_if_the_cluster_exists_and_does_not_answer(state: str) -> None:
    with pytest.raises(Refused, match=rf"is not lost.* is {state}.*\n?.*Nothing was changed"):
        plan(observed(clusters=(running(state=state),), cluster_state=None))


def test_a_refusal_in_an_unavailable_region_says_how_to_move_to_another() -> None:
    with pytest.raises(
        Refused, match=r"cluster\.region REGION --stack dev, then bin/platform recover --stack dev"
    ):
        plan(observed(cluster_state=None, region_available=False))
    with pytest.raises(Refused) as refused:
        plan(observed(cluster_state=None))
    assert "cluster.region" not in str(refused.value)


def test_a_move_replaces_a_cluster_that_does_not_answer() -> None:
    _, delete, deploy = plan(
        observed(settings=stack(region="sfo3"), changes=MOVED, cluster_state=None, consent=ABANDON)
    )
    assert isinstance(delete, DeleteFromState)
    assert delete.urn == PROVIDER
    assert deploy == Deploy()


def test_a_move_deletes_nothing_of_a_cluster_that_answers_from_the_state() -> None:
    assert plan(observed(settings=stack(region="sfo3"), changes=MOVED)) == [Deploy()]


def test_a_move_does_not_replace_a_protected_cluster() -> None:
    moved = stack(region="sfo3", protect=True)
    with pytest.raises(Refused, match=r"protect false --stack dev.*\n?.*state unprotect"):
        plan(observed(settings=moved, changes=MOVED, cluster_state=None))


def test_a_cluster_that_is_not_in_the_state_is_adopted_with_pools_and_password() -> None:
    cluster_state = replace(revisions(DEPLOYED), admin_password=True)
    lost = observed(state=StackState(), cluster_state=cluster_state, consent=NEW_STATE)
    lock, mark, delete, deploy = plan(lost)
    assert lock == AcquireLock(None)
    assert isinstance(mark, MarkCluster)
    assert mark.tags == ("shop", OTHER_MARK)
    # Helm would refuse to install a release of a name that it has a record of.
    assert delete == DeleteHelmRevisions("argocd", (DEPLOYED,))
    assert deploy == Deploy(
        {
            "cluster": ID,
            "nodePools": {"burst": POOL},
            "adminPassword": True,
            "mark": OTHER_MARK,
        }
    )


def test_the_pool_that_belongs_to_the_cluster_is_not_adopted_by_itself() -> None:
    reordered = running(default_pool="burst")
    state = replace(UNKNOWN, ids=frozenset())
    deploy = plan(observed(state=state, clusters=(reordered,)))[-1]
    assert isinstance(deploy, Deploy)
    assert deploy.adopt["nodePools"] == {"default": OTHER}


def test_a_pool_that_has_become_the_first_one_changes_places_with_the_former_one() -> None:
    retagged = running(default_pool="burst")
    _, delete, deploy = plan(observed(clusters=(retagged,)))
    assert delete == Forget("n", "the pool burst is now the first one, a part of the cluster")
    assert deploy == Deploy({"nodePools": {"default": OTHER}})
    export = {
        "version": 3,
        "deployment": {
            "resources": [
                {"urn": "n"},
                {
                    "urn": "namespace",
                    "dependencies": ["cluster", "n"],
                    "propertyDependencies": {"metadata": ["n"], "spec": None},
                },
            ]
        },
    }
    [namespace] = without(export, "n")["deployment"]["resources"]
    assert namespace == {
        "urn": "namespace",
        "dependencies": ["cluster"],
        "propertyDependencies": {"metadata": [], "spec": []},
    }


def test_a_pool_that_neither_state_nor_stack_file_has_is_named() -> None:
    without_burst = stack(nodePools=CLUSTER["nodePools"])
    deleted_by_the_deployment = observed(settings=without_burst)
    assert not [*left_alone(deleted_by_the_deployment)]
    state = replace(STATE, ids=STATE.ids - {POOL})
    [text] = left_alone(observed(settings=without_burst, state=state))
    assert f"The state does not have the node pool burst ({POOL}, 1 x s-2vcpu-4gb)" in text
    assert not [*left_alone(observed(state=state))], "it is adopted"


def test_a_vpc_is_adopted_only_if_the_stack_creates_one() -> None:
    own = stack(vpc={"ipRange": "10.10.0.0/20"})
    lost = observed(state=StackState(), cluster_state=ClusterState(), consent=NEW_STATE)
    *_, deploy = plan(replace(lost, settings=own))
    assert isinstance(deploy, Deploy)
    assert deploy.adopt["vpc"] == VPC
    *_, deploy = plan(lost)
    assert isinstance(deploy, Deploy)
    assert "vpc" not in deploy.adopt


def test_a_cluster_that_is_being_created_is_awaited_and_adopted() -> None:
    making = running(state="provisioning")
    state = StackState(STACK, pending_creates=(CLUSTER_URN,), owner=OWNER)
    steps = plan(observed(state=state, clusters=(making,), cluster_state=None))
    assert steps == [
        AcquireLock(STACK, (CLUSTER_URN,)),
        WaitForCluster(making),
        Deploy({"cluster": ID, "nodePools": {"burst": POOL}}),
    ]


def test_what_a_killed_run_created_beside_the_cluster_is_adopted() -> None:
    own = stack(registry=True, vpc={"ipRange": "10.10.0.0/20"})
    cluster_state = replace(revisions(DEPLOYED), admin_password=True)
    assert plan(observed(settings=own, cluster_state=cluster_state)) == [Deploy()]

    unknown = replace(STATE, vpc=None, registry=None, ids=frozenset({ID, "argocd/argocd"}))
    assert plan(observed(settings=own, state=unknown, cluster_state=cluster_state)) == [
        Deploy(
            {
                "nodePools": {"burst": POOL},
                "adminPassword": True,
                "vpc": VPC,
                "registry": True,
            }
        )
    ]


def test_a_vpc_that_a_killed_run_created_is_adopted_before_there_is_a_cluster() -> None:
    own = stack(vpc={"ipRange": "10.10.0.0/20"})
    state = StackState(STACK, pending_creates=("vpc",))
    steps = plan(observed(settings=own, state=state, clusters=(), cluster_state=None))
    assert steps == [AcquireLock(STACK, ("vpc",)), Deploy({"vpc": VPC})]


def test_the_registry_of_another_stack_is_not_adopted() -> None:
    assert plan(observed(state=StackState(STACK), clusters=())) == [Deploy()]


def test_a_cluster_is_adopted_in_place_of_a_lost_one_that_the_state_has() -> None:
    steps = plan(observed(state=replace(STATE, cluster=OTHER)))
    # Its provider, and what was in it, depend on it.
    assert [step.urn for step in steps if isinstance(step, DeleteFromState)] == [CLUSTER_URN]
    assert isinstance(steps[-1], Deploy)
    assert steps[-1].adopt["cluster"] == ID


def test_a_namespace_that_waits_for_a_deleted_argocd_is_finalized() -> None:
    steps = plan(observed(cluster_state=ClusterState(terminating="uid")))
    assert steps == [FinalizeNamespace("argocd", "uid"), Deploy()]


@pytest.mark.parametrize("status", ["pending-upgrade", "failed"])
def test_an_incomplete_upgrade_is_repeated_from_the_deployed_revision(status: str) -> None:
    incomplete = HelmRevision("sh.helm.release.v1.argocd.v2", 2, status, "7", "uid")
    lock, delete, deploy = plan(observed(cluster_state=revisions(DEPLOYED, incomplete)))
    # A revision that another run is working on has the same status.
    assert lock == AcquireLock(STACK)
    assert delete == DeleteHelmRevisions("argocd", (incomplete,), outdated=DEPLOYED)
    assert deploy == Deploy()


@pytest.mark.parametrize("status", ["pending-install", "failed"])
def test_an_incomplete_installation_is_repeated(status: str) -> None:
    incomplete = HelmRevision("sh.helm.release.v1.argocd.v1", 1, status, "7", "uid")
    _, delete, _ = plan(observed(cluster_state=revisions(incomplete)))
    assert delete == DeleteHelmRevisions("argocd", (incomplete,))


def test_sealed_secrets_are_installed_over_what_a_lost_state_had_installed() -> None:
    deployed = HelmRevision("sh.helm.release.v1.sealed-secrets.v1", 1, "deployed", "7", "uid")
    cluster_state = replace(revisions(), sealed_secrets_history=HelmHistory((deployed,)))
    sealed = parsed(cluster=CLUSTER, sealedSecrets=section(pair("new")))
    assert plan(observed(settings=sealed, cluster_state=cluster_state))[1:-1] == [
        DeleteHelmRevisions("sealed-secrets", (deployed,))
    ]
    assert plan(observed(cluster_state=cluster_state)) == [Deploy()]


def test_sealed_secrets_are_installed_again_although_argo_cds_namespace_is_being_deleted() -> None:
    deployed = HelmRevision("sh.helm.release.v1.sealed-secrets.v1", 1, "deployed", "7", "uid")
    cluster_state = replace(
        revisions(DEPLOYED), terminating="uid", sealed_secrets_history=HelmHistory((deployed,))
    )
    sealed = parsed(cluster=CLUSTER, sealedSecrets=section(pair("new")))
    steps = plan(
        observed(
            settings=sealed, state=replace(STATE, ids=frozenset()), cluster_state=cluster_state
        )
    )
    # Argo CD's records are deleted with the namespace.
    assert steps[1:-1] == [
        FinalizeNamespace("argocd", "uid"),
        DeleteHelmRevisions("sealed-secrets", (deployed,)),
    ]


def test_a_failed_revision_before_the_deployed_one_is_ignored() -> None:
    failed = HelmRevision("sh.helm.release.v1.argocd.v1", 1, "failed", "7", "uid")
    deployed = HelmRevision("sh.helm.release.v1.argocd.v2", 2, "deployed", "7", "uid")
    assert plan(observed(cluster_state=revisions(failed, deployed))) == [Deploy()]


def test_a_move_does_not_replace_a_cluster_that_is_not_in_the_state() -> None:
    with pytest.raises(Refused, match=r"(?s)cluster\.region' nyc1 --stack dev.*cluster delete"):
        plan(observed(settings=stack(region="sfo3"), changes=MOVED, state=UNKNOWN))


def test_a_replacement_in_the_same_region_deletes_nothing_from_the_state() -> None:
    resized = observed(settings=stack(), changes=RESIZED)
    assert plan(resized) == [Deploy()]
    with pytest.raises(Refused, match="is not lost"):
        plan(replace(resized, cluster_state=None))
    with pytest.raises(Refused, match=r"size' s-2vcpu-4gb --stack dev"):
        plan(replace(resized, state=UNKNOWN))
    protected = replace(resized, settings=stack(protect=True))
    with pytest.raises(Refused, match=r"nodePools\[0\]\.size s-4vcpu-8gb.*s-2vcpu-4gb.*protected"):
        plan(protected)


@pytest.mark.parametrize("status", ["uninstalling", "deployed", None])
def test_a_release_that_is_uninstalled_is_removed_from_the_state_before_a_replacement(
    status: str | None,
) -> None:
    """Helm refuses to uninstall it once more, which Pulumi would try."""
    state = replace(STATE, releases={"argocd/argocd": "release"})
    left = [replace(DEPLOYED, status=status)] if status else []
    steps = plan(observed(changes=RESIZED, state=state, cluster_state=revisions(*left)))
    forget = Forget("release", "it is uninstalled already")
    assert (forget in steps) == (status != "deployed")
    export = {"deployment": {"resources": [resource("release"), resource("a", "release")]}}
    [kept] = forget.edited(export)["deployment"]["resources"]
    assert (kept["urn"], kept["dependencies"]) == ("a", [])


def test_nothing_is_adopted_from_a_cluster_that_is_replaced() -> None:
    state = replace(STATE, ids=frozenset({ID}))
    cluster_state = replace(ClusterState(), admin_password=True)
    steps = plan(observed(changes=RESIZED, state=state, cluster_state=cluster_state))
    assert steps == [Deploy()]


def test_what_an_interrupted_replacement_has_deleted_is_removed_from_the_state_first() -> None:
    steps = plan(
        observed(
            state=StackState(STACK, pending_creates=(CLUSTER_URN,), owner=OWNER),
            clusters=(),
            cluster_state=None,
            deleted=(CLUSTER_URN, "urn::Release::argocd"),
            account_clusters=frozenset({OTHER}),
        )
    )
    remove = RemoveDeleted((CLUSTER_URN, "urn::Release::argocd"), frozenset({OTHER}))
    assert steps == [AcquireLock(STACK, (CLUSTER_URN,)), remove, Deploy()]
    assert str(remove).endswith(
        "has already deleted: index/kubernetesCluster cluster, Release argocd."
    )


def resource(urn: str, *needed: str, **fields: Any) -> dict[str, Any]:
    return {"type": "t", "urn": urn, "id": urn, "dependencies": list(needed), **fields}


def kubernetes(id: str, cluster: str, **fields: Any) -> dict[str, Any]:
    inputs = {"clusterIdentifier": cluster}
    return resource(PROVIDER, type="pulumi:providers:kubernetes", id=id, inputs=inputs, **fields)


def removed(*resources: dict[str, Any], clusters: tuple[str, ...] = ()) -> tuple[str, ...]:
    export = {"version": 3, "deployment": {"resources": list(resources), "manifest": {}}}
    kept, urns = remove_deleted(export, clusters, ())
    assert kept["version"] == 3
    assert kept["deployment"]["manifest"] == {}
    assert [*kept["deployment"]["resources"]] == [
        resource for resource in resources if resource["urn"] not in urns or "kept" in resource
    ]
    return urns


def test_what_pulumi_has_deleted_and_not_created_again_is_removed_with_its_dependents() -> None:
    pending = {"pendingReplacement": True}
    assert removed(
        resource("registry"),
        resource("cluster", type=CLUSTER_TYPE, **pending),
        kubernetes("old", ID) | {"dependencies": ["cluster"]},
        resource("namespace", provider=f"{PROVIDER}::old", **pending),
        resource("component", "registry"),
        resource("protection", "namespace"),
    ) == ("cluster", PROVIDER, "namespace", "protection")


def test_what_is_in_a_cluster_that_was_replaced_is_removed_even_before_it_is_replaced() -> None:
    """A lost cluster, dropped from the state by a refresh, that `pulumi up` has created again."""
    resources = (
        kubernetes("new", OTHER, kept=True),
        kubernetes("old", ID, delete=True),
        resource("namespace", provider=f"{PROVIDER}::old"),
        resource("release", "namespace", provider=f"{PROVIDER}::old"),
        resource("secret", provider=f"{PROVIDER}::new"),
    )
    assert removed(*resources, clusters=(OTHER,)) == (PROVIDER, "namespace", "release")
    # Not if the account has that cluster, whatever its state is.
    assert removed(*resources, clusters=(ID, OTHER)) == ()


def test_an_interrupted_replacement_in_a_living_cluster_is_left_to_pulumi() -> None:
    assert not removed(
        resource("cluster", type=CLUSTER_TYPE),
        resource("pool", "cluster", pendingReplacement=True),
        kubernetes("x", ID) | {"dependencies": ["cluster", "pool"]},
        resource("release", provider=f"{PROVIDER}::x"),
        clusters=(ID,),
    )


def test_what_an_interrupted_replacement_has_deleted_in_a_living_cluster_is_removed_alone() -> None:
    """Pulumi would delete it once more, which the providers refuse."""
    inside = {"provider": f"{PROVIDER}::x"}
    resources = [
        resource("cluster", type=CLUSTER_TYPE),
        resource("gone", "cluster", type=NODE_POOL),
        resource("pool", "cluster", type=NODE_POOL),
        kubernetes("x", ID),
        resource("namespace", **inside),
        resource("release", "namespace", pendingReplacement=True, **inside),
        resource("protection", "namespace", "release", "gone", "pool"),
    ]
    export = {"deployment": {"resources": resources}}
    kept, urns = remove_deleted(export, (ID,), ("pool",))
    assert urns == ("release", "gone")
    *others, protection = kept["deployment"]["resources"]
    assert [item["urn"] for item in others] == ["cluster", "pool", PROVIDER, "namespace"]
    assert protection["dependencies"] == ["namespace", "pool"]


def test_a_state_without_a_replacement_is_left_as_it_is() -> None:
    assert removed(resource("cluster"), kubernetes("x", ID), resource("a", PROVIDER)) == ()
    assert remove_deleted({"deployment": None}, (), ())[1] == ()


def test_two_clusters_of_one_name_are_refused() -> None:
    with pytest.raises(Refused, match=f"{ID} and {OTHER}"):
        plan(observed(clusters=(running(), running(id=OTHER))))


def test_the_state_is_read_from_pulumis_export() -> None:
    export = {
        "deployment": {
            "resources": [
                {"type": "pulumi:pulumi:Stack", "urn": STACK},
                {"type": "pulumi:index:Stash", "urn": "o",
                 "outputs": {"output": {"team": TEAM, "mark": MARK}}},
                {"type": "digitalocean:index/kubernetesCluster:KubernetesCluster", "id": ID,
                 "urn": CLUSTER_URN},
                {"type": "digitalocean:index/vpc:Vpc", "id": VPC, "urn": "v"},
                {"type": "digitalocean:index/containerRegistry:ContainerRegistry", "id": "team",
                 "urn": "c"},
                {"type": "digitalocean:index/kubernetesNodePool:KubernetesNodePool", "id": POOL,
                 "urn": "n"},
                {"type": "pulumi:providers:kubernetes", "id": "x", "urn": PROVIDER,
                 "propertyDependencies": {"kubeconfig": [CLUSTER_URN]}},
                {"type": "kubernetes:core/v1:Secret", "id": IN_CLUSTER[1], "urn": "s",
                 "provider": f"{PROVIDER}::x"},
                {"type": "kubernetes:helm.sh/v3:Release", "id": IN_CLUSTER[0], "urn": "r",
                 "provider": f"{PROVIDER}::x", "dependencies": ["s"]},
                {"type": "digitalocean:index/kubernetesCluster:KubernetesCluster", "id": OTHER,
                 "urn": CLUSTER_URN, "delete": True},
            ],
            "pending_operations": [
                {"type": "creating", "resource": {"urn": "created"}},
                {"type": "updating", "resource": {"urn": "updated"}},
            ],
        }
    }  # fmt: skip
    state = StackState.from_export(export)
    assert state == replace(
        STATE,
        ids=STATE.ids | {"x"},
        releases={"argocd/argocd": "r"},
        pending_creates=("created",),
        dependents={CLUSTER_URN: (PROVIDER, "s", "r"), PROVIDER: ("s", "r")},
    )
    assert StackState.from_export({"deployment": None}) == StackState()


def test_the_plan_names_what_is_deleted_and_adopted() -> None:
    release = "urn:pulumi:dev::doks-gitops::my:index:Parent$kubernetes:helm.sh/v3:Release::argocd"
    pool = (
        "urn:pulumi:dev::doks-gitops::digitalocean:index/kubernetesNodePool:KubernetesNodePool::n"
    )
    state = replace(STATE, dependents={PROVIDER: (release,)}, node_pools={POOL: pool})
    _, delete, _ = plan(observed(state=state, clusters=(), cluster_state=None))
    assert str(delete) == (
        "Delete from the state, because the cluster is gone from the account:"
        " kubernetes kubernetes, Release argocd, KubernetesNodePool n."
    )
    cluster_state = replace(revisions(DEPLOYED), admin_password=True)
    lock, mark, delete, deploy = plan(
        observed(
            state=StackState(pending_creates=("urn::Vpc::vpc",)),
            cluster_state=cluster_state,
            consent=NEW_STATE,
        )
    )
    assert "interrupted creation of Vpc vpc" in str(lock)
    assert str(mark) == f"Tag the cluster {ID} as this state's: {OTHER_MARK} instead of {MARK}."
    assert f"{DEPLOYED.secret} (deployed)" in str(delete)
    assert str(deploy) == (
        f"Deploy, and adopt the cluster {ID}, the node pools burst, the admin's password."
    )


def test_a_token_of_another_team_is_refused_first_of_all() -> None:
    for lost in (observed(), observed(clusters=(), cluster_state=None)):
        with pytest.raises(AccountError, match=f"the team {TEAM}, and the token is of the team x"):
            plan(replace(lost, team="x"))


def test_a_lost_cluster_is_deleted_from_a_state_without_a_team_only_if_the_team_is_named() -> None:
    lost = observed(state=replace(STATE, owner=None), clusters=(), cluster_state=None)
    with pytest.raises(Refused, match=f"(?s){ID}.*recover --stack dev --team {TEAM}"):
        plan(lost)
    with pytest.raises(Refused):
        plan(replace(lost, consent=Consent(team="x")))
    _, delete, deploy = plan(replace(lost, consent=Consent(team=TEAM)))
    assert isinstance(delete, DeleteFromState)
    assert deploy == Deploy()
    # The account is the right one if it has the cluster.
    assert plan(observed(state=replace(STATE, owner=None), clusters=(running(mark=None),))) == [
        Deploy()
    ]


@pytest.mark.parametrize(
    ("state", "mark"),
    [
        (StackState(), MARK),
        (StackState(), None),
        (StackState(STACK, owner=Owner(TEAM, OTHER_MARK)), MARK),
        (UNKNOWN, None),
        (replace(STATE, owner=Owner(TEAM, OTHER_MARK)), MARK),
    ],
    ids=["empty", "empty-unmarked", "tried-before", "unmarked", "taken-over"],
)
def test_the_cluster_of_another_state_is_taken_over_only_with_consent(
    state: StackState, mark: str | None
) -> None:
    seen = observed(state=state, clusters=(running(mark=mark),))
    with pytest.raises(Refused, match=r"(?s)another state.*PULUMI_BACKEND_URL.*--new-state"):
        plan(seen)
    steps = plan(replace(seen, consent=NEW_STATE))
    [step] = [step for step in steps if isinstance(step, MarkCluster)]
    assert step.mark == (state.owner.mark if state.owner else OTHER_MARK)


def test_an_unmarked_cluster_that_a_killed_run_was_creating_is_adopted_and_marked() -> None:
    state = replace(UNKNOWN, pending_creates=(CLUSTER_URN,))
    _, mark, *_, deploy = plan(observed(state=state, clusters=(running(mark=None),)))
    assert mark == MarkCluster(running(mark=None), MARK)
    assert isinstance(deploy, Deploy)
    assert deploy.adopt["cluster"] == ID


def test_a_cluster_that_could_not_be_created_is_to_be_deleted() -> None:
    failed = running(state="error", endpoint="", message="no capacity")
    with pytest.raises(Refused, match="no capacity") as refused:
        plan(observed(clusters=(failed,), cluster_state=None))
    assert "is not lost" not in str(refused.value)
    assert f"cluster delete {ID}, then bin/platform recover --stack dev" in str(refused.value)


def test_a_running_cluster_that_does_not_answer_is_abandoned_only_with_consent() -> None:
    moved = observed(settings=stack(region="sfo3"), changes=MOVED, cluster_state=None)
    with pytest.raises(Refused, match=r"(?s)billed.*--abandon-cluster; to keep it.*region' nyc1"):
        plan(moved)
    cleaned = stack(region="sfo3", destroyAssociatedResources=True)
    with pytest.raises(Refused) as refused:
        plan(replace(moved, settings=cleaned))
    assert "billed" not in str(refused.value)


# Volumes

VOLUME = "66666666-6666-4666-8666-666666666666"
CLAIM = Claim("shop", "data-0")
VOLUMES: dict[str, Any] = {"volumes": {"snapshots": {"keep": 3}}}
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def recorded_tags() -> frozenset[str]:
    tag = claim_tag(VOLUME, CLAIM)
    assert tag is not None
    return frozenset({MARK, tag, storage_tag(Storage(fs_type="xfs")), f"k8s:{ID}"})


def volume(**changes: Any) -> Volume:
    fields = {"id": VOLUME, "name": "pvc-1", "region": "nyc1", "size": 5, "tags": recorded_tags()}
    return Volume(**{**fields, **changes})


def snapshot(mark: str = MARK) -> VolumeSnapshot:
    taken, tags = NOON - timedelta(hours=5), recorded_tags() - {MARK} | {mark, USED}
    return VolumeSnapshot("s", "daily", VOLUME, ("nyc1",), taken, tags=tags)


def lost(**changes: Any) -> Observed:
    """The cluster is gone, and the stack brings its volumes back."""
    settings = parsed(cluster=CLUSTER, registry={"name": "team"}, **VOLUMES)
    fields = {"settings": settings, "clusters": (), "cluster_state": None, "now": NOON}
    return observed(**{**fields, **changes})


def test_lost_cluster_gets_its_volumes_back_and_the_plan_says_which() -> None:
    *_, deploy = plan(lost(volumes=(volume(),)))
    assert deploy == Deploy({"volumes": {VOLUME: "shop/data-0"}})
    assert str(deploy) == (
        f"Deploy. Before Argo CD's first sync, the claim shop/data-0 gets the volume {VOLUME}."
    )


def test_stack_without_the_setting_leaves_its_volumes_alone() -> None:
    *_, deploy = plan(lost(settings=stack(), volumes=(volume(droplets=(7,)),)))
    assert deploy == Deploy()


def test_recovery_goes_on_where_the_last_one_ended_before_anything_was_synced() -> None:
    new = running(id=OTHER)
    state = replace(STATE, cluster=OTHER, ids=frozenset({OTHER, POOL, VPC}))
    fields = {
        "clusters": (new,),
        "state": state,
        "volumes": (volume(),),
        "cluster_state": ClusterState(),
    }
    *_, deploy = plan(lost(**fields))
    assert isinstance(deploy, Deploy)
    assert deploy.adopt["volumes"] == {VOLUME: "shop/data-0"}
    bound = PersistentVolume(
        "pvc-1", VOLUME, CLAIM, bound=False, reclaim_policy="Retain", storage=Storage()
    )
    *_, deploy = plan(lost(**fields, persistent_volumes=(bound,)))
    assert isinstance(deploy, Deploy)
    assert deploy.adopt["volumes"] == {}
    *_, deploy = plan(lost(**fields, synced=True))
    assert isinstance(deploy, Deploy)
    assert "volumes" not in deploy.adopt


def test_volume_of_the_lost_cluster_that_was_never_recorded_is_refused() -> None:
    young = volume(tags=frozenset({f"k8s:{ID}"}))
    with pytest.raises(NotAssignable, match="after the last record"):
        plan(lost(volumes=(young,)))
    *_, deploy = plan(lost(volumes=(young,), consent=Consent(volumes={VOLUME: CLAIM})))
    assert deploy == Deploy({"volumes": {VOLUME: "shop/data-0"}})
    *_, deploy = plan(lost(volumes=(young,), consent=Consent(left_volumes=frozenset({VOLUME}))))
    assert deploy == Deploy({"volumes": {}})


def test_new_state_refuses_what_any_cluster_that_is_gone_has_left_unrecorded() -> None:
    """It does not know which cluster it had."""
    young = volume(tags=frozenset({f"k8s:{OTHER}"}))
    fields = {"volumes": (young,), "state": StackState()}
    *_, deploy = plan(lost(**fields))
    assert deploy == Deploy({"volumes": {}})
    new_state = {**fields, "consent": Consent(new_state=True)}
    with pytest.raises(NotAssignable, match=f"made by the lost cluster {OTHER} after"):
        plan(lost(**new_state))
    *_, deploy = plan(lost(**new_state, account_clusters=frozenset({OTHER})))
    assert deploy == Deploy({"volumes": {}})


def test_snapshot_is_restored_only_with_its_age_confirmed() -> None:
    with pytest.raises(Refused) as refused:
        plan(lost(snapshots=(snapshot(),)))
    assert "daily (s), is 5 h 0 min old; what came after it would be lost" in refused.value.problem
    assert (
        f"--from-snapshots restores them; bin/platform recover --stack dev --leave-volume {VOLUME}"
        in str(refused.value.fix)
    )
    *_, restore, deploy = plan(lost(snapshots=(snapshot(),), consent=Consent(snapshots=True)))
    assert isinstance(restore, RestoreSnapshot)
    assert (restore.claim, restore.region, restore.snapshot.id) == (CLAIM, "nyc1", "s")
    assert set(restore.tags) == {MARK, storage_tag(Storage(fs_type="xfs")), USED}
    assert "daily (s), which is 5 h 0 min old: what came after it is lost" in str(restore)
    assert deploy == Deploy({"volumes": {}})


def test_snapshot_of_a_former_state_is_told_and_restored_for_the_present_one() -> None:
    former = {"snapshots": (snapshot(OTHER_MARK),)}
    with pytest.raises(Refused, match=f"taken for another state of the stack, {OTHER_MARK}"):
        plan(lost(**former))
    *_, restore, _ = plan(lost(**former, consent=Consent(snapshots=True)))
    assert isinstance(restore, RestoreSnapshot)
    assert MARK in restore.tags
    assert OTHER_MARK not in restore.tags


def test_plan_with_a_snapshot_is_the_same_a_minute_later() -> None:
    consent = Consent(snapshots=True)
    later = NOON + timedelta(minutes=1)
    assert plan(lost(snapshots=(snapshot(),), consent=consent)) == plan(
        lost(snapshots=(snapshot(),), consent=consent, now=later)
    )


def test_move_to_another_region_is_refused_while_the_volumes_are_in_the_old_one() -> None:
    settings = parsed(cluster={**CLUSTER, "region": "sfo3"}, registry={"name": "team"}, **VOLUMES)
    moved = lost(
        settings=settings,
        clusters=(running(),),
        changes=MOVED,
        consent=ABANDON,
        volumes=(volume(droplets=(7,)),),
    )
    with pytest.raises(NotAssignable, match="is in the region nyc1, and the cluster in sfo3"):
        plan(moved)
    left = Consent(abandon_cluster=True, left_volumes=frozenset({VOLUME}))
    *_, deploy = plan(replace(moved, consent=left))
    assert deploy == Deploy({"volumes": {}})


def test_cluster_that_the_deployment_replaces_keeps_its_volumes_until_then() -> None:
    *_, deploy = plan(
        lost(clusters=(running(),), changes=RESIZED, cluster_state=revisions(DEPLOYED), synced=True)
    )
    assert isinstance(deploy, Deploy)
    assert "volumes" not in deploy.adopt


COPIES: dict[str, Any] = {
    "bucket": "shop-copies",
    "region": "fra1",
    "credentials": {"accessKey": "key", "secretKey": "secret", "password": "p" * 24},
}


def moved_with_copies() -> Observed:
    """The region is down, and the newest snapshot of the volume in it was copied."""
    volumes = {"snapshots": {}, "copies": COPIES}
    settings = parsed(
        cluster={**CLUSTER, "region": "sfo3"}, registry={"name": "team"}, volumes=volumes
    )
    assert settings.volumes is not None
    tag = copy_tag_of(settings.volumes)
    assert tag is not None
    copied = replace(snapshot(), tags=snapshot().tags | {tag})
    return lost(
        settings=settings,
        clusters=(running(),),
        changes=MOVED,
        consent=replace(ABANDON, copies=True),
        volumes=(volume(droplets=(7,)),),
        snapshots=(copied,),
    )


def test_copy_is_restored_in_another_region_only_with_its_age_confirmed() -> None:
    observed = moved_with_copies()
    with pytest.raises(Refused) as refused:
        plan(replace(observed, consent=ABANDON))
    assert "not in sfo3" in refused.value.problem
    assert "daily (s) is 5 h 0 min old; what came after it would be lost" in refused.value.problem
    assert f"with --leave-volume {VOLUME}, the claims begin empty" in str(refused.value.fix)
    *_, restore, deploy = plan(observed)
    assert isinstance(restore, RestoreCopy)
    assert (restore.claim, restore.region, restore.snapshot.id) == (CLAIM, "sfo3", "s")
    assert set(restore.tags) == {MARK, storage_tag(Storage(fs_type="xfs"))}, "it is formatted"
    assert "daily (s), which is 5 h 0 min old: what came after it is lost" in str(restore)
    assert deploy == Deploy({"volumes": {}})


def test_copy_of_a_former_state_is_told_and_restored_for_the_present_one() -> None:
    observed = moved_with_copies()
    [copied] = observed.snapshots
    former = replace(copied, tags=copied.tags - {MARK} | {OTHER_MARK})
    observed = replace(observed, snapshots=(former,))
    with pytest.raises(Refused, match=f"taken for another state of the stack, {OTHER_MARK}"):
        plan(replace(observed, consent=ABANDON))
    *_, restore, _ = plan(observed)
    assert isinstance(restore, RestoreCopy)
    assert MARK in restore.tags
    assert OTHER_MARK not in restore.tags


def test_volume_for_a_copy_is_as_large_as_the_former_one_became() -> None:
    observed = moved_with_copies()
    [copied] = observed.snapshots
    *_, restore, _ = plan(observed)
    assert isinstance(restore, RestoreCopy)
    assert (copied.disk, restore.size) == (1, 5)
    assert "a volume of 5 GiB in sfo3" in str(restore)
    later = replace(snapshot(), id="later", created=NOON, disk=7)
    *_, restore, _ = plan(replace(observed, volumes=(), snapshots=(copied, later)))
    assert isinstance(restore, RestoreCopy)
    assert restore.size == 7


def test_copy_of_another_bucket_or_password_is_refused_before_the_cluster_is_abandoned() -> None:
    observed = moved_with_copies()
    other = {**COPIES, "credentials": {**COPIES["credentials"], "password": "q" * 24}}
    changed = parsed(
        cluster={**CLUSTER, "region": "sfo3"},
        registry={"name": "team"},
        volumes={"snapshots": {}, "copies": other},
    )
    with pytest.raises(NotAssignable, match="another bucket, or with another password"):
        plan(replace(observed, settings=changed))


@pytest.mark.parametrize("answers", [True, False])
def test_cluster_that_was_deployed_to_be_deleted_with_its_volumes_leaves_them(
    *, answers: bool
) -> None:
    """Pulumi deletes a replaced cluster as the state has it."""
    urn = str(STATE.cluster_urn)
    kept = {"destroyAllAssociatedResources": True, "region": "nyc1"}
    resource = {"urn": urn, "type": CLUSTER_TYPE, "id": ID, "inputs": kept, "outputs": kept}
    export = {"deployment": {"resources": [resource]}}
    assert StackState.from_export(export).destroys_associated
    observed = replace(
        moved_with_copies(),
        state=replace(STATE, destroys_associated=True),
        cluster_state=revisions(DEPLOYED) if answers else None,
        synced=answers,
    )
    [step] = [step for step in plan(observed) if isinstance(step, KeepAssociated)]
    edited = step.edited(export)
    assert not StackState.from_export(edited).destroys_associated
    assert edited["deployment"]["resources"][0]["outputs"]["region"] == "nyc1"
    unchanged = replace(observed, state=STATE)
    assert not [step for step in plan(unchanged) if isinstance(step, KeepAssociated)]
