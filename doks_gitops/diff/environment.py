"""The Applications of one environment at one commit, as Pulumi and Git declare them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from components.application import application_spec
from components.project import project_spec
from doks_gitops import arguments
from doks_gitops.diff import access
from doks_gitops.diff.repo_server import Options
from doks_gitops.environments import short_name
from doks_gitops.settings import Cluster, Project, Repository, Settings, SettingsError, stackfile
from doks_gitops.settings.errors import Finding, stack_file
from doks_gitops.settings.load import broken_file
from doks_gitops.settings.model import NAMESPACE, Application, AppOfApps, Argocd
from doks_gitops.settings.offline import sections

ARGO = "argoproj.io"
LABEL_KEY = "argocd.argoproj.io/instance"
"""The chart's `application.instanceLabelKey`."""
ARGO_APIS = (
    "argoproj.io/v1alpha1",
    *(f"argoproj.io/v1alpha1/{kind}" for kind in ("AppProject", "Application", "ApplicationSet")),
)
"""The APIs that every cluster with Argo CD adds to Kubernetes' own, as charts see them."""


@dataclass(frozen=True)
class Declared:
    """An Application, and who declares it."""

    name: str
    """Its name in Argo CD."""
    spec: Mapping[str, Any]
    parent: str
    """The stack file, the Application that has it among its objects, or the ApplicationSet."""

    @property
    def sources(self) -> Sequence[Mapping[str, Any]]:
        """Its one source, or its several ones."""
        return self.spec.get("sources") or [self.spec.get("source") or {}]

    @property
    def project(self) -> str:
        """Name of its AppProject."""
        return str(self.spec.get("project") or "default")

    @property
    def namespace(self) -> str:
        """Namespace of objects that name none."""
        return str((self.spec.get("destination") or {}).get("namespace") or "")

    @property
    def prunes(self) -> bool:
        """Whether Argo CD deletes by itself what the sources no longer have."""
        automated = (self.spec.get("syncPolicy") or {}).get("automated") or {}
        return bool(automated.get("prune"))


@dataclass(frozen=True)
class Environment:
    """One stack at one commit."""

    stack: str
    name: str
    """`dev`, `staging` or `prod`, as the settings call it."""
    options: Options
    repositories: tuple[Repository, ...]
    """Those of the stack file, without their credentials."""
    applications: Mapping[str, Declared]
    """What the stack file declares, by name in Argo CD."""
    projects: Mapping[str, Mapping[str, Any]]
    """`spec` of the AppProjects that the stack file declares."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """Labels of the cluster in Argo CD, which ApplicationSets can use."""
    namespace: str = "argocd"
    """Namespace of Argo CD."""
    urls: frozenset[str] = frozenset()
    """URLs of the stack file's repositories and of its credential templates."""
    private: frozenset[str] = frozenset()
    """Those of repositories that have credentials."""
    templates: frozenset[str] = frozenset()
    """Those of credential templates."""
    sealed_secrets: bool = False
    """Whether the stack has sealed secrets."""

    @property
    def monorepos(self) -> frozenset[str]:
        """URLs of the Git repositories."""
        return frozenset(entry.url for entry in self.repositories if entry.type == "git")

    def has_credentials(self, url: str) -> bool:
        """Whether the stack file has credentials for the URL."""
        return any(access.same_url(url, known) for known in self.private) or any(
            map(url.startswith, self.templates)
        )


