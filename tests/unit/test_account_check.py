"""Whether settings fit the account, and which version of Kubernetes they mean in it."""

from dataclasses import replace

import pytest

from doks_gitops import account
from doks_gitops.account import Account, RunningCluster, Version
from doks_gitops.account.check import begins
from doks_gitops.account.model import RunningPool
from doks_gitops.settings import Settings, SettingsError
from tests.unit.stackfiles import parsed

OFFERED = ("1.36.1-do.0", "1.35.2-do.0", "1.34.10-do.1", "1.34.10-do.0", "1.34.9-do.0")


def stack(
    version: str = "1.34",
    *,
    upgrade: bool = False,
    ha: bool = False,
    region: str = "nyc1",
    size: str = "s-2vcpu-4gb",
    registry: dict[str, object] | None = None,
    **cluster: object,
) -> Settings:
    return parsed(
        cluster={
            "name": "shop",
            "region": region,
            "version": version,
            "upgrade": upgrade,
            "highAvailability": ha,
            "nodePools": [
                {"name": "default", "size": "s-2vcpu-4gb", "count": 2},
                {"name": "burst", "size": size, "count": 2},
            ],
            **cluster,
        },
        registry=registry or {"name": "shop"},
    )


def running(
    version: str, *, name: str = "shop", number: int = 1, ha: bool = False
) -> RunningCluster:
    return RunningCluster(
        id=f"id-{number}",
        name=name,
        region="nyc1",
        version=Version.parse(version),
        ha=ha,
        state="running",
        registry_enabled=True,
    )


def team(*clusters: RunningCluster, registries: tuple[str, ...] = ("shop",)) -> Account:
    return Account(
        regions=("nyc1", "ams3"),
        sizes=("s-2vcpu-4gb", "s-4vcpu-8gb"),
        versions=tuple(map(Version.parse, OFFERED)),
        clusters=clusters,
        registries=registries,
    )


@pytest.mark.parametrize(
    ("prefix", "resolved"),
    [
        ("1.34", "1.34.10-do.1"),
        ("1.34.9", "1.34.9-do.0"),
        ("1.34.10", "1.34.10-do.1"),
        ("1.34.10-do.0", "1.34.10-do.0"),
    ],
)
def test_new_cluster_gets_the_newest_that_matches(prefix: str, resolved: str) -> None:
    other = running("1.35.2-do.0", name="another")
    assert account.resolve_version(stack(prefix), team(other)) == resolved


@pytest.mark.parametrize("current", ["1.34.9-do.0", "1.34.2-do.0", "1.34.11-do.0"])
def test_running_version_that_the_prefix_begins_stays(current: str) -> None:
    """Whether the version is still offered, no longer offered, or not offered yet."""
    assert account.resolve_version(stack("1.34"), team(running(current))) == current


def test_upgrade_moves_a_running_cluster_to_the_newest_that_matches() -> None:
    settings = stack("1.34", upgrade=True)
    assert account.resolve_version(settings, team(running("1.34.9-do.0"))) == "1.34.10-do.1"


def test_upgrade_never_goes_back() -> None:
    settings = stack("1.34", upgrade=True)
    assert account.resolve_version(settings, team(running("1.34.11-do.0"))) == "1.34.11-do.0"


@pytest.mark.parametrize(
    ("prefix", "current", "resolved"),
    [
        ("1.35", "1.34.10-do.1", "1.35.2-do.0"),
        ("1.34.10", "1.34.9-do.0", "1.34.10-do.1"),
        ("1.35", "1.34.11-do.0", "1.35.2-do.0"),
    ],
)
def test_newer_version_in_the_stack_file_upgrades(prefix: str, current: str, resolved: str) -> None:
    assert account.resolve_version(stack(prefix), team(running(current))) == resolved


def test_minor_upgrade_from_an_older_patch_is_refused_with_both_steps() -> None:
    """DigitalOcean would refuse it, after Pulumi has saved it as done."""
    with pytest.raises(SettingsError) as refusal:
        account.check(stack("1.35"), team(running("1.34.9-do.0")))
    (finding,) = refusal.value.findings
    set_value = "pulumi config set --path 'doks-gitops:cluster.{}' {} --stack dev"
    assert finding.fix == set_value.format("version", "1.34")
    assert "only from the newest patch, which is 1.34.10-do.1" in finding.expected
    steps = (set_value.format("upgrade", "true"), "pulumi up", set_value.format("version", "1.35"))
    positions = [finding.expected.index(step) for step in steps]
    assert positions == sorted(positions)


