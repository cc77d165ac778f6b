"""Converts a stack's settings into the arguments of the components.

Settings and arguments have the same names, so that most fields are copied by name (`convert`). A
setting that reaches no argument is an error. Secrets become secret outputs, and so do the encrypted
values inside chart values and Applications (`Settings.encrypted`).

The import of the providers' SDKs takes a second, so what needs them is imported where it is used:
`bin/platform diff` needs the Applications alone.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar, get_args
from urllib.parse import urlsplit

import pulumi
from pydantic import SecretStr

from components.application import Directory, GitOpsApplicationArgs, Source, Sync
from components.project import ARGOCD_KINDS, GitOpsProjectArgs
from doks_gitops.settings import model, network
from doks_gitops.settings.base import Model, Paths, below
from doks_gitops.settings.github import PUBLIC_API
from doks_gitops.settings.ssh_key import public_key

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from components.argocd import ArgoCdArgs, ChartSource
    from components.cluster import DoksClusterArgs
    from components.github import GitHubDeliveryArgs
    from components.pull_requests import PullRequestEnvironmentsArgs
    from components.registry import ContainerRegistryArgs
    from components.sealed_secrets import SealedSecretsArgs
    from doks_gitops.account import Account
    from doks_gitops.settings import Settings

PLATFORM = "platform"
"""The project of the application that brings the projects and applications from Git."""
BOOTSTRAP = "bootstrap"
"""The name of that application, and of its folder."""
SELF = "argo-cd.yaml"
"""The file in that folder with the Application that manages Argo CD itself."""

TEXT_INPUT: object = pulumi.Input[str]  # type: ignore[misc]  # an alias, which mypy takes for a call

Arguments = TypeVar("Arguments", bound="DataclassInstance")


def secret(value: SecretStr) -> pulumi.Output[str]:
    """The text of `value` as a secret output, which Pulumi encrypts in the state."""
    return pulumi.Output.secret(value.get_secret_value())


def secret_after(first: pulumi.Output[Any], value: SecretStr) -> pulumi.Output[str]:
    """The text of `value` as a secret output, which is there only after `first` is."""
    return pulumi.Output.all(first, secret(value)).apply(lambda outputs: str(outputs[1]))


def registry_args(settings: "Settings") -> "ContainerRegistryArgs":
    """The registry that the stack uses or owns."""
    from components.registry import ContainerRegistryArgs

    return convert(
        settings.registry,
        ContainerRegistryArgs,
        not_copied=("name",),
        registry_name=settings.registry.name,
        adopt=settings.adopt is not None and settings.adopt.registry,
    )


def cluster_args(
    settings: "Settings", account_state: "Account", mark: pulumi.Input[str]
) -> "DoksClusterArgs":
    """The cluster. `account_state`: what the account has. `mark`: the tag that names its owner.

    Raises `SettingsError` if the account has no version that `cluster.version` means.
    """
    from components.cluster import ControlPlaneFirewall, DoksClusterArgs, Existing, Network
    from doks_gitops import account

    cluster, running = settings.cluster, account.running_cluster(settings, account_state)
    version = account.resolve_version(settings, account_state)
    replaced = account.replacement(settings, account_state) is not None
    ranges = network.ranges(cluster, settings.environment)
    firewall = cluster.control_plane_firewall
    first = account.first_pool(settings, running)
    others = (pool for index, pool in enumerate(cluster.node_pools) if index != first)
    cluster = cluster.model_copy(update={"node_pools": (cluster.node_pools[first], *others)})
    return convert(
        cluster,
        DoksClusterArgs,
        not_copied=("name", "vpc", "upgrade", "ignored_checks", "replace", "tags"),
        cluster_name=cluster.name,
        version=version,
        tags=[*cluster.tags, mark],
        hold_version=running is not None and version == str(running.version) and not replaced,
        network=Network(ranges.pods, ranges.services),
        hold_network=not replaced,
        control_plane_firewall=(
            ControlPlaneFirewall(firewall.allowed_addresses, firewall.enabled) if firewall else None
        ),
        access_token=secret(settings.digitalocean.kubernetes_token),
        registry_integration=account.provider_allows_pulls(settings, account_state),
        vpc_id=cluster.vpc.id if cluster.vpc else None,
        vpc_ip_range=cluster.vpc.ip_range if cluster.vpc else None,
        retain_vpc=(
            account.creates_default_vpc(settings, account_state)
            or account.own_default_vpc(settings, account_state) is not None
        ),
        adopt=(
            convert(
                settings.adopt,
                Existing,
                not_copied=("admin_password", "registry", "mark", "volumes", "copies"),
            )
            if settings.adopt
            else None
        ),
    )


def argocd_args(
    settings: "Settings",
    cluster_id: pulumi.Input[str],
    kube_context: pulumi.Input[str],
    registry_endpoint: pulumi.Input[str],
) -> "ArgoCdArgs":
    """Argo CD, which can read the stack's repositories and knows the facts of its cluster."""
    from components.argocd import Admin, ArgoCdArgs, CredentialTemplate, Repository

    argocd = settings.argocd
    return convert(
        argocd,
        ArgoCdArgs,
        not_copied=("managed_by",),
        encrypted=below(settings.encrypted, "argocd"),
        cluster_id=cluster_id,
        kube_context=kube_context,
        chart=chart_source(argocd.chart),
        repositories={
            name: convert(repository, Repository)
            for name, repository in settings.repositories.items()
        },
        credential_templates={
            name: convert(template, CredentialTemplate)
            for name, template in settings.credential_templates.items()
        },
        admin=convert(
            argocd.admin,
            Admin,
            adopt=settings.adopt is not None and settings.adopt.admin_password,
        ),
        application_set_webhooks=settings.pull_requests is not None,
        managed_by_git=argocd.managed_by == "git",
        cluster_labels=cluster_labels(settings),
        cluster_annotations={"registry-endpoint": registry_endpoint},
    )


