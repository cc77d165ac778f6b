"""The environments of pull requests: which ones may stay, and what is told on the pull request.

A label on GitHub alone decides whether there is an environment
(`components.pull_requests`). This module takes labels away. In the cluster, it changes nothing: it
lets Argo CD read the labels again.
"""

from __future__ import annotations

import math
import re
import shlex
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic import ValidationError

from components.names import (
    PULL_REQUEST_NAMESPACES,
    PULL_REQUEST_QUOTA,
    PULL_REQUEST_SLOTS,
)
from doks_gitops import markdown
from doks_gitops.errors import PlatformError
from doks_gitops.github import PullRequest, Repository
from doks_gitops.promotion.cluster import Application, Cluster
from doks_gitops.promotion.proposal import Proposal
from doks_gitops.promotion.repository import WorkingTree
from doks_gitops.promotion.scaffold import read_environment, read_sections
from doks_gitops.settings.pull_requests import PullRequests

CHART = Path(__file__).parent / "pull_request_limits"
"""The chart of the limits, as the repository has it at `limitsPath`."""
POLL_SECONDS = 2.0
REFRESH_SECONDS = 10.0
"""Between two requests to read the labels again. Argo CD forgets a webhook that comes while it acts
on the one before, and GitHub does not repeat one that failed."""
LONGEST_ERROR = 2000
"""Characters of an error of Argo CD that are told."""
MOST_LINKS = 10
_LINK = re.compile(r"https?://[^\s<>]+")
"""Argo CD also takes an annotation of the pull request for a link, whatever it has."""
_TOO_LARGE = re.compile(
    rf"exceeded quota: {PULL_REQUEST_QUOTA}, requested: (\S+), used: (\S+), limited: (\S+)"
)
"""What Kubernetes says of a quota; in each part are amounts."""
_AMOUNT = re.compile(r"([\w./-]+)=(\w+(?:\.\w+)?)")
_NO_SLOT = f"exceeded quota: {PULL_REQUEST_SLOTS},"


class NoEnvironments(PlatformError):
    """The stack has no environments of pull requests."""


@dataclass(frozen=True)
class Labeled:
    """An open pull request with the label."""

    pull_request: PullRequest
    since: datetime
    """When it got the label."""
    own_commit: str | None
    """The commit of the branch of that name in the repository itself; None if there is none."""


@dataclass(frozen=True)
class Review:
    """What a run has done and seen."""

    reports: Sequence[Report]
    errors: Mapping[str, str]
    """Why Argo CD makes no new environments, or removes none, by ApplicationSet."""
    settled: bool
    """Whether the environments that the run was for are what their pull requests ask for."""


@dataclass(frozen=True)
class Report:
    """What is told about the environment of one pull request."""

    number: int
    text: str
    settled: bool
    """Whether it is what the pull request asks for: Healthy at its commit, or gone."""


def read_settings(folder: Path, stack: str) -> tuple[PullRequests, str, str]:
    """The settings of a stack's environments of pull requests, without the token; its environment,
    and its repository on GitHub, as OWNER/NAME. Raises `NoEnvironments`, and `LayoutError`."""
    sections = read_sections(folder, stack)
    section, github = sections.get("pullRequests"), sections.get("github")
    if not isinstance(section, Mapping) or not isinstance(github, Mapping):
        raise NoEnvironments(
            f"The stack {stack} has no environments of pull requests.",
            "Set doks-gitops:pullRequests and doks-gitops:github (docs/pull-requests.md).",
        )
    public = {key: value for key, value in section.items() if key != "token"}
    try:
        settings = PullRequests.model_validate(public)
    except ValidationError:
        raise NoEnvironments(
            "The section pullRequests of the stack file has findings.",
            f"pulumi preview --stack {stack} lists them.",
        ) from None
    repository = f"{github.get('owner')}/{github.get('repository')}"
    return settings, read_environment(sections, stack), repository


def chart_of_limits(tree: WorkingTree, settings: PullRequests) -> Proposal:
    """The files of the chart of the limits that the clone lacks or has otherwise."""
    texts = {
        Path(settings.limits_path) / file.relative_to(CHART): file.read_text()
        for file in sorted(CHART.rglob("*.yaml"))
    }
    changed = {
        path: text
        for path, text in texts.items()
        if not tree.path(path).exists() or tree.read(path) != text
    }
    message = "Limit the environments of pull requests"
    return Proposal(tree, changed, message, "layout/pull-requests")


def check_repository(repository: Repository, expected: str) -> None:
    """Raises `NoEnvironments` for another repository than the stack's."""
    if repository.name.lower() != expected.lower():
        raise NoEnvironments(
            f"GITHUB_REPOSITORY is {repository.name}; the stack's repository is {expected}.",
            f"export GITHUB_REPOSITORY={expected}",
        )


