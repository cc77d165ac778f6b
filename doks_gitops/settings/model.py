"""The settings of one stack, and the rules for their values.

`settings.parse` returns `Settings`. Field names are the keys of the stack file in snake_case. The
descriptions, types and defaults here are the source of docs/config.md and of the JSON schema.
Defaults that depend on the environment are in `defaults.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Annotated, ClassVar, Self

from pydantic import Field, JsonValue, PrivateAttr

from doks_gitops.environments import Environment
from doks_gitops.settings import cluster_options, scalars
from doks_gitops.settings.base import DefaultFrom, ListOf, Model, Paths, Sets, Violation, one_of
from doks_gitops.settings.github import LARGEST_ID, GitHub
from doks_gitops.settings.scalars import is_ssh_url

NAMESPACE = "doks-gitops"
"""Namespace of the keys in a stack file: the project's name in Pulumi.yaml."""

NOT_SET: Mapping[str, str] = MappingProxyType(
    {
        "kubeconfig_expire_seconds": "limits the credentials that the provider stores in the state "
        "and that nothing uses: the program's kubeconfig has the API token",
        "registry_integration": "comes from `registry`: the program lets the cluster pull from it",
    }
)
"""Arguments of the provider's cluster that no setting has, with the reason."""

NODES = 512
"""Most nodes of a DOKS cluster (https://docs.digitalocean.com/products/kubernetes/details/limits/)."""

INT32 = 2**31 - 1
"""Largest number of replicas and retries: Kubernetes keeps them in 32 bits."""

Nodes = Annotated[int, Field(ge=1, le=NODES)]


class Maintenance(Model):
    """When DigitalOcean may upgrade the cluster: a window of four hours, in UTC."""

    day: scalars.Day = Field(default="any", description="Day of the window.", examples=["sunday"])
    start_time: scalars.StartTime = Field(default="04:00", description="Start of the window, UTC.")


class Vpc(Model):
    """The private network of the cluster."""

    id: scalars.Uuid | None = Field(default=None, description="An existing VPC to join.")
    ip_range: scalars.VpcRange | None = Field(
        default=None,
        description="Range of a VPC to create, named after the cluster.",
        examples=["10.10.0.0/20"],
    )

    @classmethod
    def key_violations(cls, keys: frozenset[str]) -> Iterator[Violation]:
        yield from one_of(keys, "id", "ipRange")


class Autoscale(Model):
    """Bounds of the number of nodes for DOKS's cluster autoscaler."""

    min: Nodes = Field(description="Fewest nodes.", examples=[1])
    max: Nodes = Field(description="Most nodes.", examples=[5])

    def violations(self) -> Iterator[Violation]:
        if self.min > self.max:
            yield Violation(
                at=("min",),
                got=f"{self.min}, above max {self.max}",
                expected="at most max",
            )


class Taint(Model):
    """Keeps pods off a pool's nodes unless they tolerate it."""

    # A node does not join its cluster with two taints of one key and effect.
    IDENTITY: ClassVar = ("key", "effect")

    key: scalars.LabelKey = Field(description="Key of the taint.")
    value: scalars.LabelValue = Field(default="", description="Value of the taint.")
    effect: scalars.Effect = Field(description="What happens to pods that don't tolerate it.")


