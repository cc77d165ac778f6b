"""The whole program: which part exists before which, and what comes out of it."""

import copy
import json
import runpy
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from doks_gitops import account, settings
from doks_gitops.account import Account, RunningCluster, Version
from tests.unit.mocked import Run, registered, run

PROGRAM = Path(__file__).resolve().parents[2] / "__main__.py"
TOKEN = "dop_v1_token"

CONFIG: dict[str, Any] = {
    "digitalocean:token": TOKEN,
    "doks-gitops:cluster": {
        "name": "demo",
        "region": "nyc1",
        "version": "1.34",
        "nodePools": [
            {"name": "default", "size": "s-2vcpu-4gb", "count": 3},
            {
                "name": "burst",
                "size": "s-4vcpu-8gb",
                "autoscale": {"min": 1, "max": 5},
                "taints": [{"key": "burst", "value": "yes", "effect": "NoSchedule"}],
            },
        ],
    },
    "doks-gitops:registry": {"name": "team", "create": True, "region": "nyc3"},
    "doks-gitops:argocd": {
        "chart": {"version": "1.2.3"},
        "values": {"server": {"replicas": 2}},
        "webhookSecret": "a webhook secret",
    },
    "doks-gitops:repositories": {
        "monorepo": {
            "url": "https://git.example.com/team/monorepo",
            "credentials": {"username": "git", "password": "git token"},
        }
    },
    "doks-gitops:project": {"namespaces": ["shop-dev"]},
    "doks-gitops:applications": {
        "shop": {
            "path": "kustomize/dev",
            "namespace": "shop-dev",
            "kustomize": {"images": ["shop=shop:2"]},
            "ignoreDifferences": [
                {"group": "apps", "kind": "Deployment", "jsonPointers": ["/spec/replicas"]}
            ],
        }
    },
}

TEAM = Account(
    regions=("nyc1",),
    sizes=("s-2vcpu-4gb", "s-4vcpu-8gb"),
    versions=(Version.parse("1.34.2-do.0"), Version.parse("1.34.1-do.0")),
    clusters=(),
    registries=(),
)


def platform(
    monkeypatch: pytest.MonkeyPatch,
    *,
    config: Mapping[str, Any] = CONFIG,
    team: Account = TEAM,
    **options: Any,
) -> Run:
    """One run of the program, on this configuration and in this account."""
    monkeypatch.setattr(settings, "load", lambda: settings.parse("dev", config, {}))
    monkeypatch.setattr(account, "read", lambda token, api_url, vpcs: team)

    def program() -> None:
        runpy.run_path(str(PROGRAM), run_name="__main__")

    return run(program, **options)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Run:
    return platform(monkeypatch)


def test_registry_is_integrated_before_argocd_is_installed(made: Run) -> None:
    registry = made.one("digitalocean:index/containerRegistry:ContainerRegistry")
    cluster = made.one("KubernetesCluster")
    assert cluster.inputs["registryIntegration"] is True
    assert registry.urn in made.before(cluster)
    assert cluster.urn in made.before(made.one("Namespace"))


def test_destroy_takes_applications_before_what_takes_their_finalizers_off(made: Run) -> None:
    order = [
        made.one("Application"),
        made.one("AppProject"),
        made.one("Release"),
        made.one("Secret", "argocd-repository-monorepo"),
        made.one("Namespace"),
        made.one("KubernetesNodePool"),
        made.one("KubernetesCluster"),
    ]
    for later, earlier in pairwise(order):
        assert earlier.urn in made.before(later), f"{later.type} waits for {earlier.type}"


@pytest.mark.parametrize("protect", [True, False])
def test_protection_of_the_cluster_is_met_before_anything_is_destroyed(
    monkeypatch: pytest.MonkeyPatch, protect: bool
) -> None:
    config = copy.deepcopy(CONFIG)
    config["doks-gitops:cluster"]["protect"] = protect
    made = platform(monkeypatch, config=config)
    protection = made.one("Protection")
    assert protection.protect is made.one("KubernetesCluster").protect is protect
    deleted_later = made.before(protection)
    for each in made.asked.values():
        if each.type.startswith(("kubernetes:", "digitalocean:")):
            assert each.urn in deleted_later, each.urn


def test_only_explicit_providers_are_used(made: Run) -> None:
    own = [
        each
        for each in made.asked.values()
        if each.type.startswith(("kubernetes:", "digitalocean:"))
    ]
    assert len(own) == 10
    for each in own:
        package = each.type.partition(":")[0]
        assert each.provider.startswith(made.one(f"pulumi:providers:{package}").urn), each.name


def test_lost_contact_is_not_taken_for_a_lost_cluster(made: Run) -> None:
    provider = made.one("pulumi:providers:kubernetes").inputs
    assert provider["deleteUnreachable"] == "false"
    assert provider["clusterIdentifier"] == "cluster-id"
    assert provider["enableServerSideApply"] == "true"


