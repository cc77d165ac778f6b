"""What recovery observes before it changes anything: the state, the account and the cluster."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import chain
from typing import Any

from doks_gitops.account import (
    Account,
    Change,
    Owner,
    RunningCluster,
    Volume,
    VolumeSnapshot,
)
from doks_gitops.account.recorded import CLUSTER, VPC
from doks_gitops.settings import Settings
from doks_gitops.volumes import Claim
from doks_gitops.volumes.cluster import PersistentVolume

STACK = "pulumi:pulumi:Stack"
RELEASE = "kubernetes:helm.sh/v3:Release"
NODE_POOL = "digitalocean:index/kubernetesNodePool:KubernetesNodePool"
REGISTRY = "digitalocean:index/containerRegistry:ContainerRegistry"
PROVIDER = "pulumi:providers:kubernetes"
STASH = "pulumi:index:Stash"
DESTROYS_ASSOCIATED = "destroyAllAssociatedResources"
"""A property of the cluster."""


@dataclass(frozen=True)
class StackState:
    """The stack's state, as `pulumi stack export` prints it."""

    stack: str | None = None
    """URN of the stack resource; None: the state is empty."""
    cluster: str | None = None
    """ID of the cluster."""
    cluster_urn: str | None = None
    vpc: str | None = None
    """ID of the VPC that the stack has created."""
    registry: str | None = None
    """ID of the registry that the stack has created."""
    provider: str | None = None
    """URN of the Kubernetes provider, on which everything in the cluster depends."""
    ids: frozenset[str] = frozenset()
    """IDs of all resources; of an object in a cluster it is namespace/name."""
    node_pools: Mapping[str, str] = field(default_factory=dict)
    """URNs of the node pools, without the first one, by the pool's ID."""
    releases: Mapping[str, str] = field(default_factory=dict)
    """URNs of the Helm releases, by namespace/name."""
    pending_creates: tuple[str, ...] = ()
    """URNs of the resources that a killed run was creating."""
    dependents: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """URNs that are deleted from the state together with the cluster or the provider, by the URN
    of these two."""
    owner: Owner | None = None
    """None: the stack was never deployed, or only by a version that did not keep it."""
    destroys_associated: bool = False
    """Whether Pulumi would delete the cluster together with its volumes."""

    @classmethod
    def from_export(cls, export: Mapping[str, Any]) -> StackState:
        deployment = export.get("deployment") or {}
        resources = [
            resource for resource in deployment.get("resources") or [] if not resource.get("delete")
        ]
        by_type = {resource["type"]: resource for resource in resources}
        return cls(
            stack=by_type.get(STACK, {}).get("urn"),
            cluster=by_type.get(CLUSTER, {}).get("id"),
            cluster_urn=by_type.get(CLUSTER, {}).get("urn"),
            destroys_associated=any(
                (by_type.get(CLUSTER, {}).get(part) or {}).get(DESTROYS_ASSOCIATED)
                for part in ("inputs", "outputs")
            ),
            vpc=by_type.get(VPC, {}).get("id"),
            registry=by_type.get(REGISTRY, {}).get("id"),
            provider=by_type.get(PROVIDER, {}).get("urn"),
            ids=frozenset(resource["id"] for resource in resources if resource.get("id")),
            node_pools={
                resource["id"]: resource["urn"]
                for resource in resources
                if resource["type"] == NODE_POOL
            },
            releases={
                resource["id"]: resource["urn"]
                for resource in resources
                if resource["type"] == RELEASE and resource.get("id")
            },
            pending_creates=tuple(
                operation["resource"]["urn"]
                for operation in deployment.get("pending_operations") or []
                if operation["type"] == "creating"
            ),
            dependents={
                by_type[kind]["urn"]: _dependents(resources, by_type[kind]["urn"])
                for kind in (CLUSTER, PROVIDER)
                if kind in by_type
            },
            owner=Owner(**by_type[STASH]["outputs"]["output"]) if STASH in by_type else None,
        )


def _dependents(resources: Sequence[Mapping[str, Any]], urn: str) -> tuple[str, ...]:
    """Returns the URNs that depend on `urn`. A state lists each resource after those it needs."""
    dependents: list[str] = []
    for resource in resources:
        if not _needed(resource).isdisjoint((urn, *dependents)):
            dependents.append(resource["urn"])
    return tuple(dependents)


