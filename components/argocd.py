"""Argo CD in a cluster: its namespace, the Git repositories it may read, and its Helm release."""

import base64
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pulumi
from pulumi_kubernetes.core.v1 import Namespace, Secret
from pulumi_kubernetes.helm.v3 import Release, RepositoryOptsArgs
from pulumi_kubernetes.meta.v1 import ObjectMetaArgs

from components.chart_values import (
    PORT_FORWARD_DOMAIN,
    Wanted,
    chart_values,
    merge,
    secret_data,
)
from components.dependencies import with_dependencies
from components.names import ADMIN_SECRET, RELEASE_NAME
from components.options import child_options
from components.password import password_hash
from components.project import IN_CLUSTER

IN_CLUSTER_NAME = "in-cluster"
"""What Argo CD calls the cluster that it runs in."""


@dataclass(frozen=True)
class ChartSource:
    """Where the argo-cd chart comes from: a repository and an exact version, or a path."""

    version: str | None = None
    """Exact version, for example `10.1.1`. Required with a repository; a path has its own."""
    repository: str | None = None
    """`https://...` of a Helm repository, or the `oci://...` folder that the chart is in."""
    name: str = "argo-cd"
    path: str | None = None
    """Folder or .tgz on this machine, relative to the program's folder."""

    def __post_init__(self) -> None:
        if (self.repository is None) == (self.path is None):
            raise ValueError("chart: give either repository or path")
        if self.repository is not None and self.version is None:
            raise ValueError("chart: a chart from a repository needs an exact version")

    @property
    def chart(self) -> str:
        """What Helm is to install: a path, a chart's name or an OCI reference."""
        if self.path is not None:
            return self.path
        assert self.repository is not None
        return f"{self.repository.rstrip('/')}/{self.name}" if self._is_oci else self.name

    @property
    def repository_url(self) -> str | None:
        """The Helm repository to look the chart's name up in, if it takes one."""
        return None if self._is_oci else self.repository

    @property
    def _is_oci(self) -> bool:
        return self.repository is not None and self.repository.startswith("oci://")


@dataclass(frozen=True)
class GitHubApp:
    """A GitHub App, so that no person's token is needed.

    https://argo-cd.readthedocs.io/en/stable/user-guide/private-repositories/#github-app-credential
    """

    id: pulumi.Input[str]
    installation_id: pulumi.Input[str]
    private_key: pulumi.Input[str]


@dataclass(frozen=True)
class Credentials:
    """How Argo CD reads a private repository: exactly one of `password`, `ssh_private_key` and
    `github_app`."""

    username: pulumi.Input[str] = "git"
    """With `password`; for most hosts any user goes with a token."""
    password: pulumi.Input[str] | None = None
    """Password or access token, over HTTPS."""
    ssh_private_key: pulumi.Input[str] | None = None
    """Deploy key. The host's key must be among the chart's `configs.ssh.knownHosts`."""
    github_app: GitHubApp | None = None

    def __post_init__(self) -> None:
        if [self.password, self.ssh_private_key, self.github_app].count(None) != 2:
            raise ValueError(
                "credentials: give exactly one of password, ssh_private_key and github_app"
            )


@dataclass(frozen=True)
class GitRepository:
    """A Git repository that Argo CD reads; without credentials it must be public."""

    url: pulumi.Input[str]
    credentials: Credentials | None = None


@dataclass(frozen=True)
class Admin:
    """The built-in user `admin`."""

    enabled: bool = True
    password: pulumi.Input[str] | None = None
    """1 to 72 bytes. None: generated once and kept in the cluster's Secret
    `argocd-admin-password`. To get another one, delete that Secret and run `pulumi up --refresh`.
    """
    password_set_at: str | None = None
    """RFC 3339. With a new password, give the current time: sessions from before end. Without it
    they go on until they expire (24 hours)."""
    adopt: bool = False
    """The Secret with a generated password exists and is taken over with what it holds."""


