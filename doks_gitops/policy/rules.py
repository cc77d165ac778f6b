"""The rules: each is a function from one resource, as the program declares it, to its violations.

They see the resources of a preview and nothing else. Projects and applications that an App of Apps
brings from Git are reviewed there.
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
"""Branches that take reviewed commits only. The pack's config may name others."""
_EXACT_VERSION = re.compile(r"v?\d+\.\d+\.\d+([-+][0-9A-Za-z.+-]+)?")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Resource:
    """A resource as the program declares it. Property names are Pulumi's, camelCase."""

    urn: str
    type: str
    properties: Mapping[str, Any]
    protect: bool = False
    config: Mapping[str, Any] = field(default_factory=dict)
    """The pack's configuration of the rule that checks it."""

    @property
    def stack(self) -> str:
        return self.urn.removeprefix("urn:pulumi:").partition("::")[0]

    @property
    def in_production(self) -> bool:
        """A stack is production if its name begins with prod."""
        return self.stack.startswith("prod")

    def at(self, *path: str) -> Any:
        """Returns the property at `path`; None if it, or an object on the path, does not exist."""
        value: Any = self.properties
        for key in path:
            value = value.get(key) if isinstance(value, Mapping) else None
        return value


@dataclass(frozen=True)
class Rule:
    """A requirement on resources of some types."""

    name: str
    description: str
    types: tuple[str, ...]
    violations: Callable[[Resource], Iterator[str]]
    """Returns what is wrong with a resource of these types, each with its fix."""
    mandatory: bool = True
    """False: a violation is reported and forbids nothing."""
    config: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """JSON schema of each key of the pack's config."""


def prod_cluster_is_highly_available(cluster: Resource) -> Iterator[str]:
    if cluster.in_production and not cluster.at("ha"):
        yield "The control plane is one machine; set cluster.highAvailability: true."


def prod_cluster_is_protected(cluster: Resource) -> Iterator[str]:
    if cluster.in_production and not cluster.protect:
        yield "Pulumi would destroy or replace it when told to; set cluster.protect: true."


def prod_cluster_keeps_its_data(cluster: Resource) -> Iterator[str]:
    if cluster.in_production and cluster.at("destroyAllAssociatedResources"):
        yield "Its volumes would be deleted with it; set cluster.destroyAssociatedResources: false."


def prod_cluster_has_a_maintenance_window(cluster: Resource) -> Iterator[str]:
    if cluster.in_production and cluster.at("maintenancePolicy", "day") in (None, "any"):
        yield "It may be upgraded on any day; set cluster.maintenance to a quiet one."


def cluster_is_tagged(cluster: Resource) -> Iterator[str]:
    prefixes = [tag.partition(":")[0] for tag in cluster.at("tags") or ()]
    if "environment" not in prefixes:
        yield (
            "The bill does not show what it is for; add "
            f"environment:{cluster.stack} to cluster.tags."
        )