class NodePool(Model):
    """Worker nodes of one size. Give `count` or `autoscale`, not both."""

    IDENTITY: ClassVar = ("name",)

    name: Annotated[scalars.PoolName, Sets("name", replaces="pool")] = Field(
        description="Name, unique in the cluster. The first pool is renamed in place.",
        examples=["default"],
    )
    size: Annotated[scalars.Size, Sets("size", replaces="pool")] = Field(
        description="Droplet size of its nodes; `doctl kubernetes options sizes` lists them.",
        examples=["s-2vcpu-4gb"],
    )
    count: Annotated[Nodes | None, Sets("node_count")] = Field(
        default=None, description="Number of nodes, if fixed.", examples=[2]
    )
    autoscale: Annotated[Autoscale | None, Sets("auto_scale", "min_nodes", "max_nodes")] = Field(
        default=None, description="Bounds of the number of nodes, if it follows the load."
    )
    labels: Annotated[Mapping[scalars.PoolLabelKey, scalars.LabelValue], Sets("labels")] = Field(
        default_factory=dict, description="Kubernetes labels of its nodes."
    )
    taints: Annotated[ListOf[Taint], Sets("taints")] = Field(
        default=(), description="Kubernetes taints of its nodes."
    )
    tags: Annotated[ListOf[scalars.Tag], Sets("tags")] = Field(
        default=(), description="DigitalOcean tags of its Droplets."
    )
    gpu_partition_mode: Annotated[
        scalars.PartitionMode | None, Sets("gpu_partition_mode", replaces="pool")
    ] = Field(default=None, description="How AMD GPUs are divided. Default: not at all.")

    CASELESS: ClassVar = ("tags",)

    @classmethod
    def key_violations(cls, keys: frozenset[str]) -> Iterator[Violation]:
        yield from one_of(keys, "count", "autoscale")

    @property
    def fewest(self) -> int:
        """Fewest nodes of the pool."""
        if self.autoscale is not None:
            return self.autoscale.min
        return self.count or 0

    @property
    def repels_pods(self) -> bool:
        """Whether the taints keep all pods off that don't tolerate them."""
        return any(taint.effect != "PreferNoSchedule" for taint in self.taints)

    @property
    def most(self) -> int:
        """Most nodes of the pool."""
        if self.autoscale is not None:
            return self.autoscale.max
        return self.count or 0


