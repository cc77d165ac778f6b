"""A stack's settings as the components' arguments: the one place that knows both.

The components name their arguments as the settings do, so most of it is carried over by name.
Secrets, which the settings hold as SecretStr, become secret outputs here.
"""

from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

import pulumi
from pydantic import SecretStr

from components.application import (
    Backoff,
    Directory,
    GitOpsApplicationArgs,
    Helm,
    HelmParameter,
    IgnoreDifference,
    Kustomize,
    Replicas,
    Retry,
    Sync,
)
from components.argocd import (
    Admin,
    ArgoCdArgs,
    ChartSource,
    Credentials,
    GitHubApp,
    GitRepository,
)
from components.cluster import Autoscale, DoksClusterArgs, Existing, Maintenance, NodePool, Taint
from components.project import GitOpsProjectArgs, ResourceKind
from components.registry import ContainerRegistryArgs
from doks_gitops.settings.ssh_key import public_key

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from components.github import GitHubDeliveryArgs
    from doks_gitops.settings import Settings, model

PLATFORM = "platform"
"""The project of what brings an environment's own projects and applications from Git."""
BOOTSTRAP = "bootstrap"
"""The one application in it, and the folder that it is made from."""
SELF = "argo-cd.yaml"
"""The file in that folder in which Argo CD manages itself."""

Dataclass = TypeVar("Dataclass", bound="DataclassInstance")


def secret(value: SecretStr) -> pulumi.Output[str]:
    """The text behind `value`, which Pulumi then encrypts wherever it ends up."""
    return pulumi.Output.secret(value.get_secret_value())


def registry_args(settings: "Settings") -> ContainerRegistryArgs:
    """The registry that the stack shares or owns."""
    return _like(
        ContainerRegistryArgs,
        settings.registry,
        registry_name=settings.registry.name,
        adopt=settings.adopt is not None and settings.adopt.registry,
    )


def cluster_args(
    settings: "Settings",
    version: str,
    registry_endpoint: pulumi.Input[str],
    *,
    hold_version: bool,
) -> DoksClusterArgs:
    """The cluster, with nodes that can pull from the registry."""
    cluster = settings.cluster
    return _like(
        DoksClusterArgs,
        cluster,
        cluster_name=cluster.name,
        version=version,
        hold_version=hold_version,
        access_token=secret(settings.digitalocean.token),
        # Waits until the registry is found, so that no failure of the cluster's cuts into that.
        registry_integration=pulumi.Output.from_input(registry_endpoint).apply(bool),
        node_pools=tuple(_node_pool(pool) for pool in cluster.node_pools),
        maintenance=_like(Maintenance, cluster.maintenance) if cluster.maintenance else None,
        vpc_id=cluster.vpc.id if cluster.vpc else None,
        vpc_ip_range=cluster.vpc.ip_range if cluster.vpc else None,
        adopt=_like(Existing, settings.adopt) if settings.adopt else None,
    )


def argocd_args(
    settings: "Settings",
    cluster_id: pulumi.Input[str],
    kube_context: pulumi.Input[str],
    registry_endpoint: pulumi.Input[str],
) -> ArgoCdArgs:
    """Argo CD, able to read the stack's repositories, and told about its cluster."""
    argocd = settings.argocd
    chart = argocd.chart
    return _like(
        ArgoCdArgs,
        argocd,
        cluster_id=cluster_id,
        kube_context=kube_context,
        chart=(
            ChartSource(path=chart.path)
            if chart.path is not None
            else ChartSource(repository=chart.repository, name=chart.name, version=chart.version)
        ),
        repositories={
            name: GitRepository(repository.url, _credentials(repository.credentials))
            for name, repository in settings.repositories.items()
        },
        admin=_like(
            Admin,
            argocd.admin,
            password=secret(argocd.admin.password) if argocd.admin.password else None,
            adopt=settings.adopt is not None and settings.adopt.admin_password,
        ),
        webhook_secret=secret(argocd.webhook_secret) if argocd.webhook_secret else None,
        managed_by_git=argocd.managed_by == "git",
        cluster_labels={
            "environment": settings.environment,
            "cluster": settings.cluster.name,
            "region": settings.cluster.region,
        },
        cluster_annotations={"registry-endpoint": registry_endpoint},
    )


def project_args(settings: "Settings", argocd_namespace: pulumi.Input[str]) -> GitOpsProjectArgs:
    """The stack's project: its repositories, its cluster, its namespaces.

    With `appOfApps` it is one that may hold nothing but projects and applications.
    """
    if settings.app_of_apps is not None:
        return GitOpsProjectArgs(
            project_name=PLATFORM,
            argocd_namespace=argocd_namespace,
            description="Brings the projects and applications of this environment from Git",
            source_repos=(settings.repositories[settings.app_of_apps.repository].url,),
            namespaces=(settings.argocd.namespace,),
            cluster_resources=(),
            namespace_resources=tuple(
                ResourceKind("argoproj.io", kind)
                for kind in ("AppProject", "Application", "ApplicationSet")
            ),
        )
    project = settings.project
    assert project is not None
    return _like(
        GitOpsProjectArgs,
        project,
        project_name=project.name,
        argocd_namespace=argocd_namespace,
        source_repos=(
            *(settings.repositories[name].url for name in sorted(settings.repositories)),
            *project.source_repos,
        ),
        cluster_resources=tuple(_like(ResourceKind, each) for each in project.cluster_resources),
        namespace_resources=tuple(
            _like(ResourceKind, each) for each in project.namespace_resources
        ),
    )


