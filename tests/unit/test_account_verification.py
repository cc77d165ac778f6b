"""What a cluster lacks of the stack file is found after an update, with the next command."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pulumi
import pytest

from doks_gitops.account import (
    Account,
    AccountError,
    DigitalOceanClient,
    RunningCluster,
    Version,
    Vpc,
    verification,
)
from doks_gitops.account.model import RunningPool
from tests.unit.mocked import run
from tests.unit.stackfiles import parsed

VERSIONS = (Version.parse("1.35.2-do.0"), Version.parse("1.34.10-do.0"))
CLUSTER: dict[str, Any] = {
    "name": "demo",
    "region": "nyc1",
    "version": "1.34",
    "highAvailability": True,
    "autoUpgrade": True,
    "tags": ["Team"],
    "nodePools": [
        {"name": "default", "size": "s-2vcpu-4gb", "count": 3},
        {
            "name": "burst",
            "size": "s-4vcpu-8gb",
            "autoscale": {"min": 1, "max": 5},
            "labels": {"kind": "burst"},
            "taints": [{"key": "burst", "value": "yes", "effect": "NoSchedule"}],
            "tags": ["burst"],
        },
    ],
}
DEFAULT = RunningPool("p1", "s-2vcpu-4gb", 3, labels={"doks.digitalocean.com/managed": "true"})
BURST = RunningPool(
    "p2",
    "s-4vcpu-8gb",
    4,
    autoscale=(1, 5),
    labels={"kind": "burst"},
    taints=frozenset({("burst", "yes", "NoSchedule")}),
    tags=frozenset({"burst"}),
)
COMPLETE = RunningCluster(
    id="id-1",
    name="demo",
    region="nyc1",
    version=VERSIONS[1],
    ha=True,
    state="running",
    registry_enabled=True,
    pools={"default": DEFAULT, "burst": BURST},
    auto_upgrade=True,
    surge_upgrade=True,
    tags=("team", "doks-gitops-owner:a:b:c"),
    mark="doks-gitops-owner:a:b:c",
)
"""A cluster as the section says."""


def lacking(cluster: RunningCluster, **changes: Any) -> dict[str, verification.Difference]:
    """What `cluster` lacks of the section with `changes`, by the key below `cluster`."""
    settings = parsed(cluster=CLUSTER | changes)
    differences = verification.differences(settings, VERSIONS[1], cluster)
    return {".".join(map(str, difference.path[1:])): difference for difference in differences}


@pytest.mark.parametrize(
    ("actual", "keys"),
    [
        ({"day": "sunday", "start_time": "03:00", "duration": "4h0m0s"}, set()),
        ({"day": "monday", "start_time": "03:00"}, {"maintenance.day"}),
        ({"day": "any", "start_time": "04:00"}, {"maintenance.day", "maintenance.startTime"}),
        ({}, {"maintenance.day", "maintenance.startTime"}),
    ],
)
def test_another_maintenance_window_is_found(actual: dict[str, object], keys: set[str]) -> None:
    cluster = replace(COMPLETE, options={"maintenance_policy": actual})
    assert {*lacking(cluster, maintenance={"day": "sunday", "startTime": "03:00"})} == keys
    assert not lacking(cluster)


def pools(**changes: RunningPool) -> RunningCluster:
    return replace(COMPLETE, pools={"default": DEFAULT, "burst": BURST} | changes)


@pytest.mark.parametrize(
    ("cluster", "key", "desired", "actual"),
    [
        (replace(COMPLETE, version=Version.parse("1.34.9-do.0")), "version", "1.34.10-do.0", None),
        (replace(COMPLETE, name="old"), "name", "demo", "old"),
        (replace(COMPLETE, ha=False), "highAvailability", True, False),
        (replace(COMPLETE, auto_upgrade=False), "autoUpgrade", True, False),
        (replace(COMPLETE, surge_upgrade=False), "surgeUpgrade", True, False),
        (replace(COMPLETE, tags=("old",)), "tags", ["Team"], ["old"]),
        (pools(default=replace(DEFAULT, count=2)), "nodePools.0.count", 3, 2),
        (pools(default=replace(DEFAULT, autoscale=(1, 3))), "nodePools.0.count", 3, None),
        (pools(default=replace(DEFAULT, size="s-1")), "nodePools.0.size", "s-2vcpu-4gb", "s-1"),
        (pools(burst=replace(BURST, autoscale=(1, 4))), "nodePools.1.autoscale", [1, 5], [1, 4]),
        (pools(burst=replace(BURST, autoscale=None)), "nodePools.1.autoscale", [1, 5], None),
        (pools(burst=replace(BURST, labels={})), "nodePools.1.labels", {"kind": "burst"}, {}),
        (pools(burst=replace(BURST, taints=frozenset())), "nodePools.1.taints", None, []),
        (pools(burst=replace(BURST, tags=frozenset())), "nodePools.1.tags", ["burst"], []),
        (replace(COMPLETE, pools={"default": DEFAULT}), "nodePools.1.name", "burst", None),
    ],
)
def test_each_setting_that_the_cluster_does_not_have_is_found(
    cluster: RunningCluster, key: str, desired: object, actual: object
) -> None:
    differences = lacking(cluster)
    assert set(differences) == {key}
    assert desired in (None, differences[key].desired)
    assert actual in (None, differences[key].actual)


@pytest.mark.parametrize(
    "cluster",
    [
        COMPLETE,
        replace(COMPLETE, version=Version.parse("1.34.11-do.0")),
        replace(COMPLETE, version=Version.parse("1.33.1-do.0"), state="upgrading"),
        pools(by_hand=DEFAULT),
        pools(burst=replace(BURST, count=1)),
    ],
)
def test_cluster_that_has_everything_or_more_is_accepted(cluster: RunningCluster) -> None:
    """A newer version, an upgrade in progress, another pool, an autoscaled number of nodes."""
    assert not lacking(cluster)


@pytest.mark.parametrize(
    ("changes", "key", "words"),
    [
        ({"surgeUpgrade": False}, "surgeUpgrade", ["clusters/id-1", '"surge_upgrade": false']),
        (
            {"nodePools": [CLUSTER["nodePools"][0], CLUSTER["nodePools"][1] | {"labels": {}}]},
            "nodePools.1.labels",
            ["clusters/id-1/node_pools/p2", '"labels": {}', '"min_nodes": 1'],
        ),
        (
            {"nodePools": [CLUSTER["nodePools"][0], CLUSTER["nodePools"][1] | {"tags": []}]},
            "nodePools.1.tags",
            ["clusters/id-1/node_pools/p2", '"tags": []'],
        ),
    ],
)
def test_value_that_the_provider_never_sends_has_the_command_that_sets_it(
    changes: dict[str, Any], key: str, words: Sequence[str]
) -> None:
    [(name, difference)] = lacking(COMPLETE, **changes).items()
    assert name == key
    assert difference.command is not None
    assert all(word in difference.command for word in words), difference.command


def verified(
    monkeypatch: pytest.MonkeyPatch,
    *reads: RunningCluster,
    preview: bool = False,
    vpc: str | None = None,
    **sections: Any,
) -> int:
    """How often a run reads the clusters, which are another one each time, at its end. `vpc`: name
    of the cluster's VPC."""
    monkeypatch.setattr(verification, "PAUSE_SECONDS", 0)
    pending = list(reads)

    def clusters(_: object) -> tuple[RunningCluster, ...]:
        return (pending.pop(0) if len(pending) > 1 else pending[0],)

    vpcs = [Vpc("other", "other", "nyc1", "10.9.0.0/20", True)]
    vpcs += [Vpc("vpc-1", vpc, "nyc1", "10.10.0.0/20", False)] if vpc else []
    monkeypatch.setattr(DigitalOceanClient, "clusters", clusters)
    monkeypatch.setattr(DigitalOceanClient, "vpcs", lambda _: tuple(vpcs))
    monkeypatch.setattr(DigitalOceanClient, "subscribed_tier", lambda _: "professional")
    account = Account((), (), VERSIONS, (), ())

    def program() -> None:
        cluster_id, after = pulumi.Output.from_input("id-1"), pulumi.Output.from_input("urn")
        settings = parsed(**{"cluster": CLUSTER, **sections})
        verification.verify(settings, account, cluster_id, after=after)

    run(program, preview=preview)
    return len(reads) - len(pending)