@pytest.mark.parametrize(
    ("prefix", "current", "words", "command"),
    [
        ("1.36", "1.34.9-do.0", '"1.35" first', "version' 1.35"),
        ("1.33", "1.34.9-do.0", "can't be downgraded", "version' 1.34"),
        ("1.34.8", "1.34.9-do.0", "can't be downgraded", "version' 1.34"),
        ("1.34.99", "1.34.9-do.0", "1.34.10-do.1", "version' 1.34"),
    ],
)
def test_version_that_the_cluster_can_not_have_is_refused(
    prefix: str, current: str, words: str, command: str
) -> None:
    with pytest.raises(SettingsError) as refusal:
        account.resolve_version(stack(prefix), team(running(current)))
    (finding,) = refusal.value.findings
    assert finding.key == "doks-gitops:cluster.version"
    assert f'"{prefix}"' in finding.got
    assert words in finding.expected
    assert finding.fix is not None
    assert command in finding.fix


def test_version_that_is_not_offered_is_refused_with_those_that_are() -> None:
    with pytest.raises(SettingsError, match=r"one of 1\.36\.1-do\.0, 1\.35\.2-do\.0"):
        account.resolve_version(stack("1.31"), team())


def test_error_for_two_clusters_of_one_name_has_their_ids() -> None:
    ambiguous = team(running("1.34.9-do.0", number=1), running("1.34.9-do.0", number=2))
    with pytest.raises(SettingsError, match="id-1 and id-2"):
        account.resolve_version(stack(), ambiguous)


def test_everything_that_the_account_lacks_is_one_error() -> None:
    settings = stack("1.31", region="nyc3", size="s-4vcpu-16gb", registry={"name": "shopp"})
    with pytest.raises(SettingsError) as refusal:
        account.check(settings, team())
    findings = {finding.key: finding for finding in refusal.value.findings}
    assert set(findings) == {
        "doks-gitops:cluster.region",
        "doks-gitops:cluster.nodePools[1].size",
        "doks-gitops:cluster.version",
        "doks-gitops:registry.name",
    }
    assert "did you mean nyc1?" in findings["doks-gitops:cluster.region"].expected
    assert "did you mean s-4vcpu-8gb?" in findings["doks-gitops:cluster.nodePools[1].size"].expected
    assert "the account has shop" in findings["doks-gitops:registry.name"].got
    assert all(finding.source == "Pulumi.dev.yaml" for finding in findings.values())


def test_settings_that_fit_pass() -> None:
    account.check(stack(), team())
    account.check(stack(registry={"name": "shop", "create": True}), team(registries=()))
    account.check(stack(registry={"name": "shop", "create": True}), team())


def test_missing_registry_is_an_error_before_anything_is_created() -> None:
    with pytest.raises(SettingsError, match=r"registry\.create: true"):
        account.check(stack(), team(registries=()))


def test_second_registry_needs_the_tier_that_allows_it() -> None:
    mine = {"name": "mine", "create": True}
    with pytest.raises(SettingsError, match="only the tier professional"):
        account.check(stack(registry=mine), team())
    account.check(stack(registry=mine | {"tier": "professional"}), team())


def test_control_plane_is_not_replaced_to_turn_off_high_availability() -> None:
    with pytest.raises(SettingsError, match="can't be turned off"):
        account.check(stack(ha=False), team(running("1.34.9-do.0", ha=True)))
    account.check(stack(ha=True), team(running("1.34.9-do.0", ha=False)))


def test_error_for_a_cluster_that_failed_to_start_has_the_command_that_frees_its_name() -> None:
    failed = replace(running("1.34.9-do.0"), state="error", message="no capacity in the region")
    with pytest.raises(SettingsError) as refusal:
        account.check(stack(), team(failed))
    assert "could not make: no capacity in the region" in str(refusal.value)
    assert "doctl kubernetes cluster delete id-1" in str(refusal.value)


def test_deleting_a_cluster_that_has_run_is_never_suggested() -> None:
    broken = replace(running("1.34.9-do.0"), state="error", endpoint="https://x.example.com")
    account.check(stack(), team(broken))


VPCS = ("0b8a1e3c-7c5c-4d6f-9a53-6f7d1c0f9a01", "0b8a1e3c-7c5c-4d6f-9a53-6f7d1c0f9a02")
LARGER = [{"name": "default", "size": "s-4vcpu-8gb", "count": 2}]
POOLS = {name: RunningPool(f"id-of-{name}", "s-2vcpu-4gb", 2) for name in ("default", "burst")}
WITHIN_A_VPC = replace(
    running("1.34.9-do.0"), region="ams3", vpc=VPCS[0], pools=POOLS, default_pool="default"
)