def labeled(repository: Repository, settings: PullRequests) -> list[Labeled]:
    """The open pull requests with the label, the oldest label first."""
    pull_requests = [
        Labeled(
            pull_request,
            # A label that was renamed was never set under its present name.
            repository.labeled_at(pull_request.number, settings.label) or pull_request.created,
            repository.branch_commit(pull_request.branch),
        )
        for pull_request in repository.open_pull_requests()
        if settings.label in pull_request.labels
    ]
    return sorted(pull_requests, key=lambda item: (item.since, item.pull_request.number))


def refusals(
    pull_requests: Sequence[Labeled],
    settings: PullRequests,
    now: datetime,
    applications: Mapping[str, Application],
) -> dict[int, str]:
    """Why pull requests may not keep their label, by number. `pull_requests`: all that have it, the
    oldest label first. `applications`: all of the cluster, by name. A pure function.

    Kubernetes decides which ones get a slot. Those that have one are too many if the stack was
    given fewer, or if the chart of the limits in Git is an old one, which takes none.
    """
    reasons = {}
    kept = 0
    unasked = _numbers(applications) - {item.pull_request.number for item in pull_requests}
    names = ", ".join(f"`{_name(number)}`" for number in sorted(unasked))
    ending = f" (being removed: {names})" if names else ""
    for item in pull_requests:
        pull_request = item.pull_request
        limits = applications.get(f"{_name(pull_request.number)}-limits")
        has_slot = limits is not None and limits.sync == "Synced"
        too_many = has_slot and kept == settings.at_once
        if pull_request.fork is not None and item.own_commit != pull_request.commit:
            reasons[pull_request.number] = _unapproved(pull_request, item.own_commit)
        elif now - item.since > timedelta(hours=settings.time_to_live):
            reasons[pull_request.number] = (
                f"its time to live of {settings.time_to_live} hours is over. Set the label again to"
                " get a new one."
            )
        elif too_many or (limits is not None and _without_slot(limits)):
            reasons[pull_request.number] = (
                f"there are {settings.at_once} environments already{ending}. Set the label again"
                " when one of them is gone."
            )
        else:
            kept += has_slot
    return reasons


def _without_slot(limits: Application) -> bool:
    """Whether Kubernetes has refused the slot, and Argo CD does not try again."""
    return limits.phase == "Failed" and _NO_SLOT in limits.message


def _unapproved(pull_request: PullRequest, own_commit: str | None) -> str:
    commit = pull_request.commit
    text = f"the commit {commit[:7]} of the fork {pull_request.fork} is not approved. "
    if own_commit is not None:
        # Often main: to push the fork's commit to it would merge the pull request.
        return (
            f"{text}This repository has another commit in a branch of the same name. If that is an"
            " earlier approval, delete the branch and set the label again. Otherwise ask for a pull"
            " request from a branch with a name that this repository does not have."
        )
    refspec = shlex.quote(f"{commit}:refs/heads/{pull_request.branch}")
    return (
        f"{text}Once you have reviewed it, push it as a new branch of this repository, and set the"
        " label again:\n\n```console\n"
        f"$ git fetch origin {commit}\n"
        f"$ git push origin {refspec}\n```\n"
    )


def review(
    repository: Repository,
    cluster: Cluster,
    settings: PullRequests,
    *,
    environment: str,
    number: int | None = None,
    wait: float = 0,
    clock: Callable[[], float] = time.monotonic,
) -> Review:
    """Take the label of the pull requests that may not keep it, and tell on each one what its
    environment is like. An environment without a pull request that asks for it is told, too.

    `number`: only of this one, open or closed, and on those that lose the label in this run.
    `wait`: seconds to wait until the environments are what their pull requests ask for; with
    `number`, until that one is.
    """
    kept = {item.pull_request.number: item for item in labeled(repository, settings)}
    reasons: dict[int, str] = {}
    refreshed = -math.inf
    deadline = clock() + wait
    told: dict[int, str] = {}
    while True:
        delivery = cluster.delivery()
        applications = {application.name: application for application in delivery.applications}
        refused = refusals([*kept.values()], settings, datetime.now(UTC), applications)
        for key in refused:
            repository.remove_label(key, settings.label)
            del kept[key]
        reasons |= refused
        left = _numbers(applications) - {*kept, *reasons}
        awaited = [number] if number is not None else [*kept, *reasons, *sorted(left)]
        reports = [
            report(key, kept.get(key), reasons.get(key), applications, cluster, settings)
            # Whoever loses the label is told why.
            for key in dict.fromkeys((*awaited, *reasons))
        ]
        for item in reports:
            if told.get(item.number) == item.text:
                continue
            told[item.number] = item.text
            # Only a pull request that had an environment is told that there is none.
            is_news = item.number in kept or item.number in reasons
            write = repository.comment if is_news else repository.update_comment
            write(item.number, f"environment in {environment}", item.text)
        expected = {f"{_name(key)}{end}" for key in kept for end in ("", "-limits")}
        unread = expected != {*filter(_PATTERN.fullmatch, applications)}
        if unread and delivery.pull_request_sets and clock() - refreshed >= REFRESH_SECONDS:
            cluster.refresh(delivery.pull_request_sets)
            refreshed = clock()
        settled = all(item.settled for item in reports if item.number in awaited)
        if settled or clock() >= deadline:
            return Review(reports, delivery.errors, settled)
        time.sleep(POLL_SECONDS)