def _needed(resource: Mapping[str, Any]) -> set[str]:
    """Returns the URNs that a resource depends on."""
    needed = {
        resource.get("parent"),
        resource.get("deletedWith"),
        # A reference to a provider is its URN and its ID.
        resource.get("provider", "").rpartition("::")[0],
        *resource.get("dependencies", ()),
        *chain(*(resource.get("propertyDependencies") or {}).values()),
    }
    return {urn for urn in needed if urn}


def revision(export: Mapping[str, Any]) -> object:
    """Returns what tells one content of a state from another one: the time of the engine's last
    write, and the resources. An import of a state keeps the time."""
    deployment = export.get("deployment") or {}
    resources = deployment.get("resources") or []
    written = (deployment.get("manifest") or {}).get("time")
    return written, [
        (resource["urn"], resource.get("id"), bool(resource.get("delete")))
        for resource in resources
    ]


def without_resources(export: Mapping[str, Any], urns: Container[str]) -> dict[str, Any]:
    """Returns the state without resources. Those of a replacement that Pulumi has still to delete
    stay."""
    deployment = export["deployment"]
    resources = [
        resource
        for resource in deployment["resources"]
        if resource.get("delete") or resource["urn"] not in urns
    ]
    return {**export, "deployment": {**deployment, "resources": resources}}


