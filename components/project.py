"""An Argo CD AppProject: the limits of an environment's Applications."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import pulumi
from pulumi_kubernetes.apiextensions import CustomResource
from pulumi_kubernetes.meta.v1 import ObjectMetaArgs

from components.manifest import as_argo
from components.names import CLUSTER_NAMESPACES, RELEASE_NAME
from components.options import child_options

IN_CLUSTER = "https://kubernetes.default.svc"
"""Argo CD's address of the cluster that it runs in."""
FINALIZER = "resources-finalizer.argocd.argoproj.io"
"""Keeps a deleted project until no Application uses it, and a deleted Application until the objects
that it deployed are deleted."""


@dataclass(frozen=True)
class ResourceKind:
    """A kind of Kubernetes object."""

    group: str = field(default="", kw_only=True)
    """"" is the core group."""
    kind: str


@dataclass(frozen=True)
class NamedResource(ResourceKind):
    """The cluster-scoped object of a kind with a name, which may be a pattern."""

    name: str


ARGOCD_KINDS = tuple(
    ResourceKind(kind, group="argoproj.io")
    for kind in ("AppProject", "Application", "ApplicationSet")
)
"""Who may make these administers Argo CD."""


@dataclass(frozen=True)
class JwtToken:
    """A token of a role. Argo CD refuses the tokens that the project does not list."""

    id: str
    iat: int
    """Time of issue, in seconds since 1970."""
    exp: int | None = None
    """Time of expiry, in seconds since 1970. None: never."""


@dataclass(frozen=True)
class Role:
    """A role in the project."""

    description: str = ""
    policies: Sequence[str] = ()
    """`p, proj:<project>:<role>, <resource>, <action>, <project>/<object>, allow`."""
    groups: Sequence[str] = ()
    """Groups of the identity provider that have the role."""
    jwt_tokens: Sequence[JwtToken] = ()
    """All tokens of the role: others are revoked."""


@dataclass(frozen=True)
class SyncWindow:
    """Times at which syncs are allowed, or denied.

    https://argo-cd.readthedocs.io/en/stable/user-guide/sync_windows/
    """

    kind: str
    """`allow` or `deny`."""
    schedule: str
    """When the window opens: five fields of cron."""
    duration: str
    """How long it stays open, as a Go duration."""
    time_zone: str = "UTC"
    applications: Sequence[str] = ()
    """Names of the project's applications without the project, or patterns of them. Default: all,
    unless `namespaces` is given."""
    namespaces: Sequence[str] = ()
    """Namespaces of applications, or patterns of them."""
    and_operator: bool = False
    """Only applications that `applications` and `namespaces` both match."""
    manual_sync: bool = False
    """Syncs by hand are always allowed."""
    sync_overrun: bool = False
    """A sync that runs when the window changes is completed."""
    description: str = ""


@dataclass(frozen=True)
class OrphanedResource:
    """Objects that are no orphans. Each value may be a pattern; None: any."""

    group: str | None = None
    kind: str | None = None
    name: str | None = None


@dataclass(frozen=True)
class OrphanedResources:
    """Argo CD looks for objects that belong to no Application.

    https://argo-cd.readthedocs.io/en/stable/user-guide/orphaned-resources/
    """

    warn: bool = True
    """Applications get a warning."""
    ignore: Sequence[OrphanedResource] = ()


@dataclass(frozen=True)
class GitOpsProjectArgs:
    """Limits of a project. https://argo-cd.readthedocs.io/en/stable/user-guide/projects/

    Applications may deploy to `namespaces` only: all namespaced kinds, or those in
    `namespace_resources`. Of the cluster-scoped kinds they may deploy `cluster_resources` only; of
    the kind Namespace only `namespaces`, and nothing that belongs to Argo CD or to the cluster.
    Argo CD deletes what is taken out of Git, whoever had created it. Names of cluster-scoped
    objects in a project need Argo CD 3.3 (chart 9.4.2).
    """

    project_name: str
    """Name in Argo CD."""
    argocd_namespace: pulumi.Input[str]
    """Namespace of Argo CD, the only one that it reads projects from."""
    source_repos: Sequence[pulumi.Input[str]]
    """URLs of the repositories, written in the same way as in the Applications."""
    namespaces: Sequence[str]
    """Namespaces of the cluster that Argo CD runs in."""
    description: str = ""
    """Shown by Argo CD."""
    cluster_resources: Sequence[ResourceKind] = (ResourceKind("Namespace"),)
    """Cluster-scoped kinds. Default: namespaces, of which only `namespaces` are allowed."""
    namespace_resources: Sequence[ResourceKind] = ()
    """Namespaced kinds. Default: all; without `allow_any`, all but `ARGOCD_KINDS`."""
    allow_any: bool = False
    """Allow patterns such as `*` in the lists above."""
    denied_cluster_resources: Sequence[ResourceKind] = ()
    """Cluster-scoped kinds that are denied, whatever `cluster_resources` allows."""
    denied_namespace_resources: Sequence[ResourceKind] = ()
    """Namespaced kinds that are denied."""
    roles: Mapping[str, Role] = field(default_factory=dict)
    """Roles of people and tokens in the project, by name."""
    sync_windows: Sequence[SyncWindow] = ()
    """Times at which the Applications may be synced, or may not."""
    orphaned_resources: OrphanedResources | None = None
    """Default: Argo CD does not look for them."""

    def __post_init__(self) -> None:
        if self.allow_any:
            return
        kinds = {
            "cluster_resources": self.cluster_resources,
            "namespace_resources": self.namespace_resources,
        }
        lists: dict[str, Sequence[pulumi.Input[str]]] = {
            "source_repos": self.source_repos,
            "namespaces": self.namespaces,
            **{name: [f"{x.group}/{x.kind}" for x in listed] for name, listed in kinds.items()},
        }
        for name, values in lists.items():
            # In a URL, `?` and `[` are no patterns.
            pattern_characters = "*!" if name == "source_repos" else "*?[{!"
            for value in values:
                if isinstance(value, str) and not set(value).isdisjoint(pattern_characters):
                    raise ValueError(
                        f"project {self.project_name}: {name} has {value!r}, which needs allow_any"
                    )


