"""An update that replaces the cluster says so before anything is touched."""

from dataclasses import replace
from typing import Any

import pulumi
import pytest

from doks_gitops import account
from doks_gitops.account import Account, Recorded, RunningCluster, Version, Vpc
from doks_gitops.account.model import RunningPool
from doks_gitops.settings import Settings, SettingsError
from doks_gitops.settings.model import Volumes
from tests.unit.stackfiles import CLUSTER, parsed

OWN = Vpc("vpc-1", "demo", "nyc1", "10.10.0.0/20", default=False)
OTHER = Vpc("vpc-2", "default-nyc1", "nyc1", "10.20.0.0/20", default=True)
ELSEWHERE = Vpc("vpc-3", "default-fra1", "fra1", "10.30.0.0/20", default=True)
RUNNING = RunningCluster(
    id="id-1",
    name="demo",
    region="nyc1",
    version=Version.parse("1.34.1-do.0"),
    ha=False,
    state="running",
    registry_enabled=True,
    vpc=OWN.id,
    pools={"default": RunningPool("pool-1", "s-2vcpu-4gb", 3)},
    default_pool="default",
)
LARGER = [{"name": "default", "size": "s-4vcpu-8gb", "count": 3}]


def stack(**cluster: Any) -> Settings:
    return parsed(cluster={**CLUSTER, "vpc": {"ipRange": OWN.ip_range}, **cluster})


def team(*vpcs: Vpc, cluster: RunningCluster | None = RUNNING) -> Account:
    return Account(
        regions=("nyc1", "fra1"),
        sizes=("s-2vcpu-4gb", "s-4vcpu-8gb"),
        versions=(Version.parse("1.34.2-do.0"),),
        clusters=(cluster,) if cluster else (),
        registries=("team",),
        vpcs=vpcs or (OTHER, OWN, ELSEWHERE),
        recorded=Recorded(vpc=OWN.id),
    )


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    messages: list[str] = []
    monkeypatch.setattr("doks_gitops.account.messages.warn", messages.append)
    return messages


def test_settings_of_the_running_cluster_replace_nothing(warnings: list[str]) -> None:
    assert account.replacement(stack(), team()) is None
    assert account.replacement(stack(region="fra1"), team(cluster=None)) is None
    account.warn(stack(), team())
    assert warnings == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"region": "fra1"}, "cluster.region changes from nyc1 to fra1"),
        ({"nodePools": LARGER}, "nodePools[0].size changes from s-2vcpu-4gb to s-4vcpu-8gb"),
        ({"vpc": {"ipRange": "10.9.0.0/20"}}, "ipRange changes from 10.10.0.0/20 to 10.9.0.0/20"),
        (
            {"vpc": {"id": "0b8a1e3c-7c5c-4d6f-9a53-6f7d1c0f9a01"}},
            "vpc.id changes from vpc-1 to 0b8a1e3c-7c5c-4d6f-9a53-6f7d1c0f9a01",
        ),
    ],
)
def test_replacement_is_announced_with_its_cause_and_what_is_lost(
    warnings: list[str], change: dict[str, Any], words: str
) -> None:
    account.warn(stack(**change), team())
    [text] = warnings
    assert text.startswith("This update replaces the cluster demo (id-1): ")
    assert words in text
    assert "Everything in the cluster is deleted" in text
    assert "docs/upgrade.md#changes-that-replace-the-cluster" in text


def test_warning_says_whether_volumes_survive(warnings: list[str]) -> None:
    account.warn(stack(region="fra1"), team())
    account.warn(stack(region="fra1", destroyAssociatedResources=True), team())
    account.warn(stack(region="fra1").model_copy(update={"volumes": Volumes()}), team())
    kept, destroyed, brought_back = warnings
    assert "except those whose StorageClass retains them" in kept
    assert "All volumes and snapshots of the cluster are deleted too" in destroyed
    assert "get them back" not in kept
    assert "the claims of the new cluster get them back" in brought_back
    assert "if they are in fra1" in brought_back


def test_vpc_of_its_own_replaces_a_cluster_in_another_vpc() -> None:
    elsewhere = replace(RUNNING, vpc=OTHER.id)
    replaced = account.replacement(stack(), team(OTHER, cluster=elsewhere))
    assert replaced is not None
    assert [change.current for change in replaced.changes] == ["the VPC vpc-2"]
    with pytest.raises(SettingsError) as refusal:
        account.check(stack(protect=True), team(OTHER, cluster=elsewhere))
    [finding] = refusal.value.findings
    assert finding.key == "doks-gitops:cluster.vpc.ipRange"
    assert finding.fix is None, "there is no range that keeps the cluster"


def test_new_cluster_gets_the_newest_version_that_is_offered() -> None:
    assert account.resolve_version(stack(), team()) == "1.34.1-do.0"
    assert account.resolve_version(stack(region="fra1"), team()) == "1.34.2-do.0"