def remove_deleted(
    export: Mapping[str, Any], clusters: Container[str], pools: Container[str]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Returns the state without what an interrupted replacement of the cluster has deleted, and the
    URNs of that.

    `clusters`, `pools`: IDs of the account's clusters and of their node pools. Deleted are:

    - resources that Pulumi has deleted and not created again yet (`pendingReplacement`)
    - resources in a cluster that the account does not have, if their provider has been replaced
    - everything that depends on these

    Pulumi would try to delete them again, which fails: there is no cluster any more. If the cluster
    is there, it fails for a Helm release and for a node pool. So if something in the cluster has
    been deleted, that is removed, with the node pools that are gone, and nothing else. After an
    interrupted replacement of a node pool, nothing is removed: Pulumi completes that by itself.
    """
    deployment = export.get("deployment") or {}
    resources = deployment.get("resources") or []
    replaced_providers = {
        f"{resource['urn']}::{resource['id']}"
        for resource in resources
        if resource["type"] == PROVIDER
        and resource.get("delete")
        and resource["inputs"].get("clusterIdentifier") not in clusters
    }
    cluster_deleted = any(
        resource["type"] == CLUSTER and resource.get("pendingReplacement") for resource in resources
    )
    if not cluster_deleted and not replaced_providers:
        deleted = [resource for resource in resources if resource.get("pendingReplacement")]
        if not any(PROVIDER in resource.get("provider", "") for resource in deleted):
            return dict(export), ()
        deleted += [
            resource
            for resource in resources
            if resource["type"] == NODE_POOL
            and resource["id"] not in pools
            and not resource.get("pendingReplacement")
        ]
        remaining = dict(export)
        for resource in deleted:
            remaining = without(remaining, resource["urn"])
        return remaining, tuple(resource["urn"] for resource in deleted)
    kept: list[Mapping[str, Any]] = []
    kept_urns: set[str] = set()
    removed: list[str] = []
    for resource in resources:
        urn = resource["urn"]
        if (
            resource.get("pendingReplacement")
            or not replaced_providers.isdisjoint(
                (f"{urn}::{resource.get('id')}", resource.get("provider"))
            )
            or _needed(resource) & set(removed) - kept_urns
        ):
            removed.append(urn)
        else:
            kept.append(resource)
            kept_urns.add(urn)
    return {**export, "deployment": {**deployment, "resources": kept}}, tuple(removed)


def without(export: Mapping[str, Any], urn: str) -> dict[str, Any]:
    """Returns the state without one resource. What depends on it stays, without that dependency."""
    deployment = export["deployment"]
    resources = [
        resource
        | {
            "dependencies": [need for need in resource.get("dependencies") or () if need != urn],
            "propertyDependencies": {
                name: [need for need in needed or () if need != urn]
                for name, needed in (resource.get("propertyDependencies") or {}).items()
            },
        }
        for resource in deployment["resources"]
        if resource["urn"] != urn
    ]
    return {**export, "deployment": {**deployment, "resources": resources}}


@dataclass(frozen=True)
class HelmRevision:
    """One revision of a Helm release: of Argo CD, or of Sealed Secrets.

    Helm keeps each one in a Secret: https://helm.sh/docs/topics/advanced/#storage-backends
    """

    secret: str
    """Name of the Secret."""
    number: int
    status: str
    """`deployed`, `superseded`, `failed`, or while Helm works on it `pending-install` and so on."""
    version: str
    """The Secret's `resourceVersion`: another one after each change."""
    uid: str
    """The Secret's `uid`: another one after it was deleted and created again."""

    @property
    def interrupted(self) -> bool:
        """Whether a killed run left it. Only true of a stack that no run has locked."""
        return self.status.startswith("pending-") or self.status == "uninstalling"


@dataclass(frozen=True)
class HelmHistory:
    """All revisions of a Helm release."""

    revisions: tuple[HelmRevision, ...] = ()

    @property
    def deployed(self) -> HelmRevision | None:
        """The newest revision that Helm completed."""
        deployed = [revision for revision in self.revisions if revision.status == "deployed"]
        return max(deployed, key=lambda revision: revision.number, default=None)

    @property
    def incomplete(self) -> tuple[HelmRevision, ...]:
        """Revisions that were interrupted, or that failed after the deployed one.

        The cluster has a part of them. Pulumi's refresh takes such a release for complete.
        """
        last = self.deployed.number if self.deployed else 0
        return tuple(
            revision
            for revision in self.revisions
            if revision.interrupted or (revision.status == "failed" and revision.number > last)
        )


@dataclass(frozen=True)
class ClusterState:
    """Argo CD's namespace and the Helm releases in the cluster, as the cluster's API shows them."""

    terminating: str | None = None
    """The `uid` of a namespace that is being deleted; None: there is none, or it is not."""
    admin_password: bool = False
    """Whether the Secret with the generated admin password exists."""
    helm_history: HelmHistory = HelmHistory()
    sealed_secrets_history: HelmHistory = HelmHistory()


@dataclass(frozen=True)
class Consent:
    """What the user has allowed by an option."""

    new_state: bool = False
    """Let this state own a cluster that another state has owned."""
    abandon_cluster: bool = False
    """Delete a cluster that runs but does not answer."""
    team: str | None = None
    """UUID of the stack's team, for a state that does not keep it yet."""
    volumes: Mapping[str, Claim] = field(default_factory=dict)
    """Claims by the IDs of the volumes that they get."""
    left_volumes: frozenset[str] = frozenset()
    """IDs of volumes that are not brought back."""
    snapshots: bool = False
    """Restore snapshots of volumes that are gone, with the loss of what came after them."""
    copies: bool = False
    """The same for copies of volumes that are in another region."""


@dataclass(frozen=True)
class Observed:
    """Everything that the plan depends on."""

    settings: Settings
    state: StackState
    clusters: tuple[RunningCluster, ...]
    """The account's clusters that may be the stack's: see `clusters_of`."""
    region_available: bool
    """Whether new clusters can be created in the stack's region at present."""
    registry_exists: bool
    """Whether the account has the registry."""
    cluster_state: ClusterState | None = None
    """None: there is no cluster, or its API can't be reached."""
    vpc: str | None = None
    """ID of the account's VPC that has the name and the region of the stack's."""
    changes: tuple[Change, ...] = ()
    """Settings that replace the cluster."""
    deleted: tuple[str, ...] = ()
    """URNs that an interrupted replacement has deleted. They are in the backend's state, but not in
    `state`."""
    account_clusters: frozenset[str] = frozenset()
    """IDs of the account's clusters."""
    account_pools: frozenset[str] = frozenset()
    """IDs of their node pools."""
    team: str = ""
    """UUID of the token's team."""
    mark: str = ""
    """The cluster's mark in a state that keeps none yet."""
    consent: Consent = Consent()
    volumes: tuple[Volume, ...] = ()
    """The account's, if the stack brings volumes back."""
    snapshots: tuple[VolumeSnapshot, ...] = ()
    """The account's, likewise."""
    persistent_volumes: tuple[PersistentVolume, ...] = ()
    """Those in the cluster, likewise."""
    synced: bool = False
    """Whether Argo CD has Applications, so that something may have been synced."""
    now: datetime = field(default_factory=partial(datetime.now, UTC))


def clusters_of(account: Account, name: str, state: StackState) -> tuple[RunningCluster, ...]:
    """Returns the account's cluster that the state knows, whatever its name: the stack file may
    have a new one. If there is none, returns the clusters of the name in the stack file."""
    known = tuple(cluster for cluster in account.clusters if cluster.id == state.cluster)
    return known or account.clusters_named(name)
