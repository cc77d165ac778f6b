"""Argo CD in a cluster: its namespace, its repositories and its Helm release."""

import base64
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

import pulumi
from pulumi_kubernetes.core.v1 import Namespace, Secret
from pulumi_kubernetes.helm.v3 import Release, RepositoryOptsArgs
from pulumi_kubernetes.meta.v1 import ObjectMetaArgs

from components.chart_values import (
    PORT_FORWARD_DOMAIN,
    ArgoCdOptions,
    chart_values,
    merge,
    secret_data,
)
from components.dependencies import with_dependencies
from components.manifest import encoded
from components.names import ADMIN_SECRET, RELEASE_NAME
from components.options import child_options, holds_outputs
from components.password import checksum, password_hash, unknown_secret
from components.project import IN_CLUSTER

IN_CLUSTER_NAME = "in-cluster"
"""Argo CD's name of the cluster that it runs in."""


@dataclass(frozen=True)
class ChartSource:
    """Source of a chart: a repository and an exact version, or a path."""

    version: str | None = None
    """Exact version, for example `1.2.3`. Required with a repository; not used with a path."""
    repository: str | None = None
    """`https://...` of a Helm repository, or the `oci://...` folder of the chart."""
    name: str | None = None
    """Name of the chart in the repository. None: the one that its project publishes, `argo-cd` or
    `sealed-secrets`."""
    path: str | None = None
    """Folder or .tgz file, relative to the program's folder."""

    def __post_init__(self) -> None:
        if (self.repository is None) == (self.path is None):
            raise ValueError("chart: give either repository or path")
        if self.repository is not None and self.version is None:
            raise ValueError("chart: a chart from a repository needs an exact version")

    def chart(self, published: str) -> str:
        """The chart for Helm: a path, a chart's name or an OCI reference. `published`: the name if
        there is no other."""
        if self.path is not None:
            return self.path
        name = self.name or published
        return f"{(self.repository or '').rstrip('/')}/{name}" if self._is_oci else name

    @property
    def repository_opts(self) -> RepositoryOptsArgs | None:
        """The Helm repository of the chart; None for a path or an OCI reference."""
        if self.repository is None or self._is_oci:
            return None
        return RepositoryOptsArgs(repo=self.repository)

    @property
    def _is_oci(self) -> bool:
        return self.repository is not None and self.repository.startswith("oci://")


@dataclass(frozen=True)
class GitHubApp:
    """A GitHub App, used instead of a user's token.

    https://argo-cd.readthedocs.io/en/stable/user-guide/private-repositories/#github-app-credential
    """

    id: pulumi.Input[str]
    installation_id: pulumi.Input[str]
    private_key: pulumi.Input[str]


@dataclass(frozen=True)
class Credentials:
    """Credentials for a private repository: exactly one of `password`, `ssh_private_key` and
    `github_app`."""

    username: pulumi.Input[str] = "git"
    """User name, with `password`. Most hosts accept any with a token."""
    password: pulumi.Input[str] | None = None
    """Password or access token, for HTTPS."""
    ssh_private_key: pulumi.Input[str] | None = None
    """Deploy key. The chart's `configs.ssh.knownHosts` must have the host's key."""
    github_app: GitHubApp | None = None

    def __post_init__(self) -> None:
        if [self.password, self.ssh_private_key, self.github_app].count(None) != 2:
            raise ValueError(
                "credentials: give exactly one of password, ssh_private_key and github_app"
            )


@dataclass(frozen=True)
class Repository:
    """A repository that Argo CD reads. Without credentials it must be public, or have a credential
    template.

    https://argo-cd.readthedocs.io/en/stable/operator-manual/declarative-setup/#repositories
    """

    url: pulumi.Input[str]
    """URL for Git, `https://...` of a Helm repository, `host/path` of a registry of charts, or
    `oci://host/path`."""
    type: str = "git"
    """`git`; `helm`: charts; `oci`: an artifact of a registry."""
    credentials: Credentials | None = None
    enable_lfs: bool = False
    """Fetch the files of Git LFS."""
    plain_http: bool = False
    """Read a registry without TLS."""


@dataclass(frozen=True)
class CredentialTemplate:
    """Credentials for all repositories whose URL begins with `url`.

    https://argo-cd.readthedocs.io/en/stable/operator-manual/declarative-setup/#repository-credentials
    """

    url: str
    credentials: Credentials
    type: str = "git"
    """Type of these repositories, as in `Repository`."""
    plain_http: bool = False
    """Read a registry without TLS."""


@dataclass(frozen=True)
class Admin:
    """The built-in user `admin`."""

    enabled: bool = True
    password: pulumi.Input[str] | None = None
    """1 to 72 bytes. None: generated once and stored in the cluster's Secret
    `argocd-admin-password`. To get a new one, delete that Secret and run `pulumi up --refresh`.
    """
    password_set_at: str | None = None
    """RFC 3339. With a new password, set the current time: it ends all older sessions. None: they
    last until they expire (24 hours)."""
    adopt: bool = False
    """Import the existing Secret with a generated password."""


