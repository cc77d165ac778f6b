"""The settings of one stack: their shape, their meaning, and what each object asks of its values.

`Settings` is what `settings.parse` returns. Field names are those of the stack file in snake_case;
descriptions, types and defaults here are the source of docs/config.md. Defaults that differ by
environment stand in `defaults.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Annotated

from pydantic import Field, JsonValue

from doks_gitops.settings import scalars
from doks_gitops.settings.base import Listed, Model, Wrong, one_of
from doks_gitops.settings.github import GitHub
from doks_gitops.settings.scalars import is_ssh_url

NAMESPACE = "doks-gitops"
"""Namespace of the keys in a stack file: the name of the project in Pulumi.yaml."""

NODES = 512
"""DOKS's limit of nodes in a cluster (https://docs.digitalocean.com/products/kubernetes/details/limits/)."""

Nodes = Annotated[int, Field(ge=1, le=NODES)]


class Maintenance(Model):
    """When DigitalOcean may upgrade the cluster: a window of four hours, in UTC."""

    day: scalars.Day = Field(default="any", description="Day of the window.", examples=["sunday"])
    start_time: scalars.StartTime = Field(
        description="Start of the window, UTC.", examples=["04:00"]
    )


class Vpc(Model):
    """The private network of the cluster. A cluster can't be moved to another one."""

    id: scalars.Uuid | None = Field(default=None, description="An existing VPC to join.")
    ip_range: scalars.VpcRange | None = Field(
        default=None,
        description="Range of a VPC to create, named after the cluster.",
        examples=["10.10.0.0/20"],
    )

    @classmethod
    def keys_wrong(cls, given: frozenset[str]) -> Iterator[Wrong]:
        yield from one_of(given, "id", "ipRange")


class Autoscale(Model):
    """Bounds within which DOKS's cluster autoscaler sizes a pool."""

    min: Nodes = Field(description="Fewest nodes.", examples=[1])
    max: Nodes = Field(description="Most nodes.", examples=[5])

    def wrong(self) -> Iterator[Wrong]:
        if self.min > self.max:
            yield Wrong(
                at=("min",),
                found=f"{self.min}, above max {self.max}",
                right="at most max",
            )


class Taint(Model):
    """Keeps pods off a pool's nodes unless they tolerate it."""

    key: scalars.LabelKey = Field(description="Key of the taint.")
    value: scalars.LabelValue = Field(default="", description="Value of the taint.")
    effect: scalars.Effect = Field(description="What happens to pods that don't tolerate it.")


class NodePool(Model):
    """Worker nodes of one size. Give `count` or `autoscale`, not both."""

    name: scalars.PoolName = Field(description="Name, unique in the cluster.", examples=["default"])
    size: scalars.Size = Field(
        description="Droplet size of its nodes; `doctl kubernetes options sizes` lists them.",
        examples=["s-2vcpu-4gb"],
    )
    count: Nodes | None = Field(
        default=None, description="Number of nodes, if fixed.", examples=[2]
    )
    autoscale: Autoscale | None = Field(
        default=None, description="Bounds of the number of nodes, if it follows the load."
    )
    labels: Mapping[scalars.LabelKey, scalars.LabelValue] = Field(
        default_factory=dict, description="Kubernetes labels of its nodes."
    )
    taints: Listed[Taint] = Field(default=(), description="Kubernetes taints of its nodes.")
    tags: Listed[scalars.Tag] = Field(default=(), description="DigitalOcean tags of its Droplets.")

    @classmethod
    def keys_wrong(cls, given: frozenset[str]) -> Iterator[Wrong]:
        yield from one_of(given, "count", "autoscale")

    @property
    def fewest(self) -> int:
        """How many nodes it has at least."""
        if self.autoscale is not None:
            return self.autoscale.min
        return self.count or 0

    @property
    def most(self) -> int:
        """How many nodes it has at most."""
        if self.autoscale is not None:
            return self.autoscale.max
        return self.count or 0