class GitOpsProject(pulumi.ComponentResource):
    """An AppProject. Needs a `kubernetes` provider in `opts`, and to depend on Argo CD.

    Its finalizer keeps it until it has no Applications, so Applications must depend on it.
    """

    project_name: pulumi.Output[str]
    """An output of the project, so that what uses it waits for the project."""

    def __init__(
        self, name: str, args: GitOpsProjectArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("doks-gitops:index:GitOpsProject", name, {}, opts)
        CustomResource(
            name,
            api_version="argoproj.io/v1alpha1",
            kind="AppProject",
            metadata=ObjectMetaArgs(
                name=args.project_name, namespace=args.argocd_namespace, finalizers=[FINALIZER]
            ),
            spec=project_spec(args),
            opts=child_options(self, opts),
        )
        self.project_name = pulumi.Output.from_input(args.project_name)
        self.register_outputs({"projectName": self.project_name})


def project_spec(args: GitOpsProjectArgs) -> dict[str, Any]:
    """The AppProject's `spec`."""
    return {
        "description": args.description,
        "sourceRepos": list(args.source_repos),
        "destinations": [
            {"server": IN_CLUSTER, "namespace": namespace} for namespace in args.namespaces
        ],
        "clusterResourceWhitelist": _allowed_cluster_resources(args),
        **_optional(args),
    }


def _optional(args: GitOpsProjectArgs) -> dict[str, Any]:
    """The parts of the spec that are not empty."""
    spec = {
        "namespaceResourceWhitelist": _kinds(args.namespace_resources),
        "clusterResourceBlacklist": [
            *(_platform_resources(args) if args.cluster_resources else ()),
            *_kinds(args.denied_cluster_resources),
        ],
        "namespaceResourceBlacklist": [
            *(() if args.namespace_resources or args.allow_any else _kinds(ARGOCD_KINDS)),
            *_kinds(args.denied_namespace_resources),
        ],
        "roles": [{"name": name, **as_argo(role)} for name, role in sorted(args.roles.items())],
        "syncWindows": [_window(args.project_name, window) for window in args.sync_windows],
        "orphanedResources": args.orphaned_resources
        # Without the value, Argo CD warns.
        and {**as_argo(args.orphaned_resources), "warn": args.orphaned_resources.warn},
    }
    return {name: value for name, value in spec.items() if value}


def _window(project: str, window: SyncWindow) -> dict[str, Any]:
    names = window.applications or ([] if window.namespaces else ["*"])
    # The names of Applications begin with their project's.
    applications = [f"{project}-{name}" for name in names]
    return {**as_argo(window)} | ({"applications": applications} if applications else {})


def _allowed_cluster_resources(args: GitOpsProjectArgs) -> list[dict[str, str]]:
    namespace = ResourceKind("Namespace")
    # `!` excludes namespaces, which allows all others.
    excludes = any(pattern.startswith("!") for pattern in args.namespaces)
    if namespace not in args.cluster_resources or excludes:
        return _kinds(args.cluster_resources)
    others = [kind for kind in args.cluster_resources if kind != namespace]
    return [
        *({**asdict(namespace), "name": _go_pattern(pattern)} for pattern in args.namespaces),
        *_kinds(others),
    ]


def _platform_resources(args: GitOpsProjectArgs) -> list[dict[str, pulumi.Input[str]]]:
    """Cluster-scoped objects that hold Argo CD or the cluster together, and the namespaces that are
    excluded."""
    rbac = "rbac.authorization.k8s.io"
    excluded = [_go_pattern(name[1:]) for name in args.namespaces if name.startswith("!")]
    namespaces = [args.argocd_namespace, *CLUSTER_NAMESPACES, *excluded]
    names: list[tuple[str, str, pulumi.Input[str]]] = [
        *(("", "Namespace", namespace) for namespace in namespaces),
        ("apiextensions.k8s.io", "CustomResourceDefinition", "*.argoproj.io"),
        (rbac, "ClusterRole", f"{RELEASE_NAME}-*"),
        (rbac, "ClusterRoleBinding", f"{RELEASE_NAME}-*"),
    ]
    return [{"group": group, "kind": kind, "name": name} for group, kind, name in names]


def _go_pattern(pattern: str) -> str:
    """The pattern as Go's `filepath.Match` reads it: `[^...]` where others write `[!...]`."""
    return pattern.replace("[!", "[^")


def _kinds(kinds: Sequence[ResourceKind]) -> list[dict[str, str]]:
    return [asdict(kind) for kind in kinds]
