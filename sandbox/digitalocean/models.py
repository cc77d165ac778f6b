"""The data of an account, with the names of DigitalOcean's API. The state file is its JSON."""

from datetime import datetime, timedelta
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from sandbox.digitalocean.backend import Taint
from sandbox.digitalocean.catalogue import VERSIONS

ClusterState = Literal["provisioning", "running", "degraded", "error", "upgrading", "deleting"]
NodeState = Literal["provisioning", "running", "deleting"]


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid", validate_assignment=True)


class Token(Model):
    """A personal access token, of which only the SHA-256 is kept."""

    name: str
    sha256: str
    scopes: list[str]
    """`full`, `read`, or scopes such as `kubernetes:create`
    (docs.digitalocean.com/reference/api/scopes)."""
    created_at: datetime
    expires_at: datetime | None = None

    def allows(self, scope: str) -> bool:
        return (
            "full" in self.scopes
            or scope in self.scopes
            or ("read" in self.scopes and scope.endswith(":read"))
        )


class Credential(Model):
    """A temporary token for one cluster or one registry."""

    sha256: str
    cluster_id: str | None = None
    registry: str | None = None
    read_write: bool = True
    expires_at: datetime | None


class NodeStatus(Model):
    state: NodeState


class Node(Model):
    id: str
    name: str
    status: NodeStatus
    droplet_id: str
    created_at: datetime
    updated_at: datetime


class NodePool(Model):
    id: str
    name: str
    size: str
    count: int
    tags: list[str]
    """Those asked for; the API adds its own."""
    labels: dict[str, str]
    taints: list[Taint]
    auto_scale: bool
    min_nodes: int
    max_nodes: int
    nodes: list[Node]
    features: dict[str, Any] = Field(default_factory=dict)
    """The values of `fields.NODE_POOL`."""
    deleting: bool = False

    def remaining(self) -> list[Node]:
        """The nodes that are not being deleted."""
        return [node for node in self.nodes if node.status.state != "deleting"]


class MaintenancePolicy(Model):
    """When DigitalOcean may maintain the cluster, in UTC."""

    start_time: str = "00:00"
    duration: str = "4h0m0s"
    day: str = "any"


class ClusterStatus(Model):
    state: ClusterState
    message: str = ""


class Diagnostic(Model):
    check_name: str
    severity: Literal["error", "warning", "suggestion"]
    message: str
    object: dict[str, str]


class LintRun(Model):
    """A run of the cluster linter, which takes no time."""

    run_id: str
    requested_at: datetime
    completed_at: datetime
    diagnostics: list[Diagnostic]


class Cluster(Model):
    id: str
    name: str
    region: str
    version: str
    cluster_subnet: str
    service_subnet: str
    vpc_uuid: str
    ha: bool
    ipv4: str = ""
    endpoint: str = ""
    ca_certificate: str = ""
    tags: list[str]
    """Those asked for; the API adds its own."""
    node_pools: list[NodePool]
    maintenance_policy: MaintenancePolicy
    auto_upgrade: bool
    surge_upgrade: bool
    registries: list[str] = Field(default_factory=list)
    features: dict[str, Any] = Field(default_factory=dict)
    """The values of `fields.CLUSTER`, such as `control_plane_firewall`."""
    status: ClusterStatus
    upgrading_to: str | None = None
    lint_runs: dict[str, LintRun] = Field(default_factory=dict)
    """By their ID, oldest first."""
    created_at: datetime
    updated_at: datetime

    @property
    def reachable(self) -> bool:
        """Whether the cluster has an API, so that there are credentials for it."""
        return bool(self.endpoint) and self.status.state != "deleting"


class Vpc(Model):
    id: str
    name: str
    description: str
    region: str
    ip_range: str
    default: bool
    created_at: datetime


class NatGateway(Model):
    id: str
    name: str
    region: str


class RepositoryTag(Model):
    tag: str
    manifest_digest: str
    compressed_size_bytes: int
    size_bytes: int
    updated_at: datetime


class Repository(Model):
    name: str
    tags: list[RepositoryTag]


class Registry(Model):
    name: str
    region: str
    created_at: datetime
    repositories: list[Repository] = Field(default_factory=list)


class Subscription(Model):
    tier_slug: str
    created_at: datetime
    updated_at: datetime


class LoadBalancer(Model):
    id: str
    name: str
    ip: str
    region: str
    vpc_uuid: str
    cluster_id: str
    created_at: datetime


class Volume(Model):
    """A block storage volume. Its files are in a folder: see `state.AccountState.volume_folder`."""

    id: str
    name: str
    region: str
    size_gigabytes: int
    description: str = ""
    filesystem_type: str = ""
    filesystem_label: str = ""
    droplet_ids: list[int] = Field(default_factory=list)
    """The Droplet that it is attached to, if any."""
    tags: list[str] = Field(default_factory=list)
    created_at: datetime


class VolumeSnapshot(Model):
    """A copy of a volume's files at one moment, in a folder of its own."""

    id: str
    name: str
    region: str
    resource_id: str
    """ID of the volume, which may be gone."""
    min_disk_size: int
    size_gigabytes: float
    tags: list[str] = Field(default_factory=list)
    created_at: datetime


class AccountData(Model):
    """All data of one account."""

    email: str = "team@example.com"
    name: str = "Example Team"
    uuid: str
    team_uuid: str
    droplet_limit: int = 25
    clock_offset: timedelta = timedelta(0)
    versions: list[str] = Field(default_factory=lambda: list(VERSIONS))
    """The DOKS version slugs that new clusters can have."""
    registry_names_elsewhere: list[str] = Field(default_factory=lambda: ["digitalocean", "example"])
    """Registry names of other accounts; names are unique among all accounts."""
    tokens: list[Token] = Field(default_factory=list)
    credentials: list[Credential] = Field(default_factory=list)
    clusters: dict[str, Cluster] = Field(default_factory=dict)
    vpcs: dict[str, Vpc] = Field(default_factory=dict)
    nat_gateways: dict[str, NatGateway] = Field(default_factory=dict)
    """By the ID of the VPC that they are attached to."""
    registries: dict[str, Registry] = Field(default_factory=dict)
    subscription: Subscription | None = None
    load_balancers: dict[str, LoadBalancer] = Field(default_factory=dict)
    volumes: dict[str, Volume] = Field(default_factory=dict)
    volume_snapshots: dict[str, VolumeSnapshot] = Field(default_factory=dict)
    tags: list[str] = Field(default_factory=list)
    """Those made by themselves; a tag also exists while a resource has it."""
    droplets: int = 0
    """Number of Droplets that were ever created, from which the next ID is derived."""
