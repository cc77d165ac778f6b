"""An Argo CD Application, which keeps folders of Git repositories and charts deployed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pulumi
from pulumi_kubernetes.apiextensions import CustomResource
from pulumi_kubernetes.meta.v1 import ObjectMetaArgs

from components.manifest import as_argo
from components.options import child_options, holds_outputs
from components.project import FINALIZER, IN_CLUSTER

_HISTORY = 10
"""Past syncs that Argo CD keeps by default."""


@dataclass(frozen=True)
class Replicas:
    """Number of pods of a workload, instead of the number in its manifest."""

    name: str
    count: int


@dataclass(frozen=True)
class Kustomize:
    """Options of a Kustomize folder.

    https://argo-cd.readthedocs.io/en/stable/user-guide/kustomize/
    """

    name_prefix: str | None = None
    name_suffix: str | None = None
    images: Sequence[str] = ()
    """`[old=]new[:tag|@digest]`."""
    replicas: Sequence[Replicas] = ()
    components: Sequence[str] = ()
    """Folders of Kustomize components, relative to the Application's folder."""
    ignore_missing_components: bool = False
    """Ignore components that don't exist, such as one that only some environments have."""
    common_labels: Mapping[str, str] = field(default_factory=dict)
    label_without_selector: bool = False
    """`common_labels` are in no selector."""
    label_include_templates: bool = False
    """With `label_without_selector`: they are in templates of Pods."""
    force_common_labels: bool = False
    """`common_labels` replace labels that the folder sets itself."""
    common_annotations: Mapping[str, str] = field(default_factory=dict)
    force_common_annotations: bool = False
    """`common_annotations` replace annotations that the folder sets itself."""


@dataclass(frozen=True)
class Directory:
    """Options of a folder of plain manifests.

    https://argo-cd.readthedocs.io/en/stable/user-guide/directory/
    """

    recurse: bool = False
    include: str | None = None
    """Glob pattern of the files. Default: all."""
    exclude: str | None = None
    disable_extension_filter: bool = False
    """Files of all names, not only .yaml, .yml and .json."""


@dataclass(frozen=True)
class HelmParameter:
    """A value, set by its path as with `helm --set`."""

    name: str
    value: pulumi.Input[str]
    force_string: bool = False
    """As with `helm --set-string`."""


@dataclass(frozen=True)
class HelmFileParameter:
    """A value, read from a file as with `helm --set-file`."""

    name: str
    path: str


@dataclass(frozen=True)
class Helm:
    """Options of a chart, in a Git repository, a Helm repository or a registry.

    https://argo-cd.readthedocs.io/en/stable/user-guide/helm/
    """

    release_name: str | None = None
    """Default: the Application's name."""
    value_files: Sequence[str] = ()
    """Paths relative to the chart's folder, or `$<ref>/<path>` of a source with that `ref`. Later
    files override earlier ones."""
    ignore_missing_value_files: bool = False
    values_object: Mapping[str, Any] = field(default_factory=dict)
    """Overrides `value_files`."""
    parameters: Sequence[HelmParameter] = ()
    """Override `values_object`."""
    file_parameters: Sequence[HelmFileParameter] = ()
    skip_crds: bool = False
    skip_tests: bool = False
    skip_schema_validation: bool = False


@dataclass(frozen=True)
class Backoff:
    """Delays between the retries of a sync, as Go durations."""

    duration: str = "5s"
    factor: int = 2
    """Growth from delay to delay."""
    max_duration: str = "3m"


@dataclass(frozen=True)
class Retry:
    """Retries of a failed sync."""

    limit: int = 5
    """-1: without limit. 0: none."""
    refresh: bool = False
    """Retry with the newest commit instead of the one that failed."""
    backoff: Backoff = field(default_factory=Backoff)


@dataclass(frozen=True)
class NamespaceMetadata:
    """Labels and annotations of a namespace."""

    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Sync:
    """When and how Argo CD deploys what is in Git.

    https://argo-cd.readthedocs.io/en/stable/user-guide/auto_sync/
    """

    automated: bool = True
    """False: syncs are started by hand, and `prune` and `self_heal` have no effect."""
    prune: bool = True
    """Delete objects that Git no longer has."""
    self_heal: bool = True
    """Revert manual changes in the cluster."""
    allow_empty: bool = False
    """With `prune`: also delete all objects, if Git has none any more."""
    retry: Retry = field(default_factory=Retry)
    options: Sequence[str] = ("CreateNamespace=true",)
    """https://argo-cd.readthedocs.io/en/stable/user-guide/sync-options/"""
    managed_namespace_metadata: NamespaceMetadata | None = None
    """Labels and annotations of the namespace that `CreateNamespace=true` creates."""


@dataclass(frozen=True)
class IgnoreDifference:
    """Fields that Argo CD does not compare with Git.

    https://argo-cd.readthedocs.io/en/stable/user-guide/diffing/
    """

    kind: str
    group: str = ""
    name: str | None = None
    """Default: any."""
    namespace: str | None = None
    """Default: any."""
    json_pointers: Sequence[str] = ()
    jq_path_expressions: Sequence[str] = ()
    managed_fields_managers: Sequence[str] = ()


