"""The GitOps folder of an environment, rendered from a template.

A template is a folder of files. In their paths, `ENV` and `APP` stand for the environment and an
application; a file below an `APP` is written once for each application. In their texts, `${name}`
stands for the values of `placeholders` and `app_placeholders`, and `$$` for a dollar sign. The
default template has the layout of argocd-autopilot, with narrower projects
(https://argocd-autopilot.readthedocs.io/en/stable/Getting-Started/).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from string import Template

import pydantic
import yaml

from components.chart_values import ArgoCdOptions, chart_values, merge
from components.names import CLUSTER_NAMESPACES, RELEASE_NAME
from components.project import IN_CLUSTER
from doks_gitops.errors import PlatformError
from doks_gitops.settings import scalars
from doks_gitops.settings.model import Argocd

TEMPLATE = Path(__file__).parent / "templates"
_ENV, _APP = re.compile(r"(?<![^/.])ENV(?![^/.])"), re.compile(r"(?<![^/.])APP(?![^/.])")


class LayoutError(PlatformError):
    """A stack file or a template can't be turned into a GitOps folder."""


@pydantic.dataclasses.dataclass(frozen=True)
class App:
    """An application of the environment. Raises pydantic's `ValidationError` for a wrong name."""

    name: scalars.Name
    path: scalars.Folder
    """Folder of its overlay for this environment, inside the repository with the manifests."""
    namespace: scalars.Namespace


@pydantic.dataclasses.dataclass(frozen=True)
class Source:
    """The repository with the applications' manifests, if it is not the GitOps repository."""

    url: scalars.RepositoryUrl
    revision: scalars.Revision


@dataclass(frozen=True)
class EnvironmentLayout:
    """The content of the GitOps folder of one environment."""

    environment: str
    repository: str
    """URL of the GitOps repository, as Argo CD knows it."""
    revision: str
    """Branch that Argo CD follows."""
    argocd: Argocd
    apps: Sequence[App]
    source: Source | None = None
    """None: the manifests are in the GitOps repository itself."""


def files(layout: EnvironmentLayout, template: Path = TEMPLATE) -> dict[PurePosixPath, str]:
    """The text of every file of the layout, by its path in the repository.

    Raises `LayoutError` for a template that can't be rendered.
    """
    if not template.is_dir():
        raise LayoutError(
            f"The template {template} is not a folder.", "Name a folder of files with --template."
        )
    texts = {}
    for path in sorted(file for file in template.rglob("*") if file.is_file()):
        if not path.resolve().is_relative_to(template.resolve()):
            raise LayoutError(
                f"{path} is a link that leads outside the template.",
                "Put the file itself into the template.",
            )
        name = _ENV.sub(layout.environment, path.relative_to(template).as_posix())
        for target, values in _targets(name, layout):
            try:
                texts[target] = Template(path.read_text()).substitute(values)
            except KeyError as error:
                raise LayoutError(
                    f"{path} uses the placeholder {error.args[0]!r}, which does not exist.",
                    f"Use one of {', '.join(sorted(values))}.",
                ) from None
            except ValueError as error:
                raise LayoutError(f"{path}: {error}.", "Write a dollar sign as $$.") from None
    return texts


def _targets(
    name: str, layout: EnvironmentLayout
) -> Iterator[tuple[PurePosixPath, dict[str, str]]]:
    values = placeholders(layout)
    if not _APP.search(name):
        yield PurePosixPath(name), values
        return
    for app in layout.apps:
        target = PurePosixPath(_APP.sub(app.name, name))
        yield target, values | app_placeholders(app, target, layout.source)


def placeholders(layout: EnvironmentLayout) -> dict[str, str]:
    """The values that every file of a template may use."""
    chart = layout.argocd.chart
    app_namespaces = sorted({app.namespace for app in layout.apps})
    destinations = "".join(
        f"\n    - {{server: {IN_CLUSTER}, namespace: {namespace}}}" for namespace in app_namespaces
    )
    return {
        "environment": layout.environment,
        "repository": layout.repository,
        "revision": layout.revision,
        "release": RELEASE_NAME,
        "argocd_namespace": layout.argocd.namespace,
        "argocd_values": _values(layout.argocd),
        "chart_repository": chart.repository.removeprefix("oci://"),
        "chart": chart.name,
        "chart_version": str(chart.version),
        "destinations": destinations or " []",
        "namespaces": _namespace_kinds(app_namespaces),
        "platform_namespaces": _namespace_kinds((layout.argocd.namespace, *CLUSTER_NAMESPACES)),
    }


def _namespace_kinds(names: Iterable[str]) -> str:
    """A list of a project with the kind Namespace, once for each name."""
    entries = (f'\n    - {{group: "", kind: Namespace, name: {name}}}' for name in names)
    return "".join(entries) or " []"


def app_placeholders(app: App, file: PurePosixPath, source: Source | None) -> dict[str, str]:
    """The further values that a file below an `APP` may use."""
    return {
        "app": app.name,
        "app_namespace": app.namespace,
        "app_source": (
            f"{source.url}//{app.path}?ref={source.revision}"
            if source
            else os.path.relpath(app.path, file.parent)
        ),
    }


def _values(argocd: Argocd) -> str:
    """The chart's values that the stack would set, without secrets."""
    options = ArgoCdOptions(
        high_availability=argocd.high_availability,
        url=argocd.url,
        admin_enabled=argocd.admin.enabled,
        separate_secret=True,
    )
    values = merge(chart_values(options), argocd.values)
    return yaml.safe_dump(values, sort_keys=False).rstrip()