class Cluster(Model):
    """The DOKS cluster."""

    name: Annotated[scalars.ClusterName, Sets("name")] = Field(
        description="Name, unique in the account; kubectl's context is `do-<region>-<name>`.",
        examples=["microservices-demo-dev"],
    )
    region: Annotated[scalars.Region, Sets("region", replaces="cluster")] = Field(
        description="Region.", examples=["nyc1"]
    )
    version: Annotated[scalars.VersionPrefix, Sets("version")] = Field(
        description="Kubernetes version. A minor version means its newest patch when the cluster "
        "is created. A running cluster of this version is not changed; a newer minor version here "
        "upgrades it. An older one is refused.",
        examples=["1.34"],
    )
    upgrade: bool = Field(
        default=False,
        description="Upgrade a running cluster to the newest offered patch of `version`.",
    )
    ignored_checks: ListOf[scalars.LintCheck] = Field(
        default=(),
        description="Checks of DigitalOcean's cluster linter whose errors do not stop an upgrade. "
        "Before an upgrade, the program runs the linter and shows what it finds.",
    )
    high_availability: Annotated[bool, Sets("ha")] = Field(
        default=False, description="A replicated control plane. It can't be switched off again."
    )
    auto_upgrade: Annotated[bool, Sets("auto_upgrade")] = Field(
        default=False,
        description="DigitalOcean installs patch releases in the maintenance window.",
    )
    surge_upgrade: Annotated[bool, Sets("surge_upgrade")] = Field(
        default=True, description="An upgrade adds new nodes before it removes old ones."
    )
    maintenance: Annotated[Maintenance | None, Sets("maintenance_policy", stays=True)] = Field(
        default=None, description="Maintenance window. Default: DigitalOcean chooses one."
    )
    vpc: Annotated[Vpc | None, Sets("vpc_uuid", replaces="cluster", stays=True)] = Field(
        default=None, description="Private network. Default: the region's default VPC."
    )
    network: Annotated[
        cluster_options.Network | None,
        Sets("cluster_subnet", "service_subnet", replaces="cluster", stays=True),
    ] = Field(
        default=None,
        description="Networks of the pods and services of a new cluster. Another value for a "
        "running cluster is refused without `replace`.",
    )
    worker_subnet: Annotated[
        scalars.Uuid | None, Sets("worker_subnet_uuid", replaces="cluster", stays=True)
    ] = Field(
        default=None,
        description="Subnet of `vpc.id` for the nodes. Default: the default subnet of the VPC.",
    )
    isolated_workers: Annotated[bool, Sets("isolated_workers", replaces="cluster")] = Field(
        default=False,
        description="Nodes without public addresses. `vpc.id` must have a NAT gateway.",
    )
    replace: bool = Field(
        default=False,
        description="Let `network`, `workerSubnet` and `isolatedWorkers` replace the running "
        "cluster. Without it, another value for a running cluster is refused.",
    )
    control_plane_firewall: Annotated[
        cluster_options.ControlPlaneFirewall | None,
        Sets("control_plane_firewall", stays=True),
    ] = Field(
        default=None, description="Firewall of the Kubernetes API. Default: everybody reaches it."
    )
    sso: Annotated[cluster_options.Sso | None, Sets("ssos", stays=True)] = Field(
        default=None, description="Single sign-on to the cluster."
    )
    autoscaler: Annotated[
        cluster_options.Autoscaler | None, Sets("cluster_autoscaler_configurations")
    ] = Field(default=None, description="Settings of the cluster autoscaler.")
    features: Annotated[
        cluster_options.Features,
        Sets(*cluster_options.Features.model_fields, stays=True),
    ] = Field(
        default_factory=cluster_options.Features,
        description="Parts of DOKS that are switched on or off.",
    )
    tags: Annotated[ListOf[scalars.Tag], Sets("tags")] = Field(
        default=(), description="DigitalOcean tags of the cluster."
    )
    destroy_associated_resources: Annotated[bool, Sets("destroy_all_associated_resources")] = Field(
        default=False,
        description="Destroying the cluster also destroys the load balancers, volumes and "
        "snapshots that its applications created.",
    )
    protect: bool = Field(
        default=False, description="`pulumi destroy` refuses to delete the cluster."
    )
    node_pools: Annotated[ListOf[NodePool], Field(min_length=1), Sets("node_pool")] = Field(
        description="Node pools, at least one. The first is the cluster's default pool: what "
        "replaces it replaces the cluster."
    )

    CASELESS: ClassVar = ("tags",)

    @property
    def creates_vpc(self) -> bool:
        """Whether the stack creates a VPC, which has the name of the cluster."""
        return self.vpc is not None and self.vpc.ip_range is not None

    def violations(self) -> Iterator[Violation]:
        if self.auto_upgrade and self.version.count(".") > 1:
            minor = ".".join(self.version.split(".")[:2])
            yield Violation(
                at=("version",),
                got=f'"{self.version}", with autoUpgrade: true',
                expected="a minor version: automatic upgrades don't stay at one patch version",
                example=minor,
            )
        yield from self._vpc_violations()
        if self.autoscaler is not None and not any(pool.autoscale for pool in self.node_pools):
            yield Violation(
                at=("autoscaler",),
                got="an object, but no node pool with autoscale",
                expected="autoscale in a node pool, or no autoscaler",
            )
        if self.fewest_nodes > NODES:
            yield Violation(
                at=("nodePools",),
                got=f"{self.fewest_nodes} nodes in all pools",
                expected=f"at most {NODES} nodes in a cluster",
            )

    def _vpc_violations(self) -> Iterator[Violation]:
        if self.vpc is not None and self.vpc.id is not None:
            return
        if self.worker_subnet is not None:
            yield Violation(
                at=("workerSubnet",),
                got=f'"{self.worker_subnet}", without vpc.id',
                expected="a subnet of the VPC that vpc.id names",
            )
        if self.isolated_workers:
            yield Violation(
                at=("isolatedWorkers",),
                got="true, without vpc.id",
                expected="vpc.id: a VPC that has a NAT gateway already",
                example="false",
            )

    @property
    def fewest_nodes(self) -> int:
        """Fewest nodes of all pools together."""
        return sum(pool.fewest for pool in self.node_pools)

    @property
    def most_nodes(self) -> int:
        """Most nodes that the cluster can have."""
        return min(NODES, sum(pool.most for pool in self.node_pools))


