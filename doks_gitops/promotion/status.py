"""Where each application stands in each environment, and how far behind the one before it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from doks_gitops.errors import PlatformError
from doks_gitops.images import ImageReference
from doks_gitops.promotion.cluster import Application, Delivery, delivery

CommitsBetween = Callable[[str, str], int | None]
"""Number of commits that the second revision has and the first has not; None: a clone lacks one."""


@dataclass(frozen=True)
class Behind:
    """What an application lacks of the environment before it."""

    environment: str
    commits: int | None
    """None: unknown, because the clone lacks a commit."""
    tags: Mapping[str, tuple[str, str]]
    """By image: the tag in this environment, and in the one before it."""


@dataclass(frozen=True)
class Row:
    """One application in one environment."""

    name: str
    environment: str
    application: Application
    behind: Behind | None = None
    """None: no environment before this one has the application."""


@dataclass(frozen=True)
class Status:
    """The rows of all environments that could be read, by application and then environment."""

    rows: Sequence[Row]
    unreachable: Mapping[str, str] = field(default_factory=dict)
    """Why the others could not be read, by environment."""
    errors: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Why an ApplicationSet creates no new Application, by environment and its name."""


def read(environments: Sequence[str], folder: Path, commits_between: CommitsBetween) -> Status:
    """The status of all environments, whose clusters are read at the same time.

    `folder`: the project's folder.
    """
    deliveries: dict[str, Delivery] = {}
    unreachable = {}
    with ThreadPoolExecutor(max_workers=max(1, len(environments))) as threads:
        requests = {name: threads.submit(delivery, name, folder) for name in environments}
    for environment, request in requests.items():
        try:
            deliveries[environment] = request.result()
        except PlatformError as error:
            unreachable[environment] = str(error)
    by_environment = {name: content.applications for name, content in deliveries.items()}
    errors = {name: content.errors for name, content in deliveries.items() if content.errors}
    return Status(rows(by_environment, commits_between), unreachable, errors)


def rows(
    by_environment: Mapping[str, Sequence[Application]], commits_between: CommitsBetween
) -> list[Row]:
    """One row for each application of each environment, compared with the nearest environment
    before it that has the application.

    `by_environment`: the applications, in the order of promotion.
    """
    table = []
    names = {application.short_name for group in by_environment.values() for application in group}
    for name in sorted(names):
        before: Row | None = None
        for environment, group in by_environment.items():
            for application in group:
                if application.short_name == name:
                    behind = _behind(application, before, commits_between) if before else None
                    before = Row(name, environment, application, behind)
                    table.append(before)
    return table


def _behind(application: Application, before: Row, commits_between: CommitsBetween) -> Behind:
    revision, target = application.revision, before.application.revision
    tags, target_tags = _tags(application), _tags(before.application)
    # The revision of a chart is its version, which no clone has.
    commits = 0 if revision and revision == target else None
    if commits is None and revision and target:
        commits = commits_between(revision, target)
    return Behind(
        before.environment,
        commits,
        {
            image: (tags[image], target_tags[image])
            for image in sorted(tags.keys() & target_tags.keys())
            if tags[image] != target_tags[image]
        },
    )


def _tags(application: Application) -> dict[str, str]:
    """Tags (or digests) by the last part of the repository: registries may differ between
    environments."""
    tags = {}
    for image in application.images:
        try:
            reference = ImageReference.parse(image)
        except ValueError:
            tags[image] = "not an image reference"
        else:
            tags[reference.short_name] = reference.version
    return tags


def table(status: Status) -> str:
    """The status for a terminal."""
    head = ("APPLICATION", "ENVIRONMENT", "REVISION", "IMAGES", "SYNC", "HEALTH", "BEHIND")
    lines = [head, *(_cells(row) for row in status.rows)]
    widths = [max(len(cells[column]) for cells in lines) for column in range(len(head))]
    text = [
        "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
        for cells in lines
    ]
    text += [
        *(
            f"{row.name} in {row.environment}: {_explained(error)}"
            for row in status.rows
            for error in row.application.errors
        ),
        *(
            f"{environment}: the ApplicationSet {name} creates no new application: {reason}"
            for environment, errors in status.errors.items()
            for name, reason in errors.items()
        ),
    ]
    text += [f"{name} can't be read: {reason}" for name, reason in status.unreachable.items()]
    return "\n".join(text)


_REFUSED = re.compile(
    r"\b401\b|unauthorized|authentication (failed|required)|invalid username", re.IGNORECASE
)


def _explained(error: str) -> str:
    """The error in one line, and what to do if a repository refuses its credentials."""
    text = " ".join(error.split())
    if not _REFUSED.search(text):
        return text
    return (
        f"the repository refuses Argo CD's user or password ({text})\n"
        "next: set the credentials of the repository (doks-gitops:repositories, or"
        " credentialTemplates), then pulumi up"
    )


def as_json(status: Status) -> dict[str, object]:
    """The status for programs, with whole revisions and images."""
    return {
        "applications": [
            {
                "application": row.name,
                "environment": row.environment,
                "name": row.application.name,
                "revision": row.application.revision,
                "images": row.application.images,
                "sync": row.application.sync,
                "health": row.application.health,
                "errors": row.application.errors,
                "behind": row.behind
                and {
                    "environment": row.behind.environment,
                    "commits": row.behind.commits,
                    "tags": row.behind.tags,
                },
            }
            for row in status.rows
        ],
        "applicationSetErrors": status.errors,
        "unreachable": status.unreachable,
    }


def _cells(row: Row) -> tuple[str, ...]:
    application = row.application
    return (
        row.name,
        row.environment,
        (application.revision or "none")[:7],
        _images(_tags(application)),
        application.sync,
        application.health,
        _difference(row.behind) if row.behind else "-",
    )


def _images(tags: Mapping[str, str]) -> str:
    """The most frequent tag and how many images have it, then every image with another tag."""
    if not tags:
        return "none"
    (common, count), *_ = Counter(tags.values()).most_common(1)
    others = [f"{name}:{tag}" for name, tag in sorted(tags.items()) if tag != common]
    return ", ".join([f"{common} ({count})", *others])


def _difference(behind: Behind) -> str:
    commits = {None: ["unknown commits"], 0: []}.get(
        behind.commits, [f"{behind.commits} commit{'s' * (behind.commits != 1)}"]
    )
    tags = [f"{image} {tag} → {target}" for image, (tag, target) in behind.tags.items()]
    return f"{behind.environment}: {', '.join([*commits, *tags]) or 'level'}"