def test_replacement_of_a_protected_cluster_is_refused_with_both_ways_on() -> None:
    settings = stack(protect=True, region="nyc1", nodePools=LARGER, vpc={"id": VPCS[1]})
    with pytest.raises(SettingsError) as refusal:
        account.check(settings, team(WITHIN_A_VPC))
    findings = {
        finding.key.removeprefix("doks-gitops:cluster."): finding
        for finding in refusal.value.findings
    }
    assert set(findings) == {"region", "nodePools[0].size", "vpc.id"}
    assert '"nyc1", but the protected cluster "shop" (id-1) was created with "ams3"' in str(
        refusal.value
    )
    for key, current in {"region": "ams3", "nodePools[0].size": "s-2vcpu-4gb"}.items():
        assert findings[key].fix == (
            f"pulumi config set --path 'doks-gitops:cluster.{key}' {current} --stack dev"
        ), "the value that the cluster has"
        assert findings[key].expected.endswith(
            "pulumi config set --path 'doks-gitops:cluster.protect' false --stack dev"
        )


def test_replacement_of_a_cluster_that_is_not_protected_is_allowed() -> None:
    settings = stack(protect=False, region="nyc1", nodePools=LARGER, vpc={"id": VPCS[1]})
    account.check(settings, team(WITHIN_A_VPC))


def test_protected_cluster_without_a_replacement_is_allowed() -> None:
    account.check(stack(protect=True, region="ams3", vpc={"id": VPCS[0]}), team(WITHIN_A_VPC))
    account.check(stack(protect=True, region="ams3"), team(WITHIN_A_VPC))
    unmarked = replace(WITHIN_A_VPC, default_pool=None)
    account.check(stack(protect=True, region="ams3", nodePools=LARGER), team(unmarked))


def test_first_pool_may_be_anywhere_in_the_list_but_not_missing() -> None:
    burst, default = (
        {"name": name, "size": "s-2vcpu-4gb", "count": 2} for name in ("burst", "default")
    )
    cluster = replace(running("1.34.9-do.0"), pools=POOLS, default_pool="default")
    account.check(stack(nodePools=[burst, default]), team(cluster))
    account.check(stack(nodePools=[burst | {"name": "renamed"}]), team(cluster))
    with pytest.raises(SettingsError) as refusal:
        account.check(stack(nodePools=[burst]), team(cluster))
    [finding] = refusal.value.findings
    assert finding.key == "doks-gitops:cluster.nodePools[0].name"
    assert finding.got.startswith('"burst", but "default" is not in the list')
    assert "docs/recovery/second-pool.md" in finding.expected
    account.check(stack(nodePools=[burst], region="ams3"), team(cluster))


def test_renamed_cluster_is_found_by_its_mark() -> None:
    marked = replace(running("1.34.9-do.0", name="old"), mark="mark", ha=True)
    renamed = replace(team(marked), mark="mark")
    assert account.resolve_version(stack(), renamed) == "1.34.9-do.0"
    with pytest.raises(SettingsError, match=r'"old" \(id-1\) is HA'):
        account.check(stack(), renamed)
    account.check(stack(ha=True), renamed)
    with pytest.raises(SettingsError, match="was created with") as refusal:
        account.check(stack(ha=True, protect=True, region="ams3"), renamed)
    assert [finding.key for finding in refusal.value.findings] == ["doks-gitops:cluster.region"]
    other = replace(team(marked, running("1.34.9-do.0", number=2)), mark="mark")
    with pytest.raises(SettingsError, match="the cluster id-2 has that name"):
        account.check(stack(ha=True), other)


def test_versions_are_compared_as_numbers() -> None:
    assert Version.parse("1.34.10-do.0") > Version.parse("1.34.9-do.2")
    assert begins("1.34", Version.parse("1.34.1-do.0"))
    assert begins("1.34.1", Version.parse("1.34.1-do.0"))
    assert begins("1.34.1-do.0", Version.parse("1.34.1-do.0"))
    assert not begins("1.3", Version.parse("1.34.1-do.0"))
    assert not begins("1.34.1", Version.parse("1.34.10-do.0"))
    with pytest.raises(ValueError, match="latest"):
        Version.parse("latest")