class Cluster(Model):
    """The DOKS cluster."""

    name: scalars.ClusterName = Field(
        description="Name in the account, used by no other stack; kubectl's context is "
        "`do-<region>-<name>`.",
        examples=["microservices-demo-dev"],
    )
    region: scalars.Region = Field(
        description="Region; a change replaces the cluster.", examples=["nyc1"]
    )
    version: scalars.VersionPrefix = Field(
        description="Kubernetes version: a minor version stands for its newest patch at the time "
        "of creation. A running cluster that matches it is left as it is; a newer minor version "
        "here upgrades it.",
        examples=["1.34"],
    )
    upgrade: bool = Field(
        default=False,
        description="Move a running cluster to the newest offered patch of `version`.",
    )
    high_availability: bool = Field(
        default=False, description="A replicated control plane. Can't be taken back."
    )
    auto_upgrade: bool = Field(
        default=False, description="DigitalOcean installs patch releases in the window."
    )
    surge_upgrade: bool = Field(
        default=True, description="New nodes are added before old ones go, in an upgrade."
    )
    maintenance: Maintenance | None = Field(
        default=None, description="Maintenance window; without it DigitalOcean picks one."
    )
    vpc: Vpc | None = Field(
        default=None, description="Private network; without it, the region's default VPC."
    )
    tags: Listed[scalars.Tag] = Field(default=(), description="DigitalOcean tags of the cluster.")
    destroy_associated_resources: bool = Field(
        default=False,
        description="Destroying the cluster also destroys the load balancers, volumes and "
        "snapshots that were made from inside it.",
    )
    protect: bool = Field(
        default=False, description="`pulumi destroy` refuses to delete the cluster."
    )
    node_pools: Annotated[Listed[NodePool], Field(min_length=1)] = Field(
        description="Node pools, at least one; the first is the cluster's default pool."
    )

    def wrong(self) -> Iterator[Wrong]:
        if self.auto_upgrade and self.version.count(".") > 1:
            minor = ".".join(self.version.split(".")[:2])
            yield Wrong(
                at=("version",),
                found=f'"{self.version}", with autoUpgrade: true',
                right="a minor version: an automatic upgrade would leave one exact patch behind",
                example=minor,
            )
        names = [pool.name for pool in self.node_pools]
        for name, times in Counter(names).items():
            if times > 1:
                second = names.index(name, names.index(name) + 1)
                yield Wrong(
                    at=("nodePools", second, "name"),
                    found=f'"{name}", as in nodePools[{names.index(name)}]',
                    right="a name that no other node pool has",
                )
        if self.fewest_nodes > NODES:
            yield Wrong(
                at=("nodePools",),
                found=f"{self.fewest_nodes} nodes in all pools",
                right=f"at most {NODES} nodes in a cluster",
            )

    @property
    def fewest_nodes(self) -> int:
        """How many nodes it has at least, in all pools."""
        return sum(pool.fewest for pool in self.node_pools)


class Registry(Model):
    """The team's DigitalOcean container registry, which the cluster may pull from."""

    name: scalars.RegistryName = Field(
        description="Name; images are `registry.digitalocean.com/<name>/<image>`.",
        examples=["microservices-demo"],
    )
    create: bool = Field(
        default=False,
        description="This stack creates and owns it (one stack at most); otherwise it is looked "
        "up by its name.",
    )
    tier: scalars.Tier = Field(default="basic", description="Subscription, when created.")
    region: scalars.Region | None = Field(
        default=None,
        description="Where images are kept, when created; without it DigitalOcean chooses.",
        examples=["nyc3"],
    )


class Chart(Model):
    """Where Argo CD's Helm chart comes from: a repository, or a path on this machine."""

    repository: scalars.ChartRepository = Field(
        default="https://argoproj.github.io/argo-helm",
        description="Chart repository, or oci:// registry folder (a mirror, say).",
    )
    name: scalars.ChartName = Field(default="argo-cd", description="Name of the chart there.")
    version: scalars.ChartVersion | None = Field(
        default=None,
        description="Exact version; required unless `path` is given.",
        examples=["10.1.1"],
    )
    path: scalars.LocalPath | None = Field(
        default=None, description="A chart's folder or .tgz file, in place of a repository."
    )

    @classmethod
    def keys_wrong(cls, given: frozenset[str]) -> Iterator[Wrong]:
        if "path" not in given:
            if "version" not in given:
                yield Wrong(
                    at=("version",),
                    found="nothing",
                    right="one exact chart version, such as 10.1.1",
                    example="10.1.1",
                )
            return
        for key in ("repository", "name", "version"):
            if key in given:
                yield Wrong(at=(key,), found="a value beside path", right="path alone, or no path")


