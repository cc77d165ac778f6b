"""The defaults that depend on the environment or on other keys of the stack file."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from components.names import CLUSTER_NAMESPACES
from doks_gitops.settings.base import Path

BY_ENVIRONMENT: Mapping[str, Mapping[Path, bool]] = MappingProxyType(
    {
        "prod": {
            ("cluster", "highAvailability"): True,
            ("cluster", "protect"): True,
            ("argocd", "highAvailability"): True,
        }
    }
)
"""Defaults that differ from those in `model.py`, by environment."""


NETWORKS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "dev": {"pods": "172.20.0.0/16", "services": "172.21.0.0/20"},
        "staging": {"pods": "172.22.0.0/16", "services": "172.23.0.0/20"},
        "prod": {"pods": "172.24.0.0/16", "services": "172.25.0.0/20"},
    }
)
"""Networks of a new cluster, by environment. DigitalOcean chooses its VPCs' ranges from
10.0.0.0/8."""


def complete(raw: Mapping[str, object], environment: str | None) -> dict[str, object]:
    """`raw`, the sections of a stack file, with the defaults of the environment and these:

    - `project.name`: the environment
    - `project.namespaces`: those of the applications, without those that each cluster has
    - `appOfApps.path`: `argocd/<environment>`
    - `repository` of a source and of `appOfApps`: the only repository; if there are several, the
      only one of the source's type
    """
    sections = dict(raw)
    for (section, key), value in BY_ENVIRONMENT.get(environment or "", {}).items():
        _default(sections, str(section), str(key), value)
    if environment is not None:
        _default(sections, "project", "name", environment)
        _default(sections, "appOfApps", "path", f"argocd/{environment}")
    repositories, applications = sections.get("repositories"), sections.get("applications")
    if "appOfApps" not in sections and (namespaces := _namespaces(applications)):
        sections.setdefault("project", {"name": environment} if environment else {})
        _default(sections, "project", "namespaces", namespaces)
    if isinstance(repositories, Mapping):
        if "appOfApps" in sections:
            sections["appOfApps"] = _with_repository(sections["appOfApps"], repositories)
        if isinstance(applications, Mapping):
            sections["applications"] = {
                name: _with_repository(application, repositories)
                for name, application in applications.items()
            }
    return sections


def _namespaces(applications: object) -> list[str]:
    """The namespaces of the applications that belong to nothing else."""
    items = applications.values() if isinstance(applications, Mapping) else ()
    named = (item.get("namespace") for item in items if isinstance(item, Mapping))
    return sorted({name for name in named if isinstance(name, str)} - {*CLUSTER_NAMESPACES})


def _with_repository(source: object, repositories: Mapping[str, object]) -> object:
    """The source, or the application with one source or several, with the default repository."""
    if not isinstance(source, Mapping):
        return source
    if isinstance(sources := source.get("sources"), list):
        return {**source, "sources": [_with_repository(x, repositories) for x in sources]}
    kind = "helm" if "chart" in source else "oci" if "version" in source else "git"
    suitable = [
        name
        for name, repository in repositories.items()
        if len(repositories) == 1
        or (isinstance(repository, Mapping) and repository.get("type", "git") == kind)
    ]
    return {"repository": suitable[0], **source} if len(suitable) == 1 else source


def _default(sections: dict[str, object], name: str, key: str, value: object) -> None:
    section = sections.get(name)
    if isinstance(section, Mapping):
        sections[name] = {key: value, **section}