@dataclass(frozen=True)
class ArgoCdArgs:
    """Argo CD. https://argo-cd.readthedocs.io/en/stable/operator-manual/"""

    chart: ChartSource
    """Source of the chart."""
    namespace: str = "argocd"
    """This component creates it, and deletes it with everything in it."""
    high_availability: bool = False
    """Needs three nodes (see `components.chart_values`)."""
    url: str | None = None
    """`https://host[:port]` for users. `values` must route it to Argo CD, for example with
    `server.ingress`. None: Argo CD is used by port-forward."""
    repositories: Mapping[str, Repository] = field(default_factory=dict)
    """Repositories by a short name, which becomes a part of the Secret's name."""
    credential_templates: Mapping[str, CredentialTemplate] = field(default_factory=dict)
    """Credential templates by a short name, which becomes a part of the Secret's name."""
    admin: Admin = field(default_factory=Admin)
    """The user `admin`. Default: enabled, with a generated password."""
    git_submodules: bool = True
    """Argo CD fetches the submodules of Git repositories, with the credentials of each one."""
    webhook_secret: pulumi.Input[str] | None = None
    """Secret that GitHub signs its webhooks with. None: Argo CD refuses GitHub's webhooks, as it
    refuses those of the other Git hosts that have no secret in `values`. None without a user
    `admin`: it accepts them unsigned, and whoever can reach it can make it look for new commits.
    https://argo-cd.readthedocs.io/en/stable/operator-manual/webhook/"""
    application_set_webhooks: bool = False
    """The ApplicationSet controller gets webhooks. It reads their secret only when it starts, so a
    new `webhook_secret` restarts it, and it starts only after Argo CD's server has started once."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """Chart values, merged deeply over this component's (`components.chart_values.merge`)."""
    cluster_id: pulumi.Input[str] | None = None
    """ID of the cluster that Argo CD runs in. Before Pulumi replaces that cluster, it deletes this
    component and every resource with `ArgoCd.namespace` as an input; it creates them again in the
    new cluster (see `components.dependencies`). None: a replaced cluster stays empty."""
    kube_context: pulumi.Input[str] | None = None
    """Context of the port-forward command. None: the current context."""
    timeout: int = 600
    """Seconds until all parts of the release must be ready."""
    managed_by_git: bool = False
    """True: an Application of Argo CD upgrades Argo CD from Git, with the name of the release.
    This component then creates a missing release, but never changes it. It creates the Secret
    `argocd-secret` with the passwords, which must not be in Git, so the chart's value
    `configs.secret.createSecret` must be false in Git."""
    cluster_labels: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    """Labels of the cluster `in-cluster` in Argo CD. ApplicationSets select clusters by them and
    use them in templates.
    https://argo-cd.readthedocs.io/en/stable/operator-manual/applicationset/Generators-Cluster/"""
    cluster_annotations: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    """Annotations of the cluster, for values that no label can hold, such as addresses."""