def _name(number: int) -> str:
    """The name of an environment: of its namespace, and of its Application."""
    return PULL_REQUEST_NAMESPACES.replace("*", str(number))


def _numbers(names: Iterable[str]) -> set[int]:
    """The pull requests that have an environment, by the names of Applications."""
    return {int(match[1]) for match in map(_PATTERN.fullmatch, names) if match}


_PATTERN = re.compile(PULL_REQUEST_NAMESPACES.replace("*", r"(\d+)") + "(-limits)?")


def report(
    number: int,
    kept: Labeled | None,
    reason: str | None,
    applications: Mapping[str, Application],
    cluster: Cluster,
    settings: PullRequests,
) -> Report:
    """What is told about an environment. `kept`: the pull request, if it may have one; `reason`:
    why it may not. Asks the cluster why an environment gets no pods."""
    name = _name(number)
    application = applications.get(name)
    exists = application is not None or f"{name}-limits" in applications
    if reason is not None:
        state = "The environment is being removed" if exists else "There is no environment"
        return Report(number, f"{state}: {reason}", not exists)
    if kept is None:
        state = "is being removed" if exists else "is gone"
        return Report(number, f"The environment `{name}` {state}.", not exists)
    commit = kept.pull_request.commit
    end = kept.since + timedelta(hours=settings.time_to_live)
    ends = (
        f"It is gone when the pull request is closed, when it loses the label `{settings.label}`,"
        f" and at {end:%Y-%m-%d %H:%M} UTC."
    )
    limits = applications.get(f"{name}-limits")
    # Between two attempts, Argo CD says why the last one has failed, and during one, nothing.
    if limits is not None and limits.sync != "Synced":
        waits = f"`{name}` waits for a slot and its limits."
        return Report(number, "\n\n".join((waits, *_quoted(limits.errors), ends)), False)
    if application is None or application.revision != commit:
        errors = application.errors if application is not None else ()
        waits = f"`{name}` waits for {commit[:7]}."
        return Report(number, "\n\n".join((waits, *_quoted(errors), ends)), False)
    settled = application.is_synced_and_healthy
    refused_pods = () if settled else dict.fromkeys(cluster.refused_pods(name))
    others = [text for text in refused_pods if not _TOO_LARGE.search(text)]
    lines = [
        f"`{name}` is **{application.health}** at {commit[:7]} ({application.sync}).",
        *_too_large(() if settled else (application.message, *refused_pods)),
        *_quoted((*application.errors, *others)),
        _access(name, application, cluster, settings),
        ends,
    ]
    return Report(number, markdown.fit("\n\n".join(lines), ()), settled)


def _too_large(refusals: Sequence[str]) -> list[str]:
    """What the overlay needs beyond its quota. `refusals`: in the words of Kubernetes."""
    amounts: dict[str, str] = {}
    for exceeded in filter(None, map(_TOO_LARGE.search, refusals)):
        requested, used, limited = (dict(_AMOUNT.findall(part)) for part in exceeded.groups())
        for resource in requested.keys() & used.keys() & limited.keys():
            amounts[resource] = (
                f"- `{resource}`: {requested[resource]} more than the {used[resource]} that are in"
                f" use, of {limited[resource]}"
            )
    if not amounts:
        return []
    return [
        "**The overlay asks for more than the quota of an environment.** Ask for less in the"
        " branch, or raise `pullRequests.quota` of the stack:",
        "\n".join(sorted(amounts.values())),
    ]


def _quoted(errors: Sequence[str]) -> list[str]:
    """The beginnings of what Argo CD says, as blocks of code: a commit has a part in their text."""
    return [markdown.fenced("text", error[:LONGEST_ERROR]) for error in errors]


def _access(name: str, application: Application, cluster: Cluster, settings: PullRequests) -> str:
    links = [f"<{url}>" for url in application.urls if _LINK.fullmatch(url)]
    if links:
        return " ".join(links[:MOST_LINKS])
    kubectl = f"kubectl --context {cluster.context} --namespace {name}"
    command = (
        f"{kubectl} port-forward service/{settings.service} 8081:{settings.port}"
        if settings.service is not None
        else f"{kubectl} get services"
    )
    return f"```console\n$ {command}\n```"