def previewed(
    cluster: RunningCluster, *, cluster_id: Any = pulumi.UNKNOWN, preview: bool = True, **cfg: Any
) -> None:
    """Preview the stack in an account with `cluster`."""
    account = Account((), (), VERSIONS, (cluster,), ())

    def program() -> None:
        output: pulumi.Output[str] = pulumi.Output.from_input(cluster_id)
        verification.refuse_unexpected(parsed(cluster=CLUSTER | cfg), account, output)

    run(program, preview=preview)


OLDER = replace(COMPLETE, version=Version.parse("1.34.9-do.0"), default_pool="default")


def test_new_cluster_in_place_of_one_that_no_setting_replaces_is_refused() -> None:
    with pytest.raises(AccountError, match="although no setting asks for that") as failure:
        previewed(OLDER, upgrade=True)
    assert failure.value.fix is not None
    assert "bin/platform recover --stack dev" in failure.value.fix
    with pytest.raises(AccountError, match=r"in place of demo \(id-1\)"):
        previewed(OLDER)
    previewed(replace(OLDER, default_pool=None))


def test_upgrade_in_place_and_replacements_by_other_settings_are_previewed() -> None:
    previewed(OLDER, upgrade=True, cluster_id="id-1")
    previewed(OLDER, upgrade=True, region="fra1")