def pools_have_room(resource: Resource) -> Iterator[str]:
    pool = resource.at("nodePool") if resource.type == CLUSTER else resource.properties
    name = pool.get("name")
    if pool.get("autoScale"):
        minimum, maximum = pool.get("minNodes") or 0, pool.get("maxNodes") or 0
        if maximum <= minimum:
            yield (
                f"Node pool {name} can't grow beyond {minimum:g} nodes; set autoscale.max above "
                "autoscale.min, or a count."
            )
        if resource.in_production and minimum < 2:
            yield (
                f"Node pool {name} may shrink to one node, without another one if that fails; set "
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


def kubernetes_keeps_unreachable_resources(provider: Resource) -> Iterator[str]:
    # Some versions of the engine have a provider's inputs as JSON texts.
    if provider.at("deleteUnreachable") not in (False, "false"):
        yield (
            "With an expired token, it would delete a healthy cluster's resources from the state; "
            "set delete_unreachable=False, which PULUMI_K8S_DELETE_UNREACHABLE can't change."
        )


def chart_is_pinned(release: Resource) -> Iterator[str]:
    version = release.at("version")
    is_remote = release.at("repositoryOpts", "repo") or str(release.at("chart")).startswith(
        "oci://"
    )
    # A folder or an archive beside the program is pinned with the program.
    if is_remote and not _EXACT_VERSION.fullmatch(version or ""):
        yield (
            f"The chart's version is {version or 'not given'}, which may be another one tomorrow; "
            "give an exact one, such as 1.2.3."
        )


def argocd_is_not_public_without_tls_and_sso(release: Resource) -> Iterator[str]:
    exposures = sorted(_exposures(release))
    if not exposures:
        return
    exposed = " and ".join(exposures)
    settings = ("values", "configs", "cm")
    if not (release.at(*settings, "dex.config") or release.at(*settings, "oidc.config")):
        yield f"It is public ({exposed}) without single sign-on; set configs.cm of argocd.values."
    if str(release.at("values", "configs", "params", "server.insecure")).lower() == "true":
        yield f"It is public ({exposed}) with plain HTTP; take server.insecure away."
    for kind in ("ingress", "ingressGrpc"):
        ingress = release.at("values", "server", kind) or {}
        if ingress.get("enabled") and not (ingress.get("tls") or ingress.get("extraTls")):
            yield f"Its server.{kind} has no TLS; set server.{kind}.tls of argocd.values."


def _exposures(release: Resource) -> Iterator[str]:
    server = ("values", "server")
    kind = release.at(*server, "service", "type")
    if kind in ("LoadBalancer", "NodePort"):
        yield f"server.service.type {kind}"
    for kind in ("ingress", "ingressGrpc", "httproute", "grpcroute"):
        if release.at(*server, kind, "enabled"):
            yield f"server.{kind}"


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
        for index, element in enumerate(value):
            yield from _texts(f"{path}[{index}]", element)


def prod_revision_is_pinned(application: Resource) -> Iterator[str]:
    branches = tuple(application.config.get("protectedBranches", PROTECTED_BRANCHES))
    source = application.at("spec", "source")
    sources = application.at("spec", "sources") or ([] if source is None else [source])
    if not application.in_production:
        return
    for source in sources:
        revision = str(source.get("targetRevision", "HEAD"))
        if not (
            revision in branches
            or _COMMIT.fullmatch(revision)
            or _EXACT_VERSION.fullmatch(revision)
        ):
            yield (
                f"It follows {revision}, which everyone who may push can move; give a commit, a "
                f"tag such as v1.2.3, or a branch that takes reviewed commits only: {branches[0]}."
            )


def application_heals_itself(application: Resource) -> Iterator[str]:
    if not application.at("spec", "syncPolicy", "automated", "selfHeal"):
        yield "Changes by hand are not reverted; set sync.automated and sync.selfHeal."


RULES = (
    Rule(
        "prod-cluster-is-highly-available",
        "A production cluster survives the loss of one control plane machine.",
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
        "The volumes of production applications are not deleted with their cluster.",
        (CLUSTER,),
        prod_cluster_keeps_its_data,
    ),
    Rule(
        "prod-cluster-has-a-maintenance-window",
        "A production cluster is upgraded at a quiet time.",
        (CLUSTER,),
        prod_cluster_has_a_maintenance_window,
        mandatory=False,
    ),
    Rule(
        "cluster-is-tagged",
        "Every cluster has a tag with its environment.",
        (CLUSTER,),
        cluster_is_tagged,
    ),
    Rule(
        "pools-have-room",
        "The pods of a lost or drained node fit on other nodes.",
        (CLUSTER, NODE_POOL),
        pools_have_room,
    ),
    Rule(
        "registry-is-protected",
        "The registry of all stacks is not destroyed with one of them.",
        (REGISTRY,),
        registry_is_protected,
    ),
    Rule(
        "kubernetes-forgets-nothing",
        "An unreachable cluster is not considered deleted.",
        (KUBERNETES,),
        kubernetes_keeps_unreachable_resources,
    ),
    Rule(
        "chart-is-pinned",
        "The same commit installs the same chart on any day.",
        (RELEASE,),
        chart_is_pinned,
    ),
    Rule(
        "argocd-is-not-public-without-tls-and-sso",
        "A public Argo CD has single sign-on and encrypted connections.",
        (RELEASE,),
        argocd_is_not_public_without_tls_and_sso,
    ),
    Rule(
        "project-has-no-wildcard",
        "A project lists what its applications may use and change.",
        (PROJECT,),
        project_has_no_wildcard,
    ),
    Rule(
        "prod-revision-is-pinned",
        "Only a reviewed change moves the revision that production runs.",
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
        "Argo CD reverts changes that were not made in Git.",
        (APPLICATION,),
        application_heals_itself,
        mandatory=False,
    ),
)