class Registry(Model):
    """The team's DigitalOcean container registry, which the cluster pulls images from."""

    name: scalars.RegistryName = Field(
        description="Name; images are `registry.digitalocean.com/<name>/<image>`.",
        examples=["microservices-demo"],
    )
    create: bool = Field(
        default=False,
        description="This stack creates and owns the registry; one stack at most. Otherwise the "
        "registry must exist.",
    )
    tier: scalars.Tier = Field(
        default="basic", description="Subscription, if this stack creates the registry."
    )
    region: scalars.Region | None = Field(
        default=None,
        description="Region of the images, if this stack creates the registry. Default: "
        "DigitalOcean chooses one.",
        examples=["nyc3"],
    )


class Chart(Model):
    """Source of Argo CD's Helm chart: a repository, or a path on this machine."""

    repository: scalars.ChartRepository = Field(
        default="https://argoproj.github.io/argo-helm",
        description="Chart repository, or `oci://` folder of a registry, such as a mirror.",
    )
    name: scalars.ChartName = Field(default="argo-cd", description="Name of the chart.")
    version: scalars.ChartVersion | None = Field(
        default=None, description="Exact version; required unless `path` is given."
    )
    path: scalars.LocalPath | None = Field(
        default=None, description="Folder or .tgz file of the chart, instead of a repository."
    )

    @classmethod
    def key_violations(cls, keys: frozenset[str]) -> Iterator[Violation]:
        if "path" not in keys:
            if "version" not in keys:
                yield Violation(
                    at=("version",),
                    got="nothing",
                    expected="one exact chart version, such as 1.2.3",
                    example="VERSION",
                )
            return
        for key in ("repository", "name", "version"):
            if key in keys:
                yield Violation(
                    at=(key,), got="a value beside path", expected="path alone, or no path"
                )


class Admin(Model):
    """Argo CD's built-in user `admin`."""

    enabled: bool = Field(default=True, description="Whether the user exists.")
    password: scalars.AdminPassword | None = Field(
        default=None,
        description="Password. Default: a generated one, which is stored in the cluster.",
    )
    password_set_at: scalars.Rfc3339 | None = Field(
        default=None,
        description="Time of the last password change; sessions from before are ended.",
        examples=["2026-01-31T12:00:00Z"],
    )

    @classmethod
    def key_violations(cls, keys: frozenset[str]) -> Iterator[Violation]:
        if "password" in keys and "passwordSetAt" not in keys:
            yield Violation(
                at=("passwordSetAt",),
                got="nothing, but a password",
                expected="the time at which the password was set, in RFC 3339 format",
                example="2026-01-31T12:00:00Z",
            )
        if "passwordSetAt" in keys and "password" not in keys:
            yield Violation(
                at=("passwordSetAt",),
                got="a time, but no password",
                expected="neither, or both",
            )

    def violations(self) -> Iterator[Violation]:
        if not self.enabled and self.password is not None:
            yield Violation(
                at=("password",),
                got="a secret, but enabled: false",
                expected="no password for a disabled user, or enabled: true",
            )


class Argocd(Model):
    """Argo CD, installed by its Helm chart."""

    namespace: scalars.OwnNamespace = Field(default="argocd", description="Namespace of Argo CD.")
    chart: Chart = Field(description="Helm chart.")
    high_availability: bool = Field(
        default=False,
        description="Several replicas of Argo CD's parts, and Redis with failover. Needs at least "
        "3 nodes without taints (or `redis-ha.tolerations` in `values`).",
    )
    url: scalars.HostUrl | None = Field(
        default=None,
        description="Address of Argo CD for its users. Default: the stack's outputs have a "
        "port-forward command.",
        examples=["https://argocd.example.com"],
    )
    values: Mapping[str, JsonValue] = Field(
        default_factory=dict, description="Chart values, merged deeply over the program's values."
    )
    admin: Admin = Field(default_factory=Admin, description="The user `admin`.")
    webhook_secret: scalars.WebhookSecret | None = Field(
        default=None,
        description="Secret that GitHub signs its webhooks with. Without it, Argo CD accepts "
        "unsigned ones.",
    )
    managed_by: scalars.Manager = Field(
        default="pulumi",
        description="Owner of Argo CD's version and values. `git`: the stack only installs it, and "
        "the Application `argo-cd` of `appOfApps` upgrades it.",
    )


