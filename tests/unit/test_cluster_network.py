"""A new cluster is VPC-native, in networks that overlap no other; a running one keeps its own."""

from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest

from doks_gitops import account, arguments
from doks_gitops.account import Account, RunningCluster, Version, Vpc
from doks_gitops.account.model import RunningPool
from doks_gitops.settings import Settings, SettingsError, network, parse
from doks_gitops.settings.defaults import NETWORKS
from tests.unit.stackfiles import CLUSTER, parsed
from tests.unit.test_account_replacement import RUNNING

UUID = "0b8a1e3c-7c5c-4d6f-9a53-6f7d1c0f9a01"
OTHER = "0b8a1e3c-7c5c-4d6f-9a53-6f7d1c0f9a02"
TEAM = Account(
    regions=("nyc1", "fra1"),
    sizes=("s-2vcpu-4gb", "s-4vcpu-8gb"),
    versions=(Version.parse("1.34.2-do.0"),),
    clusters=(),
    registries=("team",),
    vpcs=(Vpc(UUID, "shared", "nyc1", "10.116.0.0/20", default=True),),
)
OVERLAY = replace(RUNNING, vpc=None, cluster_subnet="10.244.0.0/16", service_subnet="10.245.0.0/16")
NATIVE = replace(OVERLAY, cluster_subnet="172.20.0.0/16", service_subnet="172.21.0.0/20")
NEIGHBOUR = replace(NATIVE, id="id-2", name="other")
DEFAULTS = {"pods": "172.20.0.0/16", "services": "172.21.0.0/20"}


def stack(**cluster: Any) -> Settings:
    return parsed(cluster={**CLUSTER, **cluster})


def team(*clusters: RunningCluster, **changes: Any) -> Account:
    return replace(TEAM, clusters=clusters, **changes)


def refusal(settings: Settings, in_account: Account) -> str:
    with pytest.raises(SettingsError) as error:
        account.check(settings, in_account)
    return str(error.value)


def properties(settings: Settings, in_account: Account) -> tuple[str, str, bool]:
    args = arguments.cluster_args(settings, in_account, "mark")
    assert args.network is not None
    return args.network.pods, args.network.services, args.hold_network


RESERVED = "which DigitalOcean keeps for itself"
PRIVATE = "a private range: inside of 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16"
SIZE = "a range from /24 to /16"
SYNTAX = "a range of IPv4 addresses, such as 172.20.0.0/16"
IMPOSSIBLE = [
    ({"pods": "172.20.0.0"}, SYNTAX),
    ({"pods": "172.20.0.0/33"}, SYNTAX),
    ({"pods": "172.20.0.0/255.255.0.0"}, SYNTAX),
    ({"pods": "172.20.0/16"}, SYNTAX),
    ({"services": "fd00::/108"}, SYNTAX),
    ({"services": "services"}, SYNTAX),
    ({"pods": 172}, SYNTAX),
    ({"pods": "172.20.1.0/16"}, "the range from its first address: 172.20.0.0/16"),
    ({"services": "172.21.0.1/20"}, "the range from its first address: 172.21.0.0/20"),
    ({"pods": "10.0.0.0/8"}, SIZE),
    ({"pods": "172.16.0.0/12"}, SIZE),
    ({"services": "172.21.0.0/25"}, SIZE),
    ({"services": "172.21.0.0/32"}, SIZE),
    ({"pods": "100.64.0.0/16"}, PRIVATE),
    ({"pods": "8.8.0.0/16"}, PRIVATE),
    ({"services": "169.254.0.0/16"}, PRIVATE),
    ({"services": "172.32.0.0/20"}, PRIVATE),
    ({"services": "127.0.0.0/24"}, PRIVATE),
    ({"pods": "10.244.0.0/16"}, f"apart from 10.244.0.0/16, {RESERVED}"),
    ({"services": "10.245.128.0/20"}, f"apart from 10.245.0.0/16, {RESERVED}"),
    ({"services": "10.246.0.0/20"}, f"apart from 10.246.0.0/24, {RESERVED}"),
    ({"pods": "10.229.0.0/16"}, f"apart from 10.229.0.0/16, {RESERVED}"),
    ({"pods": "10.1.0.0/24"}, "a range for the 3 nodes that the node pools can have"),
    ({"pods": "10.1.0.0/16", "services": "10.1.0.0/20"}, "overlaps cluster.network.services"),
    ({"pods": "172.21.0.0/16"}, "overlaps cluster.network.services, 172.21.0.0/20"),
    ({"services": "172.20.64.0/20"}, "overlaps cluster.network.pods, 172.20.0.0/16"),
    ({"pods": "10.10.0.0/16"}, "overlaps cluster.vpc.ipRange, 10.10.0.0/20"),
    ({"services": "10.10.8.0/22"}, "overlaps cluster.vpc.ipRange, 10.10.0.0/20"),
    ({"pods": "172.22.0.0/16"}, "overlaps network.pods of Pulumi.staging.yaml, 172.22.0.0/16"),
    ({"services": "10.50.0.0/20"}, "overlaps network.services of Pulumi.prod.yaml, 10.50.0.0/16"),
    ({"pods": "10.60.0.0/16"}, "overlaps vpc.ipRange of Pulumi.prod.yaml, 10.60.0.0/20"),
]


