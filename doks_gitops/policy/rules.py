"""The rules, each a function from one resource, as the program asks for it, to what is wrong.

They see what Pulumi is about to do and nothing else: where an App of apps brings the projects and
applications from Git, those are reviewed there.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

CLUSTER = "digitalocean:index/kubernetesCluster:KubernetesCluster"
NODE_POOL = "digitalocean:index/kubernetesNodePool:KubernetesNodePool"
REGISTRY = "digitalocean:index/containerRegistry:ContainerRegistry"
KUBERNETES = "pulumi:providers:kubernetes"
RELEASE = "kubernetes:helm.sh/v3:Release"
PROJECT = "kubernetes:argoproj.io/v1alpha1:AppProject"
APPLICATION = "kubernetes:argoproj.io/v1alpha1:Application"

PROTECTED_BRANCHES = ("main",)
"""Branches that nothing reaches without a review, unless the pack's config names others."""
_EXACT_VERSION = re.compile(r"v?\d+\.\d+\.\d+([-+][0-9A-Za-z.+-]+)?")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Resource:
    """What the program asks for. Property names are Pulumi's, camelCase."""

    urn: str
    type: str
    properties: Mapping[str, Any]
    protect: bool = False
    config: Mapping[str, Any] = field(default_factory=dict)
    """The pack's configuration of the rule that looks at it."""

    @property
    def stack(self) -> str:
        return self.urn.removeprefix("urn:pulumi:").partition("::")[0]

    @property
    def in_production(self) -> bool:
        """A stack is production if its name begins with prod."""
        return self.stack.startswith("prod")

    def at(self, *path: str) -> Any:
        """The property at `path`; None if something on the way is not there."""
        here: Any = self.properties
        for key in path:
            here = here.get(key) if isinstance(here, Mapping) else None
        return here


@dataclass(frozen=True)
class Rule:
    """One thing asked of resources of some types."""

    name: str
    description: str
    types: tuple[str, ...]
    violations: Callable[[Resource], Iterator[str]]
    """What is wrong with a resource of these types, and what would be right."""
    mandatory: bool = True
    """False: said, but nothing is refused for it."""
    config: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """JSON schema of what can be set, by key."""


def prod_cluster_is_highly_available(cluster: Resource) -> Iterator[str]:
    if cluster.in_production and not cluster.at("ha"):
        yield "The control plane is one machine; set cluster.highAvailability: true."


def prod_cluster_is_protected(cluster: Resource) -> Iterator[str]:
    if cluster.in_production and not cluster.protect:
        yield "Pulumi would destroy or replace it when told to; set cluster.protect: true."


def prod_cluster_keeps_its_data(cluster: Resource) -> Iterator[str]:
    if cluster.in_production and cluster.at("destroyAllAssociatedResources"):
        yield "Its volumes would go with it; set cluster.destroyAssociatedResources: false."


def prod_cluster_has_a_maintenance_window(cluster: Resource) -> Iterator[str]:
    if cluster.in_production and cluster.at("maintenancePolicy", "day") in (None, "any"):
        yield "It may be upgraded on any day; set cluster.maintenance to a quiet one."


def cluster_is_tagged(cluster: Resource) -> Iterator[str]:
    prefixes = [tag.partition(":")[0] for tag in cluster.at("tags") or ()]
    if "environment" not in prefixes:
        yield (
            "Nobody can tell from the bill what it is for; add "
            f"environment:{cluster.stack} to cluster.tags."
        )


def pools_have_room(resource: Resource) -> Iterator[str]:
    pool = resource.at("nodePool") if resource.type == CLUSTER else resource.properties
    name = pool.get("name")
    if pool.get("autoScale"):
        fewest, most = pool.get("minNodes") or 0, pool.get("maxNodes") or 0
        if most <= fewest:
            yield (
                f"Node pool {name} can't grow beyond {fewest:g} nodes; set autoscale.max above "
                "autoscale.min, or a count."
            )
        if resource.in_production and fewest < 2:
            yield (
                f"Node pool {name} may shrink to one node, which is nothing to fall back on; set "
                "autoscale.min to 2 at least."
            )
    elif resource.in_production and (count := pool.get("nodeCount") or 0) < 3:
        yield (
            f"Node pool {name} has {count:g} nodes and can't grow; set autoscale, or a count of 3 "
            "at least, so that one may fail while another is upgraded."
        )


def registry_is_protected(registry: Resource) -> Iterator[str]:
    if not registry.protect:
        yield "All stacks pull from it; make it with protect=True."


def kubernetes_forgets_nothing(provider: Resource) -> Iterator[str]:
    # A provider's inputs are JSON texts in some versions of the engine.
    if provider.at("deleteUnreachable") not in (False, "false"):
        yield (
            "It could forget a healthy cluster for an expired token; set delete_unreachable=False, "
            "which PULUMI_K8S_DELETE_UNREACHABLE can't change."
        )


def chart_is_pinned(release: Resource) -> Iterator[str]:
    version = release.at("version")
    comes_from_afar = release.at("repositoryOpts", "repo") or str(release.at("chart")).startswith(
        "oci://"
    )
    # A folder or an archive beside the program is as pinned as the program.
    if comes_from_afar and not _EXACT_VERSION.fullmatch(version or ""):
        yield (
            f"The chart's version is {version or 'not given'}, which is another one on another "
            "day; give an exact one, such as 1.2.3."
        )


