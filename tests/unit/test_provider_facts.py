"""What the providers do is known for everything that the program uses."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from doks_gitops import account
from tests.provider_facts import facts, provider
from tests.unit.mocked import Run
from tests.unit.test_program import CONFIG, platform
from tests.unit.test_ssh_key import private

PROVIDERS = ("digitalocean", "github", "kubernetes")
POOL = {"size": "s-2vcpu-4gb", "labels": {"team": "shop"}, "tags": ["pool"]}
VPC, SUBNET = "c33931f2-a26a-4e61-b85c-4e95a2ec431b", "0e2a1d6c-4d5d-4b62-9c2c-5b7f1b8a4c55"
TAINT = {"key": "burst", "value": "yes", "effect": "NoSchedule"}

EVERYTHING: dict[str, Any] = {
    **CONFIG,
    "digitalocean:apiEndpoint": "https://api.example.com",
    "doks-gitops:cluster": {
        **CONFIG["doks-gitops:cluster"],
        "highAvailability": True,
        "autoUpgrade": True,
        "surgeUpgrade": False,
        "maintenance": {"day": "sunday", "startTime": "02:00"},
        "vpc": {"ipRange": "10.10.0.0/20"},
        "tags": ["shop"],
        "destroyAssociatedResources": True,
        "network": {"pods": "172.20.0.0/16", "services": "172.21.0.0/20"},
        "controlPlaneFirewall": {
            "allowedAddresses": ["1.1.1.1"],
            "ownAddressUnchecked": True,
        },
        "sso": {"issuerUrl": "https://sso.example.com", "clientId": "shop", "required": False},
        "autoscaler": {
            "scaleDownUtilizationThreshold": 0.5,
            "scaleDownUnneededTime": "5m",
            "expanders": ["priority"],
        },
        "features": dict.fromkeys(
            (
                "routingAgent",
                "corednsAutoscaler",
                "nfsCsiPlugin",
                "p2pOciRegistryPlugin",
                "amdGpuDevicePlugin",
                "amdGpuDeviceMetricsExporterPlugin",
                "nvidiaGpuDevicePlugin",
                "rdmaSharedDevicePlugin",
            ),
            True,
        ),
        "nodePools": [
            {**POOL, "name": "default", "count": 3},
            {**POOL, "name": "burst", "autoscale": {"min": 1, "max": 5}, "taints": [TAINT]},
            {**POOL, "name": "fixed", "count": 1},
        ],
    },
    "doks-gitops:repositories": {
        "monorepo": {
            "url": "git@github.com:team/monorepo.git",
            "credentials": {"sshPrivateKey": private()},
        }
    },
    "doks-gitops:github": {
        "owner": "team",
        "repository": "monorepo",
        "token": "github_pat_token",
        "baseUrl": "https://github.example.com/",
        "deployKey": "monorepo",
        "webhook": {"url": "https://argocd.example.com/api/webhook"},
        "ruleset": {"checks": ["tests"], "bypass": [{"team": "ops"}, {"user": "ada"}, {"app": 3}]},
        "environments": {
            "prod": {
                "teams": ["ops"],
                "users": ["ada"],
                "preventSelfReview": True,
                "waitMinutes": 3,
                "secrets": {"A": "1"},
                "variables": {"B": "2"},
            }
        },
        "secrets": {"A": "1"},
        "variables": {"B": "2"},
    },
}
OTHERWISE = {
    **EVERYTHING,
    "doks-gitops:cluster": {
        **EVERYTHING["doks-gitops:cluster"],
        "vpc": {"id": VPC},
        "workerSubnet": SUBNET,
        "isolatedWorkers": True,
        "features": {"amdGpuDraDriver": True, "nvidiaGpuDraDriver": True},
        "nodePools": [
            {**POOL, "name": "first", "autoscale": {"min": 1, "max": 5}, "taints": [TAINT]},
            {**POOL, "name": "second", "count": 1},
        ],
    },
}

OPAQUE = ("spec", "data", "values", "metadata.labels", "metadata.annotations", "labels")
"""Properties whose content is not the provider's: Kubernetes and Helm decide what it means."""


def paths(properties: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in properties.items():
        path = prefix + name
        yield path
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, Mapping) and path.removeprefix("nodePool.") not in OPAQUE:
                yield from paths(item, f"{path}.")


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    networks = (account.Vpc(VPC, "net", "nyc1", "10.20.0.0/20", False),)
    monkeypatch.setattr(account.DigitalOceanClient, "vpcs", lambda _: networks)
    monkeypatch.setattr(account.DigitalOceanClient, "nat_gateways", lambda _: frozenset({VPC}))
    return [platform(monkeypatch, config=config) for config in (EVERYTHING, OTHERWISE)]


def test_the_table_has_exactly_the_resources_and_properties_that_the_program_uses(
    runs: list[Run],
) -> None:
    used = {
        (resource.type, path)
        for run in runs
        for resource in run.of_packages(*PROVIDERS, "pulumi")
        if not resource.type.startswith("pulumi:pulumi") and "Stash" not in resource.type
        for path in paths(resource.inputs)
    }
    known = {
        (fact.type, fact.path)
        for fact in facts(*PROVIDERS)
        if "output" not in fact.what and fact.what.get("used", True)
    }
    assert used == known


def test_the_table_has_exactly_the_functions_that_the_program_calls(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from tests.unit import mocked

    called: dict[str, set[str]] = {}
    call = mocked._Provider.call

    def noted(self: mocked._Provider, args: Any) -> Any:
        called.setdefault(args.token, set()).update(args.args)
        return call(self, args)

    monkeypatch.setattr(mocked._Provider, "call", noted)
    platform(monkeypatch, config=EVERYTHING)
    described = {
        token: set(function["arguments"])
        for name in PROVIDERS
        for token, function in provider(name)["functions"].items()
    }
    assert called == described
