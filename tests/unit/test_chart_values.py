"""Values for the argo-cd chart."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import yaml

from components.chart_values import ArgoCdOptions, chart_values, merge
from tests.unit.mocked import refused
from tests.unit.stackfiles import ROOT

CHART = yaml.safe_load((ROOT / "tests/data/argo-cd-chart/values.yaml").read_text())
"""The chart's values.yaml."""

VARIANTS = {
    "dev": ArgoCdOptions(),
    "prod": ArgoCdOptions(high_availability=True),
    "url": ArgoCdOptions(url="https://argocd.example.com"),
    "admin disabled": ArgoCdOptions(admin_enabled=False),
    "admin password": ArgoCdOptions(admin_password_hash="$2a$10$hash"),
    "password set at": ArgoCdOptions(
        admin_password_hash="$2a$10$hash", admin_password_set_at="2026-01-31T12:00:00Z"
    ),
    "webhook": ArgoCdOptions(webhook_secret="hush"),
    "all": ArgoCdOptions(
        high_availability=True,
        url="https://argocd.example.com:8443",
        admin_password_hash="$2a$10$hash",
        webhook_secret="hush",
    ),
}


def leaves(values: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key)


def chart_has(path: tuple[str, ...]) -> bool:
    """Whether the chart has a value at `path`. An empty object in the chart allows any key."""
    value = CHART
    if path[:2] == ("configs", "params"):
        # Written to the ConfigMap argocd-cmd-params-cm, whatever the keys are.
        return True
    for key in path:
        if value == {}:
            return True
        if not isinstance(value, Mapping) or key not in value:
            return False
        value = value[key]
    return True


@pytest.mark.parametrize("variant", VARIANTS)
def test_chart_has_every_value(variant: str) -> None:
    paths = list(leaves(chart_values(VARIANTS[variant])))
    assert paths
    assert [".".join(path) for path in paths if not chart_has(path)] == []


def test_misspelt_value_would_be_found() -> None:
    assert not chart_has(("server", "replica"))
    assert not chart_has(("configs", "secret", "argocdAdminPassword"))
    assert chart_has(("configs", "cm", "admin.enabled"))


@pytest.mark.parametrize("variant", VARIANTS)
def test_values_have_the_types_of_the_chart(variant: str) -> None:
    values = chart_values(VARIANTS[variant])
    for path in leaves(values):
        value: Any = values
        default: Any = CHART
        for key in path:
            value = value[key]
            default = default.get(key) if isinstance(default, Mapping) else None
        if isinstance(default, bool | int | list):
            assert type(value) is type(default), path


def test_second_run_has_the_same_values() -> None:
    for options in VARIANTS.values():
        assert chart_values(options) == chart_values(options)


def test_parts_of_a_highly_available_argo_cd_have_replicas_on_several_nodes() -> None:
    values = chart_values(ArgoCdOptions(high_availability=True))
    for part in ("server", "repoServer", "applicationSet"):
        assert values[part]["replicas"] >= 2, part
        assert values[part]["pdb"] == {"enabled": True, "minAvailable": 1}, part
    assert values["redis-ha"]["enabled"] is True
    (spread,) = values["global"]["topologySpreadConstraints"]
    assert spread["topologyKey"] == "kubernetes.io/hostname"


def test_dev_fits_on_one_small_node() -> None:
    values = chart_values(ArgoCdOptions())
    assert values["redis-ha"]["enabled"] is False
    requests = [part["resources"]["requests"] for part in values.values() if "resources" in part]
    assert len(requests) == 7
    # A node of the size s-1vcpu-2gb has about 1 GiB and 900m for pods.
    assert sum(int(request["memory"].removesuffix("Mi")) for request in requests) <= 800
    assert sum(int(request["cpu"].removesuffix("m")) for request in requests) <= 300


def test_crds_outlive_the_release() -> None:
    assert chart_values(ArgoCdOptions())["crds"] == {"install": True, "keep": True}


def test_domain_is_that_of_the_url_or_of_the_port_forward() -> None:
    assert chart_values(ArgoCdOptions())["global"]["domain"] == "localhost:8080"
    for url, domain in {
        "https://argocd.example.com": "argocd.example.com",
        "https://argocd.example.com/": "argocd.example.com",
        "https://argocd.example.com:8443": "argocd.example.com:8443",
    }.items():
        assert chart_values(ArgoCdOptions(url=url))["global"]["domain"] == domain


@pytest.mark.parametrize(
    "url", ["http://argocd.example.com", "argocd.example.com", "https://x.test/argocd"]
)
def test_url_with_more_than_a_domain_is_refused(url: str) -> None:
    with refused(url, "https://host"):
        chart_values(ArgoCdOptions(url=url))


def test_disabled_admin_gets_no_password() -> None:
    values = chart_values(ArgoCdOptions(admin_enabled=False, admin_password_hash="$2a$10$hash"))
    assert set(values["configs"]) == {"cm", "params"}
    assert values["configs"]["cm"] == {"admin.enabled": False}


def test_password_always_comes_with_a_fixed_time() -> None:
    secret = chart_values(ArgoCdOptions(admin_password_hash="$2a$10$hash"))["configs"]["secret"]
    assert secret == {
        "argocdServerAdminPassword": "$2a$10$hash",
        "argocdServerAdminPasswordMtime": "1970-01-01T00:00:00Z",
    }


def test_overrides_change_and_remove_values() -> None:
    merged = merge(
        chart_values(ArgoCdOptions(high_availability=True)),
        {
            "server": {"replicas": 3, "service": {"type": "LoadBalancer"}},
            "global": {"topologySpreadConstraints": [], "domain": None},
            "dex": None,
        },
    )
    assert merged["server"]["replicas"] == 3
    assert merged["server"]["service"] == {"type": "LoadBalancer"}
    assert merged["server"]["pdb"] == {"enabled": True, "minAvailable": 1}
    assert merged["global"] == {"topologySpreadConstraints": []}
    assert "dex" not in merged


@pytest.mark.parametrize(
    ("base", "overrides", "merged"),
    [
        ({}, {"a": 1}, {"a": 1}),
        ({"a": 1}, {}, {"a": 1}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"c": 3}}, {"a": {"b": 1, "c": 3}}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": {"b": 1}}, {"a": 2}, {"a": 2}),
        ({"a": 1}, {"a": {"b": 2}}, {"a": {"b": 2}}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": None}}, {"a": {"c": 2}}),
        ({}, {"a": {"b": None}}, {"a": {}}),
        ({"a": True}, {"a": False}, {"a": False}),
    ],
)
def test_merge(base: dict[str, Any], overrides: dict[str, Any], merged: dict[str, Any]) -> None:
    before = (repr(base), repr(overrides))
    assert merge(base, overrides) == merged
    assert (repr(base), repr(overrides)) == before


def test_submodules_are_fetched_unless_they_are_switched_off() -> None:
    params = chart_values(ArgoCdOptions())["configs"]["params"]
    without = chart_values(ArgoCdOptions(git_submodules=False))["configs"]["params"]
    assert without.items() - params.items() == {
        ("reposerver.enable.git.submodule", "false"),
        ("applicationsetcontroller.enable.git.submodule", "false"),
    }
