"""What can be wrong with the objects that a change brings."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from components.project import IN_CLUSTER
from doks_gitops.diff.environment import Declared
from doks_gitops.diff.objects import CLUSTER_SCOPED, Change, Object, key_of
from doks_gitops.images import ImageReference, Tags, is_missing
from doks_gitops.settings.rules import permits_namespace, permits_source

PRUNE_LABEL = "allow-prune"
"""Label of a pull request that allows the deletion of data in prod."""
_HINT = (
    f" In prod that needs the label {PRUNE_LABEL} on the pull request. If it has the label, take it"
    " away and set it again: a push or opening it again ends what it allows."
)
DATA = (
    "CustomResourceDefinition", "Namespace", "PersistentVolume", "PersistentVolumeClaim",
    "StatefulSet",
)  # fmt: skip
"""Kinds that data is lost with: a CRD takes all its objects with it."""

_FIXED: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("apps", "Deployment"): ("spec.selector",),
    ("apps", "DaemonSet"): ("spec.selector",),
    ("apps", "ReplicaSet"): ("spec.selector",),
    ("batch", "Job"): ("spec.template", "spec.selector", "spec.completionMode"),
    ("", "Service"): ("spec.clusterIP",),
    ("", "PersistentVolumeClaim"): (
        "spec.accessModes", "spec.storageClassName", "spec.volumeName", "spec.volumeMode",
        "spec.selector", "spec.dataSource",
    ),
    ("", "Secret"): ("type",),
    ("rbac.authorization.k8s.io", "RoleBinding"): ("roleRef",),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"): ("roleRef",),
    ("storage.k8s.io", "StorageClass"): (
        "provisioner", "parameters", "reclaimPolicy", "volumeBindingMode",
    ),
    ("apiextensions.k8s.io", "CustomResourceDefinition"): ("spec.group", "spec.scope"),
}  # fmt: skip
"""Fields that the API server never changes, by group and kind.

https://kubernetes.io/docs/reference/kubernetes-api/
"""
_CHANGEABLE_OF_STATEFULSET = (
    "replicas", "ordinals", "template", "updateStrategy", "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy", "minReadySeconds",
)  # fmt: skip
"""https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/"""
_REPLACED = "Force=true"
"""Sync option with which Argo CD deletes and creates what can't be changed."""
DEFAULT_PROJECT = "default"
"""The AppProject that Argo CD creates itself, and that allows everything unless Git declares it."""
_HOOKS = {"argocd.argoproj.io/hook", "helm.sh/hook"}
"""Annotations of objects that Argo CD deletes before it creates them again."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with a change."""

    application: str
    message: str
    mandatory: bool = True
    """Whether the sync would fail, or lose data."""


def is_cluster_scoped(item: Object, definitions: Sequence[Object] = ()) -> bool:
    """Whether objects of this kind have no namespace. `definitions`: known CRDs."""
    for definition in definitions:
        spec = definition.get("spec") or {}
        names = spec.get("names") or {}
        group = str(item.get("apiVersion")).partition("/")[0]
        if (spec.get("group"), names.get("kind")) == (group, item.get("kind")):
            return spec.get("scope") == "Cluster"
    return item.get("kind") in CLUSTER_SCOPED


def is_hook(item: Object) -> bool:
    """Whether Argo CD deletes the object before it creates it again."""
    return bool(_HOOKS & ((item.get("metadata") or {}).get("annotations") or {}).keys())


def immutable(change: Change, application: Declared) -> Iterator[Finding]:
    """Changed fields that the API server refuses to change."""
    if change.operation != "update" or change.old is None or change.new is None:
        return
    if change.renamed_from is not None or is_hook(change.new):
        return
    if _REPLACED in _sync_options(change.new, application):
        return
    for field in _fixed_fields(change):
        old, new = (_value_at(item, field) for item in (change.old, change.new))
        # A field that is not given keeps its value.
        if old != new and new is not None and old is not None:
            yield Finding(
                application.name,
                f"{change.key}: {field} can't be changed, so the sync will fail. Give the object"
                " another name, or the annotation argocd.argoproj.io/sync-options: Replace=true,"
                "Force=true, which deletes it first.",
            )
    content = ("data", "stringData", "binaryData", "immutable")
    if (
        change.key.kind in ("ConfigMap", "Secret")
        and change.old.get("immutable")
        and any(change.old.get(key) != change.new.get(key) for key in content)
    ):
        yield Finding(
            application.name,
            f"{change.key} is immutable, so the sync will fail. Give it a new name.",
        )