class Admin(Model):
    """Argo CD's built-in user `admin`. Without a password, one is generated and kept."""

    enabled: bool = Field(default=True, description="Whether the user exists.")
    password: scalars.AdminPassword | None = Field(
        default=None, description="Its password; without it a generated one, kept in the cluster."
    )
    password_set_at: scalars.Rfc3339 | None = Field(
        default=None,
        description="When the password was last changed; logins from before it end.",
        examples=["2026-01-31T12:00:00Z"],
    )

    @classmethod
    def keys_wrong(cls, given: frozenset[str]) -> Iterator[Wrong]:
        if "password" in given and "passwordSetAt" not in given:
            yield Wrong(
                at=("passwordSetAt",),
                found="nothing, but a password",
                right="the time at which the password was set, as RFC 3339 has it",
                example="2026-01-31T12:00:00Z",
            )
        if "passwordSetAt" in given and "password" not in given:
            yield Wrong(
                at=("passwordSetAt",),
                found="a time, but no password",
                right="neither, or both",
            )

    def wrong(self) -> Iterator[Wrong]:
        if not self.enabled and self.password is not None:
            yield Wrong(
                at=("password",),
                found="a secret, but enabled: false",
                right="no password for a disabled user, or enabled: true",
            )


class Argocd(Model):
    """Argo CD, installed by its Helm chart."""

    namespace: scalars.Namespace = Field(default="argocd", description="Namespace it lives in.")
    chart: Chart = Field(description="Its Helm chart.")
    high_availability: bool = Field(
        default=False,
        description="Several replicas of its parts, and Redis with failover, which takes at least "
        "3 nodes.",
    )
    url: scalars.HostUrl | None = Field(
        default=None,
        description="Address at which people reach it, if it has one; else a port-forward is told.",
        examples=["https://argocd.example.com"],
    )
    values: Mapping[str, JsonValue] = Field(
        default_factory=dict, description="Chart values, merged deeply over the program's own."
    )
    admin: Admin = Field(default_factory=Admin, description="The user `admin`.")
    webhook_secret: scalars.WebhookSecret | None = Field(
        default=None, description="Secret with which the Git host signs its webhooks."
    )
    managed_by: scalars.Manager = Field(
        default="pulumi",
        description="Who upgrades it. `git`: the stack only installs it where it is missing, and "
        "the Application `argo-cd` of `appOfApps` keeps its version and values.",
    )


class GithubApp(Model):
    """A GitHub App that may read the repository."""

    id: Annotated[int, Field(ge=1)] = Field(description="App id.", examples=[12345])
    installation_id: Annotated[int, Field(ge=1)] = Field(
        description="Id of its installation in the organisation.", examples=[67890]
    )
    private_key: scalars.PrivateKey = Field(description="The app's private key, PEM.")


class Credentials(Model):
    """How Argo CD reads a private repository: exactly one kind."""

    username: str = Field(default="git", description="User name, with `password`.")
    password: scalars.Password | None = Field(
        default=None, description="Password or access token, for an https URL."
    )
    ssh_private_key: scalars.PrivateKey | None = Field(
        default=None, description="Deploy key (PEM, no passphrase), for an SSH URL."
    )
    github_app: GithubApp | None = Field(default=None, description="GitHub App, for an https URL.")

    @classmethod
    def keys_wrong(cls, given: frozenset[str]) -> Iterator[Wrong]:
        kinds = ("password", "sshPrivateKey", "githubApp")
        if "username" in given and given.isdisjoint(kinds):
            yield Wrong(
                at=("password",),
                found="nothing, but a username",
                right="the password or access token that goes with it, as a secret",
            )
            return
        yield from one_of(given, *kinds)
        if "username" in given and "password" not in given:
            yield Wrong(
                at=("username",), found="a name, but no password", right="username with password"
            )