@dataclass(frozen=True)
class ArgoCdArgs:
    """What to install. https://argo-cd.readthedocs.io/en/stable/operator-manual/"""

    chart: ChartSource
    """What Helm is to install, in an exact version."""
    namespace: str = "argocd"
    """Made by this component, and deleted with everything in it when it is destroyed."""
    high_availability: bool = False
    """Needs three nodes (see `components.chart_values`)."""
    url: str | None = None
    """`https://host[:port]` that people open; how traffic gets there is for `values` to say, for
    example with `server.ingress`. None: Argo CD is reached by port-forward."""
    repositories: Mapping[str, GitRepository] = field(default_factory=dict)
    """By a short name of the stack's own, which goes into the Secret's name."""
    admin: Admin = field(default_factory=Admin)
    """The user `admin`. Default: enabled, with a generated password."""
    webhook_secret: pulumi.Input[str] | None = None
    """What the Git host signs its webhooks with. None: webhooks are not believed."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """Laid deeply over this component's values (`components.chart_values.merge`)."""
    cluster_id: pulumi.Input[str] | None = None
    """ID of the cluster that Argo CD runs in. Before that cluster is replaced, all of this and what
    is made with `ArgoCd.namespace` is deleted, and made anew in the new one. None: Pulumi would
    take it for still there."""
    kube_context: pulumi.Input[str] | None = None
    """Context to name in the port-forward command. None: the current one."""
    timeout: int = 600
    """Seconds that the release's parts may take to become ready."""
    managed_by_git: bool = False
    """An Application of Argo CD's own upgrades it from Git, with a chart of the release's name.
    Then the release is only made where it is missing, and never changed; the passwords, which can't
    be in Git, are in a Secret `argocd-secret` of this component's: in Git the chart's value
    `configs.secret.createSecret` must be false."""
    cluster_labels: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    """What ApplicationSets can choose by and put into templates: labels of the cluster
    `in-cluster` in Argo CD.
    https://argo-cd.readthedocs.io/en/stable/operator-manual/applicationset/Generators-Cluster/"""
    cluster_annotations: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    """The same for values that no label can hold, such as addresses."""