def chart_source(chart: model.Chart) -> "ChartSource":
    """The chart's path, or its repository, name and version."""
    from components.argocd import ChartSource

    if chart.path is not None:
        return ChartSource(path=chart.path)
    return ChartSource(repository=chart.repository, name=chart.name, version=chart.version)


def sealed_secrets_args(
    sealed_secrets: model.SealedSecrets, cluster_id: pulumi.Input[str]
) -> "SealedSecretsArgs":
    """Sealed Secrets with the stack's keys."""
    from components.sealed_secrets import SealedSecretsArgs

    return convert(
        sealed_secrets,
        SealedSecretsArgs,
        cluster_id=cluster_id,
        chart=chart_source(sealed_secrets.chart),
    )


def cluster_labels(settings: "Settings") -> dict[str, str]:
    """The facts of the cluster in Argo CD, by which ApplicationSets select it."""
    return {
        "environment": settings.environment,
        "cluster": settings.cluster.name,
        "region": settings.cluster.region,
    }


def project_args(settings: "Settings", argocd_namespace: pulumi.Input[str]) -> GitOpsProjectArgs:
    """The stack's project.

    With `appOfApps`, it allows only Argo CD's own kinds in Argo CD's namespace.
    """
    if settings.app_of_apps is not None:
        return GitOpsProjectArgs(
            project_name=PLATFORM,
            argocd_namespace=argocd_namespace,
            description="Brings the projects and applications of this environment from Git",
            source_repos=(settings.repositories[settings.app_of_apps.repository].url,),
            namespaces=(settings.argocd.namespace,),
            cluster_resources=(),
            namespace_resources=ARGOCD_KINDS,
        )
    project = settings.project
    assert project is not None
    return convert(
        project,
        GitOpsProjectArgs,
        not_copied=("name",),
        project_name=project.name,
        argocd_namespace=argocd_namespace,
        source_repos=(
            *(settings.repositories[name].url for name in sorted(settings.repositories)),
            *project.source_repos,
        ),
    )


