"""The rules: each is a function from one resource, as the program declares it, to its violations.

They see the resources of a preview and nothing else. Projects and applications that an App of Apps
brings from Git are reviewed there.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from components.names import CLUSTER_NAMESPACES, PULL_REQUEST_NAMESPACES
from doks_gitops.environments import is_production

CLUSTER = "digitalocean:index/kubernetesCluster:KubernetesCluster"
NODE_POOL = "digitalocean:index/kubernetesNodePool:KubernetesNodePool"
REGISTRY = "digitalocean:index/containerRegistry:ContainerRegistry"
KUBERNETES = "pulumi:providers:kubernetes"
RELEASE = "kubernetes:helm.sh/v3:Release"
PROJECT = "kubernetes:argoproj.io/v1alpha1:AppProject"
APPLICATION = "kubernetes:argoproj.io/v1alpha1:Application"

ENVIRONMENT = "doks-gitops:environment"
"""The key of a stack's configuration with its environment, if that is not the stack's name."""
PLATFORM_PROJECT = "platform"
"""The project that brings an App of Apps (`doks_gitops.arguments.PLATFORM`)."""
ESCALATING_KINDS = {
    "ClusterRole": "rbac.authorization.k8s.io",
    "ClusterRoleBinding": "rbac.authorization.k8s.io",
    "MutatingWebhookConfiguration": "admissionregistration.k8s.io",
    "MutatingAdmissionPolicy": "admissionregistration.k8s.io",
    "APIService": "apiregistration.k8s.io",
}
"""Cluster-scoped kinds with which an application can become the cluster's administrator, and their
groups: by a role, by changing every object that others create, or by answering as the API."""
PROTECTED_BRANCHES = ("main",)
"""Branches that take reviewed commits only. The pack's config may name others."""
_EXACT_VERSION = re.compile(r"v?[0-9]+\.[0-9]+\.[0-9]+([-+][0-9A-Za-z.+-]+)?")
_COMMIT_OR_DIGEST = re.compile(r"[0-9a-f]{40}|sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class Resource:
    """A resource as the program declares it. Property names are Pulumi's, camelCase."""

    urn: str
    type: str
    properties: Mapping[str, Any]
    protect: bool = False
    config: Mapping[str, Any] = field(default_factory=dict)
    """The pack's configuration of the rule that checks it."""
    environment: str | None = None
    """The stack's setting `environment`; None if it has none, and so is named after it."""
    replaced: bool = False
    """Whether the preview replaces it. Pulumi does not tell policy packs; it refuses to replace a
    protected resource."""

    @property
    def stack(self) -> str:
        return self.urn.removeprefix("urn:pulumi:").partition("::")[0]

    @property
    def in_production(self) -> bool:
        """As in the settings. An environment that can't be told is production."""
        return is_production(self.environment or self.stack)

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


def unknown(message: str) -> str:
    """The violation of a rule that needs a value which the preview does not show."""
    return f"It was not checked, because a {message}; set it to a plain value."


def prod_cluster_is_highly_available(cluster: Resource) -> Iterator[str]:
    if cluster.in_production and not cluster.at("ha"):
        yield "The control plane is one machine; set cluster.highAvailability: true."


def prod_cluster_is_protected(cluster: Resource) -> Iterator[str]:
    if cluster.in_production and not cluster.protect:
        yield "Pulumi would destroy or replace it when told to; set cluster.protect: true."


def prod_cluster_is_not_replaced(cluster: Resource) -> Iterator[str]:
    if cluster.in_production and cluster.replaced:
        yield (
            "A new cluster would take the place of the one that runs everything; take the change "
            "back, or make it by hand with `pulumi up` once nothing needs the old cluster."
        )


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
            f"environment:{cluster.environment or cluster.stack} to cluster.tags."
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
    # With an ingress, TLS may end there: Argo CD then serves plain HTTP inside the cluster.
    # https://argo-cd.readthedocs.io/en/stable/operator-manual/ingress/
    ingresses = {f"server.{kind}": kind for kind in ("ingress", "ingressGrpc")}
    insecure = str(release.at("values", "configs", "params", "server.insecure")).lower() == "true"
    if insecure and not set(exposures) <= set(ingresses):
        yield f"It is public ({exposed}) with plain HTTP; take server.insecure away."
    for exposure in exposures:
        ingress = release.at("values", "server", ingresses.get(exposure, "")) or {}
        if exposure in ingresses and not (ingress.get("tls") or ingress.get("extraTls")):
            yield f"Its {exposure} has no TLS; set {exposure}.tls of argocd.values."


def chart_adds_no_objects_and_arguments(release: Resource) -> Iterator[str]:
    values = release.at("values") or {}
    allowed = release.config.get("allowed", ())
    paths = ["extraObjects"] if values.get("extraObjects") else []
    for part in values:
        if isinstance(values[part], Mapping) and values[part].get("extraArgs"):
            paths.append(f"{part}.extraArgs")
    for path in paths:
        if path not in allowed:
            yield (
                f"{path} of argocd.values can lift every limit that Argo CD sets; take it away, or "
                "add it to `allowed` of this rule in doks_gitops/policy/config.json."
            )


def argocd_has_no_unnamed_administrators(release: Resource) -> Iterator[str]:
    anonymous = release.at("values", "configs", "cm", "users.anonymous.enabled")
    if str(anonymous).lower() == "true":
        yield "Nobody has to log in; take users.anonymous.enabled away from argocd.values."
    role = release.at("values", "configs", "rbac", "policy.default")
    if role == "role:admin":
        yield (
            "Whoever logs in is an administrator; set policy.default of configs.rbac to "
            "role:readonly, and name the administrators in policy.csv."
        )


def _exposures(release: Resource) -> Iterator[str]:
    server = ("values", "server")
    kind = release.at(*server, "service", "type")
    if kind in ("LoadBalancer", "NodePort"):
        yield f"server.service.type {kind}"
    for kind in ("ingress", "ingressGrpc", "httproute", "grpcroute"):
        if release.at(*server, kind, "enabled"):
            yield f"server.{kind}"


def project_has_no_wildcard(project: Resource) -> Iterator[str]:
    for limit in _LIMITS:
        for path, value in _texts(f"spec.{limit}", project.at("spec", limit)):
            # In a URL, `?` and `[` are no patterns. `!` excludes, which allows all others.
            is_url = limit == "sourceRepos" or path.endswith(".server")
            if value == PULL_REQUEST_NAMESPACES and not project.in_production:
                continue
            if value.startswith("!") or not set("*" if is_url else "*?[{").isdisjoint(value):
                yield f'{path} is "{value}"; name each one that the environment needs.'


def project_stays_out_of_the_platform(project: Resource) -> Iterator[str]:
    argocd = project.at("metadata", "namespace") or "argocd"
    deletable = [name for name in (argocd, *CLUSTER_NAMESPACES) if _may_delete(project, name)]
    if deletable:
        yield (
            f"Its applications may delete {', '.join(deletable)}, by a commit that adds the "
            "Namespace and one that takes it away; give each Namespace of clusterResourceWhitelist "
            "a name."
        )
    if _brings_an_app_of_apps(project):
        return
    for destination in project.at("spec", "destinations") or ():
        namespace = str(destination.get("namespace"))
        for owned in (argocd, "kube-system"):
            if fnmatchcase(owned, namespace):
                yield (
                    f"Its applications may deploy to {owned}, and so become administrators of the "
                    "cluster; take it away from project.namespaces."
                )


def _may_delete(project: Resource, namespace: str) -> bool:
    """Whether an application may have the namespace itself in Git. Argo CD deletes what is taken
    out of Git, whoever had created it."""

    def lists(key: str) -> bool:
        return any(
            fnmatchcase("", entry.get("group") or "")
            and fnmatchcase("Namespace", entry.get("kind") or "")
            # Go writes `[^...]` where others write `[!...]`.
            and fnmatchcase(namespace, (entry.get("name") or "*").replace("[^", "[!"))
            for entry in project.at("spec", key) or ()
        )

    return lists("clusterResourceWhitelist") and not lists("clusterResourceBlacklist")


def _brings_an_app_of_apps(project: Resource) -> bool:
    """Whether it is the platform's own project, which may deploy only Argo CD's own kinds."""
    kinds = project.at("spec", "namespaceResourceWhitelist") or ()
    destinations = project.at("spec", "destinations") or ()
    namespace = project.at("metadata", "namespace")
    return (
        project.at("metadata", "name") == PLATFORM_PROJECT
        and not project.at("spec", "clusterResourceWhitelist")
        and len(kinds) > 0
        and all(kind.get("group") == "argoproj.io" for kind in kinds)
        and len(project.at("spec", "sourceRepos") or ()) == 1
        and all(destination.get("namespace") == namespace for destination in destinations)
    )


def project_makes_no_cluster_roles(project: Resource) -> Iterator[str]:
    allowed = project.config.get("allowed", ())
    for resource in project.at("spec", "clusterResourceWhitelist") or ():
        kind = resource.get("kind")
        group = ESCALATING_KINDS.get(kind)
        if group and resource.get("group") in (group, "*") and kind not in allowed:
            yield (
                f"Its applications may give themselves every permission by a {kind}; take the kind "
                "away from project.clusterResources, or add it to `allowed` of this rule in "
                "doks_gitops/policy/config.json."
            )


def project_denies_plain_secrets(project: Resource) -> Iterator[str]:
    """Argo CD then refuses Secrets in Git, and not those that a controller makes."""
    allowed = project.at("spec", "namespaceResourceWhitelist")
    denied = project.at("spec", "namespaceResourceBlacklist") or ()
    may_bring = allowed is None or any(map(_is_secret, allowed))
    if project.config.get("required") and may_bring and not any(map(_is_secret, denied)):
        yield (
            "Its applications may bring Secrets that are in clear in Git; add {kind: Secret} to "
            "project.deniedNamespaceResources, and seal them: bin/platform seal."
        )


def _is_secret(kind: Mapping[str, Any]) -> bool:
    return fnmatchcase("", kind.get("group") or "") and fnmatchcase(
        "Secret", kind.get("kind") or ""
    )


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
            or _COMMIT_OR_DIGEST.fullmatch(revision)
            or _EXACT_VERSION.fullmatch(revision)
        ):
            yield (
                f"It follows {revision}, which everyone who may push can move; give a commit, a "
                f"tag such as v1.2.3, or a branch that takes reviewed commits only: {branches[0]}."
            )


