"""Where each application stands in each environment, and how far behind the one before it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from doks_gitops.promotion.cluster import Application, Unseen, applications

CommitsBetween = Callable[[str, str], int | None]
"""How many commits the second revision has that the first has not; None: a clone lacks one."""


@dataclass(frozen=True)
class Behind:
    """What an application lacks of the environment before it."""

    environment: str
    commits: int | None
    """None: not known, for the clone lacks a commit."""
    tags: Mapping[str, tuple[str, str]]
    """By image: the tag here, and there."""


@dataclass(frozen=True)
class Row:
    """One application in one environment."""

    application: str
    environment: str
    found: Application
    behind: Behind | None = None
    """None: no environment before this one has the application."""


@dataclass(frozen=True)
class Status:
    """Of all environments that could be looked at, by application and then environment."""

    rows: Sequence[Row]
    unseen: Mapping[str, str] = field(default_factory=dict)
    """Why the others could not, by environment."""


def look(environments: Sequence[str], folder: Path, between: CommitsBetween) -> Status:
    """Ask all clusters at once. `folder`: see `gitops.cluster.applications`."""
    found, unseen = {}, {}
    with ThreadPoolExecutor(max_workers=max(1, len(environments))) as threads:
        asked = {each: threads.submit(applications, each, folder) for each in environments}
    for environment, answer in asked.items():
        try:
            found[environment] = answer.result()
        except Unseen as error:
            unseen[environment] = str(error)
    return Status(rows(found, between), unseen)


def rows(found: Mapping[str, Sequence[Application]], between: CommitsBetween) -> list[Row]:
    """The applications, each compared with the nearest environment before that has it.

    `found` is by environment, in the order of promotion.
    """
    made = []
    for name in sorted({each.short_name for those in found.values() for each in those}):
        before: Row | None = None
        for environment, those in found.items():
            for application in those:
                if application.short_name == name:
                    behind = _behind(application, before, between) if before else None
                    before = Row(name, environment, application, behind)
                    made.append(before)
    return made


def _behind(here: Application, before: Row, between: CommitsBetween) -> Behind:
    there = before.found
    tags, wanted = _tags(here), _tags(there)
    return Behind(
        before.environment,
        between(here.revision, there.revision) if here.revision and there.revision else None,
        {
            image: (tags[image], wanted[image])
            for image in sorted(tags.keys() & wanted.keys())
            if tags[image] != wanted[image]
        },
    )


def _tags(application: Application) -> dict[str, str]:
    """By the image's last name: what is before it may differ between environments."""
    tags = {}
    for image in application.images:
        name, _, tag = image.rpartition("/")[2].partition(":")
        tags[name] = tag or "latest"
    return tags


def table(status: Status) -> str:
    """For people."""
    head = ("APPLICATION", "ENVIRONMENT", "REVISION", "IMAGES", "SYNC", "HEALTH", "BEHIND")
    lines = [head, *(_cells(row) for row in status.rows)]
    widths = [max(len(cells[column]) for cells in lines) for column in range(len(head))]
    text = [
        "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
        for cells in lines
    ]
    text += [f"{name} could not be looked at: {why}" for name, why in status.unseen.items()]
    return "\n".join(text)


def as_json(status: Status) -> dict[str, object]:
    """For programs: the same, with whole revisions and images."""
    return {
        "applications": [
            {
                "application": row.application,
                "environment": row.environment,
                "name": row.found.name,
                "revision": row.found.revision,
                "images": row.found.images,
                "sync": row.found.sync,
                "health": row.found.health,
                "behind": row.behind
                and {
                    "environment": row.behind.environment,
                    "commits": row.behind.commits,
                    "tags": row.behind.tags,
                },
            }
            for row in status.rows
        ],
        "unseen": status.unseen,
    }


def _cells(row: Row) -> tuple[str, ...]:
    found = row.found
    revision = (found.revision or "none")[:7]
    behind = _said(row.behind) if row.behind else "-"
    images = _images(_tags(found))
    return (row.application, row.environment, revision, images, found.sync, found.health, behind)


def _images(tags: Mapping[str, str]) -> str:
    """The most frequent tag with its number, and by name what has another one."""
    if not tags:
        return "none"
    (common, times), *_ = Counter(tags.values()).most_common(1)
    others = [f"{name}:{tag}" for name, tag in sorted(tags.items()) if tag != common]
    return ", ".join([f"{common} ({times})", *others])


def _said(behind: Behind) -> str:
    commits = {None: ["unknown commits"], 0: []}.get(
        behind.commits, [f"{behind.commits} commit{'s' * (behind.commits != 1)}"]
    )
    tags = [f"{image} {here} → {there}" for image, (here, there) in behind.tags.items()]
    return f"{behind.environment}: {', '.join([*commits, *tags]) or 'level'}"
