"""The whole program: its resources, their order, and the stack's outputs."""

import copy
import json
import runpy
from collections.abc import Collection, Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import yaml
from google.protobuf import json_format  # type: ignore[import-untyped]
from pulumi.runtime import rpc

from doks_gitops import account, settings
from doks_gitops.account import Account, RunningCluster, Version, Vpc, verification
from doks_gitops.account.model import RunningPool
from doks_gitops.stack import Stack
from doks_gitops.volumes import Recorded
from tests.unit.mocked import Run, exported, registered, run
from tests.unit.stackfiles import ROOT, STACKS, configuration, own_files
from tests.unit.test_ssh_key import private

URNS = Path(__file__).with_name("urns.yaml")
"""The URNs of all resources, without the stack and the project."""
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
    state: Mapping[str, Any] | None = None,
    after: tuple[RunningCluster, ...] | None = None,
    files: Mapping[str, str] = MappingProxyType({}),
    secret_keys: Collection[str] | None = None,
    **options: Any,
) -> Run:
    """A run of the program with this configuration in this account, on this state; default: one
    with the cluster of the account. `after`: the clusters when everything is deployed; default:
    those that the stack file describes."""
    stack = settings.parse("dev", config, files, secret_keys=secret_keys)
    if after is None:
        monkeypatch.setattr(account, "verify", lambda *_, **__: None)
    monkeypatch.setattr(account.DigitalOceanClient, "clusters", lambda _: after)
    monkeypatch.setattr(account.DigitalOceanClient, "subscribed_tier", lambda _: "basic")
    export = exported(next(iter(team.clusters), None)) if state is None else state
    monkeypatch.setattr(Stack, "export", lambda _: export)
    monkeypatch.setattr(settings, "load", lambda: stack)
    monkeypatch.setattr(account, "read", lambda token, api_url, vpcs: team)
    monkeypatch.setattr(account.DigitalOceanClient, "vpcs", lambda _: team.vpcs)

    def program() -> None:
        runpy.run_path(str(ROOT / "__main__.py"), run_name="__main__")

    return run(program, **options)


@pytest.fixture
def result(monkeypatch: pytest.MonkeyPatch) -> Run:
    return platform(monkeypatch)


def test_registry_is_integrated_before_argocd_is_installed(result: Run) -> None:
    registry = result.one("digitalocean:index/containerRegistry:ContainerRegistry")
    cluster = result.one("KubernetesCluster")
    assert cluster.inputs["registryIntegration"] is True
    assert registry.urn in result.dependencies(cluster)
    assert cluster.urn in result.dependencies(result.one("Namespace"))