@pytest.mark.parametrize(("ranges", "reason"), IMPOSSIBLE, ids=lambda value: str(value)[:60])
def test_a_range_that_is_impossible_is_refused_with_the_reason(
    ranges: dict[str, Any], reason: str
) -> None:
    cluster = {**CLUSTER, "vpc": {"ipRange": "10.10.0.0/20"}, "network": ranges}
    config = {
        "cluster": cluster,
        "registry": {"name": "team"},
        "argocd": {"chart": {"version": "1.2.3"}},
        "repositories": {"monorepo": {"url": "https://git.example.com/team/monorepo"}},
        "project": {"namespaces": ["shop-dev"]},
    }
    beside = {
        "Pulumi.staging.yaml": "config: {'doks-gitops:cluster': {name: demo-staging}}",
        "Pulumi.prod.yaml": "config: {'doks-gitops:cluster': {name: demo-prod, vpc: {ipRange:"
        " 10.60.0.0/20}, network: {services: 10.50.0.0/16}}}",
    }
    keys: dict[str, Any] = {f"doks-gitops:{name}": value for name, value in config.items()}
    with pytest.raises(SettingsError) as error:
        parse("dev", {**keys, "digitalocean:token": "dop_v1_token"}, beside)
    [finding] = error.value.findings
    assert finding.key.startswith("doks-gitops:cluster.network.")
    assert reason in f"{finding.got} {finding.expected}"


@pytest.mark.parametrize(
    ("in_account", "reason"),
    [
        (team(NEIGHBOUR), '172.20.0.0/16", the default of dev, which overlaps the cluster "other"'),
        (
            team(vpcs=(Vpc(OTHER, "wide", "fra1", "172.20.0.0/16", default=False),)),
            f'the default of dev, which overlaps the VPC "wide" ({OTHER}), 172.20.0.0/16',
        ),
        (
            team(vpcs=(Vpc(OTHER, "wide", "nyc1", "172.21.8.0/24", default=False),)),
            '"172.21.0.0/20", the default of dev, which overlaps the VPC "wide"',
        ),
    ],
)
def test_a_new_cluster_in_the_networks_of_another_is_refused_with_a_free_range(
    in_account: Account, reason: str
) -> None:
    text = refusal(stack(), in_account)
    assert reason in text
    assert "fix:      pulumi config set --path 'doks-gitops:cluster.network." in text
    assert "192.168.0.0/16" in text or "192.168.0.0/20" in text


def test_the_free_ranges_that_are_named_overlap_each_other_neither() -> None:
    with pytest.raises(SettingsError) as error:
        account.check(stack(), team(NEIGHBOUR))
    fixes = [finding.fix or "" for finding in error.value.findings]
    pods, services = (next(x for x in fix.split() if "/" in x and x[0].isdigit()) for fix in fixes)
    assert not network.overlap(pods, services)
    account.check(stack(network={"pods": pods, "services": services}), team(NEIGHBOUR))


def test_overlay_networks_of_other_clusters_overlap_nothing() -> None:
    account.check(stack(), team(replace(OVERLAY, name="other")))


def test_default_networks_overlap_neither_each_other_nor_what_digitalocean_gives_its_vpcs() -> None:
    ranges = [text for networks in NETWORKS.values() for text in networks.values()]
    assert not [pair for pair in combinations(ranges, 2) if network.overlap(*pair)]
    assert not [text for text in ranges if network.overlap(text, "10.0.0.0/8")]


def test_a_new_cluster_is_vpc_native_without_a_word_in_the_stack_file() -> None:
    assert properties(stack(), TEAM)[:2] == (DEFAULTS["pods"], DEFAULTS["services"])
    services = {"network": {"services": "10.9.0.0/20"}}
    assert properties(stack(**services), TEAM)[:2] == (DEFAULTS["pods"], "10.9.0.0/20")


def test_a_running_cluster_keeps_its_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    messages: list[str] = []
    monkeypatch.setattr("doks_gitops.account.messages.info", messages.append)
    for running in (OVERLAY, NATIVE):
        account.check(stack(), team(running))
        account.warn(stack(), team(running))
        assert properties(stack(), team(running))[2] is True
        assert account.replacement(stack(), team(running)) is None
    [advice] = messages
    assert "The cluster demo (id-1) has an overlay network, which can't be changed" in advice
    assert "docs/upgrade.md#a-cluster-with-an-overlay-network" in advice