class Repository(Model):
    """A Git repository that Argo CD reads."""

    url: scalars.RepositoryUrl = Field(
        description="URL as Git takes it.", examples=["https://github.com/YOUR-ORG/YOUR-REPO"]
    )
    credentials: Credentials | None = Field(
        default=None, description="How to read it, unless it is public."
    )

    def wrong(self) -> Iterator[Wrong]:
        if self.credentials is None:
            return
        ssh_key = self.credentials.ssh_private_key is not None
        if ssh_key and not is_ssh_url(self.url):
            yield Wrong(
                at=("url",),
                found=f'"{self.url}", with an sshPrivateKey',
                right="an SSH URL (git@host:path), or a password or githubApp in place of the key",
            )
        if not ssh_key and is_ssh_url(self.url):
            kind = "a githubApp" if self.credentials.github_app else "a password"
            yield Wrong(
                at=("url",),
                found=f'"{self.url}", with {kind}',
                right="an https:// URL, or an sshPrivateKey in its place",
            )


class ResourceKind(Model):
    """A kind of Kubernetes resource."""

    group: scalars.Group = Field(default="", description='API group; "" is the core group.')
    kind: scalars.Kind = Field(description="Kind.", examples=["Namespace"])


class Project(Model):
    """Argo CD's project of this stack: what its applications may read and where they may deploy."""

    name: scalars.Name = Field(description="Name; applications are `<project>-<name>`.")
    description: str = Field(default="", description="A sentence for people.")
    namespaces: Annotated[Listed[scalars.NamespacePattern], Field(min_length=1)] = Field(
        description="Namespaces of this cluster that its applications may deploy to."
    )
    cluster_resources: Listed[ResourceKind] = Field(
        default=(ResourceKind(group="", kind="Namespace"),),
        description="Kinds without a namespace that its applications may create.",
    )
    namespace_resources: Listed[ResourceKind] = Field(
        default=(),
        description="Kinds within a namespace that its applications may create; without any, all.",
    )
    source_repos: Listed[scalars.RepositoryPattern] = Field(
        default=(),
        description="Repositories that it may read besides those under `repositories`.",
    )
    allow_any: bool = Field(default=False, description="Allows `*` in the lists above.")

    def wrong(self) -> Iterator[Wrong]:
        if self.allow_any:
            return
        listed: list[tuple[str, list[str]]] = [
            ("namespaces", list(self.namespaces)),
            ("clusterResources", [f"{each.group}/{each.kind}" for each in self.cluster_resources]),
            (
                "namespaceResources",
                [f"{each.group}/{each.kind}" for each in self.namespace_resources],
            ),
            ("sourceRepos", list(self.source_repos)),
        ]
        for key, entries in listed:
            for index, entry in enumerate(entries):
                if "*" in entry:
                    yield Wrong(
                        at=(key, index),
                        found=f'"{entry}", without allowAny',
                        right="what is really needed, by name; or allowAny: true in the project",
                    )


class Replicas(Model):
    """Replicas of one workload, for Kustomize."""

    name: scalars.Name = Field(description="Name of the workload.")
    count: Annotated[int, Field(ge=0)] = Field(description="Number of replicas.")


class Kustomize(Model):
    """Kustomize options, as Argo CD has them
    (https://argo-cd.readthedocs.io/en/stable/user-guide/kustomize/)."""

    name_prefix: str | None = Field(default=None, description="Put before every name.")
    name_suffix: str | None = Field(default=None, description="Put after every name.")
    images: Listed[str] = Field(
        default=(), description="Image overrides, `image=newname:tag` or `image:tag`."
    )
    replicas: Listed[Replicas] = Field(default=(), description="Replica counts by workload.")
    components: Listed[str] = Field(
        default=(), description="Kustomize components to add, relative to the folder."
    )
    common_labels: Mapping[scalars.LabelKey, scalars.LabelValue] = Field(
        default_factory=dict, description="Labels put on everything."
    )
    common_annotations: Mapping[scalars.LabelKey, str] = Field(
        default_factory=dict, description="Annotations put on everything."
    )


class Directory(Model):
    """Options for a folder of plain manifests
    (https://argo-cd.readthedocs.io/en/stable/user-guide/directory/)."""

    recurse: bool = Field(default=False, description="Read subfolders too.")
    include: str | None = Field(default=None, description="Only files that match this glob.")
    exclude: str | None = Field(default=None, description="No files that match this glob.")