class GithubApp(Model):
    """A GitHub App with read access to the repository."""

    id: Annotated[int, Field(ge=1, le=LARGEST_ID)] = Field(description="App id.", examples=[12345])
    installation_id: Annotated[int, Field(ge=1, le=LARGEST_ID)] = Field(
        description="Id of the app's installation in the organization.", examples=[67890]
    )
    private_key: scalars.PrivateKey = Field(description="The app's private key, PEM.")


class Credentials(Model):
    """Credentials for a private repository; exactly one kind."""

    username: scalars.Line = Field(default="git", description="User name, with `password`.")
    password: scalars.Password | None = Field(
        default=None, description="Password or access token, for an https URL."
    )
    ssh_private_key: scalars.PrivateKey | None = Field(
        default=None, description="Deploy key (PEM, without a passphrase), for an SSH URL."
    )
    github_app: GithubApp | None = Field(default=None, description="GitHub App, for an https URL.")

    @classmethod
    def key_violations(cls, keys: frozenset[str]) -> Iterator[Violation]:
        kinds = ("password", "sshPrivateKey", "githubApp")
        if "username" in keys and keys.isdisjoint(kinds):
            yield Violation(
                at=("password",),
                got="nothing, but a username",
                expected="the user's password or access token, as a secret",
            )
            return
        yield from one_of(keys, *kinds)
        if "username" in keys and "password" not in keys:
            yield Violation(
                at=("username",), got="a name, but no password", expected="username with password"
            )


class Repository(Model):
    """A Git repository that Argo CD reads."""

    url: scalars.RepositoryUrl = Field(
        description="URL for Git.", examples=["https://github.com/YOUR-ORG/YOUR-REPO"]
    )
    credentials: Credentials | None = Field(
        default=None, description="Credentials, unless the repository is public."
    )

    def violations(self) -> Iterator[Violation]:
        if self.credentials is None:
            return
        ssh_key = self.credentials.ssh_private_key is not None
        if ssh_key and not is_ssh_url(self.url):
            yield Violation(
                at=("url",),
                got=f'"{self.url}", with an sshPrivateKey',
                expected="an SSH URL (git@host:path), or a password or githubApp as credentials",
            )
        if not ssh_key and is_ssh_url(self.url):
            kind = "a githubApp" if self.credentials.github_app else "a password"
            yield Violation(
                at=("url",),
                got=f'"{self.url}", with {kind}',
                expected="an https:// URL, or an sshPrivateKey as credentials",
            )


class ResourceKind(Model):
    """A kind of Kubernetes resource."""

    group: scalars.Group = Field(default="", description='API group; "" is the core group.')
    kind: scalars.Kind = Field(description="Kind.", examples=["Namespace"])


class Project(Model):
    """Argo CD's project of this stack: the repositories and namespaces of its applications."""

    name: Annotated[scalars.Name, DefaultFrom("the environment")] = Field(
        description="Name; applications are `<project>-<name>`."
    )
    description: scalars.Description = Field(
        default="", description="Description, shown by Argo CD."
    )
    namespaces: Annotated[ListOf[scalars.NamespacePattern], Field(min_length=1)] = Field(
        description="Namespaces of the cluster that the applications may deploy to."
    )
    cluster_resources: ListOf[ResourceKind] = Field(
        default=(ResourceKind(group="", kind="Namespace"),),
        description="Cluster-scoped kinds that the applications may create.",
    )
    namespace_resources: ListOf[ResourceKind] = Field(
        default=(),
        description="Namespaced kinds that the applications may create. Default: all.",
    )
    source_repos: ListOf[scalars.RepositoryPattern] = Field(
        default=(),
        description="More repositories that the applications may use, besides `repositories`.",
    )
    allow_any: bool = Field(default=False, description="Allow patterns such as `*` in the lists.")

    def violations(self) -> Iterator[Violation]:
        if self.allow_any:
            return
        lists: dict[str, tuple[str, ...]] = {
            "namespaces": self.namespaces,
            "clusterResources": tuple(f"{x.group}/{x.kind}" for x in self.cluster_resources),
            "namespaceResources": tuple(f"{x.group}/{x.kind}" for x in self.namespace_resources),
            "sourceRepos": self.source_repos,
        }
        for key, entries in lists.items():
            # In a URL, `?` and `[` are no patterns.
            pattern_characters = "*{" if key == "sourceRepos" else "*?[!"
            for index, entry in enumerate(entries):
                is_excluded = entry.startswith("!")
                if is_excluded or any(character in entry for character in pattern_characters):
                    yield Violation(
                        at=(key, index),
                        got=f'"{entry}", without allowAny',
                        expected="what is really needed, by name; or allowAny: true in the project",
                    )


