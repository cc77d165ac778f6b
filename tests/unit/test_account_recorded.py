"""An update is refused if Pulumi's state and the account are not about the same resources."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from doks_gitops import account
from doks_gitops.account import Account, AccountError, Recorded, RunningCluster, Version, Vpc
from doks_gitops.account.model import RunningPool
from doks_gitops.settings import Settings
from doks_gitops.settings.model import Adopt
from tests.unit.mocked import exported
from tests.unit.stackfiles import CLUSTER, parsed

POOLS = {name: RunningPool(f"id-of-{name}", "s-2vcpu-4gb", 3) for name in ("default", "large")}
RUNNING = RunningCluster(
    id="id-1",
    name="demo",
    region="nyc1",
    version=Version.parse("1.34.9-do.0"),
    ha=False,
    state="running",
    registry_enabled=True,
    vpc="vpc-1",
    pools=POOLS,
    default_pool="default",
)
OWN = Vpc("vpc-1", "demo", "nyc1", "10.10.0.0/20", default=False)
STATE = Recorded("id-1", RUNNING.version, "id-of-default", OWN.id, OWN.ip_range)
NEWER = replace(STATE, version=Version.parse("1.35.2-do.0"))
ADOPTED = "0b8a1e3c-7c5c-4d6f-9a53-6f7d1c0f9a01"


def stack(*, adopt: Adopt | None = None, **cluster: Any) -> Settings:
    section = {**CLUSTER, "vpc": {"ipRange": OWN.ip_range}, **cluster}
    return parsed(cluster=section).model_copy(update={"adopt": adopt})


def team(
    recorded: Recorded = STATE,
    *vpcs: Vpc,
    cluster: RunningCluster | None = RUNNING,
) -> Account:
    return Account(
        regions=("nyc1", "fra1"),
        sizes=("s-2vcpu-4gb",),
        versions=(Version.parse("1.34.10-do.0"),),
        clusters=(cluster,) if cluster else (),
        registries=("team",),
        vpcs=vpcs or (OWN,),
        recorded=recorded,
    )


@pytest.mark.parametrize(
    ("recorded", "words"),
    [
        (replace(STATE, cluster=None), "in place of demo (id-1): Pulumi's state has no cluster"),
        (
            replace(STATE, cluster="id-2"),
            "in place of demo (id-1): Pulumi's state has the cluster id-2",
        ),
        (
            replace(STATE, first_pool="id-of-large"),
            "in place of demo (id-1): its first node pool is default (id-of-default)",
        ),
        (NEWER, "in place of demo (id-1): it runs 1.34.9-do.0, but"),
        (replace(STATE, vpc=None), "has the VPC demo (vpc-1) of this stack, but Pulumi's state"),
    ],
)
def test_state_that_would_make_a_new_cluster_or_vpc_is_refused_with_the_command_that_mends_it(
    recorded: Recorded, words: str
) -> None:
    with pytest.raises(AccountError) as failure:
        account.check_recorded(stack(upgrade=True), team(recorded))
    assert words in failure.value.problem
    assert failure.value.problem.endswith("Nothing was changed.")
    assert failure.value.fix == "bin/platform recover --stack dev"


def test_newer_version_is_refused_even_if_the_first_pool_is_not_known() -> None:
    untagged = replace(RUNNING, default_pool=None)
    with pytest.raises(AccountError, match=r"it runs 1\.34\.9-do\.0, but"):
        account.check_recorded(stack(upgrade=True), team(NEWER, cluster=untagged))


def test_cluster_whose_creation_has_failed_half_way_is_completed_by_the_next_update() -> None:
    account.check_recorded(stack(), team(replace(STATE, first_pool=None)))


def test_state_of_the_running_cluster_is_accepted() -> None:
    account.check_recorded(stack(), team())
    account.check_recorded(stack(upgrade=True), team())
    account.check_recorded(stack(vpc=None), team(replace(STATE, vpc=None)))
    failed = replace(RUNNING, state="error")
    account.check_recorded(stack(), team(replace(STATE, cluster=None), cluster=failed))
    untagged = replace(RUNNING, default_pool=None)
    account.check_recorded(stack(), team(replace(STATE, first_pool="x"), cluster=untagged))


def test_newer_version_in_the_state_is_accepted_if_nothing_older_is_sent() -> None:
    account.check_recorded(stack(), team(NEWER))
    account.check_recorded(stack(upgrade=True, region="fra1"), team(NEWER))


def test_recovery_is_planned_for_the_state_and_reads_the_cluster_anew() -> None:
    for recorded in (NEWER, replace(STATE, first_pool="id-of-large"), replace(STATE, cluster=None)):
        account.check_recorded(stack(adopt=Adopt(), upgrade=True), team(recorded))
    with pytest.raises(AccountError, match="has the VPC demo"):
        account.check_recorded(stack(adopt=Adopt()), team(replace(STATE, vpc=None)))


def test_vpc_of_a_destroyed_stack_is_recovered() -> None:
    """DigitalOcean never deletes the default VPC of a region."""
    left = replace(OWN, default=True)
    with pytest.raises(AccountError, match="has the VPC demo") as failure:
        account.check_recorded(stack(), team(Recorded(), left, cluster=None))
    assert failure.value.fix == "bin/platform recover --stack dev"


@pytest.mark.parametrize(
    "other", [replace(OWN, region="fra1"), replace(OWN, ip_range="10.20.0.0/20")]
)
def test_vpc_of_others_with_the_name_of_the_stacks_is_refused(other: Vpc) -> None:
    with pytest.raises(AccountError, match="another VPC of the account has that name") as failure:
        account.check_recorded(stack(), team(Recorded(), other, cluster=None))
    assert failure.value.fix is not None
    assert "doctl vpcs update vpc-1 --name" in failure.value.fix
    with pytest.raises(AccountError, match="another VPC of the account has that name"):
        account.check_recorded(stack(), team(replace(STATE, vpc="made before by hand")))
    account.check_recorded(stack(vpc=None), team(Recorded(), other, cluster=None))


def test_cluster_and_its_vpc_can_not_get_a_name_that_another_vpc_has() -> None:
    taken = Vpc("vpc-2", "new", "nyc1", "10.20.0.0/20", default=False)
    marked = replace(team(STATE, OWN, taken, cluster=replace(RUNNING, mark="mark")), mark="mark")
    renamed = stack(name="new")
    assert account.replacement(renamed, marked) is None
    with pytest.raises(AccountError, match=r"vpc-2 in nyc1, 10\.20\.0\.0/20"):
        account.check_recorded(renamed, marked)
    account.check_recorded(renamed, replace(marked, vpcs=(OWN,)))
    with pytest.raises(AccountError, match=r"has the VPC demo \(vpc-1\)"):
        account.check_recorded(renamed, replace(marked, vpcs=(OWN,), recorded=Recorded("id-1")))


def test_interrupted_replacement_has_left_nothing_that_the_state_can_be_compared_with() -> None:
    export = exported(RUNNING, OWN)
    assert account.of_export(export) == STATE
    [vpc, cluster] = export["deployment"]["resources"]
    deleted = [vpc | {"delete": True}, cluster | {"pendingReplacement": True}]
    assert account.of_export({"deployment": {"resources": deleted}}) == Recorded()
    assert account.of_export({"deployment": None}) == Recorded()


@pytest.mark.parametrize(
    ("settings", "team", "reads"),
    [
        (stack(), team(), 1),
        (stack(vpc=None), team(), 1),
        (stack(), team(cluster=None), 1),
        (stack(vpc=None), team(cluster=None), 0),
        (stack(), replace(team(cluster=None), vpcs=()), 0),
    ],
)
def test_state_is_read_only_if_the_account_has_something_that_it_may_know(
    settings: Settings, team: Account, reads: int
) -> None:
    calls = []

    def export() -> Mapping[str, Any]:
        calls.append("export")
        return exported(RUNNING, OWN)

    known = asyncio.run(account.with_recorded(settings, team, export))
    assert len(calls) == reads
    assert known.recorded == (STATE if reads else Recorded())


def test_what_a_recovery_adopts_is_as_good_as_recorded() -> None:
    settings = stack(adopt=Adopt(vpc=ADOPTED))
    known = asyncio.run(account.with_recorded(settings, team(), lambda: exported(RUNNING)))
    assert (known.recorded.cluster, known.recorded.vpc) == ("id-1", ADOPTED)