def _fixed_fields(change: Change) -> Sequence[str]:
    group_kind = (change.key.group, change.key.kind)
    if group_kind == ("apps", "StatefulSet"):
        fields = {*((change.old or {}).get("spec") or {}), *((change.new or {}).get("spec") or {})}
        return [f"spec.{name}" for name in sorted(fields.difference(_CHANGEABLE_OF_STATEFULSET))]
    return _FIXED.get(group_kind, ())


def plain_secret(change: Change, application: Declared, *, sealed: bool) -> Iterator[Finding]:
    """A Secret whose values are in clear in Git. `sealed`: whether the stack has sealed secrets, so
    that only a chart may make one: its values may be random."""
    item = change.new or {}
    has_values = any(
        value for field in ("data", "stringData") for value in (item.get(field) or {}).values()
    )
    if (change.key.group, change.key.kind) != ("", "Secret") or not has_values:
        return
    labels = (item.get("metadata") or {}).get("labels") or {}
    of_chart = labels.get("app.kubernetes.io/managed-by") == "Helm" or any(
        "chart" in source or "helm" in source for source in application.sources
    )
    yield Finding(
        application.name,
        f"{change.key} has values in clear, for everybody who can read the application's sources."
        " Seal it: bin/platform seal",
        mandatory=sealed and not of_chart,
    )


def _value_at(item: Object, path: str) -> Any:
    value: Any = item
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _sync_options(item: Object, application: Declared) -> set[str]:
    annotations = (item.get("metadata") or {}).get("annotations") or {}
    own = str(annotations.get("argocd.argoproj.io/sync-options", "")).split(",")
    policy = application.spec.get("syncPolicy") or {}
    return {option.strip() for option in (*own, *(policy.get("syncOptions") or ()))}


def pruned(
    change: Change,
    application: Declared,
    *,
    production: bool,
    allowed: bool,
    with_application: bool = False,
) -> Iterator[Finding]:
    """Objects that Argo CD would delete, with the data that is lost with them.

    `allowed`: whether somebody allowed the deletion of data in prod. `with_application`: the
    Application itself is deleted, and its finalizer deletes the objects.
    """
    if change.operation not in ("delete", "rename"):
        return
    key = change.renamed_from or change.key
    keeps = "Delete=false" if with_application else "Prune=false"
    if change.old is not None and keeps in _sync_options(change.old, application):
        return
    is_data = key.kind in DATA
    words = f"**{key} is deleted**" + (", with its data" if is_data else "")
    if not application.prunes and not with_application:
        words = f"{key} stays in the cluster: {application.name} does not prune"
        yield Finding(application.name, words, mandatory=False)
    elif is_data and production and not allowed:
        yield Finding(application.name, f"{words}.{_HINT}")
    elif is_data:
        yield Finding(application.name, words, mandatory=False)


def unread_deletion(name: str, words: str, *, production: bool, allowed: bool) -> Finding:
    """A deletion, for sure or perhaps, of objects that could not be read. See `pruned`."""
    refused = production and not allowed
    return Finding(name, words + (_HINT if refused else ""), mandatory=refused)


