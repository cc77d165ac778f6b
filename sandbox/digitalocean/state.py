"""An account, kept in a file: every change is on disk before the request is answered."""

import hashlib
import ipaddress
import secrets
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

from sandbox.digitalocean.catalogue import REGISTRY_HOST, version_key
from sandbox.digitalocean.clock import Clock
from sandbox.digitalocean.journal import Journal
from sandbox.digitalocean.models import (
    AccountData,
    Cluster,
    Credential,
    LoadBalancer,
    NatGateway,
    Repository,
    RepositoryTag,
    Token,
    Volume,
    VolumeSnapshot,
    Vpc,
)
from sandbox.emulator import State, read_state, sha256
from sandbox.faults import Faults
from sandbox.paths import remove_tree

ACCESS_CLUSTER = "kubernetes:access_cluster"
CREDENTIAL_LIFETIME = timedelta(days=7)
"""Default lifetime of cluster credentials."""

_VPC_SPACE = ipaddress.IPv4Network("10.100.0.0/14")


@dataclass(frozen=True)
class ClusterUser:
    """A user inside a cluster."""

    username: str
    uid: str
    groups: tuple[str, ...]


@dataclass(frozen=True)
class TokenVerdict:
    """Whether a token is valid for a cluster: either `user`, or `error` with the reason."""

    user: ClusterUser | None = None
    error: str = ""

    @property
    def authenticated(self) -> bool:
        return self.user is not None