class ArgoCd(pulumi.ComponentResource):
    """Argo CD, with running Deployments and access to its repositories.

    Needs a `kubernetes` provider in `opts`. AppProjects and Applications must depend on this
    component, because Argo CD removes their finalizers when they are deleted. If the release is not
    ready in time, `pulumi up` fails and names the parts that are not ready. The release stays
    installed, and the next `pulumi up` continues with it. Destroying keeps the chart's CRDs, and so
    all other Applications in the cluster.
    """

    namespace: pulumi.Output[str]
    url: pulumi.Output[str]
    """The URL for users, or the local address of `port_forward`."""
    port_forward: pulumi.Output[str]
    """Command that forwards https://localhost:8080 to Argo CD, which has a self-signed
    certificate."""
    admin_password: pulumi.Output[str] | None
    """Secret; None if admin is disabled."""

    def __init__(
        self, name: str, args: ArgoCdArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("doks-gitops:index:ArgoCd", name, {}, opts)
        # The name, not the output of the namespace: so previews show it.
        self.namespace = with_dependencies(args.namespace, args.cluster_id)
        namespace = Namespace(
            name,
            metadata=ObjectMetaArgs(
                name=self.namespace,
                # An Application that has the namespace too does not delete it.
                annotations={"argocd.argoproj.io/sync-options": "Prune=false"},
            ),
            opts=child_options(self, opts),
        )
        in_namespace = child_options(self, opts, pulumi.ResourceOptions(depends_on=[namespace]))

        readable: list[tuple[str, str, Repository | CredentialTemplate]] = [
            *((f"repository-{key}", "repository", x) for key, x in args.repositories.items()),
            *(
                (f"credentials-{key}", "repo-creds", x)
                for key, x in args.credential_templates.items()
            ),
        ]
        repositories = [
            Secret(
                f"{name}-{secret_name}",
                metadata=ObjectMetaArgs(
                    name=secret_name,
                    namespace=self.namespace,
                    labels={"argocd.argoproj.io/secret-type": secret_type},
                ),
                data=encoded(_repository_fields(repository)),
                opts=in_namespace,
            )
            for secret_name, secret_type, repository in sorted(readable, key=itemgetter(0))
        ]

        in_cluster = Secret(
            f"{name}-in-cluster",
            metadata=ObjectMetaArgs(
                name=f"cluster-{IN_CLUSTER_NAME}",
                namespace=self.namespace,
                labels={"argocd.argoproj.io/secret-type": "cluster", **args.cluster_labels},
                annotations=dict(args.cluster_annotations),
            ),
            data=encoded({"name": IN_CLUSTER_NAME, "server": IN_CLUSTER, "config": "{}"}),
            opts=in_namespace,
        )

        self.admin_password = self._admin_password(name, args, in_namespace)
        identity = f"{pulumi.get_project()}/{pulumi.get_stack()}/{name}"
        webhook_secret = _secret(args.webhook_secret)
        known_secret = self.admin_password if args.admin.enabled else webhook_secret
        options = ArgoCdOptions(
            high_availability=args.high_availability,
            url=args.url,
            admin_enabled=args.admin.enabled,
            admin_password_hash=(
                self.admin_password.apply(lambda password: password_hash(password, identity))
                if self.admin_password is not None
                else None
            ),
            admin_password_set_at=args.admin.password_set_at,
            webhook_secret=webhook_secret,
            unknown_webhook_secret=(
                known_secret.apply(lambda known: unknown_secret(known, identity))
                if known_secret is not None
                else None
            ),
            webhook_checksum=(
                webhook_secret.apply(lambda known: checksum(known, identity))
                if webhook_secret is not None and args.application_set_webhooks
                else None
            ),
            git_submodules=args.git_submodules,
            separate_secret=args.managed_by_git,
        )
        prerequisites = [namespace, in_cluster, *repositories]
        if args.managed_by_git:
            prerequisites.append(
                Secret(
                    f"{name}-secret",
                    metadata=ObjectMetaArgs(
                        name="argocd-secret",
                        namespace=self.namespace,
                        labels={"app.kubernetes.io/part-of": "argocd"},
                    ),
                    data=encoded(secret_data(options)),
                    # If the chart creates the Secret again, it must exist until then.
                    opts=pulumi.ResourceOptions.merge(
                        in_namespace, pulumi.ResourceOptions(retain_on_delete=True)
                    ),
                )
            )
        Release(
            name,
            name=RELEASE_NAME,
            namespace=self.namespace,
            create_namespace=False,
            chart=args.chart.chart("argo-cd"),
            version=args.chart.version,
            repository_opts=args.chart.repository_opts,
            values=merge(chart_values(options), args.values),
            skip_await=False,
            # Helm would uninstall a release that is not ready in time, and all that explains why.
            atomic=False,
            timeout=args.timeout,
            max_history=3,
            # Argo CD has its repositories from its start until it is deleted.
            opts=child_options(
                self,
                opts,
                pulumi.ResourceOptions(
                    depends_on=prerequisites,
                    # For a value that the state already has in plain text: an unchanged release
                    # keeps its outputs.
                    additional_secret_outputs=["values"] if holds_outputs(args.values) else None,
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
        self, name: str, args: ArgoCdArgs, opts: pulumi.ResourceOptions
    ) -> pulumi.Output[str] | None:
        if not args.admin.enabled:
            return None
        if args.admin.password is not None:
            return pulumi.Output.secret(args.admin.password)
        secret = Secret(
            f"{name}-admin-password",
            metadata=ObjectMetaArgs(name=ADMIN_SECRET, namespace=self.namespace),
            data=encoded({"password": secrets.token_urlsafe(24)}),
            # Every run generates a password, and ignore_changes keeps the first one.
            opts=pulumi.ResourceOptions.merge(
                opts,
                pulumi.ResourceOptions(
                    ignore_changes=["data", "type"],
                    import_=f"{args.namespace}/{ADMIN_SECRET}" if args.admin.adopt else None,
                ),
            ),
        )
        return pulumi.Output.secret(
            secret.data.apply(lambda data: base64.b64decode(data["password"]).decode())
        )


def _repository_fields(
    repository: Repository | CredentialTemplate,
) -> dict[str, pulumi.Input[str]]:
    """https://argo-cd.readthedocs.io/en/stable/operator-manual/argocd-repositories-yaml/"""
    fields: dict[str, pulumi.Input[str]] = {"type": repository.type, "url": repository.url}
    if repository.type == "helm":
        # An address without a scheme is that of a registry. Repositories take it from a template.
        fields["enableOCI"] = pulumi.Output.from_input(repository.url).apply(
            lambda url: str("://" not in url).lower()
        )
    if repository.plain_http:
        fields["insecureOCIForceHttp"] = "true"
    if isinstance(repository, Repository) and repository.enable_lfs:
        fields["enableLfs"] = "true"
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


def _secret(value: pulumi.Input[str] | None) -> pulumi.Output[str] | None:
    return pulumi.Output.secret(value) if value is not None else None