@dataclass(frozen=True)
class Source:
    """Manifests of an Application: a folder in Git, a chart, or an artifact of a registry.

    https://argo-cd.readthedocs.io/en/stable/user-guide/multiple_sources/
    """

    repo_url: pulumi.Input[str]
    """URL of a repository that the project allows."""
    path: str | None = None
    """Folder in the repository."""
    chart: str | None = None
    """Chart in a Helm repository or registry."""
    revision: str = "HEAD"
    """Branch, tag or commit of a Git repository; exact version of a chart or artifact."""
    name: str | None = None
    """Name of the source. After a sync that failed `retry.limit` times, Argo CD tries the same
    commit again only if the source has changed; this name changes it without another effect."""
    ref: str | None = None
    """Name by which the charts of other sources use files of this one."""
    kustomize: Kustomize | None = None
    """Options of a Kustomize folder. At most one of `kustomize`, `directory` and `helm`; without
    them, Argo CD detects the kind of the folder."""
    directory: Directory | None = None
    """Options of a folder of plain manifests."""
    helm: Helm | None = None
    """Options of a chart."""

    def __post_init__(self) -> None:
        if [self.kustomize, self.directory, self.helm].count(None) < 2:
            raise ValueError("source: give at most one of kustomize, directory and helm")
        if self.path is not None and self.chart is not None:
            raise ValueError("source: give either path or chart")
        if self.path is None and self.chart is None and self.ref is None:
            raise ValueError("source: give path, chart or ref")


@dataclass(frozen=True)
class Info:
    """A line about an Application, shown by Argo CD."""

    name: str
    value: str


@dataclass(frozen=True)
class GitOpsApplicationArgs:
    """An Application: its sources, its destination and its sync policy.

    https://argo-cd.readthedocs.io/en/stable/operator-manual/application.yaml
    """

    application_name: str
    """Name without the project. The name in Argo CD is `<project>-<application_name>`."""
    project_name: str
    """Name of the Application's project."""
    argocd_namespace: pulumi.Input[str]
    """Namespace of Argo CD."""
    sources: Sequence[Source]
    """Sources, at least one."""
    namespace: str
    """Namespace of objects that name none. The project must allow it."""
    sync: Sync = field(default_factory=Sync)
    """Default: deploy every commit, delete what Git no longer has, revert manual changes."""
    ignore_differences: Sequence[IgnoreDifference] = ()
    """Fields that Argo CD does not compare with Git."""
    info: Sequence[Info] = ()
    """Lines about it, shown by Argo CD."""
    revision_history_limit: int = _HISTORY
    """Past syncs that Argo CD keeps, to roll back to."""
    finalizer: bool = True
    """Deleting the Application deletes the objects that it deployed."""

    def __post_init__(self) -> None:
        if not self.sources:
            raise ValueError(f"application {self.application_name}: give at least one source")
        if len(self.sources) == 1 and self.sources[0].ref is not None:
            raise ValueError(
                f"application {self.application_name}: a source with ref needs another source"
            )


class GitOpsApplication(pulumi.ComponentResource):
    """An Application. Needs a `kubernetes` provider in `opts`, and to depend on its project.

    Pulumi sets only `spec`, by server-side apply; Argo CD sets `status` and `operation`. Pulumi
    does not wait until the Application is Healthy: a broken commit must not block updates of the
    platform. Deleting waits up to 20 minutes: until a running sync has ended, for which Argo CD has
    a limit (`chart_values.SYNC_SECONDS`), and until the deployed objects are deleted. After that it
    fails with the message that the object still exists; see the log of Argo CD's controller.
    """

    full_name: pulumi.Output[str]
    """Name in Argo CD: `<project>-<application>`."""

    def __init__(
        self, name: str, args: GitOpsApplicationArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("doks-gitops:index:GitOpsApplication", name, {}, opts)
        full_name = f"{args.project_name}-{args.application_name}"
        # Argo CD copies the source into the status. The spec is one of them for a value that the
        # state already has in plain text: an unchanged resource keeps its outputs.
        options = [_options(source) for source in args.sources]
        copies = ["spec", "status", "operation"] if holds_outputs(options) else None
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
                pulumi.ResourceOptions(
                    custom_timeouts=pulumi.CustomTimeouts(delete="20m"),
                    additional_secret_outputs=copies,
                ),
            ),
        )
        self.full_name = pulumi.Output.from_input(full_name)
        self.register_outputs({"fullName": self.full_name})


def application_spec(args: GitOpsApplicationArgs) -> dict[str, Any]:
    """The Application's `spec`."""
    sources = [_source(source) for source in args.sources]
    policy: dict[str, Any] = {"retry": as_argo(args.sync.retry)}
    if args.sync.options:
        policy["syncOptions"] = list(args.sync.options)
    if args.sync.automated:
        policy["automated"] = {
            "prune": args.sync.prune,
            "selfHeal": args.sync.self_heal,
            **({"allowEmpty": True} if args.sync.allow_empty else {}),
        }
    if args.sync.managed_namespace_metadata is not None:
        policy["managedNamespaceMetadata"] = as_argo(args.sync.managed_namespace_metadata)
    spec: dict[str, Any] = {
        "project": args.project_name,
        # Argo CD ignores `source` beside `sources`.
        **({"sources": sources} if len(sources) > 1 else {"source": sources[0]}),
        "destination": {"server": IN_CLUSTER, "namespace": args.namespace},
        "syncPolicy": policy,
    }
    if args.ignore_differences:
        spec["ignoreDifferences"] = as_argo(args.ignore_differences)
    if args.info:
        spec["info"] = as_argo(args.info)
    if args.revision_history_limit != _HISTORY:
        spec["revisionHistoryLimit"] = args.revision_history_limit
    return spec


def _source(source: Source) -> dict[str, Any]:
    properties: dict[str, Any] = {
        "repoURL": source.repo_url,
        "path": source.path,
        "chart": source.chart,
        "targetRevision": source.revision,
        "name": source.name,
        "ref": source.ref,
    }
    present = {name: value for name, value in properties.items() if value is not None}
    return present | _options(source)


def _options(source: Source) -> dict[str, Any]:
    """The options of the source's kind."""
    return {
        kind: as_argo(options)
        for kind in ("kustomize", "directory", "helm")
        if (options := getattr(source, kind)) is not None
    }