def test_unreachable_cluster_is_not_forgotten_even_if_the_environment_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PULUMI_K8S_DELETE_UNREACHABLE", "true")
    provider = platform(monkeypatch).one("pulumi:providers:kubernetes")
    assert provider.inputs["deleteUnreachable"] == "false"


def test_kubernetes_is_reached_with_a_kubeconfig_that_does_not_expire(made: Run) -> None:
    text = made.one("pulumi:providers:kubernetes").inputs["kubeconfig"]
    assert yaml.safe_load(text)["users"][0]["user"] == {"token": TOKEN}


def test_settings_reach_every_part(made: Run) -> None:
    cluster = made.one("KubernetesCluster").inputs
    assert (cluster["name"], cluster["version"]) == ("demo", "1.34.2-do.0")
    assert cluster["nodePool"]["nodeCount"] == 3
    pool = made.one("KubernetesNodePool").inputs
    assert (pool["minNodes"], pool["maxNodes"]) == (1, 5)
    assert pool["taints"] == [{"key": "burst", "value": "yes", "effect": "NoSchedule"}]
    release = made.one("Release").inputs
    assert release["version"] == "1.2.3"
    assert release["values"]["server"]["replicas"] == 2
    assert release["values"]["configs"]["secret"]["githubSecret"] == "a webhook secret"
    project = made.one("AppProject").inputs["spec"]
    assert project["sourceRepos"] == ["https://git.example.com/team/monorepo"]
    application = made.one("Application").inputs["spec"]
    assert application["project"] == "dev"
    assert application["source"]["repoURL"] == "https://git.example.com/team/monorepo"
    assert application["source"]["kustomize"] == {"images": ["shop=shop:2"]}
    assert application["ignoreDifferences"] == [
        {"group": "apps", "kind": "Deployment", "jsonPointers": ["/spec/replicas"]}
    ]


def test_outputs_tell_how_to_reach_everything(made: Run) -> None:
    values = {name: found.value for name, found in made.outputs.items()}
    assert values.pop("kubeconfig").startswith("apiVersion: v1")
    assert len(values.pop("argocdAdminPassword")) >= 24
    assert values == {
        "clusterId": "cluster-id",
        "clusterEndpoint": "https://cluster.test",
        "kubeContext": "do-nyc1-demo",
        "registryEndpoint": "registry.digitalocean.com/team",
        "argocdNamespace": "argocd",
        "argocdUrl": "https://localhost:8080",
        "argocdPortForward": "kubectl --context do-nyc1-demo --namespace argocd"
        " port-forward service/argocd-server 8080:443",
        "project": "dev",
        "applications": ["dev-shop"],
    }


def test_secrets_are_secret_outputs(made: Run) -> None:
    secret = {name for name, found in made.outputs.items() if found.secret}
    assert secret == {"kubeconfig", "argocdAdminPassword"}


def test_no_secret_is_sent_in_the_open(made: Run) -> None:
    for each in made.asked.values():
        for key, value in each.inputs.items():
            text = json.dumps(value)
            if any(known in text for known in (TOKEN, "git token", "a webhook secret")):
                assert key in each.secret, f"{key} of {each.type} {each.name}"


def test_second_run_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    first = platform(monkeypatch)
    second = platform(monkeypatch, previous=first)
    assert {urn: each.inputs for urn, each in second.asked.items()} == {
        urn: each.inputs for urn, each in first.asked.items()
    }
    assert second.outputs == first.outputs


def test_new_stack_can_be_previewed_with_nothing_in_existence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    previewed = platform(monkeypatch, preview=True)
    assert previewed.one("Application").inputs["metadata"]["name"] == "dev-shop"
    assert {name for name, found in previewed.outputs.items() if found.secret} == {
        "kubeconfig",
        "argocdAdminPassword",
    }


def test_cluster_that_upgraded_itself_is_not_asked_to_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    older = Account(TEAM.regions, TEAM.sizes, TEAM.versions[1:], (), ())
    first = platform(monkeypatch, team=older)
    assert first.one("KubernetesCluster").inputs["version"] == "1.34.1-do.0"
    running = RunningCluster(
        id="cluster-id",
        name="demo",
        region="nyc1",
        version=Version.parse("1.34.2-do.0"),
        ha=False,
        state="running",
        registry_enabled=True,
    )
    upgraded = Account(TEAM.regions, TEAM.sizes, TEAM.versions, (running,), ("team",))
    second = platform(monkeypatch, team=upgraded, previous=first)
    assert second.one("KubernetesCluster").inputs["version"] == "1.34.1-do.0"


def test_nothing_is_made_if_the_account_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    no_region = Account((), TEAM.sizes, TEAM.versions, (), ())
    asked = registered(monkeypatch)
    with pytest.raises(settings.SettingsError, match="region"):
        platform(monkeypatch, team=no_region)
    assert asked == []
    platform(monkeypatch)
    assert asked, "what is made would have been noted"
