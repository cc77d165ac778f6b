"""The policies: each with what it allows and what it forbids."""

import json
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from google.protobuf import json_format  # type: ignore[import-untyped]
from pulumi.runtime import rpc
from pulumi_policy import EnforcementLevel, ResourceValidationPolicy

from doks_gitops import arguments
from doks_gitops.account import Account, Version
from doks_gitops.policy import rules
from doks_gitops.policy.pack import POLICIES
from doks_gitops.policy.preview import check
from doks_gitops.policy.rules import RULES, Resource
from tests.unit.mocked import Run
from tests.unit.pulumi_command import PulumiCommand
from tests.unit.stackfiles import STACKS, configuration, own_files
from tests.unit.test_program import platform

UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
"""Pulumi's mark of a value that only the deployment will know."""
BY_NAME = {rule.name: rule for rule in RULES}


def resource(type: str, stack: str = "prod", protect: bool = False, **properties: Any) -> Resource:
    return Resource(f"urn:pulumi:{stack}::doks-gitops::{type}::it", type, properties, protect)


CLUSTER = resource(
    rules.CLUSTER,
    protect=True,
    ha=True,
    tags=["environment:prod"],
    maintenancePolicy={"day": "sunday", "startTime": "04:00"},
    nodePool={"name": "default", "autoScale": True, "minNodes": 3, "maxNodes": 6},
)
POOL = resource(rules.NODE_POOL, name="burst", autoScale=False, nodeCount=3)
REGISTRY = resource(rules.REGISTRY, protect=True, name="team")
PROVIDER = resource(rules.KUBERNETES, deleteUnreachable="false")
SSO = {"configs": {"cm": {"oidc.config": "name: SSO"}}}
RELEASE = resource(
    rules.RELEASE,
    chart="argo-cd",
    version="1.2.3",
    repositoryOpts={"repo": "https://argoproj.github.io/argo-helm"},
    values={"server": {"replicas": 2}},
)
PROJECT = resource(
    rules.PROJECT,
    spec={
        "description": "All * of it",
        "sourceRepos": ["https://git.example.com/team/monorepo"],
        "destinations": [{"server": "https://kubernetes.default.svc", "namespace": "shop"}],
        "clusterResourceWhitelist": [{"group": "", "kind": "Namespace", "name": "shop"}],
    },
)
APPLICATION = resource(
    rules.APPLICATION,
    spec={
        "source": {"targetRevision": "main", "path": "kustomize/prod"},
        "syncPolicy": {"automated": {"selfHeal": True}},
    },
)
KEPT = (CLUSTER, POOL, REGISTRY, PROVIDER, RELEASE, PROJECT, APPLICATION)


def changed(good: Resource, **properties: Any) -> Resource:
    return replace(good, properties={**good.properties, **properties})


def in_dev(bad: Resource) -> Resource:
    return replace(bad, urn=bad.urn.replace(":prod:", ":dev:"))


def pool(**properties: Any) -> Resource:
    return resource(rules.NODE_POOL, name="burst", **properties)


def spec(good: Resource, **fields: Any) -> Resource:
    return changed(good, spec={**good.properties["spec"], **fields})


def source(revision: str) -> Resource:
    return spec(APPLICATION, source={"targetRevision": revision})


def values(**chart_values: Any) -> Resource:
    return changed(RELEASE, values=chart_values)


def cluster_kind(kind: str, group: str) -> Resource:
    return spec(PROJECT, clusterResourceWhitelist=[{"group": group, "kind": kind}])


