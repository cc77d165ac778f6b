"""What must hold between the sections of a stack file, and between the stack files of a project.

A rule sees what has the right shape (`Draft`): a fault in one section hides no other fault.
Paths in what it yields begin with the section.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from doks_gitops.settings.base import Wrong
from doks_gitops.settings.errors import closest, stack_file
from doks_gitops.settings.github import GitHub
from doks_gitops.settings.model import (
    NAMESPACE,
    Application,
    AppOfApps,
    Argocd,
    Cluster,
    Project,
    Registry,
    Repository,
)
from doks_gitops.settings.ssh_key import public_key
from doks_gitops.settings.stackfile import Kept, StackFile

DNS_LABEL = 63
"""An application's name becomes a label value (https://argo-cd.readthedocs.io/en/stable/user-guide/resource_tracking/)."""
HELM_RELEASE = 53
"""Helm's limit of a release's name, which is the application's unless it says otherwise."""

REDIS_NODES = 3
"""Highly available, Redis is three replicas of which no two may share a node
(https://argo-cd.readthedocs.io/en/stable/operator-manual/high_availability/)."""


@dataclass(slots=True)
class Draft:
    """The sections of a stack file that have the right shape, so far."""

    cluster: Cluster | None = None
    registry: Registry | None = None
    argocd: Argocd | None = None
    project: Project | None = None
    app_of_apps: AppOfApps | None = None
    github: GitHub | None = None
    repositories: dict[str, Repository] = field(default_factory=dict)
    applications: dict[str, Application] = field(default_factory=dict)
    repository_names: tuple[str, ...] = ()
    """All names under `repositories`, also of those with the wrong shape."""


def between_sections(draft: Draft) -> Iterator[Wrong]:
    """What is wrong between the sections of one stack file."""
    yield from _applications(draft)
    yield from _app_of_apps(draft)
    yield from _same_repository_twice(draft)
    if draft.github is not None:
        yield from _github(draft.github, draft)
    if draft.cluster is not None and draft.argocd is not None:
        yield from _too_few_nodes(draft.cluster, draft.argocd)


def between_stacks(stack: str, draft: Draft, files: Mapping[str, StackFile]) -> Iterator[Wrong]:
    """What is wrong between this stack's file and the others (`files`, by name)."""
    others = {name: file for name, file in files.items() if name != stack_file(stack)}
    if draft.registry is not None:
        yield from _second_owner(draft.registry, others)
    if draft.github is not None:
        yield from _second_owner_on_github(draft.github, others)
    if draft.cluster is not None:
        for name, file in sorted(others.items()):
            if file.text(f"{NAMESPACE}:cluster", "name") == draft.cluster.name:
                yield Wrong(
                    at=("cluster", "name"),
                    found=f'"{draft.cluster.name}", as in {name}',
                    right="a name that no other stack's cluster has",
                )


def _second_owner(registry: Registry, others: Mapping[str, StackFile]) -> Iterator[Wrong]:
    key = f"{NAMESPACE}:registry"
    owners = [
        name
        for name, file in sorted(others.items())
        if file.text(key, "create") == "true" and file.text(key, "name") == registry.name
    ]
    if registry.create and owners:
        yield Wrong(
            at=("registry", "create"),
            found=f"true, as in {' and '.join(owners)}",
            right=f'one stack at most owns the registry "{registry.name}"; the others look it up, '
            "with create: false",
            example="false",
        )


def _second_owner_on_github(github: GitHub, others: Mapping[str, StackFile]) -> Iterator[Wrong]:
    key = f"{NAMESPACE}:github"
    shared: list[tuple[str, ...]] = [
        *([("ruleset",)] if github.ruleset is not None else []),
        *(("environments", name) for name in sorted(github.environments)),
        *(("secrets", name) for name in sorted(github.secrets)),
        *(("variables", name) for name in sorted(github.variables)),
    ]
    for name, file in sorted(others.items()):
        theirs = file.text(key, "owner"), file.text(key, "repository")
        if theirs != (github.owner, github.repository):
            continue
        for path in shared:
            if file.kept(key, path) is not Kept.ABSENT:
                yield Wrong(
                    at=("github", *path),
                    found=f"the same as in {name}",
                    right="one stack at most that owns it",
                )


def _github(github: GitHub, draft: Draft) -> Iterator[Wrong]:
    if github.webhook is not None and draft.argocd is not None:
        if draft.argocd.webhook_secret is None:
            yield Wrong(
                at=("argocd", "webhookSecret"),
                found="nothing, but github.webhook",
                right="the secret that GitHub is to sign with; without it Argo CD believes anybody",
            )
        if github.webhook.url is None and draft.argocd.url is None:
            yield Wrong(
                at=("github", "webhook", "url"),
                found="nothing, and no argocd.url",
                right="where GitHub reaches Argo CD",
                example="https://argocd.example.com/api/webhook",
            )
    if github.deploy_key is not None:
        yield from _deploy_key(github.deploy_key, draft)


