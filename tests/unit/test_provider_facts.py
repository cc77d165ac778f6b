"""What the providers do is known for everything that the program uses."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import pytest

from doks_gitops import account
from doks_gitops.settings.model import NAMESPACE, Settings
from doks_gitops.settings.report import SECTIONS
from doks_gitops.settings.schema import SettingType, fields
from doks_gitops.volumes.cluster import Cluster
from tests.provider_facts import facts, provider
from tests.unit import sealing_keys
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
    "digitalocean:clusterToken": "dop_v1_cluster",
    "doks-gitops:environment": "dev",
    "doks-gitops:cluster": {
        **CONFIG["doks-gitops:cluster"],
        "upgrade": True,
        "ignoredChecks": ["pod-state"],
        "replace": True,
        "protect": True,
        "highAvailability": True,
        "autoUpgrade": True,
        "surgeUpgrade": False,
        "maintenance": {"day": "sunday", "startTime": "02:00"},
        "vpc": {"ipRange": "10.10.0.0/20"},
        "tags": ["shop"],
        "destroyAssociatedResources": True,
        "network": {"pods": "172.20.0.0/16", "services": "172.21.0.0/20"},
        "controlPlaneFirewall": {
            "enabled": True,
            "allowedAddresses": ["1.1.1.1"],
            "ownAddressUnchecked": True,
        },
        "sso": {
            "enabled": True,
            "issuerUrl": "https://sso.example.com",
            "clientId": "shop",
            "required": False,
        },
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
    "doks-gitops:registry": {**CONFIG["doks-gitops:registry"], "tier": "professional"},
    "doks-gitops:repositories": {
        "monorepo": {
            "url": "git@github.com:team/monorepo.git",
            "credentials": {"sshPrivateKey": private()},
        }
    },
    "doks-gitops:credentialTemplates": {
        "team": {
            "url": "https://github.com/team/",
            "credentials": {"username": "git", "password": "git token"},
        }
    },
    "doks-gitops:github": {
        "owner": "team",
        "repository": "monorepo",
        "token": "github_pat_token",
        "baseUrl": "https://github.example.com/",
        "deployKey": "monorepo",
        "webhook": {"url": "https://argocd.example.com/api/webhook"},
        "ruleset": {
            "name": "main",
            "branches": ["main"],
            "approvals": 2,
            "codeOwners": False,
            "checks": ["tests"],
            "bypass": [
                {"team": "ops", "mode": "pull_request"},
                {"user": "ada"},
                {"app": 3},
                {"organizationAdmins": True},
            ],
        },
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
    "doks-gitops:pullRequests": {
        "application": "shop",
        "webhookUrl": "https://argocd.example.com/applicationsets/api/webhook",
        "token": "github_pat_pulls",
        "label": "try",
        "timeToLive": 8,
        "atOnce": 3,
        "images": ["frontend"],
        "quota": {
            "cpu": "1",
            "memory": "2Gi",
            "pods": 9,
            "storage": "1Gi",
            "loadBalancers": 1,
        },
        "limitsPath": "argocd/limits",
        "service": "frontend",
        "port": 8080,
    },
    "doks-gitops:sealedSecrets": sealing_keys.section(sealing_keys.pair("dev")),
}
OTHERWISE = {
    **{
        key: section
        for key, section in EVERYTHING.items()
        if not key.endswith((":project", ":applications", ":pullRequests"))
    },
    "doks-gitops:appOfApps": {"path": "argocd/dev"},
    "doks-gitops:volumes": {"snapshots": {"keep": 3}},
    "doks-gitops:cluster": {
        **EVERYTHING["doks-gitops:cluster"],
        "destroyAssociatedResources": False,
        "vpc": {"id": VPC},
        "workerSubnet": SUBNET,
        "controlPlaneFirewall": {"allowedAddresses": ["1.1.1.1"], "ownAddress": "1.1.1.1"},
        "isolatedWorkers": True,
        "features": {"amdGpuDraDriver": True, "nvidiaGpuDraDriver": True},
        "nodePools": [
            {
                **POOL,
                "name": "first",
                "autoscale": {"min": 1, "max": 5},
                "taints": [TAINT],
                "gpuPartitionMode": "AMD_PARTITION_MODE_SPX_NPS1",
            },
            {
                **POOL,
                "name": "second",
                "count": 1,
                "gpuPartitionMode": "AMD_PARTITION_MODE_DPX_NPS2",
            },
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


WHOLE = ("digitalocean", "cluster", "registry", "github", "pullRequests")
"""Sections whose values are properties of a provider's resources, and not their content alone."""


def missing(setting: SettingType, values: Sequence[Any], path: str) -> Iterator[str]:
    """The keys of the setting that none of its `values` has."""
    if setting.model:
        for key, field in fields(setting.model).items():
            if inner := [value[key] for value in values if key in value]:
                yield from missing(field, inner, f"{path}.{key}")
            else:
                yield f"{path}.{key}"
    elif item := setting.child(0) or setting.child(""):
        listed = (value.values() if isinstance(value, dict) else value for value in values)
        yield from missing(item, [*chain.from_iterable(listed)], path)


def test_every_section_and_every_key_that_reaches_a_provider_is_tried_here() -> None:
    sections: dict[str, list[Any]] = {}
    for config in (EVERYTHING, OTHERWISE):
        for name, value in config.items():
            namespace, _, key = name.partition(":")
            if namespace == NAMESPACE:
                sections.setdefault(key, []).append(value)
            else:
                sections.setdefault(namespace, []).append({key: value})
    known = fields(Settings)
    assert sections.keys() == {*SECTIONS, "digitalocean"}
    assert [path for name in WHOLE for path in missing(known[name], sections[name], name)] == []


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    networks = (account.Vpc(VPC, "net", "nyc1", "10.20.0.0/20", False),)
    monkeypatch.setattr(account.DigitalOceanClient, "vpcs", lambda _: networks)
    monkeypatch.setattr(Cluster, "has_applications", lambda _: True)
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
