"""One account, kept in a file: every change is on disk before it is acknowledged."""

import hashlib
import ipaddress
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from uuid import uuid4

from pydantic import ValidationError

from sandbox.digitalocean.catalogue import REGISTRY_HOST, version_key
from sandbox.digitalocean.clock import Clock
from sandbox.digitalocean.journal import Journal
from sandbox.digitalocean.models import (
    AccountData,
    Credential,
    LoadBalancer,
    Repository,
    RepositoryTag,
    Token,
    Volume,
    Vpc,
)
from sandbox.faults import Faults

ACCESS_CLUSTER = "kubernetes:access_cluster"
CREDENTIAL_LIFETIME = timedelta(days=7)
"""How long cluster credentials hold unless another duration is asked for."""

_VPC_SPACE = ipaddress.IPv4Network("10.100.0.0/14")


class StateUnreadable(Exception):
    """The state file can't be used; says which file, why, and what to do."""


@dataclass(frozen=True)
class ClusterUser:
    """Who the bearer of a token is inside a cluster."""

    username: str
    uid: str
    groups: tuple[str, ...]


@dataclass(frozen=True)
class TokenVerdict:
    """Whether a token opens a cluster: either `user`, or `error` that says why not."""

    user: ClusterUser | None = None
    error: str = ""

    @property
    def authenticated(self) -> bool:
        return self.user is not None


def _sha256(token: str) -> str:
    # Tokens are random and long, so a fast hash without salt is as safe as a slow one.
    return hashlib.sha256(token.encode()).hexdigest()