def read(stack: str, folder: Path) -> Environment | None:
    """The environment that the stack file in `folder` describes; None if there is no such file.

    Nothing is decrypted. Raises `SettingsError`.
    """
    path = folder / stack_file(stack)
    if not path.exists():
        return None
    try:
        if path.is_symlink():
            raise ValueError("a link")
        text = stackfile.read(path)
    except ValueError as error:
        raise SettingsError([broken_file(path.name, error)]) from None
    content = sections(
        stack,
        text,
        {"cluster": Cluster},
        {"repositories": Repository, "applications": Application},
        {"project": Project, "appOfApps": AppOfApps},
    )
    values = stackfile.values(text)
    if content["project"] is None and content["appOfApps"] is None:
        expected = "an object with the keys of a project; or appOfApps"
        raise SettingsError([Finding(path.name, f"{NAMESPACE}:project", "nothing", expected)])
    raw = values.get(f"{NAMESPACE}:argocd")
    argocd = raw if isinstance(raw, Mapping) else {}
    read_from_argocd: dict[str, Any] = {
        "namespace": str(argocd.get("namespace", "argocd")),
        "managed_by": argocd.get("managedBy", "pulumi"),
        "values": argocd.get("values") or {},
    }
    # What has secrets is left out, so the settings can't be validated as a whole.
    parts: dict[str, Any] = {
        "stack": short_name(stack),
        "app_of_apps": content.pop("appOfApps"),
        **content,
        "argocd": Argocd.model_construct(**read_from_argocd),
    }
    repositories, templates = (
        list(_with_url(values.get(f"{NAMESPACE}:{key}")))
        for key in ("repositories", "credentialTemplates")
    )
    return replace(
        _environment(Settings.model_construct(**parts)),
        urls=frozenset(entry["url"] for entry in (*repositories, *templates)),
        private=frozenset(entry["url"] for entry in repositories if entry.get("credentials")),
        templates=frozenset(entry["url"] for entry in templates),
        sealed_secrets=f"{NAMESPACE}:sealedSecrets" in values,
    )


def _with_url(section: object) -> Iterator[Mapping[str, Any]]:
    for entry in section.values() if isinstance(section, Mapping) else ():
        if isinstance(entry, Mapping) and isinstance(entry.get("url"), str):
            yield entry


def _environment(settings: Settings) -> Environment:
    namespace = settings.argocd.namespace
    config = _config_map(settings.argocd.values)
    applications = {}
    for args in arguments.applications_args(settings, namespace).values():
        name = f"{args.project_name}-{args.application_name}"
        source = stack_file(settings.stack)
        applications[name] = Declared(name, application_spec(args), source)
    project = arguments.project_args(settings, namespace)
    return Environment(
        stack=settings.stack,
        name=settings.environment,
        options=Options(
            kube_version=_full(settings.cluster.version),
            api_versions=ARGO_APIS,
            tracking_method=config.get("application.resourceTrackingMethod", "annotation"),
            label_key=config.get("application.instanceLabelKey", LABEL_KEY),
            build_options=config.get("kustomize.buildOptions", ""),
        ),
        repositories=tuple(settings.repositories.values()),
        applications=applications,
        projects={project.project_name: project_spec(project)},
        facts=arguments.cluster_labels(settings),
        namespace=namespace,
    )


def _config_map(values: Mapping[str, Any]) -> Mapping[str, str]:
    """What the chart's values set in the ConfigMap `argocd-cm`."""
    settings = (values.get("configs") or {}).get("cm") or {}
    return {key: str(value) for key, value in settings.items()}


def _full(version: str) -> str:
    """A version with its patch, as a cluster answers: 1.34 stands for every patch."""
    version = version.partition("-")[0]
    return f"{version}.0" if version.count(".") == 1 else version


def children(
    parent: Declared, objects: Sequence[Mapping[str, Any]], namespace: str
) -> Iterator[Declared]:
    """The Applications among the objects of an Application (app of apps)."""
    for item in objects:
        if is_kind(item, "Application"):
            metadata = item.get("metadata") or {}
            if (metadata.get("namespace") or parent.namespace) == namespace:
                yield Declared(str(metadata.get("name")), item.get("spec") or {}, parent.name)


def is_kind(item: Mapping[str, Any], kind: str) -> bool:
    """Whether the object is of one of Argo CD's own kinds."""
    group = str(item.get("apiVersion")).partition("/")[0]
    return (group, item.get("kind")) == (ARGO, kind)