BOOTSTRAP = changed(
    PROJECT,
    metadata={"name": arguments.PLATFORM, "namespace": "argocd"},
    spec={
        "sourceRepos": ["https://git.example.com/team/monorepo"],
        "destinations": [{"namespace": "argocd"}],
        "clusterResourceWhitelist": [],
        "namespaceResourceWhitelist": [{"group": "argoproj.io", "kind": "Application"}],
    },
)
INGRESS = {"server": {"ingress": {"enabled": True, "tls": True}}}
BROKEN = [
    ("prod-cluster-is-highly-available", changed(CLUSTER, ha=False)),
    ("prod-cluster-is-protected", replace(CLUSTER, protect=False)),
    ("prod-cluster-is-not-replaced", replace(CLUSTER, replaced=True)),
    ("prod-cluster-keeps-its-data", changed(CLUSTER, destroyAllAssociatedResources=True)),
    ("prod-cluster-has-a-maintenance-window", changed(CLUSTER, maintenancePolicy=None)),
    ("prod-cluster-has-a-maintenance-window", changed(CLUSTER, maintenancePolicy={"day": "any"})),
    ("cluster-is-tagged", in_dev(changed(CLUSTER, tags=None))),
    ("cluster-is-tagged", changed(CLUSTER, tags=["team:shop"])),
    ("pools-have-room", changed(CLUSTER, nodePool={"name": "default", "nodeCount": 2})),
    ("pools-have-room", pool(nodeCount=2)),
    ("pools-have-room", pool(autoScale=True, minNodes=1, maxNodes=5)),
    ("pools-have-room", in_dev(pool(autoScale=True, minNodes=3, maxNodes=3))),
    ("registry-is-protected", in_dev(replace(REGISTRY, protect=False))),
    ("kubernetes-forgets-nothing", in_dev(changed(PROVIDER, deleteUnreachable="true"))),
    ("kubernetes-forgets-nothing", changed(PROVIDER, deleteUnreachable=None)),
    ("chart-is-pinned", in_dev(changed(RELEASE, version=None))),
    ("chart-is-pinned", changed(RELEASE, version="10.x")),
    ("chart-is-pinned", changed(RELEASE, version="\u0661.2.3")),
    ("chart-is-pinned", changed(RELEASE, version=">=1.2.3")),
    ("chart-is-pinned", resource(rules.RELEASE, chart="oci://registry.example.com/argo-cd")),
    ("argocd-is-not-public-without-tls-and-sso", in_dev(values(**INGRESS))),
    (
        "argocd-is-not-public-without-tls-and-sso",
        values(server={"service": {"type": "LoadBalancer"}}),
    ),
    ("argocd-is-not-public-without-tls-and-sso", values(server={"httproute": {"enabled": True}})),
    (
        "argocd-is-not-public-without-tls-and-sso",
        values(**SSO, server={"ingress": {"enabled": True}}),
    ),
    (
        "argocd-is-not-public-without-tls-and-sso",
        values(
            configs={**SSO["configs"], "params": {"server.insecure": True}},
            server={"service": {"type": "LoadBalancer"}},
        ),
    ),
    ("project-has-no-wildcard", in_dev(spec(PROJECT, sourceRepos=["*"]))),
    ("project-has-no-wildcard", spec(PROJECT, sourceRepos=["https://git.example.com/team/*"])),
    ("project-has-no-wildcard", spec(PROJECT, destinations=[{"server": "*", "namespace": "a"}])),
    ("project-has-no-wildcard", spec(PROJECT, sourceRepos=["!https://git.example.com/a"])),
    *(
        ("project-has-no-wildcard", spec(PROJECT, destinations=[{"namespace": namespace}]))
        for namespace in ("shop-*", "sho?", "[a-z]hop", "!shop", "{a,b}")
    ),
    (
        "project-has-no-wildcard",
        spec(PROJECT, clusterResourceWhitelist=[{"group": "apps", "kind": "*"}]),
    ),
    (
        "argocd-has-no-unnamed-administrators",
        in_dev(values(configs={"cm": {"users.anonymous.enabled": True}})),
    ),
    (
        "argocd-has-no-unnamed-administrators",
        values(configs={"rbac": {"policy.default": "role:admin"}}),
    ),
    ("chart-adds-no-objects-and-arguments", in_dev(values(extraObjects=[{"kind": "Pod"}]))),
    ("chart-adds-no-objects-and-arguments", values(server={"extraArgs": ["--disable-auth"]})),
    (
        "chart-adds-no-objects-and-arguments",
        replace(values(extraObjects=["x"]), config={"allowed": ["server.extraArgs"]}),
    ),
    *(
        (
            "project-stays-out-of-the-platform",
            spec(PROJECT, destinations=[{"namespace": namespace}]),
        )
        for namespace in ("argocd", "kube-system", "kube-*")
    ),
    (
        "project-stays-out-of-the-platform",
        changed(spec(PROJECT, destinations=[{"namespace": "cd"}]), metadata={"namespace": "cd"}),
    ),
    *(
        (
            "project-stays-out-of-the-platform",
            spec(PROJECT, clusterResourceWhitelist=[{"group": "", "kind": "Namespace", **name}]),
        )
        for name in ({}, {"name": "argocd"}, {"name": "kube-*"}, {"name": "[^x]*"})
    ),
    (
        "project-stays-out-of-the-platform",
        spec(
            PROJECT,
            clusterResourceWhitelist=[{"group": "", "kind": "Namespace"}],
            clusterResourceBlacklist=[{"group": "", "kind": "Namespace", "name": "argocd"}],
        ),
    ),
    ("project-stays-out-of-the-platform", spec(BOOTSTRAP, namespaceResourceWhitelist=[])),
    ("project-stays-out-of-the-platform", spec(BOOTSTRAP, sourceRepos=["a", "b"])),
    ("project-stays-out-of-the-platform", changed(BOOTSTRAP, metadata={"name": "shop"})),
    *(
        ("project-makes-no-cluster-roles", in_dev(cluster_kind(kind, group)))
        for kind, group in (
            ("ClusterRole", "rbac.authorization.k8s.io"),
            ("ClusterRoleBinding", "rbac.authorization.k8s.io"),
            ("ClusterRoleBinding", "*"),
            ("MutatingWebhookConfiguration", "admissionregistration.k8s.io"),
            ("APIService", "apiregistration.k8s.io"),
        )
    ),
    ("project-denies-plain-secrets", replace(PROJECT, config={"required": True})),
    (
        "project-denies-plain-secrets",
        replace(
            spec(PROJECT, namespaceResourceWhitelist=[{"group": "*", "kind": "*"}]),
            config={"required": True},
        ),
    ),
    ("prod-revision-is-pinned", source("HEAD")),
    ("prod-revision-is-pinned", replace(in_dev(source("HEAD")), environment="prod")),
    ("prod-revision-is-pinned", replace(in_dev(source("HEAD")), environment="[secret]")),
    ("prod-revision-is-pinned", source("a-branch")),
    ("prod-revision-is-pinned", source("v1.*")),
    ("prod-revision-is-pinned", source("5f3c2a1")),
    ("prod-revision-is-pinned", spec(APPLICATION, source={})),
    (
        "prod-revision-is-pinned",
        spec(APPLICATION, source=None, sources=[{"targetRevision": "main"}, {}]),
    ),
    (
        "prod-revision-is-pinned",
        replace(APPLICATION, config={"protectedBranches": ["release"]}),
    ),
    ("application-heals-itself", in_dev(spec(APPLICATION, syncPolicy={}))),
]
ALLOWED = [
    *((rule.name, good) for rule in RULES for good in KEPT if good.type in rule.types),
    ("prod-cluster-is-highly-available", in_dev(changed(CLUSTER, ha=False))),
    ("prod-cluster-is-protected", in_dev(replace(CLUSTER, protect=False))),
    ("prod-cluster-is-not-replaced", in_dev(replace(CLUSTER, replaced=True))),
    ("prod-cluster-keeps-its-data", in_dev(changed(CLUSTER, destroyAllAssociatedResources=True))),
    ("prod-cluster-has-a-maintenance-window", in_dev(changed(CLUSTER, maintenancePolicy=None))),
    ("cluster-is-tagged", changed(CLUSTER, tags=["team:shop", "environment:blue"])),
    ("pools-have-room", in_dev(pool(autoScale=False, nodeCount=1))),
    ("pools-have-room", in_dev(pool(autoScale=True, minNodes=1, maxNodes=2))),
    ("kubernetes-forgets-nothing", changed(PROVIDER, deleteUnreachable=False)),
    ("chart-is-pinned", resource(rules.RELEASE, chart="./charts/argo-cd.tgz")),
    (
        "chart-is-pinned",
        resource(rules.RELEASE, chart="oci://registry.example.com/argo-cd", version="1.2.3"),
    ),
    ("argocd-is-not-public-without-tls-and-sso", values(**SSO, **INGRESS)),
    (
        "argocd-is-not-public-without-tls-and-sso",
        values(**SSO, server={"service": {"type": "LoadBalancer"}}),
    ),
    ("argocd-is-not-public-without-tls-and-sso", changed(RELEASE, values=None)),
    (
        "argocd-has-no-unnamed-administrators",
        values(configs={"rbac": {"policy.default": "role:readonly"}}),
    ),
    # TLS ends at the load balancer: Argo CD's documented set-up.
    (
        "argocd-is-not-public-without-tls-and-sso",
        values(configs={**SSO["configs"], "params": {"server.insecure": True}}, **INGRESS),
    ),
    ("chart-adds-no-objects-and-arguments", values(server={"extraArgs": []}, extraObjects=[])),
    (
        "chart-adds-no-objects-and-arguments",
        replace(
            values(server={"extraArgs": ["--x"]}, extraObjects=["x"]),
            config={"allowed": ["server.extraArgs", "extraObjects"]},
        ),
    ),
    ("project-stays-out-of-the-platform", BOOTSTRAP),
    (
        "project-stays-out-of-the-platform",
        spec(
            PROJECT,
            clusterResourceWhitelist=[{"group": "", "kind": "Namespace"}],
            clusterResourceBlacklist=[
                {"group": "", "kind": "Namespace", "name": name}
                for name in ("argocd", "default", "kube-*")
            ],
        ),
    ),
    (
        "project-makes-no-cluster-roles",
        replace(
            cluster_kind("ClusterRole", "rbac.authorization.k8s.io"),
            config={"allowed": ["ClusterRole"]},
        ),
    ),
    *(
        (
            "project-denies-plain-secrets",
            replace(spec(PROJECT, **{key: kinds}), config={"required": True}),
        )
        for key, kinds in (
            ("namespaceResourceBlacklist", [{"group": "", "kind": "Secret"}]),
            ("namespaceResourceWhitelist", [{"group": "bitnami.com", "kind": "SealedSecret"}]),
        )
    ),
    ("project-has-no-wildcard", spec(PROJECT, sourceRepos=["https://git.example.com/a?b=[c]"])),
    ("project-has-no-wildcard", spec(PROJECT, destinations=[{"server": "https://[::1]"}])),
    ("prod-revision-is-pinned", replace(source("HEAD"), environment="dev")),
    ("prod-revision-is-pinned", replace(source("HEAD"), environment="staging")),
    ("prod-revision-is-pinned", source("v1.2.3")),
    ("prod-revision-is-pinned", source("5f3c2a1b" * 5)),
    ("prod-revision-is-pinned", source("1.2.3")),
    ("prod-revision-is-pinned", source(f"sha256:{'5f3c2a1b' * 8}")),
    ("prod-revision-is-pinned", in_dev(source("HEAD"))),
    (
        "prod-revision-is-pinned",
        replace(source("release"), config={"protectedBranches": ["main", "release"]}),
    ),
]