class HelmParameter(Model):
    """One Helm value set by its path."""

    name: str = Field(description="Path of the value, such as image.tag.")
    value: str = Field(description="The value, as text.")
    force_string: bool = Field(default=False, description="Keep it text, whatever it looks like.")


class Helm(Model):
    """Helm options for a chart kept in Git
    (https://argo-cd.readthedocs.io/en/stable/user-guide/helm/)."""

    release_name: scalars.ReleaseName | None = Field(
        default=None, description="Release name; else the application's name."
    )
    value_files: Listed[str] = Field(default=(), description="Value files, relative to the chart.")
    ignore_missing_value_files: bool = Field(
        default=False, description="Go on without a value file that isn't there."
    )
    values_object: Mapping[str, JsonValue] = Field(default_factory=dict, description="Values.")
    parameters: Listed[HelmParameter] = Field(default=(), description="Values by path.")
    skip_crds: bool = Field(default=False, description="Leave the chart's CRDs out.")


class Backoff(Model):
    """How long Argo CD waits between tries of a sync."""

    duration: scalars.Duration = Field(default="5s", description="Before the first retry.")
    factor: Annotated[int, Field(ge=1)] = Field(default=2, description="Growth from try to try.")
    max_duration: scalars.Duration = Field(default="3m", description="Longest wait.")


class Retry(Model):
    """How often a failed sync is tried again."""

    limit: Annotated[int, Field(ge=-1)] = Field(
        default=5, description="Number of retries; -1 is without end, 0 none."
    )
    backoff: Backoff = Field(default_factory=Backoff, description="Waits between them.")


class Sync(Model):
    """Sync policy of an application
    (https://argo-cd.readthedocs.io/en/stable/user-guide/auto_sync/)."""

    automated: bool = Field(default=True, description="Deploy each new commit by itself.")
    prune: bool = Field(default=True, description="Automated: delete what is gone from Git.")
    self_heal: bool = Field(default=True, description="Automated: undo changes made by hand.")
    retry: Retry = Field(default_factory=Retry, description="Retries of a failed sync.")
    options: Listed[scalars.SyncOption] = Field(
        default=("CreateNamespace=true",), description="Argo CD's sync options."
    )


class IgnoreDifference(Model):
    """Fields that may differ from Git
    (https://argo-cd.readthedocs.io/en/stable/user-guide/diffing/)."""

    group: scalars.Group = Field(default="", description="API group of the resources.")
    kind: scalars.Kind = Field(description="Kind of the resources.", examples=["Deployment"])
    name: str | None = Field(default=None, description="Only the resource of this name.")
    namespace: str | None = Field(default=None, description="Only in this namespace.")
    json_pointers: Listed[str] = Field(default=(), description="Fields, as JSON pointers.")
    jq_path_expressions: Listed[str] = Field(default=(), description="Fields, as jq paths.")
    managed_fields_managers: Listed[str] = Field(
        default=(), description="Fields owned by these field managers."
    )

    @classmethod
    def keys_wrong(cls, given: frozenset[str]) -> Iterator[Wrong]:
        if given.isdisjoint({"jsonPointers", "jqPathExpressions", "managedFieldsManagers"}):
            yield Wrong(
                at=(),
                found="no fields to ignore",
                right="jsonPointers, jqPathExpressions or managedFieldsManagers",
            )


class Application(Model):
    """One application: a folder of a repository, deployed to a namespace. At most one of
    `kustomize`, `directory` and `helm`; with none, Argo CD finds out what the folder holds."""

    repository: scalars.RepositoryKey = Field(
        description="A name under `repositories`; may be left out if there is only one."
    )
    revision: scalars.Revision = Field(
        default="HEAD", description="Branch, tag or commit to deploy.", examples=["main"]
    )
    path: scalars.Folder = Field(
        description="Folder inside the repository.", examples=["kustomize/dev"]
    )
    namespace: scalars.Namespace = Field(
        description="Namespace to deploy to; one of the project's.",
        examples=["microservices-demo-dev"],
    )
    kustomize: Kustomize | None = Field(default=None, description="Kustomize options.")
    directory: Directory | None = Field(default=None, description="Plain manifests' options.")
    helm: Helm | None = Field(default=None, description="Helm options.")
    sync: Sync = Field(default_factory=Sync, description="Sync policy.")
    ignore_differences: Listed[IgnoreDifference] = Field(
        default=(), description="Fields that may differ from Git."
    )
    finalizer: bool = Field(
        default=True, description="Deleting the application deletes what it deployed."
    )

    @classmethod
    def keys_wrong(cls, given: frozenset[str]) -> Iterator[Wrong]:
        yield from one_of(given, "kustomize", "directory", "helm", required=False)