class ArgoCd(pulumi.ComponentResource):
    """Argo CD, ready: its Deployments run and it can read its repositories.

    Needs a `kubernetes` provider in `opts`. Whatever is made for Argo CD to look after
    (AppProjects, Applications) must depend on this component: Argo CD has to outlive them, since
    it is Argo CD that takes their finalizers off. If the release is not ready in time, `pulumi up`
    fails with what is not ready; it stays installed, and the next `pulumi up` goes on with it.
    Destroying keeps the chart's CRDs, so that no other Application in the cluster goes with them.
    """

    namespace: pulumi.Output[str]
    url: pulumi.Output[str]
    """What to open: the given URL, or the local end of `port_forward`."""
    port_forward: pulumi.Output[str]
    """Command that makes Argo CD answer on https://localhost:8080, with a self-signed
    certificate."""
    admin_password: pulumi.Output[str] | None
    """Secret; None if admin is disabled."""

    def __init__(
        self, name: str, args: ArgoCdArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("doks-gitops:index:ArgoCd", name, {}, opts)
        # Not the namespace's own output, so that a preview can show where things go.
        self.namespace = with_dependencies(args.namespace, args.cluster_id)
        namespace = Namespace(
            name,
            metadata=ObjectMetaArgs(name=self.namespace),
            opts=child_options(self, opts),
        )
        inside = pulumi.ResourceOptions(depends_on=[namespace])

        repositories = [
            Secret(
                f"{name}-repository-{key}",
                metadata=ObjectMetaArgs(
                    name=f"repository-{key}",
                    namespace=self.namespace,
                    labels={"argocd.argoproj.io/secret-type": "repository"},
                ),
                data=_encoded(_repository_fields(repository)),
                opts=child_options(self, opts, inside),
            )
            for key, repository in sorted(args.repositories.items())
        ]

        in_cluster = Secret(
            f"{name}-in-cluster",
            metadata=ObjectMetaArgs(
                name=f"cluster-{IN_CLUSTER_NAME}",
                namespace=self.namespace,
                labels={"argocd.argoproj.io/secret-type": "cluster", **args.cluster_labels},
                annotations=dict(args.cluster_annotations),
            ),
            data=_encoded({"name": IN_CLUSTER_NAME, "server": IN_CLUSTER, "config": "{}"}),
            opts=child_options(self, opts, inside),
        )

        self.admin_password = self._admin_password(name, args, child_options(self, opts, inside))
        identity = f"{pulumi.get_project()}/{pulumi.get_stack()}/{name}"
        wanted = Wanted(
            high_availability=args.high_availability,
            url=args.url,
            admin_enabled=args.admin.enabled,
            admin_password_hash=(
                self.admin_password.apply(lambda password: password_hash(password, identity))
                if self.admin_password is not None
                else None
            ),
            webhook_secret=_secret(args.webhook_secret),
            secret_apart=args.managed_by_git,
            **(
                {"admin_password_set_at": args.admin.password_set_at}
                if args.admin.password_set_at is not None
                else {}
            ),
        )
        before = [namespace, in_cluster, *repositories]
        if args.managed_by_git:
            before.append(
                Secret(
                    f"{name}-secret",
                    metadata=ObjectMetaArgs(
                        name="argocd-secret",
                        namespace=self.namespace,
                        labels={"app.kubernetes.io/part-of": "argocd"},
                    ),
                    data=_encoded(secret_data(wanted)),
                    # If the chart is to make it again, it has to be there while it changes hands.
                    opts=child_options(
                        self,
                        opts,
                        pulumi.ResourceOptions(depends_on=[namespace], retain_on_delete=True),
                    ),
                )
            )
        Release(
            name,
            name=RELEASE_NAME,
            namespace=self.namespace,
            create_namespace=False,
            chart=args.chart.chart,
            version=args.chart.version,
            repository_opts=(
                RepositoryOptsArgs(repo=args.chart.repository_url)
                if args.chart.repository_url is not None
                else None
            ),
            values=merge(chart_values(wanted), args.values),
            skip_await=False,
            # Helm would uninstall what is not ready in time, with all that shows why.
            atomic=False,
            timeout=args.timeout,
            max_history=3,
            # Argo CD finds its repositories when it starts, and is gone before they are.
            opts=child_options(
                self,
                opts,
                pulumi.ResourceOptions(
                    depends_on=before,
                    ignore_changes=["chart", "version", "repositoryOpts", "values", "timeout"]
                    if args.managed_by_git
                    else None,
                ),
            ),
        )

        local_port = PORT_FORWARD_DOMAIN.rpartition(":")[2]
        self.url = pulumi.Output.from_input(args.url or f"https://{PORT_FORWARD_DOMAIN}")
        self.port_forward = pulumi.Output.concat(
            "kubectl ",
            pulumi.Output.from_input(args.kube_context).apply(
                lambda context: f"--context {context} " if context else ""
            ),
            f"--namespace {args.namespace} port-forward"
            f" service/{RELEASE_NAME}-server {local_port}:443",
        )
        self.register_outputs(
            {
                "namespace": self.namespace,
                "url": self.url,
                "portForward": self.port_forward,
                "adminPassword": self.admin_password,
            }
        )

    def _admin_password(
        self, name: str, args: ArgoCdArgs, inside: pulumi.ResourceOptions
    ) -> pulumi.Output[str] | None:
        if not args.admin.enabled:
            return None
        if args.admin.password is not None:
            return pulumi.Output.secret(args.admin.password)
        kept = Secret(
            f"{name}-admin-password",
            metadata=ObjectMetaArgs(name=ADMIN_SECRET, namespace=self.namespace),
            data=_encoded({"password": secrets.token_urlsafe(24)}),
            # Each run makes one up; the first one stays.
            opts=pulumi.ResourceOptions.merge(
                inside,
                pulumi.ResourceOptions(
                    ignore_changes=["data", "type"],
                    import_=f"{args.namespace}/{ADMIN_SECRET}" if args.admin.adopt else None,
                ),
            ),
        )
        return pulumi.Output.secret(
            kept.data.apply(lambda data: base64.b64decode(data["password"]).decode())
        )


def _repository_fields(repository: GitRepository) -> dict[str, pulumi.Input[str]]:
    """https://argo-cd.readthedocs.io/en/stable/operator-manual/declarative-setup/#repositories"""
    fields: dict[str, pulumi.Input[str]] = {"type": "git", "url": repository.url}
    match repository.credentials:
        case Credentials(password=password, username=username) if password is not None:
            fields |= {"username": username, "password": password}
        case Credentials(ssh_private_key=key) if key is not None:
            fields |= {"sshPrivateKey": key}
        case Credentials(github_app=GitHubApp(id, installation_id, private_key)):
            fields |= {
                "githubAppID": id,
                "githubAppInstallationID": installation_id,
                "githubAppPrivateKey": private_key,
            }
    return fields


def _encoded(fields: Mapping[str, pulumi.Input[str]]) -> dict[str, pulumi.Output[str]]:
    """A Secret's `data`. Not `stringData`: a key taken out of that stays in the cluster."""
    return {
        key: pulumi.Output.secret(value).apply(
            lambda text: base64.b64encode(text.encode()).decode()
        )
        for key, value in fields.items()
    }


def _secret(value: pulumi.Input[str] | None) -> pulumi.Output[str] | None:
    return pulumi.Output.secret(value) if value is not None else None
