"""An Argo CD Application: one folder of a Git repository, kept deployed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

import pulumi
from pulumi_kubernetes.apiextensions import CustomResource
from pulumi_kubernetes.meta.v1 import ObjectMetaArgs
from pydantic.alias_generators import to_camel

from components.options import child_options
from components.project import FINALIZER, IN_CLUSTER


@dataclass(frozen=True)
class Replicas:
    """How many pods a workload gets, whatever its manifest says."""

    name: str
    count: int


@dataclass(frozen=True)
class Kustomize:
    """What to change in a Kustomize folder.

    https://argo-cd.readthedocs.io/en/stable/user-guide/kustomize/
    """

    name_prefix: str | None = None
    name_suffix: str | None = None
    images: Sequence[str] = ()
    """`[old=]new[:tag|@digest]`."""
    replicas: Sequence[Replicas] = ()
    components: Sequence[str] = ()
    """Folders of Kustomize components, relative to the Application's."""
    common_labels: Mapping[str, str] = field(default_factory=dict)
    common_annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Directory:
    """Plain manifests. https://argo-cd.readthedocs.io/en/stable/user-guide/directory/"""

    recurse: bool = False
    include: str | None = None
    """Glob of the files to take; default all."""
    exclude: str | None = None


@dataclass(frozen=True)
class HelmParameter:
    """One value by its path, like `--set`."""

    name: str
    value: str
    force_string: bool = False
    """Like `--set-string`."""


@dataclass(frozen=True)
class Helm:
    """A chart that is in the Git repository.

    https://argo-cd.readthedocs.io/en/stable/user-guide/helm/
    """

    release_name: str | None = None
    """Default: the Application's name."""
    value_files: Sequence[str] = ()
    """Relative to the chart's folder; later ones win."""
    ignore_missing_value_files: bool = False
    values_object: Mapping[str, Any] = field(default_factory=dict)
    """Wins over `value_files`."""
    parameters: Sequence[HelmParameter] = ()
    """Win over `values_object`."""
    skip_crds: bool = False


@dataclass(frozen=True)
class Backoff:
    """Waits between the tries of a sync; durations as Go writes them."""

    duration: str = "5s"
    factor: int = 2
    """Each wait is this many times the one before."""
    max_duration: str = "3m"


@dataclass(frozen=True)
class Retry:
    """How often a failed sync is tried again."""

    limit: int = 5
    """-1: without end. 0: not at all."""
    backoff: Backoff = field(default_factory=Backoff)


@dataclass(frozen=True)
class Sync:
    """When and how Argo CD makes the cluster what Git says.

    https://argo-cd.readthedocs.io/en/stable/user-guide/auto_sync/
    """

    automated: bool = True
    """False: someone has to press Sync; then `prune` and `self_heal` mean nothing."""
    prune: bool = True
    """What is gone from Git is deleted."""
    self_heal: bool = True
    """What was changed by hand is changed back."""
    retry: Retry = field(default_factory=Retry)
    options: Sequence[str] = ("CreateNamespace=true",)
    """https://argo-cd.readthedocs.io/en/stable/user-guide/sync-options/"""


@dataclass(frozen=True)
class IgnoreDifference:
    """Fields that others set, which are then no difference.

    https://argo-cd.readthedocs.io/en/stable/user-guide/diffing/
    """

    kind: str
    group: str = ""
    name: str | None = None
    """Default: all of that kind."""
    namespace: str | None = None
    json_pointers: Sequence[str] = ()
    jq_path_expressions: Sequence[str] = ()
    managed_fields_managers: Sequence[str] = ()