class AccountState(State[AccountData]):
    """An account, with its clock, journal and faults."""

    def __init__(self, path: Path, data: AccountData) -> None:
        super().__init__(path, data)
        self.clock = Clock(data.clock_offset)
        self.journal = Journal()
        self.faults = Faults()

    @classmethod
    def load(cls, path: Path) -> "AccountState":
        """The account in the file `path`; a new, empty one if the file does not exist.

        Raises StateUnreadable if the file can't be used.
        """
        data = read_state(path, AccountData)
        if data is not None:
            return cls(path, data)
        account = cls(path, AccountData(uuid=str(uuid4()), team_uuid=str(uuid4())))
        account._save()
        return account

    def advance_clock(self, by: timedelta) -> datetime:
        """Set the account's clock forward permanently, and return the new time.

        The program judges how old a snapshot is by the machine's clock, which stays as it is. So
        snapshots have the machine's time, and each step makes them older.

        Raises ValueError for a negative step.
        """
        self.clock.advance(by)
        with self.changing() as data:
            data.clock_offset = self.clock.offset
            for snapshot in data.volume_snapshots.values():
                snapshot.created_at -= by
        return self.clock.now()

    def offer_versions(self, versions: Sequence[str]) -> None:
        """Offer exactly these DOKS version slugs."""
        with self.changing() as data:
            data.versions = sorted(versions, key=version_key, reverse=True)

    # Tokens

    def add_token(
        self, name: str, scopes: Sequence[str] = ("full",), lifetime: timedelta | None = None
    ) -> str:
        """Create and return a personal access token, of which only the hash is kept.

        With a `lifetime` of None it does not expire.
        """
        token = f"dop_v1_{secrets.token_hex(32)}"
        now = self.clock.now()
        with self.changing() as data:
            data.tokens.append(
                Token(
                    name=name,
                    sha256=sha256(token),
                    scopes=list(scopes),
                    created_at=now,
                    expires_at=now + lifetime if lifetime is not None else None,
                )
            )
        return token

    def revoke_token(self, token: str) -> None:
        """Remove a personal access token. Raises KeyError if it is unknown."""
        digest = sha256(token)
        if digest not in {record.sha256 for record in self.data.tokens}:
            raise KeyError("the token is unknown")
        with self.changing() as data:
            data.tokens = [record for record in data.tokens if record.sha256 != digest]

    def find_token(self, token: str) -> Token | None:
        """The record of a personal access token; None if it is unknown or expired."""
        if self.faults.is_active("token-invalid"):
            return None
        digest = sha256(token)
        for record in self.data.tokens:
            if record.sha256 == digest and not self._expired(record.expires_at):
                if self.faults.is_active("token-read-only"):
                    return record.model_copy(update={"scopes": ["read", ACCESS_CLUSTER]})
                return record
        return None

    def _expired(self, expires_at: datetime | None) -> bool:
        return expires_at is not None and expires_at <= self.clock.now()

    # Droplets

    @property
    def droplets_in_use(self) -> int:
        return sum(
            pool.count
            for cluster in self.data.clusters.values()
            for pool in cluster.node_pools
            if cluster.status.state != "deleting" and not pool.deleting
        )

    @property
    def droplet_limit(self) -> int:
        """The number of Droplets that the account may have."""
        return self.droplets_in_use if self.faults.is_active("quota") else self.data.droplet_limit

    # Temporary credentials

    def mint_cluster_credential(
        self, cluster_id: str, lifetime: timedelta = CREDENTIAL_LIFETIME
    ) -> tuple[str, datetime]:
        """Create a token for the cluster; returns it and when it expires."""
        expires_at = self.clock.now() + lifetime
        credential = Credential(sha256="", cluster_id=cluster_id, expires_at=expires_at)
        return self._mint(credential), expires_at

    def mint_registry_credential(
        self, registry: str, *, read_write: bool, lifetime: timedelta | None
    ) -> str:
        """Create a token for the registry; with a `lifetime` of None it does not expire."""
        expires_at = self.clock.now() + lifetime if lifetime is not None else None
        return self._mint(
            Credential(sha256="", registry=registry, read_write=read_write, expires_at=expires_at)
        )

    def _mint(self, credential: Credential) -> str:
        token = secrets.token_hex(32)
        credential.sha256 = sha256(token)
        with self.changing() as data:
            data.credentials = [
                *(
                    existing
                    for existing in data.credentials
                    if not self._expired(existing.expires_at)
                ),
                credential,
            ]
        return token

    def authenticate_for_cluster(self, token: str, cluster_id: str) -> TokenVerdict:
        """Whether `token` is valid for the cluster: a personal access token that may access
        clusters, or an unexpired credential of this cluster
        (docs.digitalocean.com/products/kubernetes/how-to/connect-to-cluster).
        """
        if cluster_id not in self.data.clusters:
            return TokenVerdict(error=f"there is no cluster {cluster_id}")
        digest = sha256(token)
        has_credential = any(
            credential.sha256 == digest
            and credential.cluster_id == cluster_id
            and not self._expired(credential.expires_at)
            for credential in self.data.credentials
        )
        if not has_credential:
            personal = self.find_token(token)
            if personal is None:
                return TokenVerdict(error="the token is unknown, revoked or expired")
            if not personal.allows(ACCESS_CLUSTER):
                return TokenVerdict(error=f"the token lacks the scope {ACCESS_CLUSTER}")
        return TokenVerdict(
            ClusterUser(
                username=self.data.email,
                uid=self.data.uuid,
                groups=("k8saas:authenticated", "system:masters"),
            )
        )

    # Networks

    def add_vpc(
        self, name: str, region: str, ip_range: str | None = None, description: str = ""
    ) -> Vpc:
        """Create a VPC. The first one of a region becomes its default
        (docs.digitalocean.com/products/networking/vpc/how-to/create). Without `ip_range` it gets a
        free /20."""
        vpc = Vpc(
            id=str(uuid4()),
            name=name,
            description=description,
            region=region,
            ip_range=ip_range or self._free_ip_range(),
            default=self.find_default_vpc(region) is None,
            created_at=self.clock.now(),
        )
        with self.changing() as data:
            data.vpcs[vpc.id] = vpc
        return vpc

    def find_default_vpc(self, region: str) -> Vpc | None:
        return next(
            (vpc for vpc in self.data.vpcs.values() if vpc.region == region and vpc.default), None
        )

    def default_vpc(self, region: str) -> Vpc:
        """The region's default VPC, created if there is none."""
        return self.find_default_vpc(region) or self.add_vpc(f"default-{region}", region)

    def add_nat_gateway(self, vpc_id: str) -> NatGateway:
        """Attach a NAT gateway to the VPC."""
        vpc = self.data.vpcs[vpc_id]
        gateway = NatGateway(id=str(uuid4()), name=f"nat-{vpc.name}", region=vpc.region)
        with self.changing() as data:
            data.nat_gateways[vpc_id] = gateway
        return gateway

    def _free_ip_range(self) -> str:
        taken = [ipaddress.IPv4Network(vpc.ip_range) for vpc in self.data.vpcs.values()]
        return next(
            str(network)
            for network in _VPC_SPACE.subnets(new_prefix=20)
            if not any(network.overlaps(other) for other in taken)
        )

    # Resources of the clusters' workloads

    def push_image(self, repository: str, tag: str) -> str:
        """Add a tag to a repository of the account's first registry, as `docker push` does; returns
        the image's full name. Raises ValueError if the account has no registry.
        """
        registry = next(iter(self.data.registries.values()), None)
        if registry is None:
            raise ValueError("the account has no registry")
        digest = hashlib.sha256(f"{repository}:{tag}".encode()).hexdigest()
        new_tag = RepositoryTag(
            tag=tag,
            manifest_digest=f"sha256:{digest}",
            compressed_size_bytes=10_000_000,
            size_bytes=25_000_000,
            updated_at=self.clock.now(),
        )
        with self.changing():
            record = next((r for r in registry.repositories if r.name == repository), None)
            if record is None:
                record = Repository(name=repository, tags=[])
                registry.repositories.append(record)
            record.tags = [new_tag, *(other for other in record.tags if other.tag != tag)]
        return f"{REGISTRY_HOST}/{registry.name}/{repository}:{tag}"

    def has_image(self, registry: str, repository: str, tag: str) -> bool:
        """Whether the account has that registry with that tag of the repository."""
        record = self.data.registries.get(registry)
        return record is not None and any(
            repo.name == repository and any(existing.tag == tag for existing in repo.tags)
            for repo in record.repositories
        )

    def pull_error(self, cluster_id: str, image: str) -> str | None:
        """The error of pulling `image` of the registry in that cluster; None if it succeeds."""
        path, _, tag = image.removeprefix(f"{REGISTRY_HOST}/").partition(":")
        registry, _, repository = path.partition("/")
        cluster = self.data.clusters.get(cluster_id)
        prefix = f'failed to pull and unpack image "{image}"'
        if cluster is None or registry not in cluster.registries:
            return f"{prefix}: unexpected status: 401 Unauthorized"
        if not self.has_image(registry, repository, tag or "latest"):
            return f"{prefix}: not found"
        return None

    def add_load_balancer(self, cluster_id: str, name: str, ip: str) -> LoadBalancer:
        """Add the load balancer of a Service in the cluster."""
        cluster = self.data.clusters[cluster_id]
        load_balancer = LoadBalancer(
            id=str(uuid4()),
            name=name,
            ip=ip,
            region=cluster.region,
            vpc_uuid=cluster.vpc_uuid,
            cluster_id=cluster_id,
            created_at=self.clock.now(),
        )
        with self.changing() as data:
            data.load_balancers[load_balancer.id] = load_balancer
        return load_balancer

    # Volumes, and the copies of their files

    def volume_folder(self, volume_id: str) -> Path:
        """The folder that stands for the volume's file system. All have one name, by which a
        process finds it as it would find a mount."""
        return self._path.parent / "volumes" / volume_id / "volume"

    def snapshot_folder(self, snapshot_id: str) -> Path:
        """The folder with the snapshot's copy of the files."""
        return self._path.parent / "volume-snapshots" / snapshot_id

    def add_volume(
        self,
        name: str,
        region: str,
        size_gigabytes: int,
        *,
        tags: Sequence[str] = (),
        description: str = "",
        filesystem_type: str = "",
        filesystem_label: str = "",
        snapshot: VolumeSnapshot | None = None,
    ) -> Volume:
        """Add a volume: an empty one, or one with the files of `snapshot`."""
        volume = Volume(
            id=str(uuid4()),
            name=name,
            region=region,
            size_gigabytes=size_gigabytes,
            description=description,
            filesystem_type=filesystem_type,
            filesystem_label=filesystem_label,
            tags=list(dict.fromkeys(tags)),
            created_at=self.clock.now(),
        )
        folder = self.volume_folder(volume.id)
        if snapshot is not None:
            shutil.copytree(self.snapshot_folder(snapshot.id), folder, symlinks=True)
        else:
            folder.mkdir(mode=0o700, parents=True)
        with self.changing() as data:
            data.volumes[volume.id] = volume
        return volume

    def remove_volume(self, volume_id: str) -> None:
        """Remove the volume with its files; does nothing if it does not exist. Its snapshots
        stay."""
        with self.changing() as data:
            data.volumes.pop(volume_id, None)
        remove_tree(self.volume_folder(volume_id).parent)

    def snapshot_volume(
        self, volume: Volume, name: str, tags: Sequence[str] = ()
    ) -> VolumeSnapshot:
        """Copy the volume's files as they are now."""
        snapshot = VolumeSnapshot(
            id=str(uuid4()),
            name=name,
            region=volume.region,
            resource_id=volume.id,
            min_disk_size=volume.size_gigabytes,
            size_gigabytes=0,
            tags=list(dict.fromkeys(tags)),
            created_at=datetime.now(UTC),
        )
        source, copy = self.volume_folder(volume.id), self.snapshot_folder(snapshot.id)
        shutil.copytree(source, copy, symlinks=True)
        used = sum(file.stat().st_size for file in copy.rglob("*") if file.is_file())
        snapshot.size_gigabytes = round(used / 2**30, 2)
        with self.changing() as data:
            data.volume_snapshots[snapshot.id] = snapshot
        return snapshot

    def remove_volume_snapshot(self, snapshot_id: str) -> None:
        """Remove the snapshot with its files; does nothing if it does not exist."""
        with self.changing() as data:
            data.volume_snapshots.pop(snapshot_id, None)
        remove_tree(self.snapshot_folder(snapshot_id))

    def associated_volumes(self, cluster_id: str) -> list[Volume]:
        """The volumes that the cluster has made, or has had attached to its nodes."""
        tag = f"k8s:{cluster_id}"
        return [volume for volume in self.data.volumes.values() if tag in volume.tags]

    def droplets_of(self, cluster: Cluster) -> dict[int, str]:
        """The names of the cluster's nodes by the IDs of their Droplets."""
        return {
            int(node.droplet_id): node.name for pool in cluster.node_pools for node in pool.nodes
        }

    def detach_missing_droplets(self) -> None:
        """Detach the volumes of Droplets that do not exist any more."""
        droplets = {
            droplet
            for cluster in self.data.clusters.values()
            for droplet in self.droplets_of(cluster)
        }
        for volume in self.data.volumes.values():
            if not droplets.issuperset(volume.droplet_ids):
                with self.changing():
                    volume.droplet_ids = [id for id in volume.droplet_ids if id in droplets]

    # What the volume driver of a cluster asks for

    def provide_volume(self, cluster_id: str, name: str, size_gigabytes: int) -> Volume:
        """The volume of that name in the cluster's region, made with the cluster's tag if there is
        none yet, so that a request may be repeated."""
        region = self.data.clusters[cluster_id].region
        for volume in self.data.volumes.values():
            if (volume.name, volume.region) == (name, region):
                return volume
        return self.add_volume(
            name,
            region,
            size_gigabytes,
            tags=[f"k8s:{cluster_id}"],
            description="Created by DigitalOcean CSI driver",
        )

    def attach_to_node(self, cluster_id: str, volume_id: str, node: str) -> str | None:
        """Attach the volume to a node of the cluster, and tag it as the cluster's. Returns why that
        is not possible."""
        cluster, volume = self.data.clusters[cluster_id], self.data.volumes.get(volume_id)
        if volume is None:
            return f'volume "{volume_id}" not found'
        if volume.region != cluster.region:
            return f'volume "{volume_id}" is in region {volume.region}'
        by_name = {name: droplet for droplet, name in self.droplets_of(cluster).items()}
        if (droplet := by_name.get(node)) is None:
            return f'node "{node}" has no Droplet'
        if volume.droplet_ids not in ([], [droplet]):
            return (
                f'volume "{volume_id}" is attached to the wrong droplet ({volume.droplet_ids[0]}),'
                " detach the volume to fix it"
            )
        tag = f"k8s:{cluster_id}"
        if volume.droplet_ids != [droplet] or tag not in volume.tags:
            with self.changing():
                volume.droplet_ids = [droplet]
                volume.tags = [*dict.fromkeys([*volume.tags, tag])]
        return None

    def detach_from_cluster(self, cluster_id: str, volume_id: str) -> None:
        """Detach the volume if it is attached to a node of the cluster."""
        volume = self.data.volumes.get(volume_id)
        droplets = self.droplets_of(self.data.clusters[cluster_id])
        if volume is not None and volume.droplet_ids and droplets.keys() >= {*volume.droplet_ids}:
            with self.changing():
                volume.droplet_ids = []

    def remove_load_balancer(self, load_balancer_id: str) -> None:
        """Remove the load balancer; does nothing if it does not exist."""
        with self.changing() as data:
            data.load_balancers.pop(load_balancer_id, None)
