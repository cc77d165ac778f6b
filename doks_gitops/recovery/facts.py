"""What is known before anything is done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from doks_gitops.account import Account, RunningCluster
from doks_gitops.settings import Settings

STACK = "pulumi:pulumi:Stack"
CLUSTER = "digitalocean:index/kubernetesCluster:KubernetesCluster"
VPC = "digitalocean:index/vpc:Vpc"
REGISTRY = "digitalocean:index/containerRegistry:ContainerRegistry"
PROVIDER = "pulumi:providers:kubernetes"


@dataclass(frozen=True)
class Known:
    """What the stack's state holds."""

    stack: str | None = None
    """URN of the stack itself; None: the state is empty."""
    cluster: str | None = None
    """ID of the cluster."""
    cluster_urn: str | None = None
    vpc: str | None = None
    """ID of the VPC that the stack has made."""
    registry: str | None = None
    """ID of the registry that the stack has made."""
    provider: str | None = None
    """URN of the provider of all that is in the cluster."""
    ids: frozenset[str] = frozenset()
    """Of everything; of what is in a cluster it is namespace/name."""
    interrupted: tuple[str, ...] = ()
    """What was being created when a run was killed, by URN."""

    @classmethod
    def of(cls, export: Mapping[str, Any]) -> Known:
        """What `pulumi stack export` tells."""
        deployment = export.get("deployment") or {}
        resources = [each for each in deployment.get("resources") or [] if not each.get("delete")]
        found = {each["type"]: each for each in resources}
        return cls(
            stack=found.get(STACK, {}).get("urn"),
            cluster=found.get(CLUSTER, {}).get("id"),
            cluster_urn=found.get(CLUSTER, {}).get("urn"),
            vpc=found.get(VPC, {}).get("id"),
            registry=found.get(REGISTRY, {}).get("id"),
            provider=found.get(PROVIDER, {}).get("urn"),
            ids=frozenset(each["id"] for each in resources if each.get("id")),
            interrupted=tuple(
                each["resource"]["urn"]
                for each in deployment.get("pending_operations") or []
                if each["type"] == "creating"
            ),
        )


@dataclass(frozen=True)
class Revision:
    """One record of Helm's about Argo CD's release: a Secret."""

    secret: str
    number: int
    status: str
    """deployed, superseded, failed, or pending-install and so on while Helm works on it."""

    @property
    def cut_off(self) -> bool:
        """With the stack's lock free nobody works on it, so it was left by a killed run."""
        return self.status.startswith("pending-") or self.status == "uninstalling"


@dataclass(frozen=True)
class History:
    """Helm's records about Argo CD's release."""

    revisions: tuple[Revision, ...] = ()

    @property
    def deployed(self) -> Revision | None:
        """The newest that Helm completed."""
        done = [each for each in self.revisions if each.status == "deployed"]
        return max(done, key=lambda each: each.number, default=None)

    @property
    def unfinished(self) -> tuple[Revision, ...]:
        """What was cut off, or failed after the one that is deployed: the cluster has some of it,
        and a refresh takes it for done (the resource's state has no word for it)."""
        last = self.deployed.number if self.deployed else 0
        return tuple(
            each
            for each in self.revisions
            if each.cut_off or (each.status == "failed" and each.number > last)
        )


@dataclass(frozen=True)
class Inside:
    """What the cluster's own API answers."""

    terminating: bool = False
    """Argo CD's namespace is being deleted."""
    admin_password: bool = False
    """The Secret with the generated admin password is there."""
    history: History = History()


def clusters_of(team: Account, name: str, known: Known) -> tuple[RunningCluster, ...]:
    """The account's cluster that the state knows, whatever it is called there: the stack file may
    have a new name for it. If there is none, the clusters of the stack's name."""
    same = tuple(each for each in team.clusters if each.id == known.cluster)
    return same or team.clusters_named(name)


@dataclass(frozen=True)
class Facts:
    """All of it."""

    settings: Settings
    known: Known
    running: tuple[RunningCluster, ...]
    """As `clusters_of` finds them."""
    region_up: bool
    """Whether the stack's region takes clusters at present."""
    registry: bool
    """Whether the account has the registry."""
    inside: Inside | None = None
    """None: the cluster does not answer, or there is none."""
    vpc: str | None = None
    """ID of the VPC in the account that has the name and the region of the stack's."""
