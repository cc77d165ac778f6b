"""The GitOps folder of an environment, laid out from a template.

A template is a tree of files. In their paths `ENV` and `APP` stand for the environment and an
application (what is below an `APP` is written for each application), in their texts `${name}` for
what `placeholders` and `app_placeholders` list, and `$$` for a dollar sign. The one that comes with
this is laid out as argocd-autopilot does it, with narrower projects
(https://argocd-autopilot.readthedocs.io/en/stable/Getting-Started/).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from string import Template
from typing import Any

import yaml
from pydantic import ValidationError

from components.chart_values import ArgoCdOptions, chart_values, merge
from components.names import RELEASE_NAME
from components.project import IN_CLUSTER
from doks_gitops.settings import defaults
from doks_gitops.settings.model import NAMESPACE, Argocd

TEMPLATE = Path(__file__).parent / "templates"
_ENV, _APP = re.compile(r"(?<![^/.])ENV(?![^/.])"), re.compile(r"(?<![^/.])APP(?![^/.])")


class LayoutError(Exception):
    """A stack file or a template that can't be laid out; says what about it."""


@dataclass(frozen=True)
class App:
    """An application of the environment."""

    name: str
    path: str
    """Folder of its overlay for this environment, where its manifests are."""
    namespace: str


@dataclass(frozen=True)
class Source:
    """The repository with the applications' manifests, where that is another one (split-repo)."""

    url: str
    revision: str


@dataclass(frozen=True)
class Wish:
    """What to lay out."""

    environment: str
    repository: str
    """URL of the GitOps repository, as Argo CD knows it."""
    revision: str
    """Branch that Argo CD follows."""
    argocd: Argocd
    apps: Sequence[App]
    source: Source | None = None
    """None: the manifests are in the GitOps repository itself (monorepo)."""


def sections(folder: Path, stack: str) -> dict[str, Any]:
    """The settings in a stack file, without the secrets. Raises `LayoutError`."""
    path = folder / f"Pulumi.{stack}.yaml"
    try:
        config = yaml.safe_load(path.read_text())["config"]
    except OSError as error:
        raise LayoutError(
            f"{path}: {error.strerror}. Where the stack files are is told by --stacks"
        ) from None
    except (yaml.YAMLError, TypeError, KeyError) as error:
        raise LayoutError(f"{path} is no stack file: {error}") from None
    prefix = f"{NAMESPACE}:"
    given = {key.removeprefix(prefix): it for key, it in config.items() if key.startswith(prefix)}
    return defaults.complete(given, given.get("environment", stack))


def argocd(section: Mapping[str, Any]) -> Argocd:
    """What Git may know of Argo CD's settings: all but the secrets. Raises `LayoutError`."""
    public = ("namespace", "chart", "highAvailability", "url", "values")
    found = {key: section[key] for key in public if key in section}
    enabled = (section.get("admin") or {}).get("enabled", True)
    try:
        made = Argocd.model_validate({**found, "admin": {"enabled": enabled}})
    except ValidationError:
        raise LayoutError(
            "argocd in the stack file is not right; `pulumi preview` says what is wrong about it"
        ) from None
    if made.chart.path is not None:
        raise LayoutError(
            f"argocd.chart is the path {made.chart.path} on this machine, where Argo CD can't read"
            " it. Name a chart repository and a version in the stack file"
        )
    return made


def apps(section: Mapping[str, Any]) -> list[App]:
    """The applications of a stack file, which all have to be Kustomize overlays.

    Raises `LayoutError`.
    """
    for name, each in section.items():
        if other := {"helm", "directory"} & each.keys():
            raise LayoutError(
                f"the application {name} is no Kustomize overlay ({', '.join(other)}); name"
                " those to lay out: --app NAME PATH NAMESPACE"
            )
    return [App(name, each["path"], each["namespace"]) for name, each in sorted(section.items())]


def files(wish: Wish, template: Path = TEMPLATE) -> dict[PurePosixPath, str]:
    """Every file of the layout with its text, by its path in the repository.

    Raises `LayoutError` for a template that asks for what there is not.
    """
    if not template.is_dir():
        raise LayoutError(f"there is no folder {template} with a template")
    made = {}
    for path in sorted(each for each in template.rglob("*") if each.is_file()):
        name = _ENV.sub(wish.environment, path.relative_to(template).as_posix())
        for target, known in _targets(name, wish):
            try:
                made[target] = Template(path.read_text()).substitute(known)
            except KeyError as error:
                raise LayoutError(
                    f"{path} asks for {error.args[0]!r}; there are {', '.join(sorted(known))}"
                ) from None
            except ValueError as error:
                raise LayoutError(f"{path}: {error}. A dollar sign is written as $$") from None
    return made


def _targets(name: str, wish: Wish) -> Iterator[tuple[PurePosixPath, dict[str, str]]]:
    known = placeholders(wish)
    if not _APP.search(name):
        yield PurePosixPath(name), known
        return
    for app in wish.apps:
        target = PurePosixPath(_APP.sub(app.name, name))
        yield target, known | app_placeholders(app, target, wish.source)


def placeholders(wish: Wish) -> dict[str, str]:
    """What every file of a template may ask for."""
    chart = wish.argocd.chart
    destinations = "".join(
        f"\n    - {{server: {IN_CLUSTER}, namespace: {namespace}}}"
        for namespace in sorted({app.namespace for app in wish.apps})
    )
    return {
        "environment": wish.environment,
        "repository": wish.repository,
        "revision": wish.revision,
        "release": RELEASE_NAME,
        "argocd_namespace": wish.argocd.namespace,
        "argocd_values": _values(wish.argocd),
        "chart_repository": chart.repository.removeprefix("oci://"),
        "chart": chart.name,
        "chart_version": str(chart.version),
        "destinations": destinations or " []",
    }


def app_placeholders(app: App, file: PurePosixPath, source: Source | None) -> dict[str, str]:
    """What a file below an `APP` may ask for besides."""
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
    """The chart's values as the stack would have given them, but for what is secret."""
    wanted = ArgoCdOptions(
        high_availability=argocd.high_availability,
        url=argocd.url,
        admin_enabled=argocd.admin.enabled,
        separate_secret=True,
    )
    values = merge(chart_values(wanted), argocd.values)
    return yaml.safe_dump(values, sort_keys=False).rstrip()
