"""Rules between the sections of a stack file, and between the stack files of a project.

They are given only the sections that are valid in themselves (`ValidSections`), so that an error in
one section hides no error in another one. The paths of violations begin with the section's key.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from ipaddress import IPv4Network

from pydantic.alias_generators import to_camel

from components.names import CLUSTER_NAMESPACES, PULL_REQUEST_NAMESPACES, PULL_REQUEST_SLOTS
from doks_gitops.environments import is_production
from doks_gitops.settings import network, scheduling
from doks_gitops.settings.base import Path, Violation
from doks_gitops.settings.cluster_options import ControlPlaneFirewall
from doks_gitops.settings.errors import closest, stack_file
from doks_gitops.settings.github import GitHub
from doks_gitops.settings.model import (
    NAMESPACE,
    Application,
    AppOfApps,
    Argocd,
    Cluster,
    CredentialTemplate,
    PartialSource,
    Project,
    Registry,
    Repository,
    ResourceKind,
    SealedSecrets,
    Source,
    Volumes,
)
from doks_gitops.settings.pull_requests import PullRequests
from doks_gitops.settings.scalars import is_ssh_url
from doks_gitops.settings.stackfile import StackFile, Storage

DNS_LABEL = 63
"""Most characters of an application's name, because it becomes the value of a label
(https://argo-cd.readthedocs.io/en/stable/user-guide/resource_tracking/)."""
HELM_RELEASE = 53
"""Most characters of a Helm release's name, which is the application's name by default."""


@dataclass(slots=True)
class ValidSections:
    """The sections of a stack file that are valid in themselves; None for the others."""

    environment: str = ""
    cluster: Cluster | None = None
    registry: Registry | None = None
    argocd: Argocd | None = None
    project: Project | None = None
    app_of_apps: AppOfApps | None = None
    github: GitHub | None = None
    pull_requests: PullRequests | None = None
    sealed_secrets: SealedSecrets | None = None
    volumes: Volumes | None = None
    repositories: dict[str, Repository] = field(default_factory=dict)
    applications: dict[str, Application] = field(default_factory=dict)
    credential_templates: dict[str, CredentialTemplate] = field(default_factory=dict)
    repository_names: tuple[str, ...] = ()
    """All names under `repositories`, those of invalid ones included."""
    application_names: tuple[str, ...] = ()
    """All names under `applications`, those of invalid ones included."""


def between_sections(sections: ValidSections) -> Iterator[Violation]:
    """Violations between the sections of one stack file."""
    yield from _applications(sections)
    yield from _app_of_apps(sections)
    yield from _namespaces_to_create(sections)
    yield from _windows_without_applications(sections)
    yield from _argocds_own_namespace(sections)
    yield from _same_application_twice(sections)
    yield from _same_repository_twice(sections)
    yield from _templates_of_another_type(sections)
    if sections.sealed_secrets is not None:
        yield from _namespace_of_keys(sections.sealed_secrets.namespace, sections)
    if sections.github is not None:
        yield from _github(sections.github, sections)
    if sections.pull_requests is not None:
        yield from _pull_requests(sections.pull_requests, sections)
    if sections.cluster is not None and sections.cluster.control_plane_firewall is not None:
        yield from _own_address(sections.cluster.control_plane_firewall)
    if sections.cluster is not None and sections.argocd is not None:
        yield from scheduling.violations(sections.cluster, sections.argocd)
    if sections.argocd is not None:
        yield from _unsigned_webhooks(sections.argocd)
    if sections.cluster is not None and sections.volumes is not None:
        yield from _destroyed_volumes(sections.cluster)


def between_stacks(
    stack: str, sections: ValidSections, files: Mapping[str, StackFile]
) -> Iterator[Violation]:
    """Violations between this stack's file and the other stack files. `files`: all, by name."""
    others = {name: file for name, file in files.items() if name != stack_file(stack)}
    if sections.registry is not None:
        yield from _second_owner(sections.registry, others)
    if sections.github is not None:
        yield from _second_owner_on_github(sections.github, others)
    if sections.cluster is not None:
        for name, file in sorted(others.items()):
            if file.text(f"{NAMESPACE}:cluster", "name") == sections.cluster.name:
                yield Violation(
                    at=("cluster", "name"),
                    got=f'"{sections.cluster.name}", as in {name}',
                    expected="a name that no other stack's cluster has",
                )
        yield from _overlapping_ranges(sections.cluster, others)
        yield from network.violations(sections.cluster, sections.environment, others)


def _overlapping_ranges(cluster: Cluster, others: Mapping[str, StackFile]) -> Iterator[Violation]:
    own = cluster.vpc.ip_range if cluster.vpc is not None else None
    if own is None:
        return
    for name, file in sorted(others.items()):
        other = file.text(f"{NAMESPACE}:cluster", "vpc", "ipRange")
        if network.overlap(own, other):
            yield Violation(
                at=("cluster", "vpc", "ipRange"),
                got=f'"{own}", which overlaps "{other}" in {name}',
                expected="a range that overlaps no other stack's: DigitalOcean takes each address "
                "once in an account",
            )


def _second_owner(registry: Registry, others: Mapping[str, StackFile]) -> Iterator[Violation]:
    key = f"{NAMESPACE}:registry"
    owners = [
        name
        for name, file in sorted(others.items())
        if file.is_true(key, "create") and file.text(key, "name") == registry.name
    ]
    if registry.create and owners:
        yield Violation(
            at=("registry", "create"),
            got=f"true, as in {' and '.join(owners)}",
            expected=f'one stack at most owns the registry "{registry.name}"; create: false in the '
            "others",
            example="false",
        )


def _second_owner_on_github(github: GitHub, others: Mapping[str, StackFile]) -> Iterator[Violation]:
    key = f"{NAMESPACE}:github"
    shared: list[tuple[str, ...]] = [
        *([("ruleset",)] if github.ruleset is not None else []),
        *(("environments", name) for name in sorted(github.environments)),
        *(("secrets", name) for name in sorted(github.secrets)),
        *(("variables", name) for name in sorted(github.variables)),
    ]
    for name, file in sorted(others.items()):
        if file.text(key, "owner") != github.owner:
            continue
        if file.text(key, "repository") != github.repository:
            continue
        for path in shared:
            if file.storage(key, path) is not Storage.ABSENT:
                yield Violation(
                    at=("github", *path),
                    got=f"the same as in {name}",
                    expected="one stack at most that owns it",
                )


def _namespace_of_keys(namespace: str, sections: ValidSections) -> Iterator[Violation]:
    """Who may deploy to the namespace of the keys can read all secrets."""
    at = ("sealedSecrets", "namespace")
    if sections.argocd is not None and sections.argocd.namespace == namespace:
        yield Violation(at, "a namespace of its own", f'"{namespace}", the namespace of Argo CD')
    elif sections.project is not None and permits_namespace(sections.project.namespaces, namespace):
        yield Violation(
            at,
            "a namespace that the project does not deploy to",
            f'"{namespace}", in which the applications could read the keys',
        )


def _unsigned_webhooks(argocd: Argocd) -> Iterator[Violation]:
    if argocd.url is not None and not argocd.admin.enabled and argocd.webhook_secret is None:
        yield Violation(
            at=("argocd", "webhookSecret"),
            got="nothing, but argocd.url and no admin",
            expected="a secret; without it and without an admin password to derive one from, Argo"
            " CD takes any request as a webhook",
        )


def _github(github: GitHub, sections: ValidSections) -> Iterator[Violation]:
    if github.webhook is not None and sections.argocd is not None:
        if sections.argocd.webhook_secret is None:
            yield Violation(
                at=("argocd", "webhookSecret"),
                got="nothing, but github.webhook",
                expected="the secret that GitHub signs with; without it Argo CD refuses all",
            )
        if github.webhook.url is None and sections.argocd.url is None:
            yield Violation(
                at=("github", "webhook", "url"),
                got="nothing, and no argocd.url",
                expected="Argo CD's address for GitHub",
                example="https://argocd.example.com/api/webhook",
            )
    if github.deploy_key is not None:
        yield from _deploy_key(github.deploy_key, sections)


def _pull_requests(pull_requests: PullRequests, sections: ValidSections) -> Iterator[Violation]:
    if is_production(sections.environment):
        yield Violation(
            at=("pullRequests",),
            got=f"an object, in {sections.environment or 'an unknown environment'}",
            expected="no such key: a pull request's branch is not reviewed yet",
        )
    webhook = sections.github.webhook if sections.github is not None else None
    if webhook is None:
        yield Violation(
            at=("pullRequests",),
            got="an object, without github.webhook",
            expected="github.webhook too, by which Argo CD learns of a push to a branch",
        )
    elif sections.argocd is not None:
        pushes = webhook.url or f"{sections.argocd.url}/api/webhook"
        if pull_requests.webhook_url == pushes:
            yield Violation(
                at=("pullRequests", "webhookUrl"),
                got=f'"{pushes}", to which github.webhook goes',
                expected="another address: that of the ApplicationSet controller",
            )
    for name, application in sections.applications.items():
        if fnmatchcase(application.namespace, PULL_REQUEST_NAMESPACES) or (
            application.namespace == PULL_REQUEST_SLOTS
        ):
            yield Violation(
                at=("applications", name, "namespace"),
                got=f'"{application.namespace}", beside pullRequests',
                expected=f"a namespace that is neither {PULL_REQUEST_NAMESPACES} nor "
                f"{PULL_REQUEST_SLOTS}, which are those of pull requests",
            )
    project = sections.project
    namespaces = {application.namespace for application in sections.applications.values()}
    if (
        project is not None
        and PULL_REQUEST_SLOTS not in namespaces
        and permits_namespace(project.namespaces, PULL_REQUEST_SLOTS)
    ):
        yield Violation(
            at=("project", "namespaces"),
            got=f"patterns that allow {PULL_REQUEST_SLOTS}, beside pullRequests",
            expected=f'without it, or with "!{PULL_REQUEST_SLOTS}" beside a pattern: Argo CD '
            "deletes a namespace that is taken out of Git",
        )
    yield from _pull_request_application(pull_requests.application, sections)


def _pull_request_application(name: str, sections: ValidSections) -> Iterator[Violation]:
    at = ("pullRequests", "application")
    if name not in sections.application_names:
        yield Violation(
            at=at, got=f'"{name}"', expected=_one_of_names(name, sections.application_names)
        )
        return
    application = sections.applications.get(name)
    if application is None:
        return
    if application.path is None or application.helm or application.directory:
        yield Violation(
            at=at,
            got=f'"{name}", which is no Kustomize overlay with one source',
            expected="an application with a path, and without helm, directory and sources",
        )
        return
    repository = sections.repositories.get(application.repository or "")
    if repository is None or sections.github is None:
        return
    if _normal(repository.url).rpartition("/")[2] != sections.github.repository.lower():
        yield Violation(
            at=at,
            got=f'"{name}", of the repository {repository.url}',
            expected=f"an application in {sections.github.owner}/{sections.github.repository}, the "
            "repository that github names",
        )


def _deploy_key(name: str, sections: ValidSections) -> Iterator[Violation]:
    if name not in sections.repository_names:
        yield Violation(
            at=("github", "deployKey"),
            got=f'"{name}"',
            expected=_one_of_names(name, sections.repository_names),
        )
        return
    repository = sections.repositories.get(name)
    if repository is None:
        return
    key = repository.credentials.ssh_private_key if repository.credentials else None
    if key is None:
        yield Violation(
            at=("github", "deployKey"),
            got=f'"{name}", which has no sshPrivateKey',
            expected="a repository whose credentials are an sshPrivateKey",
        )


def _own_address(firewall: ControlPlaneFirewall) -> Iterator[Violation]:
    """Behind a firewall without the own address, the run would make a cluster that it can't reach.

    No API of DigitalOcean tells from which address a request comes.
    """
    if not firewall.enabled or firewall.own_address_unchecked:
        return
    own, at = firewall.own_address, ("cluster", "controlPlaneFirewall")
    if own is None:
        yield Violation(
            at=(*at, "ownAddress"),
            got="nothing, and no environment variable DOKS_GITOPS_PUBLIC_IP",
            expected="the public IPv4 address of this machine, which must be among "
            "allowedAddresses: export DOKS_GITOPS_PUBLIC_IP=ADDRESS; or ownAddressUnchecked: true",
        )
    elif not any(IPv4Network(own).subnet_of(IPv4Network(x)) for x in firewall.allowed_addresses):
        yield Violation(
            at=(*at, "allowedAddresses"),
            got=f"{', '.join(firewall.allowed_addresses)}; this machine has the address {own}",
            expected="a list with the address of this machine, which could not reach the cluster "
            "otherwise",
        )


def _destroyed_volumes(cluster: Cluster) -> Iterator[Violation]:
    if cluster.destroy_associated_resources:
        yield Violation(
            at=("cluster", "destroyAssociatedResources"),
            got=f"true, with {NAMESPACE}:volumes",
            expected="false: volumes that come back in a new cluster outlive the old one",
            example="false",
        )


def _applications(sections: ValidSections) -> Iterator[Violation]:
    for name, application in sections.applications.items():
        at = ("applications", name)
        for index, source in enumerate(application.all_sources):
            path = (*at, "sources", index) if application.sources else at
            yield from _source(path, source, sections)
        if sections.project is None:
            continue
        yield from _namespace(at, application, sections.project)
        full = f"{sections.project.name}-{name}"
        release = any(
            x.is_chart and not (x.helm and x.helm.release_name) for x in application.all_sources
        )
        longest = HELM_RELEASE if release else DNS_LABEL
        if len(full) > longest:
            yield Violation(
                at=at,
                got=f'"{full}", {len(full)} characters, as its name in Argo CD',
                expected=f"at most {longest} characters for <project>-<application>"
                + (" (or a helm.releaseName)" if release else ""),
            )


_KEYS_OF_TYPE = {
    "git": (("path",), ("chart", "version")),
    "helm": (("chart", "version"), ("path", "revision")),
    "oci": (("version",), ("chart", "revision")),
}
"""The keys that a source must have, and those that it can't have, by the type of its repository."""


def _source(at: Path, source: Source, sections: ValidSections) -> Iterator[Violation]:
    name = source.repository or ""
    if name not in sections.repository_names:
        yield Violation(
            at=(*at, "repository"),
            got=f'"{name}"',
            expected=_one_of_names(name, sections.repository_names),
        )
    repository = sections.repositories.get(name)
    if repository is None:
        return
    required, excluded = _KEYS_OF_TYPE[repository.type]
    only_for_values = isinstance(source, PartialSource) and source.ref is not None
    wrong = [key for key in excluded if key in source.model_fields_set]
    missing = [key for key in required if getattr(source, key) is None and not only_for_values]
    if wrong or missing:
        yield Violation(
            at=(*at, (wrong or missing)[0]),
            got=f"{'a value' if wrong else 'nothing'}, with {name}, a repository of type "
            f"{repository.type}",
            expected=f"{' and '.join(required)}, as in a source of type {repository.type}; or "
            "another type of the repository",
        )
    is_digest = source.version is not None and source.version.startswith("sha256:")
    if is_digest and repository.type == "helm":
        yield Violation(
            at=(*at, "version"),
            got="a digest, of a chart",
            expected="the chart's version, such as 1.2.3; only an oci:// repository has digests",
        )
    project = sections.project
    if project is not None and not permits_source(
        (*project.source_repos, repository.url), repository.url
    ):
        yield Violation(
            at=(*at, "repository"),
            got=f'"{name}" ({repository.url}), which the project excludes',
            expected=f"a repository that no pattern in {NAMESPACE}:project.sourceRepos excludes",
        )


def _app_of_apps(sections: ValidSections) -> Iterator[Violation]:
    app_of_apps = sections.app_of_apps
    if app_of_apps is not None and app_of_apps.repository not in sections.repository_names:
        yield Violation(
            at=("appOfApps", "repository"),
            got=f'"{app_of_apps.repository}"',
            expected=_one_of_names(app_of_apps.repository, sections.repository_names),
        )
    elif app_of_apps is not None:
        repository = sections.repositories.get(app_of_apps.repository)
        if repository is not None and repository.type != "git":
            yield Violation(
                at=("appOfApps", "repository"),
                got=f'"{app_of_apps.repository}", of type {repository.type}',
                expected="a Git repository",
            )
    if sections.argocd is not None and sections.argocd.managed_by == "git" and app_of_apps is None:
        yield Violation(
            at=("argocd", "managedBy"),
            got="git, without appOfApps",
            expected="pulumi; or appOfApps, whose Application argo-cd then upgrades Argo CD",
            example="pulumi",
        )


def _namespace(
    at: tuple[str, str], application: Application, project: Project
) -> Iterator[Violation]:
    if permits_namespace(project.namespaces, application.namespace):
        return
    yield Violation(
        at=(*at, "namespace"),
        got=f'"{application.namespace}", which the project may not deploy to',
        expected=_one_of_names(application.namespace, project.namespaces)
        + f"; or add it to {NAMESPACE}:project.namespaces",
    )


def _namespaces_to_create(sections: ValidSections) -> Iterator[Violation]:
    project = sections.project
    if project is None:
        return
    allowed = any(map(_is_namespace, project.cluster_resources))
    denied = any(map(_is_namespace, project.denied_cluster_resources))
    if allowed and not denied:
        return
    argocd = sections.argocd.namespace if sections.argocd is not None else None
    for name, application in sections.applications.items():
        if application.namespace in (*CLUSTER_NAMESPACES, argocd):
            continue
        if "CreateNamespace=true" in application.sync.options:
            yield Violation(
                at=("project", "deniedClusterResources" if denied else "clusterResources"),
                got=f"{'the' if denied else 'no'} kind Namespace, but applications.{name} creates "
                f'"{application.namespace}" (CreateNamespace=true)',
                expected="{kind: Namespace}; or CreateNamespace=false in the application's "
                "sync.options, and a namespace that exists",
            )
            return


def _is_namespace(entry: ResourceKind) -> bool:
    return entry.kind in ("Namespace", "*") and entry.group in ("", "*")


def _windows_without_applications(sections: ValidSections) -> Iterator[Violation]:
    """A window for an application or namespace that does not exist has no effect."""
    namespaces = {application.namespace for application in sections.applications.values()}
    for number, window in enumerate(sections.project.sync_windows if sections.project else ()):
        for key, patterns, names in (
            ("applications", window.applications, sections.application_names),
            ("namespaces", window.namespaces, tuple(sorted(namespaces))),
        ):
            for index, pattern in enumerate(patterns):
                if not any(fnmatchcase(name, pattern) for name in names):
                    yield Violation(
                        at=("project", "syncWindows", number, key, index),
                        got=f'"{pattern}", which no application has',
                        expected=_one_of_names(pattern, names),
                    )


def _argocds_own_namespace(sections: ValidSections) -> Iterator[Violation]:
    """Who may deploy to Argo CD's namespace controls Argo CD, and can delete it."""
    project, argocd = sections.project, sections.argocd
    if project is None or argocd is None or project.allow_any:
        return
    for index, namespace in enumerate(project.namespaces):
        if namespace == argocd.namespace:
            yield Violation(
                at=("project", "namespaces", index),
                got=f'"{namespace}", the namespace of Argo CD, without allowAny',
                expected="a namespace of the applications; or allowAny: true in the project",
            )


def _same_application_twice(sections: ValidSections) -> Iterator[Violation]:
    """Two applications that deploy the same objects take them from each other."""
    objects = ("repository", "path", "chart", "kustomize", "directory", "helm")
    seen: list[tuple[str, list[object]]] = []
    for name, application in sorted(sections.applications.items()):
        identity = [
            application.namespace,
            *(getattr(source, field) for source in application.all_sources for field in objects),
        ]
        first = next((other for other, same in seen if same == identity), None)
        if first is not None:
            path, chart = application.path, application.chart
            content = f'"{path or chart}"' if path or chart else "the same sources"
            yield Violation(
                at=("applications", name, "path" if path else "chart" if chart else "sources"),
                got=f'{content} for "{application.namespace}", as in applications.{first}',
                expected="each folder once in a namespace: both applications would own the same "
                "objects",
            )
        seen.append((name, identity))


def permits_namespace(patterns: tuple[str, ...], namespace: str) -> bool:
    """Whether Argo CD lets an application of a project with these `patterns` use `namespace`.

    `!` before a pattern excludes its namespaces and permits all others: `isDestinationMatched` in
    https://github.com/argoproj/argo-cd/blob/master/pkg/apis/application/v1alpha1/app_project_types.go
    """
    excluded = [pattern[1:] for pattern in patterns if pattern.startswith("!")]
    if any(fnmatchcase(namespace, pattern) for pattern in excluded):
        return False
    return bool(excluded) or any(fnmatchcase(namespace, pattern) for pattern in patterns)


def permits_source(patterns: tuple[str, ...], url: str) -> bool:
    """Whether Argo CD lets an application of a project with these `patterns` in `sourceRepos` use
    the repository: `IsSourcePermitted` in
    https://github.com/argoproj/argo-cd/blob/master/pkg/apis/application/v1alpha1/app_project_types.go
    """
    excluded = [pattern[1:] for pattern in patterns if pattern.startswith("!")]
    if any(_matches(_normal(pattern), _normal(url)) for pattern in excluded):
        return False
    return bool(excluded) or any(
        pattern == "*"
        or _normal(pattern) == _normal(url)
        or _matches(_normal(pattern), _normal(url))
        for pattern in patterns
    )


def _normal(url: str) -> str:
    """The URL as Argo CD compares it."""
    url = url.lower()
    if is_ssh_url(url) and not url.startswith("ssh://"):
        url = url.replace(":", "/", 1)
    return url.removesuffix(".git").removeprefix("ssh://")


_GLOB_PARTS = {"**": ".*", "*": "[^/]*", "?": "[^/]", "{": "(?:", "}": ")", ",": "|"}


def _matches(pattern: str, url: str) -> bool:
    """Whether the pattern, of https://github.com/gobwas/glob, matches; also if it can't be read."""
    depth, regex = 0, ""
    for part in re.findall(r"\*\*|\[!?[^\]]+\]|.", pattern):
        depth += (part == "{") - (part == "}")
        if len(part) > 1 and part[0] == "[":
            regex += part.replace("[!", "[^", 1)
        elif part == "," and not depth:
            regex += part
        else:
            regex += _GLOB_PARTS.get(part) or re.escape(part)
    try:
        return re.fullmatch(regex, url) is not None
    except re.error:
        return True


def _same_repository_twice(sections: ValidSections) -> Iterator[Violation]:
    seen: dict[str, str] = {}
    for name, repository in sorted(sections.repositories.items()):
        url = _normal(repository.url.removesuffix("/"))
        if url in seen:
            yield Violation(
                at=("repositories", name, "url"),
                got=f'"{repository.url}", as in repositories.{seen[url]}',
                expected="each repository once: Argo CD keeps one set of credentials for a URL",
            )
        seen.setdefault(url, name)


def _templates_of_another_type(sections: ValidSections) -> Iterator[Violation]:
    """A repository without credentials takes those of a template, and its kind of registry:
    `CopyCredentialsFrom` in
    https://github.com/argoproj/argo-cd/blob/master/pkg/apis/application/v1alpha1/repository_types.go
    """
    for name, repository in sorted(sections.repositories.items()):
        templates = [
            (key, template)
            for key, template in sections.credential_templates.items()
            if _normal(repository.url).startswith(_normal(template.url))
        ]
        if repository.credentials is not None or not templates:
            continue
        key, template = max(templates, key=lambda item: len(item[1].url))
        for setting in ("type", "plain_http"):
            if getattr(template, setting) != getattr(repository, setting):
                yield Violation(
                    at=("credentialTemplates", key, to_camel(setting)),
                    got=f"another value than repositories.{name} has, which uses the template",
                    expected="the same value; or credentials in the repository",
                )


def _one_of_names(name: str, names: tuple[str, ...]) -> str:
    expected = f"one of {', '.join(names)}" if names else "a name that exists; there is none yet"
    close = closest(name, names)
    return f"{expected}; did you mean {close}?" if close else expected