class AccountState:
    """An account's data with the rules that hold for all of it.

    Not thread-safe: all use is from the event loop that serves the API.
    """

    def __init__(self, path: Path, data: AccountData) -> None:
        self.data = data
        self.clock = Clock(data.clock_offset)
        self.journal = Journal()
        self.faults = Faults()
        self._path = path

    @classmethod
    def load(cls, path: Path) -> "AccountState":
        """The account kept in `path`; a new, empty one if there is no such file.

        Raises StateUnreadable if the file is not one that this version wrote.
        """
        try:
            data = AccountData.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            account = cls(path, AccountData(uuid=str(uuid4()), team_uuid=str(uuid4())))
            account._save()
            return account
        except ValidationError as error:
            raise StateUnreadable(
                f"{path} is not the state of an account: {error}\n"
                "Run `bin/sandbox reset` to start with an empty account."
            ) from error
        return cls(path, data)

    @contextmanager
    def changing(self) -> Iterator[AccountData]:
        """Change the data inside; it is on disk when the block has ended without an exception.

        Check everything before the first change: a block that raises does not undo what it did.
        """
        yield self.data
        self._save()

    def _save(self) -> None:
        temporary = self._path.with_name(f"{self._path.name}.new")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(self.data.model_dump_json(indent=1))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path)
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def advance_clock(self, by: timedelta) -> datetime:
        """Set the account's clock forward, for good; returns the new time.

        Raises ValueError for a negative step.
        """
        self.clock.advance(by)
        with self.changing() as data:
            data.clock_offset = self.clock.offset
        return self.clock.now()

    def offer_versions(self, versions: Sequence[str]) -> None:
        """Make these DOKS version slugs the ones on offer."""
        with self.changing() as data:
            data.versions = sorted(versions, key=version_key, reverse=True)

    # Tokens

    def add_token(
        self, name: str, scopes: Sequence[str] = ("full",), lifetime: timedelta | None = None
    ) -> str:
        """Make a personal access token, which is returned here and never again.

        `lifetime` of None is a token that does not expire.
        """
        token = f"dop_v1_{secrets.token_hex(32)}"
        now = self.clock.now()
        with self.changing() as data:
            data.tokens.append(
                Token(
                    name=name,
                    sha256=_sha256(token),
                    scopes=list(scopes),
                    created_at=now,
                    expires_at=now + lifetime if lifetime is not None else None,
                )
            )
        return token

    def revoke_token(self, name: str) -> None:
        """Make every token of that name invalid. Raises KeyError if there is none."""
        if not any(token.name == name for token in self.data.tokens):
            raise KeyError(name)
        with self.changing() as data:
            data.tokens = [token for token in data.tokens if token.name != name]

    def find_token(self, token: str) -> Token | None:
        """The personal access token, if it is valid now."""
        if self.faults.stand("token-invalid"):
            return None
        digest = _sha256(token)
        for known in self.data.tokens:
            if known.sha256 == digest and not self._expired(known.expires_at):
                if self.faults.stand("token-read-only"):
                    return known.model_copy(update={"scopes": ["read", ACCESS_CLUSTER]})
                return known
        return None

    def _expired(self, at: datetime | None) -> bool:
        return at is not None and at <= self.clock.now()

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
        """How many the account may have."""
        return self.droplets_in_use if self.faults.stand("quota") else self.data.droplet_limit

    # Minted credentials

    def mint_cluster_credential(
        self, cluster_id: str, lifetime: timedelta = CREDENTIAL_LIFETIME
    ) -> tuple[str, datetime]:
        """A token that opens the cluster, and when it expires."""
        expires_at = self.clock.now() + lifetime
        credential = Credential(sha256="", cluster_id=cluster_id, expires_at=expires_at)
        return self._mint(credential), expires_at

    def mint_registry_credential(
        self, registry: str, *, read_write: bool, lifetime: timedelta | None
    ) -> str:
        """A token for the registry; it does not expire if `lifetime` is None."""
        expires_at = self.clock.now() + lifetime if lifetime is not None else None
        return self._mint(
            Credential(sha256="", registry=registry, read_write=read_write, expires_at=expires_at)
        )

    def _mint(self, credential: Credential) -> str:
        token = secrets.token_hex(32)
        credential.sha256 = _sha256(token)
        with self.changing() as data:
            data.credentials = [
                *(known for known in data.credentials if not self._expired(known.expires_at)),
                credential,
            ]
        return token

    def authenticate_for_cluster(self, token: str, cluster_id: str) -> TokenVerdict:
        """Whether `token` opens the cluster: a personal access token that may access clusters, or
        a credential of that cluster that has not expired
        (docs.digitalocean.com/products/kubernetes/how-to/connect-to-cluster).
        """
        if cluster_id not in self.data.clusters:
            return TokenVerdict(error=f"there is no cluster {cluster_id}")
        digest = _sha256(token)
        minted = any(
            known.sha256 == digest
            and known.cluster_id == cluster_id
            and not self._expired(known.expires_at)
            for known in self.data.credentials
        )
        if not minted:
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
        """Make a VPC. A region's first one becomes its default for good
        (docs.digitalocean.com/products/networking/vpc/how-to/create); without `ip_range`, a free
        /20 is chosen."""
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
        """The region's default VPC; made if the region has none yet."""
        return self.find_default_vpc(region) or self.add_vpc(f"default-{region}", region)

    def _free_ip_range(self) -> str:
        taken = [ipaddress.IPv4Network(vpc.ip_range) for vpc in self.data.vpcs.values()]
        return next(
            str(network)
            for network in _VPC_SPACE.subnets(new_prefix=20)
            if not any(network.overlaps(other) for other in taken)
        )

    # What the workload of a cluster makes

    def push_image(self, repository: str, tag: str) -> str:
        """Put a tag into the account's first registry, as `docker push` does; the image's name.

        `repository` is its name in the registry. Raises ValueError if there is no registry.
        """
        registry = next(iter(self.data.registries.values()), None)
        if registry is None:
            raise ValueError("the account has no registry")
        digest = hashlib.sha256(f"{repository}:{tag}".encode()).hexdigest()
        made = RepositoryTag(
            tag=tag,
            manifest_digest=f"sha256:{digest}",
            compressed_size_bytes=10_000_000,
            size_bytes=25_000_000,
            updated_at=self.clock.now(),
        )
        with self.changing():
            found = next((r for r in registry.repositories if r.name == repository), None)
            if found is None:
                found = Repository(name=repository, tags=[])
                registry.repositories.append(found)
            found.tags = [made, *(each for each in found.tags if each.tag != tag)]
        return f"{REGISTRY_HOST}/{registry.name}/{repository}:{tag}"

    def has_image(self, registry: str, repository: str, tag: str) -> bool:
        """Whether the account has that registry, and the tag is in it."""
        found = self.data.registries.get(registry)
        return found is not None and any(
            each.name == repository and any(known.tag == tag for known in each.tags)
            for each in found.repositories
        )

    def refuses_image(self, cluster_id: str, image: str) -> str | None:
        """Why that cluster can't pull `image`, which is one of a registry here; None if it can."""
        path, _, tag = image.removeprefix(f"{REGISTRY_HOST}/").partition(":")
        registry, _, repository = path.partition("/")
        cluster = self.data.clusters.get(cluster_id)
        failed = f'failed to pull and unpack image "{image}"'
        if cluster is None or registry not in cluster.registries:
            return f"{failed}: unexpected status: 401 Unauthorized"
        if not self.has_image(registry, repository, tag or "latest"):
            return f"{failed}: not found"
        return None

    def add_load_balancer(self, cluster_id: str, name: str, ip: str) -> LoadBalancer:
        """Record a load balancer that a Service of the cluster asked for."""
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

    def add_volume(self, cluster_id: str, name: str, size_gigabytes: int) -> Volume:
        """Record a volume that a PersistentVolumeClaim of the cluster asked for."""
        volume = Volume(
            id=str(uuid4()),
            name=name,
            region=self.data.clusters[cluster_id].region,
            size_gigabytes=size_gigabytes,
            cluster_id=cluster_id,
            created_at=self.clock.now(),
        )
        with self.changing() as data:
            data.volumes[volume.id] = volume
        return volume

    def remove_load_balancer(self, load_balancer_id: str) -> None:
        """Forget it. Does nothing if there is none of that ID."""
        with self.changing() as data:
            data.load_balancers.pop(load_balancer_id, None)

    def remove_volume(self, volume_id: str) -> None:
        """Forget it. Does nothing if there is none of that ID."""
        with self.changing() as data:
            data.volumes.pop(volume_id, None)