def argocd_is_not_public_without_tls_and_sso(release: Resource) -> Iterator[str]:
    public = sorted(_ways_in(release))
    if not public:
        return
    ways = " and ".join(public)
    settings = ("values", "configs", "cm")
    if not (release.at(*settings, "dex.config") or release.at(*settings, "oidc.config")):
        yield f"It is public ({ways}) without single sign-on; set configs.cm of argocd.values."
    if str(release.at("values", "configs", "params", "server.insecure")).lower() == "true":
        yield f"It is public ({ways}) and speaks plain HTTP; take server.insecure away."
    for kind in ("ingress", "ingressGrpc"):
        ingress = release.at("values", "server", kind) or {}
        if ingress.get("enabled") and not (ingress.get("tls") or ingress.get("extraTls")):
            yield f"Its server.{kind} has no TLS; set server.{kind}.tls of argocd.values."


def _ways_in(release: Resource) -> Iterator[str]:
    server = ("values", "server")
    kind = release.at(*server, "service", "type")
    if kind in ("LoadBalancer", "NodePort"):
        yield f"server.service.type {kind}"
    for way in ("ingress", "ingressGrpc", "httproute", "grpcroute"):
        if release.at(*server, way, "enabled"):
            yield f"server.{way}"


def project_has_no_wildcard(project: Resource) -> Iterator[str]:
    for path, value in _texts("spec", project.at("spec") or {}):
        if "*" in value and path.split(".")[1].partition("[")[0] in _LIMITS:
            yield f'{path} is "{value}"; name each one that the environment needs.'


_LIMITS = (
    "sourceRepos",
    "sourceNamespaces",
    "destinations",
    "clusterResourceWhitelist",
    "namespaceResourceWhitelist",
)


def _texts(path: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key in value:
            yield from _texts(f"{path}.{key}", value[key])
    elif value is not None and not isinstance(value, bool | int | float):
        for index, each in enumerate(value):
            yield from _texts(f"{path}[{index}]", each)


def prod_revision_is_pinned(application: Resource) -> Iterator[str]:
    branches = tuple(application.config.get("protectedBranches", PROTECTED_BRANCHES))
    source = application.at("spec", "source")
    sources = application.at("spec", "sources") or ([] if source is None else [source])
    if not application.in_production:
        return
    for each in sources:
        revision = str(each.get("targetRevision", "HEAD"))
        if not (
            revision in branches
            or _COMMIT.fullmatch(revision)
            or _EXACT_VERSION.fullmatch(revision)
        ):
            yield (
                f"It follows {revision}, which anyone who may push can move; give a commit, a tag "
                f"such as v1.2.3, or a branch that takes reviewed commits only: {branches[0]}."
            )


def application_heals_itself(application: Resource) -> Iterator[str]:
    if not application.at("spec", "syncPolicy", "automated", "selfHeal"):
        yield "What is changed by hand stays; set sync.automated and sync.selfHeal."


RULES = (
    Rule(
        "prod-cluster-is-highly-available",
        "A production cluster outlives the loss of one control plane machine.",
        (CLUSTER,),
        prod_cluster_is_highly_available,
    ),
    Rule(
        "prod-cluster-is-protected",
        "A production cluster is neither destroyed nor replaced by mistake.",
        (CLUSTER,),
        prod_cluster_is_protected,
    ),
    Rule(
        "prod-cluster-keeps-its-data",
        "What production applications stored outlives their cluster.",
        (CLUSTER,),
        prod_cluster_keeps_its_data,
    ),
    Rule(
        "prod-cluster-has-a-maintenance-window",
        "A production cluster is upgraded when it hurts least.",
        (CLUSTER,),
        prod_cluster_has_a_maintenance_window,
        mandatory=False,
    ),
    Rule(
        "cluster-is-tagged",
        "Every cluster says by a tag which environment it is.",
        (CLUSTER,),
        cluster_is_tagged,
    ),
    Rule(
        "pools-have-room",
        "A node can be lost or drained, and there is where its pods can go.",
        (CLUSTER, NODE_POOL),
        pools_have_room,
    ),
    Rule(
        "registry-is-protected",
        "The registry that all stacks pull from is not destroyed with one of them.",
        (REGISTRY,),
        registry_is_protected,
    ),
    Rule(
        "kubernetes-forgets-nothing",
        "A cluster that can't be reached is not taken for one that is gone.",
        (KUBERNETES,),
        kubernetes_forgets_nothing,
    ),
    Rule(
        "chart-is-pinned",
        "The same commit installs the same chart on any day.",
        (RELEASE,),
        chart_is_pinned,
    ),
    Rule(
        "argocd-is-not-public-without-tls-and-sso",
        "Whoever can reach Argo CD is known, and nobody listens in.",
        (RELEASE,),
        argocd_is_not_public_without_tls_and_sso,
    ),
    Rule(
        "project-has-no-wildcard",
        "A project names what its applications may touch.",
        (PROJECT,),
        project_has_no_wildcard,
    ),
    Rule(
        "prod-revision-is-pinned",
        "What production runs is moved by a reviewed change only.",
        (APPLICATION,),
        prod_revision_is_pinned,
        config={
            "protectedBranches": {
                "type": "array",
                "items": {"type": "string"},
                "minItems": 1,
                "default": list(PROTECTED_BRANCHES),
            }
        },
    ),
    Rule(
        "application-heals-itself",
        "What runs is what Git says.",
        (APPLICATION,),
        application_heals_itself,
        mandatory=False,
    ),
)