class Replicas(Model):
    """Number of replicas of a workload, for Kustomize."""

    IDENTITY: ClassVar = ("name",)

    name: scalars.Name = Field(description="Name of the workload.")
    count: Annotated[int, Field(ge=0, le=INT32)] = Field(description="Number of replicas.")


class Kustomize(Model):
    """Kustomize options of Argo CD
    (https://argo-cd.readthedocs.io/en/stable/user-guide/kustomize/)."""

    name_prefix: scalars.NamePrefix | None = Field(
        default=None, description="Prefix of every name."
    )
    name_suffix: scalars.NameSuffix | None = Field(
        default=None, description="Suffix of every name."
    )
    images: ListOf[scalars.Image] = Field(
        default=(), description="Image overrides, `image=newname:tag` or `image:tag`."
    )
    replicas: ListOf[Replicas] = Field(default=(), description="Replicas of workloads.")
    components: ListOf[scalars.Line] = Field(
        default=(), description="Kustomize components to add, relative to the folder."
    )
    common_labels: Mapping[scalars.LabelKey, scalars.LabelValue] = Field(
        default_factory=dict, description="Labels of every object."
    )
    common_annotations: Mapping[scalars.LabelKey, scalars.FreeText] = Field(
        default_factory=dict, description="Annotations of every object."
    )


class Directory(Model):
    """Options for a folder of plain manifests
    (https://argo-cd.readthedocs.io/en/stable/user-guide/directory/)."""

    recurse: bool = Field(default=False, description="Include subfolders.")
    include: scalars.Line | None = Field(
        default=None, description="Only files that match this glob pattern."
    )
    exclude: scalars.Line | None = Field(
        default=None, description="Without files that match this glob pattern."
    )


class HelmParameter(Model):
    """A Helm value, set by its path."""

    IDENTITY: ClassVar = ("name",)

    name: scalars.Line = Field(description="Path of the value, such as image.tag.")
    value: scalars.FreeText = Field(description="The value, as text.")
    force_string: bool = Field(
        default=False, description="The value is text, even if it looks like a number."
    )


class Helm(Model):
    """Helm options of a chart that is in Git
    (https://argo-cd.readthedocs.io/en/stable/user-guide/helm/)."""

    release_name: scalars.ReleaseName | None = Field(
        default=None, description="Release name. Default: the application's name."
    )
    value_files: ListOf[scalars.Line] = Field(
        default=(), description="Value files, relative to the chart."
    )
    ignore_missing_value_files: bool = Field(
        default=False, description="Ignore value files that don't exist."
    )
    values_object: Mapping[str, JsonValue] = Field(default_factory=dict, description="Values.")
    parameters: ListOf[HelmParameter] = Field(default=(), description="Values, set by their paths.")
    skip_crds: bool = Field(default=False, description="Don't install the chart's CRDs.")


class Backoff(Model):
    """Delays between the retries of a sync."""

    duration: scalars.Duration = Field(default="5s", description="Delay before the first retry.")
    factor: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=2, description="Growth from retry to retry."
    )
    max_duration: scalars.Duration = Field(default="3m", description="Longest delay.")