@pytest.mark.parametrize(("name", "bad"), BROKEN)
def test_a_violation_comes_with_its_fix(name: str, bad: Resource) -> None:
    [violation] = BY_NAME[name].violations(bad)
    assert violation.endswith(".")
    assert any(word in violation for word in ("set ", "give ", "add ", "make ", "name ", "take "))


@pytest.mark.parametrize(("name", "good"), ALLOWED)
def test_what_keeps_a_rule_is_allowed(name: str, good: Resource) -> None:
    assert list(BY_NAME[name].violations(good)) == []


def test_every_rule_is_tested_both_ways_and_is_a_policy_of_its_level() -> None:
    names = [rule.name for rule in RULES]
    assert set(names) == {name for name, _ in BROKEN} == {name for name, _ in ALLOWED}
    assert [policy.name for policy in POLICIES] == names
    for rule, policy in zip(RULES, POLICIES, strict=True):
        mandatory = policy.enforcement_level is EnforcementLevel.MANDATORY
        assert mandatory == rule.mandatory


def own_stack(stack: str, monkeypatch: pytest.MonkeyPatch, **options: Any) -> Run:
    """A run of the program with one of the repository's own stack files."""
    files = own_files()
    config, _ = configuration(files[f"Pulumi.{stack}.yaml"])
    config["doks-gitops:environment"] = stack
    config["digitalocean:token"] = "token"
    config["doks-gitops:repositories"]["monorepo"]["url"] = "https://git.example.com/team/monorepo"
    team = Account(
        regions=("nyc1",),
        sizes=("s-2vcpu-4gb", "s-4vcpu-8gb"),
        versions=(Version.parse("1.34.1-do.0"),),
        clusters=(),
        registries=("microservices-demo",),
    )
    return platform(monkeypatch, config=config, team=team, stack=stack, **options)


