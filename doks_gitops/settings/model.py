"""The settings of one stack, and the rules for their values.

`settings.parse` returns `Settings`. Field names are the keys of the stack file in snake_case. The
descriptions, types and defaults here are the source of docs/config.md and of the JSON schema.
Defaults that depend on the environment are in `defaults.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Annotated, ClassVar, Self

from pydantic import Field, JsonValue, PrivateAttr, SecretStr

from doks_gitops.environments import Environment
from doks_gitops.settings import cluster_options, cron, scalars, sealing_key, ssh_key
from doks_gitops.settings.base import (
    DefaultFrom,
    ListOf,
    Model,
    Path,
    Paths,
    Sets,
    Violation,
    one_of,
)
from doks_gitops.settings.github import LARGEST_ID, GitHub
from doks_gitops.settings.pull_requests import PullRequests
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
        description="Range of a VPC to create, named after the cluster. It stays in the stack file "
        "while the cluster is in the VPC.",
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
        description="Node pools, at least one. The first one is created together with the cluster "
        "and belongs to it: what replaces it replaces the cluster. After that, their order has no "
        "effect."
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
        "3 nodes without taints (or `redis-ha.tolerations` in `values`; Redis does not inherit "
        "those of `global`).",
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
    git_submodules: bool = Field(
        default=True, description="Fetch the submodules of Git repositories."
    )
    webhook_secret: scalars.WebhookSecret | None = Field(
        default=None,
        description="Secret that GitHub signs its webhooks with. Without it, Argo CD refuses "
        "GitHub's webhooks. Needed with `url` if `admin` is disabled.",
    )
    managed_by: scalars.Manager = Field(
        default="pulumi",
        description="Owner of Argo CD's version and values. `git`: the stack only installs it, and "
        "the Application `argo-cd` of `appOfApps` upgrades it.",
    )


class SealedSecretsChart(Chart):
    """Source of the Helm chart of Sealed Secrets: a repository, or a path on this machine."""

    repository: scalars.ChartRepository = Field(
        default="https://bitnami.github.io/sealed-secrets",
        description="Chart repository, or `oci://` folder of a registry, such as a mirror.",
    )
    name: scalars.ChartName = Field(default="sealed-secrets", description="Name of the chart.")


class SealingKey(Model):
    """A key pair, as `bin/platform sealing-keys` makes it."""

    certificate: scalars.SealingCertificate = Field(
        description="Certificate, PEM, with which anybody can seal. It is no secret."
    )
    private_key: scalars.PrivateKey = Field(description="Its RSA private key, PEM.")

    def violations(self) -> Iterator[Violation]:
        private_key = self.private_key.get_secret_value()
        if ssh_key.is_unknown(private_key):
            return
        try:
            belongs = sealing_key.belongs_to(private_key, self.certificate)
        except ValueError as error:
            yield Violation(("privateKey",), "an RSA private key", f"a secret that {error}")
            return
        if not belongs:
            yield Violation(
                ("privateKey",), "the private key of the certificate", "another private key"
            )


class SealedSecrets(Model):
    """Sealed Secrets: secrets lie in Git, encrypted, and its controller decrypts them in the
    cluster."""

    namespace: scalars.OwnNamespace = Field(
        default="sealed-secrets", description="Namespace of the controller and its keys."
    )
    chart: SealedSecretsChart = Field(description="Helm chart.")
    keys: Annotated[ListOf[SealingKey], Field(min_length=1)] = Field(
        description="Key pairs. `bin/platform seal` uses the newest certificate; what any of them "
        "has sealed can be read. Their order has no effect."
    )

    def violations(self) -> Iterator[Violation]:
        public_keys = [sealing_key.public_key(key.certificate) for key in self.keys]
        for index, public_key in enumerate(public_keys):
            first = public_keys.index(public_key)
            # The same item twice is a violation already.
            if self.keys[first] != self.keys[index]:
                yield Violation(
                    ("keys", index, "certificate"),
                    "each key pair once",
                    f"a certificate of the same key as in keys[{first}]",
                )


class GithubApp(Model):
    """A GitHub App with read access to the repository."""

    id: Annotated[int, Field(ge=1, le=LARGEST_ID)] = Field(description="App id.", examples=[12345])
    installation_id: Annotated[int, Field(ge=1, le=LARGEST_ID)] = Field(
        description="Id of the app's installation in the organization.", examples=[67890]
    )
    private_key: scalars.PrivateKey = Field(description="The app's private key, PEM.")

    def violations(self) -> Iterator[Violation]:
        private_key = self.private_key.get_secret_value()
        try:
            if not ssh_key.is_unknown(private_key):
                sealing_key.private_key(private_key)
        except ValueError as error:
            yield Violation(
                ("privateKey",),
                "the RSA key that GitHub makes for an App",
                f"a secret that {error}",
            )


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

    def violations(self) -> Iterator[Violation]:
        if self.ssh_private_key is None:
            return
        try:
            ssh_key.public_key(self.ssh_private_key.get_secret_value())
        except ValueError as error:
            yield Violation(
                at=("sshPrivateKey",),
                got=f"a key that {error}",
                expected="a key as `ssh-keygen -t ed25519 -N ''` makes it",
            )


class ReadAccess(Model):
    """The common keys of a repository and of a credential template."""

    url: scalars.RepositoryUrl = Field(
        description="URL, in the form of its `type`.",
        examples=["https://github.com/YOUR-ORG/YOUR-REPO"],
    )
    type: scalars.RepositoryType = Field(
        default="git",
        description="Kind of its content: `git`; `helm` for charts (`https://host/path` of a Helm "
        "repository, or a registry as `host/path`); `oci` for manifests or one chart in a registry "
        "(`oci://host/path`).",
    )
    plain_http: bool = Field(
        default=False,
        description="Read a registry without TLS; only at a loopback or private address.",
    )

    def _url_violations(self, repository: str) -> Iterator[Violation]:
        """`repository`: the URL of a repository that `url` stands for."""
        url, form = self.url, scalars.REPOSITORY_FORMS[self.type]
        if not form.is_valid(repository):
            types = [name for name, x in scalars.REPOSITORY_FORMS.items() if x.is_valid(repository)]
            yield Violation(
                at=("url",),
                got=f'"{url}", with type: {self.type}',
                expected=form.expected + (f"; or type: {' or '.join(types)}" if types else ""),
            )
        has_scheme = "://" in url and not url.startswith("oci://")
        if self.plain_http and (
            self.type == "git" or has_scheme or not scalars.is_private_registry(url)
        ):
            yield Violation(
                at=("plainHttp",),
                got=f'true, for "{url}"',
                expected="false; only a registry at a loopback or private address may be read "
                "without TLS",
                example="false",
            )

    def _credentials_violations(self, credentials: Credentials) -> Iterator[Violation]:
        if self.type != "git":
            if credentials.password is None:
                yield Violation(
                    at=("credentials",),
                    got=f"no password, with type: {self.type}",
                    expected="username and password: charts and registries take nothing else",
                )
            elif "username" not in credentials.model_fields_set:
                yield Violation(
                    at=("credentials", "username"),
                    got=f"nothing, but a password, with type: {self.type}",
                    expected="the user name that belongs to the password",
                )
            return
        url, ssh_key = self.url, credentials.ssh_private_key is not None
        if ssh_key and not is_ssh_url(url):
            yield Violation(
                at=("url",),
                got=f'"{url}", with an sshPrivateKey',
                expected="an SSH URL (git@host:path), or a password or githubApp as credentials",
            )
        if not ssh_key and is_ssh_url(url):
            kind = "a githubApp" if credentials.github_app else "a password"
            yield Violation(
                at=("url",),
                got=f'"{url}", with {kind}',
                expected="an https:// URL, or an sshPrivateKey as credentials",
            )


class Repository(ReadAccess):
    """A repository that Argo CD reads: Git, charts, or a registry."""

    credentials: Credentials | None = Field(
        default=None,
        description="Credentials, unless the repository is public or has a credential template.",
    )
    enable_lfs: bool = Field(
        default=False, description="Fetch the files that Git LFS keeps outside of Git."
    )

    def violations(self) -> Iterator[Violation]:
        yield from self._url_violations(self.url)
        if self.credentials is not None:
            yield from self._credentials_violations(self.credentials)
        if self.enable_lfs and self.type != "git":
            yield Violation(
                at=("enableLfs",),
                got=f"true, with type: {self.type}",
                expected="false: only Git has LFS",
                example="false",
            )


class CredentialTemplate(ReadAccess):
    """Credentials for all repositories below one URL, such as those of an organization. A
    repository uses the longest URL that its own begins with, unless it has credentials itself."""

    url: scalars.RepositoryPrefix = Field(
        description="Beginning of the repositories' URLs.",
        examples=["https://github.com/YOUR-ORG/"],
    )
    credentials: Credentials = Field(description="Credentials of all these repositories.")

    def violations(self) -> Iterator[Violation]:
        yield from self._url_violations(f"{self.url}x")
        yield from self._credentials_violations(self.credentials)


class ResourceKind(Model):
    """A kind of Kubernetes resource."""

    group: scalars.Group = Field(default="", description='API group; "" is the core group.')
    kind: scalars.Kind = Field(description="Kind.", examples=["Namespace"])


class JwtToken(Model):
    """A token of a project's role, as `argocd proj role create-token` prints it. Argo CD refuses
    the tokens that the project does not list."""

    IDENTITY: ClassVar = ("id",)

    id: scalars.Line = Field(description="Id of the token (`jti`).")
    iat: Annotated[int, Field(ge=1)] = Field(description="Time of issue, in seconds since 1970.")
    exp: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="Time of expiry, in seconds since 1970. Default: never."
    )

    def violations(self) -> Iterator[Violation]:
        if self.exp is not None and self.exp <= self.iat:
            yield Violation(("exp",), "a time after iat", f"{self.exp}, not after iat {self.iat}")


class Role(Model):
    """A role in the project (https://argo-cd.readthedocs.io/en/stable/user-guide/projects/)."""

    description: scalars.Description = Field(
        default="", description="Description, shown by Argo CD."
    )
    policies: ListOf[scalars.Policy] = Field(
        default=(),
        description="What the role may do.",
        examples=["p, proj:dev:deployer, applications, sync, dev/*, allow"],
    )
    groups: ListOf[scalars.LoginGroup] = Field(
        default=(), description="Groups of the identity provider that have the role."
    )
    jwt_tokens: ListOf[JwtToken] = Field(
        default=(),
        description="Tokens of the role. `pulumi up` revokes those that are not listed.",
    )


class SyncWindow(Model):
    """Times at which syncs are allowed, or denied. An application that an `allow` window applies to
    is synced at no other time (https://argo-cd.readthedocs.io/en/stable/user-guide/sync_windows/).
    """

    kind: scalars.WindowKind = Field(description="Whether the window allows or denies syncs.")
    schedule: scalars.Cron = Field(description="When the window opens.", examples=["0 22 * * 1-5"])
    duration: scalars.OpenTime = Field(description="How long it stays open.", examples=["8h"])
    time_zone: scalars.TimeZone = Field(default="UTC", description="Time zone of the schedule.")
    applications: ListOf[scalars.NamePattern] = Field(
        default=(),
        description="Names of applications, or patterns of them. Default: all, unless `namespaces` "
        "is given.",
    )
    namespaces: ListOf[scalars.NamePattern] = Field(
        default=(), description="Namespaces of applications, or patterns of them."
    )
    and_operator: bool = Field(
        default=False,
        description="Only applications that `applications` and `namespaces` both match.",
    )
    manual_sync: bool = Field(default=False, description="Syncs by hand are always allowed.")
    sync_overrun: bool = Field(
        default=False, description="A sync that runs when the window changes is completed."
    )
    description: scalars.Description = Field(default="", description="Shown by Argo CD.")

    def violations(self) -> Iterator[Violation]:
        if not cron.ever_opens(self.schedule):
            yield Violation(
                ("schedule",),
                "a schedule with a day that exists",
                f'"{self.schedule}", a window that never opens',
            )
        if self.and_operator and not (self.applications and self.namespaces):
            yield Violation(
                ("andOperator",), "applications and namespaces, or false", "true", "false"
            )


class OrphanedResource(Model):
    """Objects that are no orphans. At least one of the keys; each may be a pattern."""

    group: scalars.Line | None = Field(default=None, description="API group. Default: any.")
    kind: scalars.Line | None = Field(default=None, description="Kind. Default: any.")
    name: scalars.Line | None = Field(default=None, description="Name. Default: any.")

    @classmethod
    def key_violations(cls, keys: frozenset[str]) -> Iterator[Violation]:
        if keys.isdisjoint({"group", "kind", "name"}):
            yield Violation((), "group, kind or name", "nothing to ignore")


class OrphanedResources(Model):
    """Argo CD looks for objects in the namespaces of the project that belong to no application
    (https://argo-cd.readthedocs.io/en/stable/user-guide/orphaned-resources/)."""

    warn: bool = Field(default=True, description="Applications get a warning.")
    ignore: ListOf[OrphanedResource] = Field(default=(), description="Objects that are no orphans.")


class Project(Model):
    """Argo CD's project of this stack: the repositories and namespaces of its applications."""

    name: Annotated[scalars.Name, DefaultFrom("the environment")] = Field(
        description="Name; applications are `<project>-<name>`."
    )
    description: scalars.Description = Field(
        default="", description="Description, shown by Argo CD."
    )
    namespaces: Annotated[
        ListOf[scalars.NamespacePattern],
        Field(min_length=1),
        DefaultFrom("those of the applications"),
    ] = Field(description="Namespaces of the cluster that the applications may deploy to.")
    cluster_resources: ListOf[ResourceKind] = Field(
        default=(ResourceKind(group="", kind="Namespace"),),
        description="Cluster-scoped kinds that the applications may create; of Namespace, only "
        "`namespaces`.",
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
    denied_cluster_resources: ListOf[ResourceKind] = Field(
        default=(),
        description="Cluster-scoped kinds that the applications may never create, whatever "
        "`clusterResources` allows.",
    )
    denied_namespace_resources: ListOf[ResourceKind] = Field(
        default=(), description="Namespaced kinds that the applications may never create."
    )
    roles: Mapping[scalars.RoleName, Role] = Field(
        default_factory=dict, description="Roles of people and tokens in the project, by name."
    )
    sync_windows: ListOf[SyncWindow] = Field(
        default=(), description="Times at which the applications may be synced, or may not."
    )
    orphaned_resources: OrphanedResources | None = Field(
        default=None, description="Look for objects that belong to no application."
    )

    def violations(self) -> Iterator[Violation]:
        yield from self._denied_and_allowed()
        yield from self._foreign_policies()
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

    def _denied_and_allowed(self) -> Iterator[Violation]:
        for key, allowed, denied in (
            ("deniedClusterResources", self.cluster_resources, self.denied_cluster_resources),
            ("deniedNamespaceResources", self.namespace_resources, self.denied_namespace_resources),
        ):
            for index, kind in enumerate(denied):
                if kind in allowed:
                    yield Violation(
                        at=(key, index),
                        got=f'"{kind.group}/{kind.kind}", which the project allows too',
                        expected="each kind either allowed or denied",
                    )

    def _foreign_policies(self) -> Iterator[Violation]:
        for name, role in self.roles.items():
            for index, policy in enumerate(role.policies):
                _, subject, _, _, target, _ = (part.strip() for part in policy.split(","))
                at = ("roles", name, "policies", index)
                if subject != f"proj:{self.name}:{name}":
                    expected = f"proj:{self.name}:{name}, the role that has the policy"
                    yield Violation(at, expected, f'a policy of "{subject}"')
                if not target.startswith(f"{self.name}/"):
                    expected = f"objects of the project: {self.name}/<name>"
                    yield Violation(at, expected, f'a policy for "{target}"')


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
    ignore_missing_components: bool = Field(
        default=False, description="Ignore components that don't exist."
    )
    common_labels: Mapping[scalars.LabelKey, scalars.LabelValue] = Field(
        default_factory=dict, description="Labels of every object."
    )
    label_without_selector: bool = Field(
        default=False, description="`commonLabels` are in no selector."
    )
    label_include_templates: bool = Field(
        default=False, description="With `labelWithoutSelector`: they are in templates of Pods."
    )
    force_common_labels: bool = Field(
        default=False, description="`commonLabels` replace labels that the folder sets itself."
    )
    common_annotations: Mapping[scalars.LabelKey, scalars.FreeText] = Field(
        default_factory=dict, description="Annotations of every object."
    )
    force_common_annotations: bool = Field(
        default=False,
        description="`commonAnnotations` replace annotations that the folder sets itself.",
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
    disable_extension_filter: bool = Field(
        default=False, description="Files of all names, not only .yaml, .yml and .json."
    )


class HelmParameter(Model):
    """A Helm value, set by its path."""

    IDENTITY: ClassVar = ("name",)

    name: scalars.Line = Field(description="Path of the value, such as image.tag.")
    value: scalars.FreeText = Field(description="The value, as text.")
    force_string: bool = Field(
        default=False, description="The value is text, even if it looks like a number."
    )


class HelmFileParameter(Model):
    """A Helm value, read from a file."""

    IDENTITY: ClassVar = ("name",)

    name: scalars.Line = Field(description="Path of the value, such as nginx.conf.")
    path: scalars.Line = Field(description="File, relative to the chart, or `$<ref>/<path>`.")


class Helm(Model):
    """Helm options of a chart
    (https://argo-cd.readthedocs.io/en/stable/user-guide/helm/)."""

    release_name: scalars.ReleaseName | None = Field(
        default=None, description="Release name. Default: the application's name."
    )
    value_files: ListOf[scalars.Line] = Field(
        default=(),
        description="Value files, relative to the chart, or `$<ref>/<path>` of another source.",
    )
    ignore_missing_value_files: bool = Field(
        default=False, description="Ignore value files that don't exist."
    )
    values_object: Mapping[str, JsonValue] = Field(default_factory=dict, description="Values.")
    parameters: ListOf[HelmParameter] = Field(default=(), description="Values, set by their paths.")
    file_parameters: ListOf[HelmFileParameter] = Field(
        default=(), description="Values, read from files."
    )
    skip_crds: bool = Field(default=False, description="Don't install the chart's CRDs.")
    skip_tests: bool = Field(default=False, description="Don't install the chart's tests.")
    skip_schema_validation: bool = Field(
        default=False, description="Don't check the values with the chart's schema."
    )

    @property
    def files(self) -> Iterator[tuple[Path, str]]:
        """The files with values, by the paths of the keys that name them."""
        for index, file in enumerate(self.value_files):
            yield ("valueFiles", index), file
        for index, parameter in enumerate(self.file_parameters):
            yield ("fileParameters", index, "path"), parameter.path


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
    refresh: bool = Field(
        default=False, description="Retry with the newest commit instead of the one that failed."
    )
    backoff: Backoff = Field(default_factory=Backoff, description="Delays between retries.")


class NamespaceMetadata(Model):
    """Labels and annotations of a namespace."""

    labels: Mapping[scalars.LabelKey, scalars.LabelValue] = Field(
        default_factory=dict, description="Labels, such as those of Pod Security."
    )
    annotations: Mapping[scalars.LabelKey, scalars.FreeText] = Field(
        default_factory=dict, description="Annotations."
    )


class Sync(Model):
    """Sync policy of an application
    (https://argo-cd.readthedocs.io/en/stable/user-guide/auto_sync/)."""

    automated: bool = Field(default=True, description="Deploy every new commit.")
    prune: bool = Field(default=True, description="Delete objects that Git no longer has.")
    self_heal: bool = Field(default=True, description="Revert manual changes in the cluster.")
    allow_empty: bool = Field(
        default=False,
        description="With `prune`: also delete all objects, if Git has none any more.",
    )
    retry: Retry = Field(default_factory=Retry, description="Retries of a failed sync.")
    options: ListOf[scalars.SyncOption] = Field(
        default=("CreateNamespace=true",), description="Argo CD's sync options."
    )
    managed_namespace_metadata: NamespaceMetadata | None = Field(
        default=None,
        description="Labels and annotations of the namespace that `CreateNamespace=true` creates.",
    )

    def violations(self) -> Iterator[Violation]:
        if self.managed_namespace_metadata and "CreateNamespace=true" not in self.options:
            yield Violation(
                ("managedNamespaceMetadata",),
                "CreateNamespace=true in the options, or no metadata",
                "metadata of a namespace that Argo CD does not create",
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


class Source(Model):
    """Manifests of an application: a folder of a Git repository (`path`), a chart of a Helm
    repository or registry (`chart` and `version`), or an artifact of an `oci://` repository
    (`version`). At most one of `kustomize`, `directory` and `helm`; without them, Argo CD detects
    the kind of the folder."""

    repository: Annotated[
        scalars.RepositoryKey | None,
        DefaultFrom("the only repository, or the only one of the type"),
    ] = Field(default=None, description="A name under `repositories`.")
    revision: scalars.Revision = Field(
        default="HEAD",
        description="Branch, tag or commit to deploy of a Git repository.",
        examples=["main"],
    )
    path: scalars.Folder | None = Field(
        default=None,
        description="Folder inside the Git repository or artifact. Default for an artifact: `.`.",
        examples=["kustomize/dev"],
    )
    chart: scalars.ChartName | None = Field(
        default=None, description="Chart in the Helm repository or registry.", examples=["redis"]
    )
    version: scalars.ExactVersion | None = Field(
        default=None, description="Exact version of the chart or artifact.", examples=["1.2.3"]
    )
    kustomize: Kustomize | None = Field(default=None, description="Kustomize options.")
    directory: Directory | None = Field(
        default=None, description="Options of a folder of plain manifests."
    )
    helm: Helm | None = Field(default=None, description="Helm options.")

    @property
    def is_chart(self) -> bool:
        """Whether the source is known to be a chart, whose objects belong to a Helm release."""
        return self.chart is not None or self.helm is not None

    @classmethod
    def key_violations(cls, keys: frozenset[str]) -> Iterator[Violation]:
        yield from one_of(keys, "kustomize", "directory", "helm", required=False)
        yield from one_of(keys, "path", "chart", required=False)
        yield from one_of(keys, "revision", "version", required=False)
        if "repository" not in keys:
            yield Violation(("repository",), "the name of one of the repositories", "nothing")
        if "chart" in keys and "version" not in keys:
            expected = "one exact version of the chart, such as 1.2.3; no range"
            yield Violation(("version",), expected, "nothing, but a chart", "VERSION")
        if "chart" in keys and not keys.isdisjoint({"kustomize", "directory"}):
            yield Violation((), "a chart with helm options", "a chart with options of a folder")
        if keys.isdisjoint({"path", "chart", "version"}):
            expected = "a folder inside the repository, such as kustomize/dev; or chart and version"
            yield Violation(("path",), expected, "nothing")


class PartialSource(Source):
    """One of several sources. Argo CD deploys what all of them make together; if two of them make
    the same object, it takes that of the later one. A Git source with `ref` gives its files to the
    charts of the other sources: `$<ref>/values.yaml` in their `helm.valueFiles`."""

    ref: scalars.SourceRef | None = Field(
        default=None,
        description="Name of a Git source for value files. Without `path`, it makes no manifests.",
        examples=["values"],
    )

    @classmethod
    def key_violations(cls, keys: frozenset[str]) -> Iterator[Violation]:
        if "ref" in keys and not keys.isdisjoint({"chart", "version"}):
            expected = "a Git source: Argo CD takes no value files from charts and registries"
            yield Violation(("ref",), expected, "a name, with a chart or version")
        elif "ref" in keys:
            keys |= {"path"}
        yield from super().key_violations(keys)


class Info(Model):
    """A line about an application, shown by Argo CD."""

    IDENTITY: ClassVar = ("name",)

    name: scalars.Line = Field(description="What it is.", examples=["On call"])
    value: scalars.Line = Field(description="Text or URL.", examples=["https://example.com/team"])


class Application(Source):
    """An application: one source, or several (`sources`), deployed to a namespace."""

    sources: ListOf[PartialSource] = Field(
        default=(),
        description="Several sources, such as a chart and its values from Git, instead of the keys "
        "of one source.",
    )
    namespace: scalars.Namespace = Field(
        description="Namespace to deploy to, which the project must allow.",
        examples=["microservices-demo-dev"],
    )
    sync: Sync = Field(default_factory=Sync, description="Sync policy.")
    ignore_differences: ListOf[IgnoreDifference] = Field(
        default=(), description="Fields that Argo CD does not compare with Git."
    )
    info: ListOf[Info] = Field(default=(), description="Lines about it, shown by Argo CD.")
    revision_history_limit: Annotated[int, Field(ge=0, le=1000)] = Field(
        default=10, description="Past syncs that Argo CD keeps, to roll back to."
    )
    finalizer: bool = Field(
        default=True, description="Deleting the application deletes the objects that it deployed."
    )

    @property
    def all_sources(self) -> tuple[Source, ...]:
        """The sources; for an application with one source, the application itself."""
        return self.sources or (self,)

    @classmethod
    def key_violations(cls, keys: frozenset[str]) -> Iterator[Violation]:
        if "sources" not in keys:
            yield from super().key_violations(keys)
        for key in sorted(keys & set(_keys(Source))) if "sources" in keys else ():
            yield Violation((key,), "the key in one of the sources", "a value beside sources")

    def violations(self) -> Iterator[Violation]:
        if "sources" in self.model_fields_set and not self.sources:
            yield Violation(("sources",), "a list, with at least one item", "an empty list")
        elif self.sources and not any(x.path or x.chart or x.version for x in self.sources):
            yield Violation(("sources",), "also a path or a chart", "only sources for value files")
        refs = [x.ref for x in self.sources if x.ref is not None]
        for ref in {x for x in refs if refs.count(x) > 1}:
            yield Violation(("sources",), "each ref once", f'"{ref}" as the ref of several sources')
        for index, source in enumerate(self.all_sources):
            at = ("sources", index) if self.sources else ()
            for path, file in source.helm.files if source.helm else ():
                name, _, _ = file.removeprefix("$").partition("/")
                if file.startswith("$") and name not in refs:
                    yield Violation(
                        (*at, "helm", *path),
                        f"a file of a source with ref: {name}; "
                        + (f"there is {', '.join(refs)}" if refs else "no source has a ref"),
                        f'"{file}"',
                    )


class AppOfApps(Model):
    """Projects and applications come from a folder of a repository instead of the stack file, so
    that commits alone add and remove them. Argo CD deploys `<path>/bootstrap` to its own namespace,
    which defines the rest. Replaces `project` and `applications`.
    """

    repository: Annotated[scalars.RepositoryKey, DefaultFrom("the only Git repository")] = Field(
        description="A name under `repositories`."
    )
    revision: scalars.Revision = Field(
        default="HEAD", description="Branch, tag or commit to follow.", examples=["main"]
    )
    path: Annotated[scalars.Folder, DefaultFrom("`argocd/<environment>`")] = Field(
        description="The environment's folder.", examples=["argocd/dev"]
    )


class Snapshots(Model):
    """Snapshots of the volumes, taken by `bin/platform volumes snapshot`, which a workflow runs."""

    every_hours: Annotated[int, Field(ge=1, le=8760)] = Field(
        default=24, description="Hours from one snapshot of a volume to the next one."
    )
    keep: Annotated[int, Field(ge=1, le=100)] = Field(
        default=7,
        description="Newest snapshots of each volume that are kept; those of a volume that is gone "
        "are kept for ever.",
    )


class CopyCredentials(Model):
    """Access to the bucket, and the password with which the copies are encrypted."""

    access_key: scalars.Token = Field(description="ID of a Spaces access key.")
    secret_key: scalars.Token = Field(description="The access key's secret.")
    password: scalars.CopyPassword = Field(
        description="Password of the copies. Without it, nobody can read them."
    )


class Copies(Model):
    """Encrypted copies of the snapshots in a Spaces bucket of another region, made by
    `bin/platform volumes copy`, which a workflow runs."""

    bucket: scalars.Bucket = Field(description="Name of the bucket, which exists already.")
    region: scalars.Region = Field(
        description="Region of the bucket, another one than `cluster.region`. After a move into "
        "it, name another bucket.",
        examples=["fra1"],
    )
    endpoint: scalars.ApiEndpoint | None = Field(
        default=None,
        description="URL of the storage. Default: the environment variable SPACES_ENDPOINT_URL; "
        "without it, `https://<region>.digitaloceanspaces.com`.",
    )
    credentials: CopyCredentials | None = Field(
        default=None,
        description="Access to the bucket. The environment variables SPACES_ACCESS_KEY_ID, "
        "SPACES_SECRET_ACCESS_KEY and RESTIC_PASSWORD, if all are set, take its place.",
    )
    every_hours: Annotated[int, Field(ge=1, le=8760)] = Field(
        default=24, description="Hours from one copy of a volume to the next one."
    )
    keep: Annotated[int, Field(ge=1, le=100)] = Field(
        default=7, description="Newest copies of each volume that are kept."
    )

    @property
    def url(self) -> str:
        """URL of the bucket."""
        storage = self.endpoint or f"https://{self.region}.digitaloceanspaces.com"
        return f"{storage.rstrip('/')}/{self.bucket}"


class Volumes(Model):
    """The volumes of the applications' claims. Whose claim a volume is, is kept in tags on it, and
    in a new cluster the claims get their volumes back."""

    retain: bool | None = Field(
        default=None,
        description="From the first record on, a volume stays in the account when its claim is "
        "deleted. Default: as `cluster.protect`.",
    )
    snapshots: Snapshots | None = Field(
        default=None, description="Snapshots to take. Default: none."
    )
    copies: Copies | None = Field(
        default=None, description="Copies in another region. Default: none. Needs `snapshots`."
    )

    def violations(self) -> Iterator[Violation]:
        if self.copies is not None and self.snapshots is None:
            expected = "an object such as {keep: 7}: copies are made of snapshots"
            yield Violation(("snapshots",), expected, "nothing")


class DigitalOcean(Model):
    """The DigitalOcean account."""

    token: scalars.Token = Field(
        description="API token. Default: the environment variable DIGITALOCEAN_TOKEN."
    )
    cluster_token: scalars.Token | None = Field(
        default=None,
        description="API token for the kubeconfig, with the scope `kubernetes:access_cluster` and "
        "those that it requires. Default: the environment variable DIGITALOCEAN_CLUSTER_TOKEN; "
        "without it, `token`, which can change the account too.",
    )
    api_endpoint: scalars.ApiEndpoint = Field(
        default="https://api.digitalocean.com",
        description="Base URL of the API. The environment variable DIGITALOCEAN_API_URL replaces "
        "the default.",
    )

    @property
    def kubernetes_token(self) -> SecretStr:
        """The token for the cluster's own API."""
        return self.cluster_token or self.token


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
    volumes: Mapping[scalars.Uuid, str] | None = Field(
        default=None, description="Claims (`NAMESPACE/NAME`) by the volumes that they get."
    )
    copies: Mapping[scalars.Uuid, scalars.Uuid] = Field(
        default_factory=dict,
        description="Snapshots, copies of which are restored into empty volumes, by these volumes.",
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
        description="Repositories by a name of your choice, at least one."
    )
    credential_templates: Mapping[scalars.Name, CredentialTemplate] = Field(
        default_factory=dict,
        description="Credentials for all repositories of an organization, by a name of your "
        "choice.",
    )
    project: Project | None = Field(
        default=None,
        description="Argo CD's project of this stack. Default, unless `appOfApps`: one "
        "for the namespaces of the applications.",
    )
    applications: Mapping[scalars.Name, Application] = Field(
        default_factory=dict, description="Applications by name."
    )
    app_of_apps: AppOfApps | None = Field(
        default=None, description="Projects and applications come from Git instead."
    )
    github: GitHub | None = Field(default=None, description="The repository's settings on GitHub.")
    pull_requests: PullRequests | None = Field(
        default=None, description="Environments of pull requests."
    )
    sealed_secrets: SealedSecrets | None = Field(
        default=None, description="Secrets in Git, encrypted, with keys that the stack owns."
    )
    volumes: Volumes | None = Field(
        default=None, description="Volumes that come back, and their snapshots. Default: neither."
    )
    adopt: Adopt | None = Field(default=None, description="Existing resources to import.")
    _encrypted: Paths = PrivateAttr(default=frozenset())

    @property
    def encrypted(self) -> Paths:
        """Paths, in the stack file's spelling, of the encrypted values that have no secret type and
        go into chart values or Applications. They become secret outputs."""
        return self._encrypted

    @property
    def charts(self) -> Mapping[str, Chart]:
        """The charts that the stack installs, by the key of their section."""
        sealed = {"sealedSecrets": self.sealed_secrets.chart} if self.sealed_secrets else {}
        return {"argocd": self.argocd.chart, **sealed}

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
