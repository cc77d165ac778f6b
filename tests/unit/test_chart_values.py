"""Values for the argo-cd chart."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.chart_values import ArgoCdOptions, chart_values, merge
from tests.unit.mocked import refused

DOCUMENTED = Path(__file__).resolve().parents[3] / "shared/data/argo-cd-chart/values-10.1.1.yaml"

VARIANTS = {
    "dev": ArgoCdOptions(),
    "prod": ArgoCdOptions(high_availability=True),
    "url": ArgoCdOptions(url="https://argocd.example.com"),
    "admin disabled": ArgoCdOptions(admin_enabled=False),
    "admin password": ArgoCdOptions(admin_password_hash="$2a$10$hash"),
    "password set at": ArgoCdOptions(
        admin_password_hash="$2a$10$hash", admin_password_set_at="2026-01-31T12:00:00Z"
    ),
    "webhook": ArgoCdOptions(webhook_secret="shared"),
    "all": ArgoCdOptions(
        high_availability=True,
        url="https://argocd.example.com:8443",
        admin_password_hash="$2a$10$hash",
        webhook_secret="shared",
    ),
}


def leaves(values: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from leaves(value, (*above, key))
        else:
            yield (*above, key)


def is_documented(path: tuple[str, ...], documented: Any) -> bool:
    """Whether the chart has this path. What it has as `{}` takes keys of the user's choice; what
    has other keys does not, so that a misspelt one is found."""
    for key in path:
        if documented == {}:
            return True
        if not isinstance(documented, Mapping) or key not in documented:
            return False
        documented = documented[key]
    return True


@pytest.fixture(scope="module")
def documented() -> dict[str, Any]:
    if not DOCUMENTED.exists():
        pytest.skip(f"the chart's values.yaml is not here ({DOCUMENTED.name}, in shared data)")
    loaded: dict[str, Any] = yaml.safe_load(DOCUMENTED.read_text())
    return loaded


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_value_is_one_that_the_chart_documents(
    variant: str, documented: dict[str, Any]
) -> None:
    paths = list(leaves(chart_values(VARIANTS[variant])))
    assert paths
    assert [".".join(path) for path in paths if not is_documented(path, documented)] == []


def test_a_misspelt_value_would_be_found(documented: dict[str, Any]) -> None:
    assert not is_documented(("server", "replica"), documented)
    assert not is_documented(("configs", "secret", "argocdAdminPassword"), documented)
    assert is_documented(("configs", "cm", "admin.enabled"), documented)


@pytest.mark.parametrize("variant", VARIANTS)
def test_values_have_the_chart_s_own_types(variant: str, documented: dict[str, Any]) -> None:
    values = chart_values(VARIANTS[variant])
    for path in leaves(values):
        ours: Any = values
        chart: Any = documented
        for key in path:
            ours = ours[key]
            chart = chart.get(key) if isinstance(chart, Mapping) else None
        if isinstance(chart, bool | int | list):
            assert type(ours) is type(chart), path


def test_second_run_has_the_same_values() -> None:
    for wanted in VARIANTS.values():
        assert chart_values(wanted) == chart_values(wanted)


def test_prod_has_no_single_point_of_failure_that_the_chart_can_double() -> None:
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
    asked = [part["resources"]["requests"] for part in values.values() if "resources" in part]
    assert len(asked) == 7
    # s-1vcpu-2gb, of which DOKS leaves about 1 GiB and 900m to pods.
    assert sum(int(each["memory"].removesuffix("Mi")) for each in asked) <= 800
    assert sum(int(each["cpu"].removesuffix("m")) for each in asked) <= 300


def test_definitions_survive_argo_cd() -> None:
    assert chart_values(ArgoCdOptions())["crds"] == {"install": True, "keep": True}


def test_address_is_the_url_or_the_near_end_of_the_port_forward() -> None:
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
def test_url_that_the_chart_can_not_express_is_refused(url: str) -> None:
    with refused(url, "https://host"):
        chart_values(ArgoCdOptions(url=url))


def test_disabled_admin_gets_no_password() -> None:
    values = chart_values(ArgoCdOptions(admin_enabled=False, admin_password_hash="$2a$10$hash"))
    assert values["configs"] == {"cm": {"admin.enabled": False}}


def test_password_always_comes_with_a_fixed_time() -> None:
    # Without one the chart takes the current time, and every run would be a change.
    secret = chart_values(ArgoCdOptions(admin_password_hash="$2a$10$hash"))["configs"]["secret"]
    assert secret == {
        "argocdServerAdminPassword": "$2a$10$hash",
        "argocdServerAdminPasswordMtime": "1970-01-01T00:00:00Z",
    }


def test_extra_values_override_ours() -> None:
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
    ("ours", "theirs", "merged"),
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
def test_merge(ours: dict[str, Any], theirs: dict[str, Any], merged: dict[str, Any]) -> None:
    before = (repr(ours), repr(theirs))
    assert merge(ours, theirs) == merged
    assert (repr(ours), repr(theirs)) == before
