"""The parts of DigitalOcean's responses that the client reads.

https://docs.digitalocean.com/reference/api/
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated

from pydantic import Base64Bytes, BaseModel, BeforeValidator, InstanceOf
from semver import Version

DEFAULT_POOL_TAG = "terraform:default-node-pool"
"""Tag of the node pool that a cluster was created with, set by DigitalOcean's provider.
https://www.pulumi.com/registry/packages/digitalocean/api-docs/kubernetescluster/"""

_ADDED_TAGS = ("k8s:", "terraform:")

VersionSlug = Annotated[InstanceOf[Version], BeforeValidator(lambda slug: Version.parse(str(slug)))]


def own_tags(tags: list[str]) -> frozenset[str]:
    """Returns the tags, in lower case, without those that DigitalOcean and its provider add."""
    lower = (tag.lower() for tag in tags)
    return frozenset(tag for tag in lower if tag != "k8s" and not tag.startswith(_ADDED_TAGS))


class Slug(BaseModel):
    slug: str


class OfferedVersion(BaseModel):
    slug: VersionSlug


class Options(BaseModel):
    regions: list[Slug]
    sizes: list[Slug]
    versions: list[OfferedVersion]


class OptionsResponse(BaseModel):
    options: Options


class Team(BaseModel):
    uuid: str


class AccountInfo(BaseModel):
    uuid: str = ""
    team: Team | None = None
    """None: the account is in no team."""


class AccountResponse(BaseModel):
    account: AccountInfo


class Status(BaseModel):
    state: str
    message: str = ""


Tags = Annotated[list[str], BeforeValidator(lambda tags: tags or [])]


class Taint(BaseModel):
    key: str
    value: str | None = None
    effect: str


class NodePool(BaseModel, extra="allow"):
    id: str
    name: str
    size: str
    count: int = 0
    auto_scale: bool | None = None
    min_nodes: int | None = None
    max_nodes: int | None = None
    labels: dict[str, str] | None = None
    taints: list[Taint] | None = None
    tags: Tags = []

    @property
    def options(self) -> dict[str, object]:
        """The other values, such as `gpu_partition_mode`."""
        return self.model_extra or {}


class Cluster(BaseModel, extra="allow"):
    id: str
    name: str
    region: str
    version: VersionSlug
    ha: bool = False
    status: Status
    registry_enabled: bool = False
    endpoint: str = ""
    created_at: datetime | None = None
    vpc_uuid: str | None = None
    auto_upgrade: bool = False
    surge_upgrade: bool = False
    cluster_subnet: str = ""
    service_subnet: str = ""
    worker_subnet_uuid: str | None = None
    isolated_workers: bool = False
    tags: Tags = []
    node_pools: list[NodePool] = []

    @property
    def own_tags(self) -> tuple[str, ...]:
        """Without the tags that DigitalOcean sets: `k8s` and `k8s:ID`."""
        return tuple(tag for tag in self.tags if tag.partition(":")[0] != "k8s")

    @property
    def default_pool(self) -> str | None:
        marked = (pool.name for pool in self.node_pools if DEFAULT_POOL_TAG in pool.tags)
        return next(marked, None)

    @property
    def options(self) -> dict[str, dict[str, object]]:
        extra = self.model_extra or {}
        return {name: value for name, value in extra.items() if isinstance(value, dict)}


class ClusterResponse(BaseModel):
    kubernetes_cluster: Cluster


class Credentials(BaseModel):
    certificate_authority_data: Base64Bytes


class LintedObject(BaseModel):
    kind: str = ""
    namespace: str = ""
    name: str = ""


class Diagnostic(BaseModel):
    """A finding of the cluster linter."""

    check_name: str
    severity: str
    """`error`, `warning` or `suggestion`."""
    message: str = ""
    object: LintedObject = LintedObject()

    def __str__(self) -> str:
        place = "/".join(filter(None, (self.object.namespace, self.object.name)))
        what = " ".join(filter(None, (self.object.kind, place)))
        return f"{self.severity} ({self.check_name}): {self.message}" + (what and f": {what}")


class LintRun(BaseModel):
    run_id: str


class LintResults(BaseModel):
    completed_at: str | None = None
    diagnostics: list[Diagnostic] | None = None


class PageLinks(BaseModel):
    next: str | None = None


class Links(BaseModel):
    pages: PageLinks | None = None


class Page(BaseModel):
    """One page of a collection."""

    links: Links | None = None

    @property
    def is_last(self) -> bool:
        return not (self.links and self.links.pages and self.links.pages.next)


class ClustersPage(Page):
    kubernetes_clusters: list[Cluster]


class Vpc(BaseModel):
    id: str
    name: str
    region: str
    ip_range: str = ""
    default: bool = False


class AttachedVpc(BaseModel):
    vpc_uuid: str


class NatGateway(BaseModel):
    state: str
    vpcs: list[AttachedVpc] = []


class NatGatewaysPage(Page):
    vpc_nat_gateways: list[NatGateway]


class VpcsPage(Page):
    vpcs: list[Vpc]


class MadeByCluster(BaseModel):
    """A load balancer or a volume: it has the tag `k8s:ID` of the cluster that has made it."""

    id: str
    name: str
    tag: str = ""
    tags: Tags = []

    @property
    def all_tags(self) -> frozenset[str]:
        return frozenset((self.tag, *self.tags))


class LoadBalancersPage(Page):
    load_balancers: list[MadeByCluster]

    @property
    def resources(self) -> list[MadeByCluster]:
        return self.load_balancers


class Volume(MadeByCluster):
    region: Slug = Slug(slug="")
    size_gigabytes: int = 0
    droplet_ids: Annotated[list[int], BeforeValidator(lambda ids: ids or [])] = []


class VolumesPage(Page):
    volumes: list[Volume]

    @property
    def resources(self) -> list[Volume]:
        return self.volumes


class VolumeResponse(BaseModel):
    volume: Volume


class Snapshot(BaseModel):
    id: str
    name: str
    resource_id: str
    regions: list[str] = []
    min_disk_size: int = 0
    size_gigabytes: Decimal = Decimal()
    created_at: datetime
    tags: Tags = []


class SnapshotsPage(Page):
    snapshots: list[Snapshot]


class SnapshotResponse(BaseModel):
    snapshot: Snapshot


class Size(BaseModel):
    slug: str
    price_monthly: Decimal


class SizesPage(Page):
    sizes: list[Size]


class ImageTag(BaseModel):
    tag: str


class TagsPage(Page):
    tags: list[ImageTag] | None = None


class Registry(BaseModel):
    name: str


class RegistryResponse(BaseModel):
    registry: Registry


class RegistriesResponse(BaseModel):
    registries: list[Registry]


class Tier(BaseModel):
    slug: str
    monthly_price_in_cents: int

    @property
    def price(self) -> Decimal:
        return Decimal(self.monthly_price_in_cents) / 100


class TierOptions(BaseModel):
    subscription_tiers: list[Tier]


class TierOptionsResponse(BaseModel):
    options: TierOptions


class Subscription(BaseModel):
    tier: Slug


class SubscriptionResponse(BaseModel):
    subscription: Subscription