class Retry(Model):
    """Retries of a failed sync."""

    limit: Annotated[int, Field(ge=-1, le=INT32)] = Field(
        default=5, description="Number of retries. -1: without limit; 0: none."
    )
    backoff: Backoff = Field(default_factory=Backoff, description="Delays between retries.")


class Sync(Model):
    """Sync policy of an application
    (https://argo-cd.readthedocs.io/en/stable/user-guide/auto_sync/)."""

    automated: bool = Field(default=True, description="Deploy every new commit.")
    prune: bool = Field(default=True, description="Delete objects that Git no longer has.")
    self_heal: bool = Field(default=True, description="Revert manual changes in the cluster.")
    retry: Retry = Field(default_factory=Retry, description="Retries of a failed sync.")
    options: ListOf[scalars.SyncOption] = Field(
        default=("CreateNamespace=true",), description="Argo CD's sync options."
    )


class IgnoreDifference(Model):
    """Fields that Argo CD does not compare with Git
    (https://argo-cd.readthedocs.io/en/stable/user-guide/diffing/)."""

    group: scalars.Group = Field(default="", description="API group of the resources.")
    kind: scalars.Kind = Field(description="Kind of the resources.", examples=["Deployment"])
    name: scalars.Line | None = Field(default=None, description="Name. Default: any.")
    namespace: scalars.Line | None = Field(default=None, description="Namespace. Default: any.")
    json_pointers: ListOf[scalars.JsonPointer] = Field(
        default=(), description="Fields, as JSON pointers."
    )
    jq_path_expressions: ListOf[scalars.FreeText] = Field(
        default=(), description="Fields, as jq paths."
    )
    managed_fields_managers: ListOf[scalars.Line] = Field(
        default=(), description="Fields owned by these field managers."
    )

    @classmethod
    def key_violations(cls, keys: frozenset[str]) -> Iterator[Violation]:
        if keys.isdisjoint({"jsonPointers", "jqPathExpressions", "managedFieldsManagers"}):
            yield cls._nothing_to_ignore()

    def violations(self) -> Iterator[Violation]:
        if {"json_pointers", "jq_path_expressions", "managed_fields_managers"} & (
            self.model_fields_set
        ) and not (self.json_pointers or self.jq_path_expressions or self.managed_fields_managers):
            yield self._nothing_to_ignore()

    @staticmethod
    def _nothing_to_ignore() -> Violation:
        return Violation(
            at=(),
            got="no fields to ignore",
            expected="jsonPointers, jqPathExpressions or managedFieldsManagers",
        )


class Application(Model):
    """An application: a folder of a repository, deployed to a namespace. At most one of
    `kustomize`, `directory` and `helm`; without them, Argo CD detects the kind of the folder."""

    repository: Annotated[scalars.RepositoryKey, DefaultFrom("the only repository")] = Field(
        description="A name under `repositories`."
    )
    revision: scalars.Revision = Field(
        default="HEAD", description="Branch, tag or commit to deploy.", examples=["main"]
    )
    path: scalars.Folder = Field(
        description="Folder inside the repository.", examples=["kustomize/dev"]
    )
    namespace: scalars.Namespace = Field(
        description="Namespace to deploy to, which the project must allow.",
        examples=["microservices-demo-dev"],
    )
    kustomize: Kustomize | None = Field(default=None, description="Kustomize options.")
    directory: Directory | None = Field(
        default=None, description="Options of a folder of plain manifests."
    )
    helm: Helm | None = Field(default=None, description="Helm options.")
    sync: Sync = Field(default_factory=Sync, description="Sync policy.")
    ignore_differences: ListOf[IgnoreDifference] = Field(
        default=(), description="Fields that Argo CD does not compare with Git."
    )
    finalizer: bool = Field(
        default=True, description="Deleting the application deletes the objects that it deployed."
    )

    @classmethod
    def key_violations(cls, keys: frozenset[str]) -> Iterator[Violation]:
        yield from one_of(keys, "kustomize", "directory", "helm", required=False)


