"""The defaults that depend on the environment or on the rest of the stack file: the one place."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

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
"""What differs from the defaults of `model.py`, by environment."""


def complete(raw: Mapping[str, object], environment: str | None) -> dict[str, object]:
    """`raw` (sections of a stack file) with the defaults that no single field can know.

    - the environment's own (`BY_ENVIRONMENT`)
    - `project.name` is the environment
    - `appOfApps.path` is `argocd/<environment>`
    - the `repository` of an application, or of `appOfApps`, is the only one, if there is only one
    """
    sections = dict(raw)
    for (section, key), value in BY_ENVIRONMENT.get(environment or "", {}).items():
        _default(sections, str(section), str(key), value)
    if environment is not None:
        _default(sections, "project", "name", environment)
        _default(sections, "appOfApps", "path", f"argocd/{environment}")
    repositories, applications = sections.get("repositories"), sections.get("applications")
    if isinstance(repositories, Mapping) and len(repositories) == 1:
        only = next(iter(repositories))
        _default(sections, "appOfApps", "repository", only)
        if isinstance(applications, Mapping):
            sections["applications"] = {
                name: {"repository": only, **application}
                if isinstance(application, Mapping)
                else application
                for name, application in applications.items()
            }
    return sections


def _default(sections: dict[str, object], section: str, key: str, value: object) -> None:
    given = sections.get(section)
    if isinstance(given, Mapping):
        sections[section] = {key: value, **given}