def applications_args(
    settings: "Settings", argocd_namespace: pulumi.Input[str]
) -> dict[str, GitOpsApplicationArgs]:
    """The stack's applications by name. With `appOfApps`, only the one that brings the others."""
    if settings.app_of_apps is not None:
        return {BOOTSTRAP: _app_of_apps(settings, settings.app_of_apps, argocd_namespace)}
    project = settings.project
    assert project is not None
    encrypted = below(settings.encrypted, "applications")
    # Syncs that the project refused are tried again after it has changed.
    source_name = _fingerprint(project_args(settings, argocd_namespace=""))
    return {
        name: convert(
            application,
            GitOpsApplicationArgs,
            not_copied=tuple(model.Source.model_fields),
            encrypted=below(encrypted, name),
            application_name=name,
            project_name=project.name,
            argocd_namespace=argocd_namespace,
            sources=_named(_sources(settings, application, below(encrypted, name)), source_name),
        )
        for name, application in sorted(settings.applications.items())
    }


def _named(sources: tuple[Source, ...], name: str) -> tuple[Source, ...]:
    """The sources; the first one with a name, so that the Application changes with it."""
    return (replace(sources[0], name=name), *sources[1:])


def _fingerprint(project: GitOpsProjectArgs) -> str:
    """Returns a name that changes with what the project allows."""
    allowed = replace(project, description="", roles={})
    return f"project-{hashlib.sha256(repr(allowed).encode()).hexdigest()[:8]}"


def _sources(
    settings: "Settings", application: model.Application, encrypted: Paths
) -> tuple[Source, ...]:
    """The sources of an application. `encrypted`: paths below the application."""
    if not application.sources:
        return (_source(settings, application, encrypted),)
    return tuple(
        _source(settings, source, below(below(encrypted, "sources"), index))
        for index, source in enumerate(application.sources)
    )


def _source(settings: "Settings", source: model.Source, encrypted: Paths) -> Source:
    assert source.repository is not None
    repository = settings.repositories[source.repository]
    return convert(
        source,
        Source,
        # Without those of an application that is its own source.
        not_copied=(
            "repository",
            "version",
            *model.Application.model_fields.keys() - model.Source.model_fields.keys(),
        ),
        encrypted=encrypted,
        repo_url=repository.url,
        path=source.path or ("." if repository.type == "oci" else None),
        revision=source.version or source.revision,
    )


def _app_of_apps(
    settings: "Settings", app_of_apps: model.AppOfApps, argocd_namespace: pulumi.Input[str]
) -> GitOpsApplicationArgs:
    managed_by_git = settings.argocd.managed_by == "git"
    return convert(
        app_of_apps,
        GitOpsApplicationArgs,
        not_copied=("repository", "revision", "path"),
        application_name=BOOTSTRAP,
        project_name=PLATFORM,
        argocd_namespace=argocd_namespace,
        sources=(
            Source(
                repo_url=settings.repositories[app_of_apps.repository].url,
                path=f"{app_of_apps.path}/{BOOTSTRAP}",
                revision=app_of_apps.revision,
                # If the stack owns Argo CD, Git must not own it too.
                directory=None if managed_by_git else Directory(exclude=SELF),
            ),
        ),
        namespace=settings.argocd.namespace,
        sync=Sync(options=()),
    )


def github_args(settings: "Settings") -> "GitHubDeliveryArgs":
    """The stack's settings of its repository on GitHub."""
    from components.github import DeployKey, GitHubDeliveryArgs, Webhook

    github = settings.github
    assert github is not None
    webhook = pull_request_webhook = deploy_key = None
    if github.webhook is not None:
        assert settings.argocd.webhook_secret is not None
        webhook = Webhook(
            url=github.webhook.url or f"{settings.argocd.url}/api/webhook",
            secret=secret(settings.argocd.webhook_secret),
        )
        if settings.pull_requests is not None:
            pull_request_webhook = replace(webhook, url=settings.pull_requests.webhook_url)
    if github.deploy_key is not None:
        credentials = settings.repositories[github.deploy_key].credentials
        assert credentials is not None
        assert credentials.ssh_private_key is not None
        deploy_key = DeployKey(
            title=f"{settings.cluster.name} (Argo CD)",
            key=public_key(credentials.ssh_private_key.get_secret_value()),
        )
    return convert(
        github,
        GitHubDeliveryArgs,
        not_copied=("owner", "token", "base_url"),
        deploy_key=deploy_key,
        webhook=webhook,
        pull_request_webhook=pull_request_webhook,
    )