class AppOfApps(Model):
    """Projects and applications come from a folder of the repository in place of the stack file:
    what is in `<path>/bootstrap` is deployed into Argo CD's own namespace, and brings the rest.
    They are added and removed by commits alone. Stands in place of `project` and `applications`.
    """

    repository: scalars.RepositoryKey = Field(
        description="A name under `repositories`; may be left out if there is only one."
    )
    revision: scalars.Revision = Field(
        default="HEAD", description="Branch, tag or commit to follow.", examples=["main"]
    )
    path: scalars.Folder = Field(
        description="The environment's folder; without it `argocd/<environment>`.",
        examples=["argocd/dev"],
    )


class DigitalOcean(Model):
    """The account."""

    token: scalars.Token = Field(
        description="API token of the account; else the environment's DIGITALOCEAN_TOKEN."
    )
    api_endpoint: scalars.ApiEndpoint = Field(
        default="https://api.digitalocean.com",
        description="Base URL of the API; else the environment's DIGITALOCEAN_API_URL.",
    )


class Adopt(Model):
    """What is there already and is to be taken into the stack's state; `bin/platform recover` tells it."""

    cluster: scalars.Uuid | None = Field(default=None, description="The cluster.")
    vpc: scalars.Uuid | None = Field(default=None, description="The VPC that the stack makes.")
    node_pools: Mapping[scalars.PoolName, scalars.Uuid] = Field(
        default_factory=dict, description="Node pools besides the first, by name."
    )
    admin_password: bool = Field(
        default=False, description="The Secret with Argo CD's generated admin password."
    )
    registry: bool = Field(default=False, description="The registry that the stack makes.")


class Settings(Model):
    """All settings of one stack, checked. Immutable."""

    stack: str = Field(description="Name of the stack.")
    digitalocean: DigitalOcean = Field(description="The account.")
    environment: scalars.Environment = Field(description="Which defaults apply.", examples=["dev"])
    cluster: Cluster = Field(description="The DOKS cluster.")
    registry: Registry = Field(description="The team's container registry.")
    argocd: Argocd = Field(description="Argo CD.")
    repositories: Annotated[Mapping[scalars.Name, Repository], Field(min_length=1)] = Field(
        description="Git repositories by a name of your choice; at least one."
    )
    project: Project | None = Field(
        default=None, description="Argo CD's project of this stack; required unless `appOfApps`."
    )
    applications: Mapping[scalars.Name, Application] = Field(
        default_factory=dict, description="Applications by name."
    )
    app_of_apps: AppOfApps | None = Field(
        default=None, description="In place of `project` and `applications`: they come from Git."
    )
    github: GitHub | None = Field(
        default=None, description="What stands around the repository on GitHub, if it is there."
    )
    adopt: Adopt | None = Field(
        default=None, description="What exists, for one run that takes it over."
    )

    @classmethod
    def keys_wrong(cls, given: frozenset[str]) -> Iterator[Wrong]:
        declared = sorted(given & {"project", "applications"})
        if "appOfApps" not in given:
            if "project" not in given:
                yield Wrong(
                    at=("project",),
                    found="nothing",
                    right=f"an object with the keys {', '.join(_keys(Project))}; or appOfApps, if "
                    "projects and applications are to come from Git",
                )
        elif declared:
            yield Wrong(
                at=("appOfApps",),
                found=f"an object, beside {' and '.join(declared)}",
                right="either appOfApps, or project and applications: what comes from Git must "
                "have no second owner",
            )


def _keys(model: type[Model]) -> tuple[str, ...]:
    return tuple(field.alias or name for name, field in model.model_fields.items())