CHANGES = [
    ({"network": {"pods": "10.1.0.0/16"}}, NATIVE, "network.pods", '"172.20.0.0/16"'),
    ({"network": {"services": "10.2.0.0/20"}}, NATIVE, "network.services", '"172.21.0.0/20"'),
    ({"network": {"pods": "172.20.0.0/16"}}, OVERLAY, "network.pods", "an overlay network"),
    ({"workerSubnet": OTHER, "vpc": {"id": UUID}}, NATIVE, "workerSubnet", '"None"'),
    ({"isolatedWorkers": True, "vpc": {"id": UUID}}, NATIVE, "isolatedWorkers", '"false"'),
    ({}, replace(NATIVE, isolated_workers=True), "isolatedWorkers", '"true"'),
]


@pytest.mark.parametrize(("change", "running", "key", "current"), CHANGES)
def test_a_changed_network_of_a_running_cluster_is_refused_unless_it_is_to_be_replaced(
    change: dict[str, Any], running: RunningCluster, key: str, current: str
) -> None:
    running = replace(running, vpc=UUID)
    text = refusal(stack(**change), team(running))
    assert f"doks-gitops:cluster.{key}" in text
    assert current in text
    assert "set cluster.replace: true" in text

    allowed = stack(**change, replace=True)
    in_account = team(running, gateways=frozenset({UUID}))
    account.check(allowed, in_account)
    replaced = account.replacement(allowed, in_account)
    assert replaced is not None
    assert [".".join(map(str, item.path)) for item in replaced.changes] == [f"cluster.{key}"]
    assert properties(allowed, in_account)[2] is False


def test_a_protected_cluster_is_not_replaced_even_so() -> None:
    protected = stack(network={"pods": "10.1.0.0/16"}, replace=True, protect=True)
    assert "remove the protection first" in refusal(protected, team(NATIVE))


def test_a_replaced_cluster_may_have_the_networks_of_the_old_one() -> None:
    account.check(stack(region="fra1"), team(NATIVE))
    assert properties(stack(region="fra1"), team(OVERLAY)) == (*DEFAULTS.values(), False)


def test_isolated_nodes_need_a_nat_gateway() -> None:
    isolated = stack(isolatedWorkers=True, vpc={"id": UUID})
    assert f"no NAT gateway is attached to the VPC {UUID}" in refusal(isolated, TEAM)
    account.check(isolated, replace(TEAM, gateways=frozenset({UUID})))


@pytest.mark.parametrize("vpc", [{}, {"vpc": {"ipRange": "10.10.0.0/20"}}])
@pytest.mark.parametrize("key", [{"workerSubnet": OTHER}, {"isolatedWorkers": True}])
def test_subnets_and_gateways_are_those_of_an_existing_vpc(
    vpc: dict[str, Any], key: dict[str, Any]
) -> None:
    with pytest.raises(SettingsError, match=r"without vpc\.id"):
        stack(**vpc, **key)


def test_another_gpu_partition_mode_of_the_first_pool_replaces_the_cluster() -> None:
    mode = "AMD_PARTITION_MODE_SPX_NPS1"
    pool = {"name": "default", "size": "s-2vcpu-4gb", "count": 3}
    partitioned = stack(nodePools=[pool | {"gpuPartitionMode": mode}])
    replaced = account.replacement(partitioned, team(NATIVE))
    assert replaced is not None
    assert [change.path[-1] for change in replaced.changes] == ["gpuPartitionMode"]
    same = replace(NATIVE.pools["default"], options={"gpu_partition_mode": mode})
    running = replace(NATIVE, pools={"default": same})
    assert account.replacement(partitioned, team(running)) is None
    assert account.replacement(stack(), team(running)) is not None


def test_a_cluster_that_takes_only_single_sign_on_is_told_before_the_run_is_shut_out() -> None:
    text = refusal(stack(), team(replace(NATIVE, options={"sso": {"required": True}})))
    assert "the cluster refuses the API token, which is the only way in" in text
    assert f"/v2/kubernetes/clusters/{NATIVE.id}" in text


def test_the_replacement_of_a_node_pool_is_announced(monkeypatch: pytest.MonkeyPatch) -> None:
    texts: list[str] = []
    monkeypatch.setattr("doks_gitops.account.messages.warn", texts.append)
    pools = {**NATIVE.pools, "burst": RunningPool("pool-2", "s-2vcpu-4gb", 1)}
    first = {"name": "default", "size": "s-2vcpu-4gb", "count": 3}
    burst = {"name": "burst", "size": "s-4vcpu-8gb", "count": 1}
    account.warn(stack(nodePools=[first, burst]), team(replace(NATIVE, pools=pools)))
    [text] = texts
    assert text.startswith("This update replaces the node pool burst of the cluster demo: size")
    assert "changes from s-2vcpu-4gb to s-4vcpu-8gb" in text
