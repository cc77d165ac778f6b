"""An Argo CD AppProject: what the Applications of one environment may do."""

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
from pulumi_kubernetes.apiextensions import CustomResource
from pulumi_kubernetes.meta.v1 import ObjectMetaArgs

from components.options import child_options

IN_CLUSTER = "https://kubernetes.default.svc"
"""Argo CD's name for the cluster that it runs in."""
FINALIZER = "resources-finalizer.argocd.argoproj.io"
"""On a project: it stays until no Application uses it. On an Application: it stays until what it
deployed is gone."""


@dataclass(frozen=True)
class ResourceKind:
    """A kind of Kubernetes object; the group of core objects is ""."""

    group: str
    kind: str


@dataclass(frozen=True)
class GitOpsProjectArgs:
    """Limits of a project. https://argo-cd.readthedocs.io/en/stable/user-guide/projects/

    Within `namespaces` every namespaced kind may be deployed unless `namespace_resources` says
    which: they belong to the environment whole. Outside of them, and of the cluster's objects
    beyond `cluster_resources`, nothing may.
    """

    project_name: str
    """As Argo CD knows it."""
    argocd_namespace: pulumi.Input[str]
    """Where Argo CD runs; it reads projects nowhere else."""
    source_repos: Sequence[pulumi.Input[str]]
    """URLs of the Git repositories, exactly as Applications name them."""
    namespaces: Sequence[str]
    """Where Applications may deploy, in the cluster that Argo CD runs in."""
    description: str = ""
    """Shown by Argo CD."""
    cluster_resources: Sequence[ResourceKind] = (ResourceKind("", "Namespace"),)
    """Cluster-scoped kinds that may be deployed. Default: namespaces."""
    namespace_resources: Sequence[ResourceKind] = ()
    """Namespaced kinds that may be deployed. None listed: all."""
    allow_any: bool = False
    """A `*` in the lists above is refused unless this is true."""

    def __post_init__(self) -> None:
        named = {
            "source_repos": self.source_repos,
            "namespaces": self.namespaces,
            "cluster_resources": [
                part for each in self.cluster_resources for part in (each.group, each.kind)
            ],
            "namespace_resources": [
                part for each in self.namespace_resources for part in (each.group, each.kind)
            ],
        }
        for field, values in named.items():
            wild = [value for value in values if isinstance(value, str) and "*" in value]
            if wild and not self.allow_any:
                raise ValueError(
                    f"project {self.project_name}: {field} has {wild[0]!r}, which only"
                    " allow_any permits"
                )


class GitOpsProject(pulumi.ComponentResource):
    """An AppProject. Needs a `kubernetes` provider in `opts`, and to depend on Argo CD.

    Its finalizer keeps it until no Application is in it, so Applications depend on this.
    """

    project_name: pulumi.Output[str]
    """For Applications, which then wait for the project."""

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
            spec={
                "description": args.description,
                "sourceRepos": list(args.source_repos),
                "destinations": [
                    {"server": IN_CLUSTER, "namespace": namespace} for namespace in args.namespaces
                ],
                "clusterResourceWhitelist": _kinds(args.cluster_resources),
                **(
                    {"namespaceResourceWhitelist": _kinds(args.namespace_resources)}
                    if args.namespace_resources
                    else {}
                ),
            },
            opts=child_options(self, opts),
        )
        self.project_name = pulumi.Output.from_input(args.project_name)
        self.register_outputs({"projectName": self.project_name})


def _kinds(kinds: Sequence[ResourceKind]) -> list[dict[str, str]]:
    return [{"group": each.group, "kind": each.kind} for each in kinds]