@dataclass(frozen=True)
class GitOpsApplicationArgs:
    """What to deploy from where to where.

    https://argo-cd.readthedocs.io/en/stable/operator-manual/application.yaml
    """

    application_name: str
    """Without the project: Argo CD knows the Application as `<project>-<application_name>`."""
    project_name: str
    """The project that it is in."""
    argocd_namespace: pulumi.Input[str]
    """Where Argo CD runs."""
    repo_url: pulumi.Input[str]
    """One of the project's."""
    path: str
    """Folder in the repository."""
    namespace: str
    """Where objects go that name none; one of the project's."""
    revision: str = "HEAD"
    """Branch, tag or commit."""
    kustomize: Kustomize | None = None
    """Changes of a Kustomize folder. At most one of `kustomize`, `directory` and `helm`; of none,
    Argo CD sees for itself what is in the folder."""
    directory: Directory | None = None
    """Which files of a folder of plain manifests."""
    helm: Helm | None = None
    """Values of a chart in the folder."""
    sync: Sync = field(default_factory=Sync)
    """Default: automatic, what is gone from Git is deleted, what was changed by hand undone."""
    ignore_differences: Sequence[IgnoreDifference] = ()
    """Fields that Argo CD is to leave to others."""
    finalizer: bool = True
    """Deleting the Application deletes what it deployed."""

    def __post_init__(self) -> None:
        if [self.kustomize, self.directory, self.helm].count(None) < 2:
            raise ValueError(
                f"application {self.application_name}: give at most one of kustomize, directory"
                " and helm"
            )


class GitOpsApplication(pulumi.ComponentResource):
    """An Application. Needs a `kubernetes` provider in `opts`, and to depend on its project.

    Pulumi owns `spec` alone, by server-side apply; `status` and `operation` are Argo CD's. It
    does not wait for the Application to be Healthy: a commit that fails must not keep the platform
    from being updated. Deleting waits up to 10 minutes for what it deployed to be gone, and then
    fails, saying that the object still exists; Argo CD's controller log says what holds it.
    """

    full_name: pulumi.Output[str]
    """As Argo CD knows it: `<project>-<application>`."""

    def __init__(
        self, name: str, args: GitOpsApplicationArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("doks-gitops:index:GitOpsApplication", name, {}, opts)
        full_name = f"{args.project_name}-{args.application_name}"
        CustomResource(
            name,
            api_version="argoproj.io/v1alpha1",
            kind="Application",
            metadata=ObjectMetaArgs(
                name=full_name,
                namespace=args.argocd_namespace,
                finalizers=[FINALIZER] if args.finalizer else None,
            ),
            spec=application_spec(args),
            opts=child_options(
                self,
                opts,
                pulumi.ResourceOptions(custom_timeouts=pulumi.CustomTimeouts(delete="10m")),
            ),
        )
        self.full_name = pulumi.Output.from_input(full_name)
        self.register_outputs({"fullName": self.full_name})


def application_spec(args: GitOpsApplicationArgs) -> dict[str, Any]:
    """The Application's `spec`."""
    source: dict[str, Any] = {
        "repoURL": args.repo_url,
        "path": args.path,
        "targetRevision": args.revision,
    }
    for kind in ("kustomize", "directory", "helm"):
        if (given := getattr(args, kind)) is not None:
            source[kind] = _as_argo(given)
    policy: dict[str, Any] = {"retry": _as_argo(args.sync.retry)}
    if args.sync.options:
        policy["syncOptions"] = list(args.sync.options)
    if args.sync.automated:
        policy["automated"] = {"prune": args.sync.prune, "selfHeal": args.sync.self_heal}
    spec = {
        "project": args.project_name,
        "source": source,
        "destination": {"server": IN_CLUSTER, "namespace": args.namespace},
        "syncPolicy": policy,
    }
    if args.ignore_differences:
        spec["ignoreDifferences"] = _as_argo(args.ignore_differences)
    return spec


def _as_argo(value: Any) -> Any:
    """A dataclass as Argo CD writes it: camelCase, and without what says nothing.

    Argo CD takes such fields out of an Application by itself, which would be drift.
    """
    if is_dataclass(value):
        named = {each.name: _as_argo(getattr(value, each.name)) for each in fields(value)}
        return {
            to_camel(name): given
            for name, given in named.items()
            if given is not False and given not in (None, "", [], {})
        }
    if isinstance(value, Mapping):
        return {key: _as_argo(each) for key, each in value.items()}
    if isinstance(value, tuple | list):
        return [_as_argo(each) for each in value]
    return value