def pull_requests_args(
    settings: "Settings", argocd_namespace: pulumi.Input[str]
) -> "PullRequestEnvironmentsArgs":
    """The environments of pull requests."""
    from components.pull_requests import PullRequestEnvironmentsArgs

    pull_requests, github, project = settings.pull_requests, settings.github, settings.project
    assert pull_requests is not None
    assert github is not None
    assert project is not None
    application = settings.applications[pull_requests.application]
    encrypted = below(settings.encrypted, "applications")
    server = urlsplit(github.base_url)
    return convert(
        pull_requests,
        PullRequestEnvironmentsArgs,
        # `bin/platform pull-requests` uses them.
        not_copied=("application", "webhook_url", "time_to_live", "service", "port"),
        project_name=project.name,
        argocd_namespace=argocd_namespace,
        owner=github.owner,
        repository=github.repository,
        source=_source(settings, application, below(encrypted, pull_requests.application)),
        # As the events of a GitHub Enterprise Server name it: Argo CD compares them.
        api_url=None if github.base_url == PUBLIC_API else f"{server.scheme}://{server.netloc}/",
    )


def convert(
    settings: Model,
    target: type[Arguments],
    *,
    not_copied: tuple[str, ...] = (),
    encrypted: Paths = frozenset(),
    **arguments: Any,
) -> Arguments:
    """A `target` with the fields of `settings`, copied by name, and other `arguments`.

    `not_copied`: fields of `settings` that `target` does not have: `arguments` are made of them, or
    another part of the program uses them. Raises TypeError for other fields that `target` does not
    have, so that no setting is lost.

    `encrypted`: paths below `settings`, in the stack file's spelling, of the values that become
    secret outputs.
    """
    types = {field.name: field.type for field in fields(target)}
    names = set(type(settings).model_fields)
    lost = names.difference(types, not_copied)
    if lost:
        raise TypeError(f"{target.__name__} has no {', '.join(sorted(lost))}")
    copied = names.intersection(types).difference(arguments)
    keys = {name: field.alias or name for name, field in type(settings).model_fields.items()}
    values = {
        name: convert_value(getattr(settings, name), types[name], below(encrypted, keys[name]))
        for name in copied
    }
    return target(**values, **arguments)


def convert_value(value: object, target: object, encrypted: Paths = frozenset()) -> object:
    """`value` in the type `target`, with secret outputs at the paths `encrypted`."""
    if isinstance(value, SecretStr):
        return secret(value)
    if () in encrypted:
        return pulumi.Output.secret(value)
    if isinstance(value, Model):
        [dataclass] = dataclasses_in(target)
        return convert(value, dataclass, encrypted=encrypted)
    if isinstance(value, list | tuple):
        items = (
            convert_value(item, target, below(encrypted, index)) for index, item in enumerate(value)
        )
        return type(value)(items)
    if isinstance(value, Mapping):
        return {
            key: convert_value(item, target, below(encrypted, key)) for key, item in value.items()
        }
    if isinstance(value, int) and target == TEXT_INPUT:
        # The id of a GitHub App goes into a Secret, which holds only texts.
        return str(value)
    return value


def dataclasses_in(annotation: object) -> Iterator[type]:
    """The dataclasses that the type `annotation` contains."""
    if is_dataclass(annotation) and isinstance(annotation, type):
        yield annotation
    for argument in get_args(annotation):
        yield from dataclasses_in(argument)
