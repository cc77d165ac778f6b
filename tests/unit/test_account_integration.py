"""A registry integration that was removed by hand is restored, and only then."""

from typing import Any

import pulumi
import pytest

import settings
from account import Account, RunningCluster, Version, integration


@pytest.fixture
def stack() -> settings.Settings:
    config: dict[str, Any] = {
        "digitalocean:token": "dop_v1_token",
        "doks-gitops:cluster": {
            "name": "demo",
            "region": "nyc1",
            "version": "1.34",
            "nodePools": [{"name": "default", "size": "s-2vcpu-4gb", "count": 3}],
        },
        "doks-gitops:registry": {"name": "team"},
        "doks-gitops:argocd": {"chart": {"version": "10.1.1"}},
        "doks-gitops:repositories": {"monorepo": {"url": "https://git.test/m"}},
        "doks-gitops:project": {"namespaces": ["shop"]},
    }
    return settings.parse("dev", config, {})


def team(**given: Any) -> Account:
    cluster: dict[str, Any] = {
        "id": "id-1",
        "name": "demo",
        "region": "nyc1",
        "version": Version.of("1.34.1-do.0"),
        "ha": False,
        "state": "running",
        "registry_enabled": False,
        **given,
    }
    return Account(
        regions=(), sizes=(), versions=(), clusters=(RunningCluster(**cluster),), registries=()
    )


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    calls: list[tuple[str, ...]] = []
    monkeypatch.setattr(integration, "allow_pulls", lambda *given: calls.append(given))
    monkeypatch.setattr(pulumi, "warn", lambda *_: None)
    monkeypatch.setattr(pulumi.runtime, "is_dry_run", lambda: False)
    return calls


def test_running_cluster_that_may_not_pull_is_allowed_to(
    stack: settings.Settings, asked: list[tuple[str, ...]]
) -> None:
    integration.restore_integration(stack, team())
    assert asked == [("dop_v1_token", "https://api.digitalocean.com", "id-1", "team")]


@pytest.mark.parametrize(
    "given", [{"registry_enabled": True}, {"state": "provisioning"}, {"name": "other"}]
)
def test_any_other_cluster_is_left_alone(
    stack: settings.Settings, asked: list[tuple[str, ...]], given: dict[str, Any]
) -> None:
    integration.restore_integration(stack, team(**given))
    assert not asked


def test_preview_changes_nothing_and_says_what_would_be(
    stack: settings.Settings, asked: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(pulumi, "warn", said.append)
    monkeypatch.setattr(pulumi.runtime, "is_dry_run", lambda: True)
    integration.restore_integration(stack, team())
    assert not asked
    assert "`pulumi up` allows it again" in said[0]