def _deploy_key(name: str, draft: Draft) -> Iterator[Wrong]:
    if name not in draft.repository_names:
        yield Wrong(
            at=("github", "deployKey"),
            found=f'"{name}"',
            right=_one_of_names(name, draft.repository_names),
        )
        return
    repository = draft.repositories.get(name)
    if repository is None:
        return
    key = repository.credentials.ssh_private_key if repository.credentials else None
    if key is None:
        yield Wrong(
            at=("github", "deployKey"),
            found=f'"{name}", which has no sshPrivateKey',
            right="a repository whose credentials are an sshPrivateKey",
        )
        return
    try:
        public_key(key.get_secret_value())
    except ValueError as error:
        yield Wrong(
            at=("repositories", name, "credentials", "sshPrivateKey"),
            found=f"a key that {error}",
            right="a key as `ssh-keygen -t ed25519 -N ''` makes it",
        )


def _too_few_nodes(cluster: Cluster, argocd: Argocd) -> Iterator[Wrong]:
    if not argocd.high_availability or cluster.fewest_nodes >= REDIS_NODES:
        return
    redis = argocd.values.get("redis-ha")
    if isinstance(redis, Mapping) and False in map(redis.get, ("enabled", "hardAntiAffinity")):
        return
    yield Wrong(
        at=("argocd", "highAvailability"),
        found=f"true (fewest nodes in all pools: {cluster.fewest_nodes})",
        right=f"at least {REDIS_NODES} nodes in {NAMESPACE}:cluster.nodePools (count, or "
        "autoscale.min): each replica of Redis needs a node of its own; or false",
        example="false",
    )


def _applications(draft: Draft) -> Iterator[Wrong]:
    for name, application in draft.applications.items():
        at = ("applications", name)
        if application.repository not in draft.repository_names:
            yield Wrong(
                at=(*at, "repository"),
                found=f'"{application.repository}"',
                right=_one_of_names(application.repository, draft.repository_names),
            )
        if draft.project is None:
            continue
        yield from _namespace(at, application, draft.project)
        full = f"{draft.project.name}-{name}"
        release = application.helm is not None and application.helm.release_name is None
        longest = HELM_RELEASE if release else DNS_LABEL
        if len(full) > longest:
            yield Wrong(
                at=at,
                found=f'"{full}", {len(full)} characters, as its name in Argo CD',
                right=f"at most {longest} characters for <project>-<application>"
                + (" (or a helm.releaseName)" if release else ""),
            )


def _app_of_apps(draft: Draft) -> Iterator[Wrong]:
    wanted = draft.app_of_apps
    if wanted is not None and wanted.repository not in draft.repository_names:
        yield Wrong(
            at=("appOfApps", "repository"),
            found=f'"{wanted.repository}"',
            right=_one_of_names(wanted.repository, draft.repository_names),
        )
    if draft.argocd is not None and draft.argocd.managed_by == "git" and wanted is None:
        yield Wrong(
            at=("argocd", "managedBy"),
            found="git, without appOfApps",
            right="pulumi; or appOfApps, whose Application argo-cd then upgrades Argo CD",
            example="pulumi",
        )


def _namespace(at: tuple[str, str], application: Application, project: Project) -> Iterator[Wrong]:
    allowed = project.namespaces
    if any(_covers(pattern, application.namespace) for pattern in allowed):
        return
    yield Wrong(
        at=(*at, "namespace"),
        found=f'"{application.namespace}", which the project may not deploy to',
        right=_one_of_names(application.namespace, allowed)
        + f"; or add it to {NAMESPACE}:project.namespaces",
    )


def _covers(pattern: str, namespace: str) -> bool:
    head, star, tail = pattern.partition("*")
    if not star:
        return pattern == namespace
    return namespace.startswith(head) and namespace.endswith(tail.rpartition("*")[2])


def _same_repository_twice(draft: Draft) -> Iterator[Wrong]:
    seen: dict[str, str] = {}
    for name, repository in sorted(draft.repositories.items()):
        url = repository.url.removesuffix("/").removesuffix(".git")
        if url in seen:
            yield Wrong(
                at=("repositories", name, "url"),
                found=f'"{repository.url}", as in repositories.{seen[url]}',
                right="each repository once: Argo CD keeps one set of credentials for a URL",
            )
        seen.setdefault(url, name)


def _one_of_names(given: str, names: tuple[str, ...]) -> str:
    right = f"one of {', '.join(names)}" if names else "a name that exists; there is none yet"
    close = closest(given, names)
    return f"{right}; did you mean {close}?" if close else right