@pytest.mark.parametrize(
    ("change", "key"),
    [({"region": "fra1"}, "region"), ({"vpc": {"ipRange": "10.9.0.0/20"}}, "vpc.ipRange")],
)
def test_default_vpc_is_not_replaced_because_it_can_not_be_deleted(
    change: dict[str, Any], key: str
) -> None:
    default = replace(OWN, default=True)
    with pytest.raises(SettingsError) as refusal:
        account.check(stack(**change), team(default))
    [finding] = refusal.value.findings
    assert finding.key == f"doks-gitops:cluster.{key}"
    assert "the default VPC of nyc1, which DigitalOcean never deletes" in finding.got
    assert "doctl vpcs update ID --default=true" in finding.expected
    account.check(stack(**change), team(OTHER, OWN))
    account.check(stack(), team(default))


def test_vpc_that_is_or_becomes_the_default_is_announced(warnings: list[str]) -> None:
    account.warn(stack(), team(replace(OWN, default=True)))
    account.warn(stack(), team(replace(OTHER, region="fra1"), cluster=None))
    account.warn(stack(), team(OTHER, cluster=None))
    account.warn(stack(vpc=None), team(OTHER, cluster=None))
    stays, will_stay = warnings
    assert "is the default VPC of nyc1, which DigitalOcean never deletes" in stays
    assert "`pulumi destroy` leaves it in the account" in stays
    assert "The account has no VPC in nyc1" in will_stay
    assert "doctl vpcs create --name default-nyc1 --region nyc1" in will_stay


UUID = "0b8a1e3c-7c5c-4d6f-9a53-6f7d1c0f9a01"


@pytest.mark.parametrize("vpc", [None, {"id": UUID}])
def test_vpc_of_its_own_is_not_given_up_while_the_cluster_is_in_it(
    vpc: dict[str, str] | None,
) -> None:
    remove_id = "pulumi config rm --path 'doks-gitops:cluster.vpc.id' --stack dev && "
    state = Recorded("id-1", vpc=UUID, vpc_range=OWN.ip_range)
    recorded = replace(team(cluster=replace(RUNNING, vpc=UUID)), recorded=state)
    with pytest.raises(SettingsError) as refusal:
        account.check(stack(vpc=vpc), recorded)
    [finding] = refusal.value.findings
    assert finding.key == "doks-gitops:cluster.vpc.ipRange"
    assert f"is in the VPC {UUID}, which this stack has created" in finding.got
    set_range = (
        "pulumi config set --path 'doks-gitops:cluster.vpc.ipRange' 10.10.0.0/20 --stack dev"
    )
    assert finding.fix == (remove_id if vpc else "") + set_range
    account.check(stack(vpc=vpc), replace(recorded, recorded=Recorded("id-1")))
    account.check(stack(vpc=vpc, region="fra1"), recorded)
    account.check(stack(vpc=vpc), replace(recorded, clusters=()))


def test_renamed_cluster_keeps_its_vpc() -> None:
    named = stack(name="new", vpc={"ipRange": OWN.ip_range})
    marked = replace(team(cluster=replace(RUNNING, mark="mark")), mark="mark")
    assert account.replacement(named, marked) is None
    assert account.own_default_vpc(named, replace(marked, vpcs=(replace(OWN, default=True),)))


def test_size_of_the_first_pool_is_compared_wherever_it_is_in_the_list() -> None:
    burst = {"name": "burst", "size": "s-4vcpu-8gb", "count": 1}
    assert account.replacement(stack(nodePools=[burst, *CLUSTER["nodePools"]]), team()) is None
    replaced = account.replacement(stack(nodePools=[burst, *LARGER]), team())
    assert replaced is not None
    assert [change.path for change in replaced.changes] == [("cluster", "nodePools", 1, "size")]


def test_pool_that_is_not_in_the_stack_file_is_named_with_both_ways_on(
    monkeypatch: pytest.MonkeyPatch, warnings: list[str]
) -> None:
    monkeypatch.setattr(pulumi.runtime, "is_dry_run", lambda: True)
    orphan = RunningPool("pool-2", "s-4vcpu-8gb", 2)
    account.warn(stack(), team(cluster=replace(RUNNING, pools={**RUNNING.pools, "extra": orphan})))
    [text] = warnings
    assert text.startswith("Unless this update deletes it, Pulumi's state does not have the node")
    assert "extra (pool-2, 2 x s-4vcpu-8gb)" in text
    assert "doctl kubernetes cluster node-pool delete id-1 pool-2" in text
    assert "bin/platform recover --stack dev" in text
    renamed = [{"name": "renamed", "size": "s-2vcpu-4gb", "count": 3}]
    account.warn(stack(nodePools=renamed), team())
    assert len(warnings) == 1


def test_bucket_of_copies_in_the_region_of_the_cluster_is_warned_of(warnings: list[str]) -> None:
    def with_copies(region: str) -> Settings:
        copies = {"bucket": "shop-copies", "region": region}
        cluster = {**CLUSTER, "vpc": {"ipRange": OWN.ip_range}}
        return parsed(cluster=cluster, volumes={"snapshots": {}, "copies": copies})

    account.warn(with_copies("fra1"), team())
    assert warnings == []
    account.warn(with_copies("nyc1"), team())
    [text] = warnings
    assert "is in nyc1, the region of the cluster" in text