def test_error_names_both_values_and_the_command_that_sends_the_update_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(AccountError) as failure:
        verified(monkeypatch, pools(default=replace(DEFAULT, count=2)))
    assert "nodePools[0].count: 2, but 3 in Pulumi.dev.yaml" in failure.value.problem
    assert failure.value.fix == "pulumi up --refresh --stack dev"


def test_account_that_shows_an_update_late_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    late = pools(default=replace(DEFAULT, count=2))
    assert verified(monkeypatch, late, late, COMPLETE) == 2


def test_upgrade_that_begins_late_is_waited_for_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    old = replace(COMPLETE, version=Version.parse("1.34.9-do.0"))
    waiting = [old] * (verification.ATTEMPTS * 2)
    assert verified(monkeypatch, *waiting, replace(old, state="upgrading")) == len(waiting)
    monkeypatch.setattr(verification, "UPGRADE_ATTEMPTS", 2)
    with pytest.raises(AccountError, match=r"cluster\.version"):
        verified(monkeypatch, old)


def test_cluster_that_is_gone_at_the_end_fails_the_deployment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(AccountError, match="does not have the cluster id-1 any more") as failure:
        verified(monkeypatch, replace(COMPLETE, id="id-2"))
    assert failure.value.fix == "bin/platform recover --stack dev"


def test_names_of_its_vpc_and_tier_of_its_registry_are_verified_if_the_stack_owns_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster = replace(COMPLETE, vpc="vpc-1")
    own = {**CLUSTER, "vpc": {"ipRange": "10.10.0.0/20"}}
    verified(monkeypatch, cluster, vpc="demo", cluster=own)
    verified(monkeypatch, cluster, vpc="old")
    with pytest.raises(AccountError, match=r'cluster\.name: "old, its VPC", but "demo"'):
        verified(monkeypatch, cluster, vpc="old", cluster=own)
    registry = {"name": "team", "create": True, "tier": "professional"}
    verified(monkeypatch, COMPLETE, registry=registry)
    with pytest.raises(AccountError, match=r'registry\.tier: "professional", but "basic"'):
        verified(monkeypatch, COMPLETE, registry=registry | {"tier": "basic"})


def test_pool_that_is_left_after_an_update_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    messages: list[str] = []
    monkeypatch.setattr("doks_gitops.account.messages.warn", messages.append)
    assert verified(monkeypatch, COMPLETE) == 0
    assert messages == []
    verified(monkeypatch, pools(by_hand=replace(DEFAULT, id="p3")))
    [text] = messages
    assert "by_hand (p3, 3 x s-2vcpu-4gb)" in text
    assert "doctl kubernetes cluster node-pool delete id-1 p3" in text


def test_preview_verifies_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    verified(monkeypatch, replace(COMPLETE, ha=False), preview=True)
