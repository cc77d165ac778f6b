"""An Argo CD Application, which keeps a folder of a Git repository deployed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

import pulumi
from pulumi_kubernetes.apiextensions import CustomResource
from pulumi_kubernetes.meta.v1 import ObjectMetaArgs
from pydantic.alias_generators import to_camel

from components.options import child_options, holds_outputs
from components.project import FINALIZER, IN_CLUSTER


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
    common_labels: Mapping[str, str] = field(default_factory=dict)
    common_annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Directory:
    """Options of a folder of plain manifests.

    https://argo-cd.readthedocs.io/en/stable/user-guide/directory/
    """

    recurse: bool = False
    include: str | None = None
    """Glob pattern of the files. Default: all."""
    exclude: str | None = None


@dataclass(frozen=True)
class HelmParameter:
    """A value, set by its path as with `helm --set`."""

    name: str
    value: pulumi.Input[str]
    force_string: bool = False
    """As with `helm --set-string`."""


@dataclass(frozen=True)
class Helm:
    """Options of a chart that is in the Git repository.

    https://argo-cd.readthedocs.io/en/stable/user-guide/helm/
    """

    release_name: str | None = None
    """Default: the Application's name."""
    value_files: Sequence[str] = ()
    """Paths relative to the chart's folder. Later files override earlier ones."""
    ignore_missing_value_files: bool = False
    values_object: Mapping[str, Any] = field(default_factory=dict)
    """Overrides `value_files`."""
    parameters: Sequence[HelmParameter] = ()
    """Override `values_object`."""
    skip_crds: bool = False


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
    backoff: Backoff = field(default_factory=Backoff)


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
    retry: Retry = field(default_factory=Retry)
    options: Sequence[str] = ("CreateNamespace=true",)
    """https://argo-cd.readthedocs.io/en/stable/user-guide/sync-options/"""


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
class GitOpsApplicationArgs:
    """An Application: its source, its destination and its sync policy.

    https://argo-cd.readthedocs.io/en/stable/operator-manual/application.yaml
    """

    application_name: str
    """Name without the project. The name in Argo CD is `<project>-<application_name>`."""
    project_name: str
    """Name of the Application's project."""
    argocd_namespace: pulumi.Input[str]
    """Namespace of Argo CD."""
    repo_url: pulumi.Input[str]
    """URL of a repository that the project allows."""
    path: str
    """Folder in the repository."""
    namespace: str
    """Namespace of objects that name none. The project must allow it."""
    revision: str = "HEAD"
    """Branch, tag or commit."""
    kustomize: Kustomize | None = None
    """Options of a Kustomize folder. At most one of `kustomize`, `directory` and `helm`; without
    them, Argo CD detects the kind of the folder."""
    directory: Directory | None = None
    """Options of a folder of plain manifests."""
    helm: Helm | None = None
    """Options of a chart in the folder."""
    sync: Sync = field(default_factory=Sync)
    """Default: deploy every commit, delete what Git no longer has, revert manual changes."""
    ignore_differences: Sequence[IgnoreDifference] = ()
    """Fields that Argo CD does not compare with Git."""
    finalizer: bool = True
    """Deleting the Application deletes the objects that it deployed."""
    source_name: str | None = None
    """Name of the source. After a sync that failed `retry.limit` times, Argo CD tries the same
    commit again only if the source has changed; this name changes it without another effect."""

    def __post_init__(self) -> None:
        if [self.kustomize, self.directory, self.helm].count(None) < 2:
            raise ValueError(
                f"application {self.application_name}: give at most one of kustomize, directory"
                " and helm"
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
        copies = ["spec", "status", "operation"] if holds_outputs(_options(args)) else None
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
    source: dict[str, Any] = {
        "repoURL": args.repo_url,
        "path": args.path,
        "targetRevision": args.revision,
    }
    source |= _options(args)
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
    if args.source_name is not None:
        source["name"] = args.source_name
    if args.ignore_differences:
        spec["ignoreDifferences"] = _as_argo(args.ignore_differences)
    return spec


def _options(args: GitOpsApplicationArgs) -> dict[str, Any]:
    """The options of the source's kind."""
    return {
        kind: _as_argo(options)
        for kind in ("kustomize", "directory", "helm")
        if (options := getattr(args, kind)) is not None
    }


def _as_argo(value: Any) -> Any:
    """A dataclass in the form of Argo CD's API: camelCase names, without empty fields.

    Argo CD removes empty fields from an Application, which Pulumi would report as drift.
    """
    if is_dataclass(value):
        properties = {to_camel(x.name): _as_argo(getattr(value, x.name)) for x in fields(value)}
        return {
            name: content
            for name, content in properties.items()
            if content is not False and content not in (None, "", [], {})
        }
    if isinstance(value, Mapping):
        return {key: _as_argo(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_as_argo(item) for item in value]
    return value