class AppOfApps(Model):
    """Projects and applications come from a folder of a repository instead of the stack file, so
    that commits alone add and remove them. Argo CD deploys `<path>/bootstrap` to its own namespace,
    which defines the rest. Replaces `project` and `applications`.
    """

    repository: Annotated[scalars.RepositoryKey, DefaultFrom("the only repository")] = Field(
        description="A name under `repositories`."
    )
    revision: scalars.Revision = Field(
        default="HEAD", description="Branch, tag or commit to follow.", examples=["main"]
    )
    path: Annotated[scalars.Folder, DefaultFrom("`argocd/<environment>`")] = Field(
        description="The environment's folder.", examples=["argocd/dev"]
    )


class DigitalOcean(Model):
    """The DigitalOcean account."""

    token: scalars.Token = Field(
        description="API token. Default: the environment variable DIGITALOCEAN_TOKEN."
    )
    api_endpoint: scalars.ApiEndpoint = Field(
        default="https://api.digitalocean.com",
        description="Base URL of the API. The environment variable DIGITALOCEAN_API_URL replaces "
        "the default.",
    )


class Adopt(Model):
    """Existing resources to import into the stack's state; `bin/platform recover` sets them."""

    cluster: scalars.Uuid | None = Field(default=None, description="The cluster.")
    vpc: scalars.Uuid | None = Field(default=None, description="The stack's own VPC.")
    node_pools: Mapping[scalars.PoolName, scalars.Uuid] = Field(
        default_factory=dict, description="Node pools except the first, by name."
    )
    admin_password: bool = Field(
        default=False, description="The Secret with Argo CD's generated admin password."
    )
    registry: bool = Field(default=False, description="The stack's own registry.")
    mark: str | None = Field(
        default=None, description="Mark of the cluster for a state that has none yet."
    )


class Settings(Model):
    """All settings of one stack."""

    stack: str = Field(description="Name of the stack.")
    digitalocean: DigitalOcean = Field(description="The account.")
    environment: Annotated[Environment, DefaultFrom("the stack's name")] = Field(
        description="Environment, which some defaults depend on.", examples=["dev"]
    )
    cluster: Cluster = Field(description="The DOKS cluster.")
    registry: Registry = Field(description="The team's container registry.")
    argocd: Argocd = Field(description="Argo CD.")
    repositories: Annotated[Mapping[scalars.Name, Repository], Field(min_length=1)] = Field(
        description="Git repositories by a name of your choice, at least one."
    )
    project: Project | None = Field(
        default=None, description="Argo CD's project of this stack; required unless `appOfApps`."
    )
    applications: Mapping[scalars.Name, Application] = Field(
        default_factory=dict, description="Applications by name."
    )
    app_of_apps: AppOfApps | None = Field(
        default=None, description="Projects and applications come from Git instead."
    )
    github: GitHub | None = Field(default=None, description="The repository's settings on GitHub.")
    adopt: Adopt | None = Field(default=None, description="Existing resources to import.")
    _encrypted: Paths = PrivateAttr(default=frozenset())

    @property
    def encrypted(self) -> Paths:
        """Paths, in the stack file's spelling, of the encrypted values that have no secret type and
        go into chart values or Applications. They become secret outputs."""
        return self._encrypted

    def with_encrypted(self, paths: Paths) -> Self:
        """These settings with the `encrypted` paths."""
        settings = self.model_copy()
        settings._encrypted = paths
        return settings

    @classmethod
    def key_violations(cls, keys: frozenset[str]) -> Iterator[Violation]:
        declared = sorted(keys & {"project", "applications"})
        if "appOfApps" not in keys:
            if "project" not in keys:
                yield Violation(
                    at=("project",),
                    got="nothing",
                    expected=f"an object with the keys {', '.join(_keys(Project))}; or appOfApps, "
                    "if projects and applications come from Git",
                )
        elif declared:
            yield Violation(
                at=("appOfApps",),
                got=f"an object, beside {' and '.join(declared)}",
                expected="either appOfApps, or project and applications: what comes from Git must "
                "have no second owner",
            )


def _keys(model: type[Model]) -> tuple[str, ...]:
    return tuple(field.alias or name for name, field in model.model_fields.items())