def application_heals_itself(application: Resource) -> Iterator[str]:
    if not application.at("spec", "syncPolicy", "automated", "selfHeal"):
        yield "Changes by hand are not reverted; set sync.automated and sync.selfHeal."


_ALLOWED: Mapping[str, Mapping[str, Any]] = {
    "allowed": {"type": "array", "items": {"type": "string"}, "default": []}
}
"""The pack's config of a rule with exceptions."""

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
        "prod-cluster-is-not-replaced",
        "A change of the settings does not replace the production cluster.",
        (CLUSTER,),
        prod_cluster_is_not_replaced,
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
        "argocd-has-no-unnamed-administrators",
        "Who administers Argo CD is named.",
        (RELEASE,),
        argocd_has_no_unnamed_administrators,
    ),
    Rule(
        "chart-adds-no-objects-and-arguments",
        "Argo CD is what its chart makes of it, without further objects and arguments.",
        (RELEASE,),
        chart_adds_no_objects_and_arguments,
        config=_ALLOWED,
    ),
    Rule(
        "project-stays-out-of-the-platform",
        "Applications neither deploy to the namespaces of Argo CD and of Kubernetes nor delete "
        "them.",
        (PROJECT,),
        project_stays_out_of_the_platform,
    ),
    Rule(
        "project-makes-no-cluster-roles",
        "Applications do not change who may do what in the cluster.",
        (PROJECT,),
        project_makes_no_cluster_roles,
        config=_ALLOWED,
    ),
    Rule(
        "project-denies-plain-secrets",
        "No application brings a Secret that everybody who reads the repository can read.",
        (PROJECT,),
        project_denies_plain_secrets,
        config={"required": {"type": "boolean", "default": False}},
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