def forbidden(
    item: Object,
    application: Declared,
    project: Mapping[str, Any] | None,
    definitions: Sequence[Object] = (),
) -> Iterator[Finding]:
    """What the AppProject does not allow an object of the Application.

    https://argo-cd.readthedocs.io/en/stable/user-guide/projects/
    """
    if project is None:
        return
    key = key_of(item, application.namespace)
    kind = {"group": key.group, "kind": key.kind, "name": key.name}
    if is_cluster_scoped(item, definitions):
        allowed = _listed(kind, project.get("clusterResourceWhitelist") or ())
        denied = _listed(kind, project.get("clusterResourceBlacklist") or ())
    else:
        whitelist = project.get("namespaceResourceWhitelist")
        allowed = whitelist is None or _listed(kind, whitelist)
        denied = _listed(kind, project.get("namespaceResourceBlacklist") or ())
        if not _is_destination(key.namespace, project.get("destinations") or ()):
            yield Finding(
                application.name,
                f"{key}: the project {application.project} does not allow the namespace"
                f" {key.namespace or '(none)'}.",
            )
    if denied or not allowed:
        yield Finding(
            application.name,
            f"{key}: the project {application.project} does not allow the kind"
            f" {key.group + '/' if key.group else ''}{key.kind}.",
        )


def forbidden_sources(
    application: Declared, project: Mapping[str, Any] | None
) -> Iterator[Finding]:
    """Repositories that the AppProject does not allow the Application."""
    patterns = tuple(map(str, (project or {}).get("sourceRepos") or ()))
    urls = dict.fromkeys(str(source.get("repoURL")) for source in application.sources)
    for url in urls if project is not None else ():
        if not permits_source(patterns, url):
            yield Finding(
                application.name,
                f"The project {application.project} does not allow the repository {url}.",
            )


def missing_project(
    application: Declared,
    projects: Mapping[str, Mapping[str, Any]],
    earlier: Mapping[str, Mapping[str, Any]],
) -> Iterator[Finding]:
    """An AppProject that is not among those of the environment. `earlier`: those before the
    change."""
    name = application.project
    if name in projects or name == DEFAULT_PROJECT:
        return
    if name in earlier:
        yield Finding(application.name, f"The project {name} is deleted, so nothing is synced.")
    else:
        words = f"The project {name} is not declared in what was read, so it was not checked."
        yield Finding(application.name, words, mandatory=False)


def _listed(kind: Mapping[str, str], entries: Sequence[Mapping[str, Any]]) -> bool:
    return any(
        all(_matches(kind[field], str(entry.get(field) or "")) for field in ("group", "kind"))
        and _matches(kind["name"], str(entry.get("name") or "*"))
        for entry in entries
    )


def _matches(text: str, pattern: str) -> bool:
    """As Go's `filepath.Match`, which writes `[^...]` where Python has `[!...]`."""
    return fnmatch.fnmatchcase(text, pattern.replace("[^", "[!"))


def _is_destination(namespace: str, destinations: Sequence[Mapping[str, Any]]) -> bool:
    servers = [entry for entry in destinations if entry.get("server", "*") in (IN_CLUSTER, "*")]
    patterns = tuple(str(entry.get("namespace") or "") for entry in servers)
    return permits_namespace(patterns, namespace)


def images(items: Sequence[Object]) -> Iterator[str]:
    """The images of the Pods that the objects make."""
    for item in items:
        for spec in _pod_specs(item):
            for kind in ("initContainers", "containers"):
                for container in spec.get(kind) or ():
                    if image := container.get("image"):
                        yield str(image)


def _pod_specs(item: Object) -> Iterator[Mapping[str, Any]]:
    spec = item.get("spec") or {}
    if item.get("kind") == "Pod":
        yield spec
    elif item.get("kind") == "CronJob":
        template = ((spec.get("jobTemplate") or {}).get("spec") or {}).get("template") or {}
        yield template.get("spec") or {}
    elif isinstance(spec, Mapping) and isinstance(spec.get("template"), Mapping):
        yield spec["template"].get("spec") or {}


def missing_images(application: Declared, items: Sequence[Object], tags: Tags) -> Iterator[Finding]:
    """Images of DigitalOcean's registry that it does not have."""
    for image in dict.fromkeys(images(items)):
        try:
            reference = ImageReference.parse(image)
        except ValueError as error:
            yield Finding(application.name, f"{image} is no image reference: {error}")
            continue
        if not reference.digest and is_missing(reference, tags):
            yield Finding(application.name, f"The registry has no {image}.")


def definitions(items: Sequence[Object]) -> list[Object]:
    """The CustomResourceDefinitions among the objects."""
    return [item for item in items if key_of(item).kind == "CustomResourceDefinition"]