def test_images_can_be_pulled_before_argocd_is_installed_in_an_account_with_several_registries(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    requests: list[tuple[str, str]] = []

    def allow_pulls(_: object, cluster_id: str, registry: str) -> None:
        requests.append((cluster_id, registry))
        raise account.AccountError("refused")

    monkeypatch.setattr(account.DigitalOceanClient, "allow_pulls", allow_pulls)
    types = registered(monkeypatch)
    config = {**CONFIG, "doks-gitops:registry": {"name": "team"}}
    several = replace(TEAM, registries=("other", "team"))
    with pytest.raises(account.AccountError, match="refused"):
        platform(monkeypatch, config=config, team=several)
    assert requests == [("cluster-id", "team")]
    assert "digitalocean:index/kubernetesCluster:KubernetesCluster" in types
    assert not [kind for kind in types if kind.startswith("kubernetes:helm")]


def test_destroy_deletes_applications_before_argo_cd_which_removes_their_finalizers(
    result: Run,
) -> None:
    order = [
        result.one("Application"),
        result.one("AppProject"),
        result.one("Release"),
        result.one("Secret", "argocd-repository-monorepo"),
        result.one("Namespace"),
        result.one("KubernetesNodePool"),
        result.one("KubernetesCluster"),
    ]
    for later, earlier in pairwise(order):
        assert earlier.urn in result.dependencies(later), f"{later.type} waits for {earlier.type}"


@pytest.mark.parametrize("protect", [True, False])
def test_protected_cluster_is_refused_before_anything_is_destroyed(
    monkeypatch: pytest.MonkeyPatch, protect: bool
) -> None:
    config = copy.deepcopy(CONFIG)
    config["doks-gitops:cluster"]["protect"] = protect
    result = platform(monkeypatch, config=config)
    protection = result.one("Protection")
    assert protection.protect is result.one("KubernetesCluster").protect is protect
    deleted_later = result.dependencies(protection)
    for resource in result.of_packages("kubernetes", "digitalocean"):
        assert resource.urn in deleted_later, resource.urn
    # That of another stack is a component without resources, on which nothing can depend.
    assert result.one("doks-gitops:index:ContainerRegistry").protect is protect


def test_only_explicit_providers_are_used(result: Run) -> None:
    resources = result.of_packages("kubernetes", "digitalocean")
    assert len(resources) == 10
    for resource in resources:
        provider = result.one(f"pulumi:providers:{resource.type.partition(':')[0]}")
        assert resource.provider.startswith(provider.urn), resource.name


def test_unreachable_cluster_is_not_taken_for_a_deleted_one(result: Run) -> None:
    provider = result.one("pulumi:providers:kubernetes").inputs
    assert provider["deleteUnreachable"] == "false"
    assert provider["clusterIdentifier"] == "cluster-id"
    assert provider["enableServerSideApply"] == "true"


def test_pulumi_deletes_everything_in_a_cluster_before_it_replaces_the_cluster(result: Run) -> None:
    cluster = result.one("KubernetesCluster")
    in_cluster = result.of_packages("kubernetes")
    assert len(in_cluster) == 7
    for resource in in_cluster:
        # Another name or namespace replaces the resource, so an unknown one may.
        identity = "namespace" if resource.type.endswith(":Release") else "metadata"
        assert cluster.urn in resource.input_dependencies[identity], resource.name


def test_provider_that_deletes_in_the_old_cluster_is_replaced_after_the_cluster(
    result: Run,
) -> None:
    provider, cluster = result.one("pulumi:providers:kubernetes"), result.one("KubernetesCluster")
    assert provider.inputs["clusterIdentifier"] == "cluster-id"
    assert not provider.input_dependencies["clusterIdentifier"]
    assert cluster.urn in provider.dependencies


def test_environment_can_not_make_pulumi_forget_an_unreachable_cluster(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PULUMI_K8S_DELETE_UNREACHABLE", "true")
    provider = platform(monkeypatch).one("pulumi:providers:kubernetes")
    assert provider.inputs["deleteUnreachable"] == "false"


def test_kubernetes_provider_has_a_kubeconfig_that_does_not_expire(result: Run) -> None:
    text = result.one("pulumi:providers:kubernetes").inputs["kubeconfig"]
    assert yaml.safe_load(text)["users"][0]["user"] == {"token": TOKEN}


def test_settings_reach_every_component(result: Run) -> None:
    cluster = result.one("KubernetesCluster").inputs
    assert (cluster["name"], cluster["version"]) == ("demo", "1.34.2-do.0")
    assert cluster["nodePool"]["nodeCount"] == 3
    pool = result.one("KubernetesNodePool").inputs
    assert (pool["minNodes"], pool["maxNodes"]) == (1, 5)
    assert pool["taints"] == [{"key": "burst", "value": "yes", "effect": "NoSchedule"}]
    release = result.one("Release").inputs
    assert release["version"] == "1.2.3"
    assert release["values"]["server"]["replicas"] == 2
    assert release["values"]["configs"]["secret"]["githubSecret"] == "a webhook secret"
    project = result.one("AppProject").inputs["spec"]
    assert project["sourceRepos"] == ["https://git.example.com/team/monorepo"]
    application = result.one("Application").inputs["spec"]
    assert application["project"] == "dev"
    assert application["source"]["repoURL"] == "https://git.example.com/team/monorepo"
    assert application["source"]["kustomize"] == {"images": ["shop=shop:2"]}
    assert application["ignoreDifferences"] == [
        {"group": "apps", "kind": "Deployment", "jsonPointers": ["/spec/replicas"]}
    ]


def test_outputs_have_the_addresses_and_names_of_all_parts(result: Run) -> None:
    values = {name: output.value for name, output in result.outputs.items()}
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


def test_secrets_are_secret_outputs(result: Run) -> None:
    secret = {name for name, output in result.outputs.items() if output.secret}
    assert secret == {"kubeconfig", "argocdAdminPassword"}


def test_inputs_with_secrets_are_secret(result: Run) -> None:
    for resource in result.resources.values():
        for key, value in resource.inputs.items():
            text = json.dumps(value)
            if any(secret in text for secret in (TOKEN, "git token", "a webhook secret")):
                assert key in resource.secret, f"{key} of {resource.urn}"


def test_second_run_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    first = platform(monkeypatch)
    second = platform(monkeypatch, previous=first)
    assert second.inputs == first.inputs
    assert second.outputs == first.outputs


def test_new_stack_can_be_previewed_before_anything_exists(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    preview = platform(monkeypatch, preview=True)
    assert preview.one("Application").inputs["metadata"]["name"] == "dev-shop"
    assert {name for name, output in preview.outputs.items() if output.secret} == {
        "kubeconfig",
        "argocdAdminPassword",
    }


def test_automatically_upgraded_cluster_is_not_upgraded_again(
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


@pytest.mark.parametrize("preview", [True, False])
def test_state_that_would_replace_the_cluster_is_refused_before_anything_is_declared(
    monkeypatch: pytest.MonkeyPatch, preview: bool
) -> None:
    """An upgrade to 1.35 was refused, and the stack file went back to the newest 1.34."""
    running = RunningCluster(
        "cluster-id", "demo", "nyc1", TEAM.versions[1], False, "running", True,
        pools={"default": RunningPool("pool-1", "s-2vcpu-4gb", 3)}, default_pool="default",
    )  # fmt: skip
    section = {**CONFIG["doks-gitops:cluster"], "upgrade": True}
    config = {**CONFIG, "doks-gitops:cluster": section}
    team = replace(TEAM, clusters=(running,), registries=("team",))
    monkeypatch.setattr(account, "lint", lambda *_: None)
    types = registered(monkeypatch)
    with pytest.raises(account.AccountError, match=r"state has 1\.35\.2-do\.0"):
        platform(
            monkeypatch, config=config, team=team, preview=preview,
            state=exported(running, version="1.35.2-do.0"),
        )  # fmt: skip
    assert types == ["pulumi:index:Stash"]
    result = platform(monkeypatch, config=config, team=team, preview=preview)
    assert result.one("KubernetesCluster").inputs["version"] == "1.34.2-do.0"


def test_renamed_cluster_with_its_pools_in_another_order_is_the_same_cluster(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = platform(monkeypatch)
    section = CONFIG["doks-gitops:cluster"]
    config = {
        **CONFIG,
        "doks-gitops:cluster": section
        | {"name": "renamed", "nodePools": section["nodePools"][::-1]},
    }
    cluster = first.one("KubernetesCluster")
    running = RunningCluster(
        "cluster-id", "demo", "nyc1", Version.parse("1.34.1-do.0"), False, "running", True,
        mark=cluster.inputs["tags"][-1].lower(),
        pools={
            "default": RunningPool("pool-1", "s-2vcpu-4gb", 3),
            "burst": RunningPool("pool-2", "s-4vcpu-8gb", 1, (1, 5)),
        },
        default_pool="default",
    )  # fmt: skip
    team = replace(TEAM, clusters=(running,), registries=("team",))
    second = platform(monkeypatch, config=config, team=team, previous=first, preview=True)
    renamed = second.one("KubernetesCluster")
    assert renamed.inputs["name"] == "renamed"
    assert renamed.inputs["nodePool"] == cluster.inputs["nodePool"]
    assert "version" in renamed.ignore_changes
    assert second.resources.keys() == first.resources.keys()


def test_replaced_cluster_gets_a_version_that_is_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The running version may not be offered any more: then there would be no cluster at all."""
    older = Version.parse("1.34.0-do.0")
    first = platform(monkeypatch, team=Account(TEAM.regions, TEAM.sizes, (older,), (), ()))
    running = RunningCluster(
        id="cluster-id",
        name="demo",
        region="ams3",
        version=older,
        ha=False,
        state="running",
        registry_enabled=True,
    )
    moved = Account(TEAM.regions, TEAM.sizes, TEAM.versions, (running,), ("team",))
    second = platform(monkeypatch, team=moved, previous=first)
    assert second.one("KubernetesCluster").inputs["version"] == "1.34.2-do.0"


@pytest.mark.parametrize("default", [True, False])
def test_vpc_that_can_not_be_deleted_does_not_make_destroy_fail(
    monkeypatch: pytest.MonkeyPatch, default: bool
) -> None:
    vpc = Vpc("vpc-id", "demo", "nyc1", "10.10.0.0/20", default)
    cluster = {**CONFIG["doks-gitops:cluster"], "vpc": {"ipRange": "10.10.0.0/20"}}
    config = {**CONFIG, "doks-gitops:cluster": cluster}
    team = replace(TEAM, vpcs=(vpc,))
    result = platform(monkeypatch, config=config, team=team, state=exported(vpc=vpc))
    assert result.one("Vpc").retain_on_delete is default


def test_deployment_fails_at_its_end_if_the_cluster_lacks_what_the_stack_file_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(verification, "PAUSE_SECONDS", 0)
    pools = {
        "default": RunningPool("p1", "s-2vcpu-4gb", 3),
        "burst": RunningPool(
            "p2", "s-4vcpu-8gb", 1, (1, 5), taints=frozenset({("burst", "yes", "NoSchedule")})
        ),
    }
    complete = RunningCluster(
        id="cluster-id",
        name="demo",
        region="nyc1",
        version=TEAM.versions[0],
        ha=False,
        state="running",
        registry_enabled=True,
        surge_upgrade=True,
        pools=pools,
    )
    platform(monkeypatch, after=(complete,))
    refused = replace(complete, pools=pools | {"default": replace(pools["default"], count=2)})
    platform(monkeypatch, after=(refused,), preview=True)
    types = registered(monkeypatch)
    with pytest.raises(account.AccountError, match=r"nodePools\[0\].count") as failure:
        platform(monkeypatch, after=(refused,))
    assert failure.value.fix == "pulumi up --refresh --stack dev"
    assert types[-1] == "doks-gitops:index:Protection", "everything is deployed before"


def test_nothing_is_created_if_the_account_does_not_match_the_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    no_region = Account((), TEAM.sizes, TEAM.versions, (), ())
    types = registered(monkeypatch)
    with pytest.raises(settings.SettingsError, match="region"):
        platform(monkeypatch, team=no_region)
    assert types == ["pulumi:index:Stash"], "only the state's own record of team and mark"
    platform(monkeypatch)
    assert len(types) > 1, "registered resources are noted"


FULL: dict[str, Any] = {
    **CONFIG,
    "doks-gitops:cluster": {**CONFIG["doks-gitops:cluster"], "vpc": {"ipRange": "10.10.0.0/20"}},
    "doks-gitops:github": {
        "owner": "team",
        "repository": "monorepo",
        "token": "github_pat_1",
        "webhook": {"url": "https://argocd.example.com/api/webhook"},
        "deployKey": "infra",
        "ruleset": {},
        "environments": {"prod": {"secrets": {"TOKEN": "x"}, "variables": {"REGION": "nyc1"}}},
        "secrets": {"TOKEN": "x"},
        "variables": {"REGION": "nyc1"},
    },
    "doks-gitops:repositories": {
        **CONFIG["doks-gitops:repositories"],
        "infra": {"url": "git@github.com:team/infra", "credentials": {"sshPrivateKey": private()}},
    },
    "doks-gitops:applications": {
        "shop": {**CONFIG["doks-gitops:applications"]["shop"], "repository": "monorepo"}
    },
}
"""A stack with every kind of resource."""

APP_OF_APPS: dict[str, Any] = {
    **CONFIG,
    "doks-gitops:argocd": {**CONFIG["doks-gitops:argocd"], "managedBy": "git"},
    "doks-gitops:project": None,
    "doks-gitops:applications": None,
    "doks-gitops:appOfApps": {},
}


def own_config(stack: str) -> dict[str, Any]:
    config, _ = configuration(own_files()[f"Pulumi.{stack}.yaml"])
    config["doks-gitops:repositories"]["monorepo"]["url"] = "https://git.example.com/team/monorepo"
    config["doks-gitops:registry"]["name"] = "team"
    return {**config, "digitalocean:token": TOKEN}


@pytest.mark.parametrize(
    ("name", "config"),
    [
        *((stack, own_config(stack)) for stack in STACKS),
        ("full", FULL),
        ("app of apps", {key: value for key, value in APP_OF_APPS.items() if value is not None}),
    ],
)
def test_resources_keep_their_urns(
    monkeypatch: pytest.MonkeyPatch, name: str, config: dict[str, Any]
) -> None:
    """A resource with another URN is deleted and created again in every deployed stack."""
    team = replace(
        TEAM, registries=() if config["doks-gitops:registry"].get("create") else ("team",)
    )
    resources = platform(monkeypatch, config=config, team=team).resources
    # The mock engine registers the stack itself only in the first test.
    urns = {urn.split("::", 2)[2] for urn in resources if not urn.endswith("::doks-gitops-dev")}
    expected = yaml.safe_load(URNS.read_text())
    assert sorted(urns) == expected["own" if name in STACKS else name]


def secret_paths(value: Any, path: tuple[str | int, ...] = ()) -> set[tuple[str | int, ...]]:
    """Paths of the secrets in what a program has sent to the engine."""
    if rpc.is_rpc_secret(value):
        return {path}
    items = value.items() if isinstance(value, Mapping) else enumerate(value)
    return {
        secret_path
        for key, item in items
        if isinstance(item, Mapping | list)
        for secret_path in secret_paths(item, (*path, key))
    }


NESTED: dict[str, Any] = {
    "argocd": {"values": {"configs": {"secret": {"extra": {"token": "hush", "user": "ada"}}}}},
    "applications": {
        "shop": {
            "helm": {
                "valuesObject": {"list": [{"key": "hush"}, {"key": "open"}], "on": True},
                "parameters": [{"name": "a", "value": "open"}, {"name": "b", "value": "hush"}],
            }
        },
        "cart": {"kustomize": {"commonAnnotations": {"note": "hush", "team": "cart"}}},
        "pair": {
            "sources": [
                {"path": "pair/one", "directory": {"include": "open"}},
                {"path": "pair/two", "helm": {"valuesObject": {"key": "hush"}}},
            ]
        },
    },
}


def with_nested(encrypted: bool) -> tuple[dict[str, Any], str]:
    """`CONFIG` with `NESTED`, and its stack file, where each `hush` may be encrypted."""
    config = copy.deepcopy(CONFIG)
    config["doks-gitops:argocd"] |= NESTED["argocd"]
    place = {"path": "kustomize/dev", "namespace": "shop-dev"}
    config["doks-gitops:applications"] = {
        name: (place if "sources" not in options else {"namespace": "shop-dev"}) | options
        for name, options in NESTED["applications"].items()
    }
    text = json.dumps({"config": {**config, "digitalocean:token": {"secure": "v1:x"}}})
    for plain in ("a webhook secret", "git token", *(["hush"] if encrypted else [])):
        text = text.replace(json.dumps(plain), '{"secure": "v1:x"}')
    return config, text


def test_value_that_is_encrypted_in_the_stack_file_is_a_secret_wherever_it_goes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def nested(encrypted: bool, previous: Run | None = None) -> Run:
        config, text = with_nested(encrypted)
        files = {"Pulumi.dev.yaml": text}
        return platform(
            monkeypatch, config=config, files=files, secret_keys=[*config], previous=previous
        )

    plain = nested(False)
    result = nested(True, plain)
    assert result.inputs == plain.inputs

    def added(kind: str, name: str) -> set[tuple[str | int, ...]]:
        return secret_paths(json_format.MessageToDict(result.one(kind, name).raw)) - secret_paths(
            json_format.MessageToDict(plain.one(kind, name).raw)
        )

    assert added("Release", "argocd") == {("values", "configs", "secret", "extra", "token")}
    source = ("spec", "source")
    assert added("Application", "shop") == {
        (*source, "helm", "valuesObject", "list", 0, "key"),
        (*source, "helm", "parameters", 1, "value"),
    }
    assert added("Application", "cart") == {(*source, "kustomize", "commonAnnotations", "note")}
    assert added("Application", "pair") == {("spec", "sources", 1, "helm", "valuesObject", "key")}
    # Argo CD copies the source into the status, which is in the state too.
    assert result.one("Application", "shop").secret_outputs == {"spec", "status", "operation"}
    # What the state already has in plain text is encrypted too, though nothing is updated.
    assert result.one("Release").secret_outputs == {"values"}
    for kind in ("Application", "Release"):
        assert not any(resource.secret_outputs for resource in plain.all(kind))
    changed = {"argocd", "shop", "cart", "pair"}
    for urn, resource in result.resources.items():
        if resource.name not in changed or resource.type.startswith("doks-gitops"):
            assert resource.raw == plain.resources[urn].raw, urn


def test_texts_of_a_key_whose_secret_could_be_anywhere_are_all_secret(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config, _ = with_nested(False)
    # The keys come from a Pulumi environment: the stack file does not have them.
    secret_keys = {*config} - {"doks-gitops:argocd"}
    config["doks-gitops:argocd"].pop("webhookSecret")
    run = platform(monkeypatch, config=config, secret_keys=secret_keys)
    shop = secret_paths(json_format.MessageToDict(run.one("Application", "shop").raw))
    helm = ("spec", "source", "helm")
    assert shop == {
        *((*helm, "valuesObject", "list", index, "key") for index in (0, 1)),
        *((*helm, "parameters", index, key) for index in (0, 1) for key in ("name", "value")),
    }
    release = secret_paths(json_format.MessageToDict(run.one("Release").raw))
    assert ("values", "configs", "secret", "extra", "token") not in release


def test_encrypted_field_of_a_fixed_type_is_used_as_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = json.dumps({"config": {"doks-gitops:cluster": {"name": {"secure": "v1:x"}}}})
    plain = platform(monkeypatch)
    run = platform(monkeypatch, files={"Pulumi.dev.yaml": text}, previous=plain)
    assert {urn: resource.raw for urn, resource in run.resources.items()} == {
        urn: resource.raw for urn, resource in plain.resources.items()
    }


def test_claims_of_a_cluster_that_is_replaced_are_recorded_before_anything_is_deleted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Pulumi deletes what depends on the old cluster when the program registers the new one."""

    def refuse(*_: object, **options: bool) -> Recorded:
        assert options == {"retain": True}
        return Recorded({}, problems=("The claim shop/data is not recorded.",))

    monkeypatch.setattr("doks_gitops.volumes.stacks.StackVolumes.record", refuse)
    types = registered(monkeypatch)
    old = RunningCluster(
        "id-1", "demo", "fra1", Version.parse("1.34.1-do.0"), False, "running", True, "https://old"
    )
    config = {**CONFIG, "doks-gitops:volumes": {"snapshots": {"keep": 3}}}
    with pytest.raises(account.AccountError, match="demo is not replaced: The claim shop/data"):
        platform(monkeypatch, config=config, team=replace(TEAM, clusters=(old,)))
    assert "digitalocean:index/kubernetesCluster:KubernetesCluster" not in types
