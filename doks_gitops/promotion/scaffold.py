"""Scaffolds the GitOps folder of a stack's environment, from its stack file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from doks_gitops.environments import ENVIRONMENTS, short_name
from doks_gitops.promotion.layout import (
    TEMPLATE,
    App,
    EnvironmentLayout,
    LayoutError,
    Source,
    files,
)
from doks_gitops.promotion.proposal import Proposal
from doks_gitops.promotion.repository import WorkingTree
from doks_gitops.promotion.review import code_owners, review
from doks_gitops.settings import defaults, stackfile
from doks_gitops.settings.errors import key_of, stack_file
from doks_gitops.settings.model import NAMESPACE, Argocd
from doks_gitops.settings.stackfile import encrypted

PUBLIC_ARGOCD_KEYS = ("namespace", "chart", "highAvailability", "url", "values")
"""The keys of `argocd` that Git may know, unless they hold an encrypted value."""

_OWNERS = re.compile(r"@[A-Za-z0-9][\w-]*(/[A-Za-z0-9][\w.-]*)?", re.ASCII)

_Named = TypeVar("_Named", App, Source)


def scaffold(
    tree: WorkingTree,
    stack: str,
    *,
    folder: Path,
    url: str | None = None,
    revision: str | None = None,
    named_apps: Sequence[Sequence[str]] = (),
    source: Sequence[str] | None = None,
    template: Path = TEMPLATE,
    owners: str | None = None,
) -> tuple[Proposal, list[str]]:
    """The files that the environment's folder lacks, and notes: if Argo CD can't read them yet, and
    on who owns the platform's folders. Existing files stay as they are.

    `folder`: the project's folder. `url` and `revision`: of the GitOps repository for Argo CD, by
    default the clone's own. `named_apps`: name, path and namespace of each application, by default
    the applications of the stack file. `source`: URL and revision of the repository with their
    manifests, by default the clone's. `owners`: GitHub team or user for the platform's folders.
    Raises `LayoutError`.
    """
    if owners is not None and not _OWNERS.fullmatch(owners):
        raise LayoutError(
            f"--owners {owners} is no team or user of GitHub.", "Write @ORGANIZATION/TEAM or @USER."
        )
    sections = read_sections(folder, stack)
    environment = read_environment(sections, stack)
    apps = [_checked(App, f"--app {' '.join(words)}", words) for words in named_apps]
    layout = EnvironmentLayout(
        environment,
        url or tree.url(),
        revision or tree.branch(),
        read_argocd(_mapping(sections, "argocd")),
        apps or read_apps(_mapping(sections, "applications")),
        _checked(Source, "--source", source) if source else None,
    )
    texts = {Path(path): text for path, text in files(layout, template).items()}
    missing = {path: text for path, text in texts.items() if not tree.path(path).exists()}
    owners_file, owners_note = code_owners(tree, owners)
    missing |= owners_file
    notes = [owners_note] if owners_note else []
    message = f"Lay out the GitOps folder of {environment}"
    proposal = Proposal(tree, missing, message, f"layout/{environment}")
    repositories = _mapping(sections, "repositories")
    urls = [_mapping(repositories, name, "repositories").get("url") for name in repositories]
    if not missing or layout.repository in urls:
        return proposal, notes
    return proposal, [
        *notes,
        f"Argo CD can read {layout.repository} only after the stack file has exactly this URL"
        f" under {NAMESPACE}:repositories. If it has the repository by another URL, name that with"
        " --url.",
    ]


def findings(tree: WorkingTree, stack: str, *, folder: Path) -> list[str]:
    """What is wrong with the environment's folder in the clone (`review`), and with the owners of
    the platform's folders. Raises `LayoutError`, and `GitError` if a file can't be read."""
    sections = read_sections(folder, stack)
    environment = read_environment(sections, stack)
    path = Path(str(_mapping(sections, "appOfApps").get("path", f"argocd/{environment}")))
    _, note = code_owners(tree, None)
    return [*review(tree, path, environment), *([note] if note else [])]


def read_environment(sections: Mapping[str, Any], stack: str) -> str:
    """The environment of a stack. Raises `LayoutError` if it is not one of `ENVIRONMENTS`."""
    environment = str(sections.get("environment", short_name(stack)))
    if environment not in ENVIRONMENTS:
        raise LayoutError(
            f"The environment of the stack {stack} is {environment}; there are"
            f" {', '.join(ENVIRONMENTS)}.",
            f"pulumi config set {NAMESPACE}:environment dev --stack {stack}",
        )
    return environment


def read_project(sections: Mapping[str, Any], stack: str) -> str:
    """The name of a stack's AppProject; with `appOfApps`, the one that `bin/platform layout` gives
    it. Raises `LayoutError`."""
    return str(_mapping(sections, "project").get("name", read_environment(sections, stack)))


def read_sections(folder: Path, stack: str) -> dict[str, Any]:
    """The settings in a stack file, without decrypting secrets. Raises `LayoutError`."""
    path = folder / stack_file(stack)
    if not path.exists():
        raise LayoutError(
            f"{path}: No such file or directory.", "Name the folder of the stack files with -C."
        )
    try:
        config = stackfile.values(stackfile.read(path))
        if not config:
            raise ValueError("it has no config")
    except ValueError as error:
        raise LayoutError(
            f"{path} is not a stack file: {error}.", f"pulumi preview --stack {stack}"
        ) from None
    prefix = f"{NAMESPACE}:"
    sections = {
        key.removeprefix(prefix): value for key, value in config.items() if key.startswith(prefix)
    }
    return defaults.complete(sections, str(sections.get("environment", short_name(stack))))


def read_argocd(section: Mapping[str, Any]) -> Argocd:
    """The settings of Argo CD without its secrets. Raises `LayoutError`."""
    public = {key: section[key] for key in PUBLIC_ARGOCD_KEYS if key in section}
    for path in encrypted(public):
        raise LayoutError(
            f"{key_of(NAMESPACE, ('argocd', *path))} is encrypted in the stack file, and Git must"
            " not know it.",
            "Keep it in a Secret of the cluster, and name that Secret in argocd.values.",
        )
    enabled = _mapping(section, "admin", "argocd").get("enabled", True)
    try:
        argocd = Argocd.model_validate({**public, "admin": {"enabled": enabled}})
    except ValidationError:
        raise LayoutError(
            "The section argocd of the stack file has findings.", "pulumi preview lists them."
        ) from None
    if argocd.chart.path is not None:
        raise LayoutError(
            f"argocd.chart is the path {argocd.chart.path} on this machine, where Argo CD can't"
            " read it.",
            "Name a chart repository and a version in the stack file.",
        )
    return argocd


def read_apps(section: Mapping[str, Any]) -> list[App]:
    """The applications of a stack file. Raises `LayoutError` unless all are Kustomize overlays."""
    apps = []
    for name in sorted(section):
        application = _mapping(section, name, "applications")
        if other := {"helm", "directory"} & application.keys():
            raise LayoutError(
                f"The application {name} is not a Kustomize overlay, but has {', '.join(other)}.",
                "Name the applications for the layout: --app NAME PATH NAMESPACE",
            )
        words = (name, application.get("path"), application.get("namespace"))
        apps.append(_checked(App, f"applications.{name}", words))
    return apps


def _mapping(section: Mapping[str, Any], key: str, parent: str = "") -> Mapping[str, Any]:
    """The mapping at `key`; an empty one if there is none. Raises `LayoutError` for another value.

    `parent`: the section's own key, for the error.
    """
    value = section.get(key)
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        where = f"{parent}.{key}" if parent else key
        raise LayoutError(
            f"{where} of the stack file is no mapping of names.", "pulumi preview lists the errors."
        )
    return value


def _checked(kind: type[_Named], where: str, words: Sequence[str | None]) -> _Named:
    try:
        fields: dict[str, Any] = dict(zip(kind.__dataclass_fields__, words, strict=True))
        return kind(**fields)
    except ValidationError as invalid:
        error = invalid.errors(include_url=False)[0]
        raise LayoutError(
            f"{where} has a wrong {error['loc'][0]}.", f"It must be {error['msg']}."
        ) from None