@pytest.mark.parametrize("stack", STACKS)
def test_the_repositorys_own_stacks_keep_all_rules(
    stack: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    resources = {
        res.type: Resource(res.urn, res.type, res.inputs, protect=res.protect, environment=stack)
        for res in own_stack(stack, monkeypatch).resources.values()
    }
    for rule in RULES:
        for type in set(rule.types) - {rules.REGISTRY, rules.NODE_POOL}:
            assert list(rule.violations(resources[type])) == [], rule.name


def shown(value: Any) -> Any:
    """Inputs as a preview's JSON shows them."""
    if rpc.is_rpc_secret(value):
        return "[secret]"
    if isinstance(value, dict):
        return {key: shown(item) for key, item in value.items()}
    return [shown(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("stack", STACKS)
def test_no_rule_needs_a_secret_of_the_repositorys_own_stacks(
    stack: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = [
        {
            "op": "create",
            "newState": {
                "urn": resource.urn,
                "type": resource.type,
                "inputs": shown(json_format.MessageToDict(resource.raw)),
                "protect": resource.protect,
            },
        }
        for resource in own_stack(stack, monkeypatch, preview=True).resources.values()
    ]
    assert "[secret]" in json.dumps(steps)
    preview = {"config": {rules.ENVIRONMENT: stack}, "steps": steps}
    assert check(stack, preview).violations == ()


def step(resource: Resource, op: str = "create", **state: Any) -> dict[str, Any]:
    new = {"urn": resource.urn, "type": resource.type, "inputs": resource.properties, **state}
    return {"op": op, "urn": resource.urn, "newState": new}


def test_a_preview_is_forbidden_by_a_mandatory_rule_and_that_is_listed_first() -> None:
    steps = [step(spec(APPLICATION, syncPolicy={})), step(CLUSTER), step(RELEASE)]
    verdict = check("prod", {"steps": steps})
    assert verdict.forbidden
    first, second = verdict.violations
    assert first.startswith("prod-cluster-is-protected (prod, it): ")
    assert second.startswith("application-heals-itself (prod, it): ")


def test_a_preview_that_breaks_only_advisory_rules_is_allowed() -> None:
    verdict = check("prod", {"steps": [step(spec(APPLICATION, syncPolicy={}))]})
    assert (len(verdict.violations), verdict.forbidden) == (1, False)


def test_a_preview_that_keeps_all_rules_has_no_violations() -> None:
    verdict = check("prod", {"steps": [step(kept, protect=kept.protect) for kept in KEPT]})
    assert verdict == check("prod", {"steps": None})
    assert (verdict.violations, verdict.forbidden) == ((), False)


def test_a_resource_that_is_deleted_is_not_checked() -> None:
    preview = {"steps": [step(CLUSTER, "delete"), {"op": "delete", "newState": None}]}
    assert check("prod", preview).violations == ()


@pytest.mark.parametrize("hidden", ["[secret]", UNKNOWN])
def test_a_rule_that_needs_a_hidden_value_counts_as_broken(hidden: str) -> None:
    verdict = check("prod", {"steps": [step(changed(RELEASE, values=hidden))]})
    assert [text.partition(":")[0] for text in verdict.violations] == [
        "argocd-is-not-public-without-tls-and-sso (prod, it)",
        "argocd-has-no-unnamed-administrators (prod, it)",
        "chart-adds-no-objects-and-arguments (prod, it)",
    ]
    for text in verdict.violations:
        assert ": It was not checked" in text
        assert ".values" in text
    assert verdict.forbidden
    verdict = check("prod", {"steps": [step(spec(APPLICATION, syncPolicy=hidden))]})
    [message] = verdict.violations
    assert message.startswith("application-heals-itself (prod, it): It was not checked")
    assert not verdict.forbidden


def test_what_a_first_deployment_cannot_know_forbids_nothing() -> None:
    first = (
        changed(CLUSTER, vpcUuid=UNKNOWN, registryIntegration=UNKNOWN),
        changed(PROVIDER, kubeconfig="[secret]", clusterIdentifier=UNKNOWN),
        values(server={"replicas": 2}, configs={"secret": {"githubSecret": UNKNOWN}}),
        changed(PROJECT, metadata={"name": "prod", "uid": UNKNOWN}),
        spec(APPLICATION, project=UNKNOWN),
    )
    steps = [step(new, protect=new.protect) for new in first]
    assert check("prod", {"steps": steps}).violations == ()


@pytest.mark.parametrize(
    ("stack", "environment", "forbidden"),
    [("live", "prod", True), ("prod-copy", "dev", False), ("dev", "[secret]", True)],
)
def test_production_is_what_the_stacks_configuration_calls_production(
    stack: str, environment: str, forbidden: bool
) -> None:
    urn = CLUSTER.urn.replace(":prod:", f":{stack}:")
    preview = {
        "config": {"doks-gitops:environment": environment},
        "steps": [step(replace(CLUSTER, urn=urn))],
    }
    assert check(stack, preview).forbidden is forbidden


@pytest.mark.parametrize(("environment", "protected"), [("prod", True), ("dev", False)])
def test_the_pack_reads_the_environment_of_the_stacks_configuration(
    environment: str, protected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages: list[str] = []
    [policy] = [policy for policy in POLICIES if policy.name == "prod-cluster-is-protected"]
    assert isinstance(policy, ResourceValidationPolicy)
    monkeypatch.setenv("PULUMI_CONFIG", json.dumps({rules.ENVIRONMENT: environment}))
    args: Any = SimpleNamespace(
        urn=CLUSTER.urn.replace(":prod:", ":live:"),
        resource_type=CLUSTER.type,
        props=CLUSTER.properties,
        opts=SimpleNamespace(protect=False),
        get_config=dict,
    )
    policy.validate(args, lambda text, urn: messages.append(text))
    assert bool(messages) is protected


def test_a_cluster_that_a_preview_replaces_is_named_once() -> None:
    steps = [step(CLUSTER, op, protect=True) for op in ("create-replacement", "replace")]
    [violation] = check("prod", {"steps": steps}).violations
    assert violation.startswith("prod-cluster-is-not-replaced (prod, it): ")


def test_a_deployed_and_unchanged_resource_is_checked_too(
    bin_platform: Callable[..., tuple[int, str, str]], pulumi: PulumiCommand
) -> None:
    pulumi.prints({"steps": [step(CLUSTER, "same")]})
    code, output, errors = bin_platform("policy", "--stack", "prod")
    assert code == 1
    # Pulumi lists unchanged resources only with this option.
    assert "--show-sames" in pulumi.calls[0].split()
    assert "prod-cluster-is-protected (prod, it): " in output
    assert "prod: FORBIDDEN by" in output
    assert "error: prod breaks a mandatory policy" in errors