def applications_args(
    settings: "Settings", argocd_namespace: pulumi.Input[str]
) -> dict[str, GitOpsApplicationArgs]:
    """The stack's applications by name; with `appOfApps`, the one that brings all others."""
    if settings.app_of_apps is not None:
        return {BOOTSTRAP: _app_of_apps(settings, settings.app_of_apps, argocd_namespace)}
    project = settings.project
    assert project is not None
    return {
        name: _like(
            GitOpsApplicationArgs,
            application,
            application_name=name,
            project_name=project.name,
            argocd_namespace=argocd_namespace,
            repo_url=settings.repositories[application.repository].url,
            kustomize=_kustomize(application.kustomize),
            directory=_like(Directory, application.directory) if application.directory else None,
            helm=_helm(application.helm),
            sync=_like(
                Sync,
                application.sync,
                retry=_like(
                    Retry,
                    application.sync.retry,
                    backoff=_like(Backoff, application.sync.retry.backoff),
                ),
            ),
            ignore_differences=tuple(
                _like(IgnoreDifference, each) for each in application.ignore_differences
            ),
        )
        for name, application in sorted(settings.applications.items())
    }


def _app_of_apps(
    settings: "Settings", wanted: "model.AppOfApps", argocd_namespace: pulumi.Input[str]
) -> GitOpsApplicationArgs:
    managed_by_git = settings.argocd.managed_by == "git"
    return GitOpsApplicationArgs(
        application_name=BOOTSTRAP,
        project_name=PLATFORM,
        argocd_namespace=argocd_namespace,
        repo_url=settings.repositories[wanted.repository].url,
        revision=wanted.revision,
        path=f"{wanted.path}/{BOOTSTRAP}",
        namespace=settings.argocd.namespace,
        # Where the stack owns Argo CD, Git must not own it too.
        directory=None if managed_by_git else Directory(exclude=SELF),
        sync=Sync(options=()),
    )


def github_args(settings: "Settings") -> "GitHubDeliveryArgs":
    """What the stack has around its repository on GitHub."""
    # Half a second that only a stack on GitHub has to spend.
    from components import github as parts

    github = settings.github
    assert github is not None
    webhook = deploy_key = None
    if github.webhook is not None:
        assert settings.argocd.webhook_secret is not None
        webhook = parts.Webhook(
            url=github.webhook.url or f"{settings.argocd.url}/api/webhook",
            secret=secret(settings.argocd.webhook_secret),
        )
    if github.deploy_key is not None:
        credentials = settings.repositories[github.deploy_key].credentials
        assert credentials is not None
        assert credentials.ssh_private_key is not None
        deploy_key = parts.DeployKey(
            title=f"{settings.cluster.name} (Argo CD)",
            key=public_key(credentials.ssh_private_key.get_secret_value()),
        )
    return _like(
        parts.GitHubDeliveryArgs,
        github,
        deploy_key=deploy_key,
        webhook=webhook,
        ruleset=(
            _like(
                parts.Ruleset,
                github.ruleset,
                bypass=tuple(_like(parts.Bypass, each) for each in github.ruleset.bypass),
            )
            if github.ruleset is not None
            else None
        ),
        environments={
            name: _like(parts.Environment, environment, secrets=_secrets(environment.secrets))
            for name, environment in github.environments.items()
        },
        secrets=_secrets(github.secrets),
    )


def _secrets(values: Mapping[str, SecretStr]) -> dict[str, pulumi.Output[str]]:
    return {name: secret(value) for name, value in values.items()}


def _like(kind: type[Dataclass], model: object, **others: Any) -> Dataclass:
    """A `kind` whose fields are those of `model` by the same name, but for `others`."""
    same = {
        each.name: getattr(model, each.name)
        for each in fields(kind)
        if each.name not in others and hasattr(model, each.name)
    }
    return kind(**same, **others)


def _node_pool(pool: "model.NodePool") -> NodePool:
    return _like(
        NodePool,
        pool,
        autoscale=_like(Autoscale, pool.autoscale) if pool.autoscale else None,
        taints=tuple(_like(Taint, taint) for taint in pool.taints),
    )


def _credentials(credentials: "model.Credentials | None") -> Credentials | None:
    if credentials is None:
        return None
    password, key, app = credentials.password, credentials.ssh_private_key, credentials.github_app
    return Credentials(
        username=credentials.username,
        password=secret(password) if password else None,
        ssh_private_key=secret(key) if key else None,
        github_app=(
            # A Secret holds nothing but text.
            GitHubApp(str(app.id), str(app.installation_id), secret(app.private_key))
            if app
            else None
        ),
    )


def _kustomize(given: "model.Kustomize | None") -> Kustomize | None:
    if given is None:
        return None
    return _like(Kustomize, given, replicas=tuple(_like(Replicas, each) for each in given.replicas))


def _helm(given: "model.Helm | None") -> Helm | None:
    if given is None:
        return None
    return _like(
        Helm, given, parameters=tuple(_like(HelmParameter, each) for each in given.parameters)
    )
