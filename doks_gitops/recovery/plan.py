"""The steps of a recovery, as a pure function of what was observed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from components.names import ADMIN_SECRET, RELEASE_NAME, SEALED_SECRETS_RELEASE
from doks_gitops.account import (
    RunningCluster,
    VolumeSnapshot,
    check_team,
    first_pool,
    other_state,
    unknown_pool_text,
    unknown_pools,
)
from doks_gitops.account.marks import mark_in
from doks_gitops.account.recorded import CLUSTER
from doks_gitops.errors import PlatformError
from doks_gitops.recovery.observed import (
    DESTROYS_ASSOCIATED,
    ClusterState,
    HelmHistory,
    HelmRevision,
    Observed,
    StackState,
    remove_deleted,
    without,
    without_resources,
)
from doks_gitops.settings.errors import key_of, set_command
from doks_gitops.settings.model import NAMESPACE
from doks_gitops.volumes import Choices, Claim, assign
from doks_gitops.volumes.assignment import Holdings
from doks_gitops.volumes.copies import copy_tag_of
from doks_gitops.volumes.snapshots import age_of
from doks_gitops.volumes.tags import STORAGE, USED, clusters_in


class Refused(PlatformError):
    """No step is safe. Nothing was changed."""


@dataclass(frozen=True)
class AcquireLock:
    """Check that no other run holds the stack's lock, before steps that Pulumi does not lock; and
    remove interrupted creations from the state's pending operations.

    The lock is released again. A run that begins after that is found by what it has changed: the
    steps act on what was observed, and the deployment on the state that they have left.
    """

    stack: str | None
    """URN of the stack resource; None: the state is empty."""
    pending_creates: tuple[str, ...] = ()

    def __str__(self) -> str:
        cleared = (
            f", and remove the interrupted creation of {_names(self.pending_creates)} from the"
            " state's pending operations"
            if self.pending_creates
            else ""
        )
        return f"Check that no other run holds the stack's lock{cleared}."


@dataclass(frozen=True)
class WaitForCluster:
    """Wait until DigitalOcean has finished creating the cluster."""

    cluster: RunningCluster

    def __str__(self) -> str:
        return f"Wait until DigitalOcean has created the cluster {self.cluster.id}."


@dataclass(frozen=True)
class MarkCluster:
    """Tag the cluster as this state's. Another state that knows the cluster is refused then."""

    cluster: RunningCluster
    mark: str

    @property
    def tags(self) -> tuple[str, ...]:
        """All tags of the cluster with the new mark."""
        others = (tag for tag in self.cluster.tags if tag.lower() != self.cluster.mark)
        return (*others, self.mark)

    def __str__(self) -> str:
        former = f" instead of {self.cluster.mark}" if self.cluster.mark else ""
        return f"Tag the cluster {self.cluster.id} as this state's: {self.mark}{former}."


class StateEdit(ABC):
    """A step that changes the state and nothing else."""

    @abstractmethod
    def edited(self, export: Mapping[str, Any]) -> dict[str, Any]:
        """The exported state after the step."""


@dataclass(frozen=True)
class DeleteFromState(StateEdit):
    """Delete a resource and its dependents from the state: they no longer exist."""

    urn: str
    reason: str
    dependents: tuple[str, ...] = ()

    def __str__(self) -> str:
        names = _names((self.urn, *self.dependents))
        return f"Delete from the state, because {self.reason}: {names}."

    def edited(self, export: Mapping[str, Any]) -> dict[str, Any]:
        return without_resources(export, (self.urn, *self.dependents))


@dataclass(frozen=True)
class RemoveDeleted(StateEdit):
    """Remove from the state what an interrupted replacement of the cluster has deleted."""

    urns: tuple[str, ...]
    clusters: frozenset[str] = frozenset()
    """IDs of the account's clusters."""
    pools: frozenset[str] = frozenset()
    """IDs of their node pools."""

    def __str__(self) -> str:
        return (
            "Remove from the state what an interrupted replacement of the cluster has already"
            f" deleted: {_names(self.urns)}."
        )

    def edited(self, export: Mapping[str, Any]) -> dict[str, Any]:
        return remove_deleted(export, self.clusters, self.pools)[0]


@dataclass(frozen=True)
class Forget(StateEdit):
    """Remove one resource from the state. What depends on it stays."""

    urn: str
    reason: str

    def __str__(self) -> str:
        return f"Remove {_names((self.urn,))} from the state: {self.reason}."

    def edited(self, export: Mapping[str, Any]) -> dict[str, Any]:
        return without(export, self.urn)


@dataclass(frozen=True)
class KeepAssociated(StateEdit):
    """Change the cluster in the state, so that its volumes outlive it: Pulumi deletes a cluster in
    the way that it was deployed with, whatever the stack file says since."""

    urn: str

    def __str__(self) -> str:
        return (
            f"Change {_names((self.urn,))} in the state: its volumes outlive it, as the stack file"
            " says, but the last deployment did not."
        )

    def edited(self, export: Mapping[str, Any]) -> dict[str, Any]:
        deployment = export["deployment"]
        resources = [
            {
                **resource,
                **{
                    part: {**resource[part], DESTROYS_ASSOCIATED: False}
                    for part in ("inputs", "outputs")
                    if DESTROYS_ASSOCIATED in (resource.get(part) or {})
                },
            }
            if resource["urn"] == self.urn and not resource.get("delete")
            else resource
            for resource in deployment["resources"]
        ]
        return {**export, "deployment": {**deployment, "resources": resources}}


@dataclass(frozen=True)
class FinalizeNamespace:
    """Let the deletion of Argo CD's namespace complete: it waits for finalizers that only a running
    Argo CD removes.

    Needs no lock: a concurrent run, such as `pulumi destroy`, waits for the same namespace. Only
    what is in the namespace that was observed is deleted.
    """

    namespace: str
    uid: str

    def __str__(self) -> str:
        return (
            f"Complete the deletion of the namespace {self.namespace}: remove the finalizers of"
            " Argo CD's resources and delete what is left in it. What Argo CD has deployed stays."
        )


@dataclass(frozen=True)
class DeleteHelmRevisions:
    """Delete revisions of a Helm release, so that the deployment repeats them.

    `outdated` is kept, but marked as another chart version: Helm then applies the chart even if it
    is the one that it had deployed before. As with Helm itself, what a failed upgrade added to an
    object stays.
    """

    namespace: str
    revisions: tuple[HelmRevision, ...]
    outdated: HelmRevision | None = None

    def __str__(self) -> str:
        revisions = ", ".join(
            f"{revision.secret} ({revision.status})" for revision in self.revisions
        )
        action = f"upgrades from {self.outdated.secret}" if self.outdated else "installs"
        return f"Remove Helm's records {revisions}, so that it {action} over what is there."


@dataclass(frozen=True)
class RestoreSnapshot:
    """Create the volume of a claim anew, from a snapshot: the volume itself is gone."""

    claim: Claim
    snapshot: VolumeSnapshot
    region: str
    tags: tuple[str, ...]
    """Tags of the new volume, besides that of the claim."""
    age: str = field(compare=False)

    def __str__(self) -> str:
        return (
            f"Create a volume of {self.snapshot.disk} GiB for the claim {self.claim} from the"
            f" snapshot {self.snapshot.name} ({self.snapshot.id}), which is {self.age} old:"
            " what came after it is lost."
        )


@dataclass(frozen=True)
class RestoreCopy:
    """Create an empty volume for a claim whose volume is in another region. The deployment restores
    a copy into it."""

    claim: Claim
    snapshot: VolumeSnapshot
    """The snapshot that was copied."""
    region: str
    tags: tuple[str, ...]
    """Tags of the new volume. That of the claim is added when it has its data."""
    age: str = field(compare=False)
    size: int
    """GiB of the new volume: as the former one, which may have grown since the snapshot. Kubernetes
    binds none to a claim that requests more."""

    def __str__(self) -> str:
        return (
            f"Create a volume of {self.size} GiB in {self.region} for the claim {self.claim}, into"
            f" which the deployment restores the copy of the snapshot {self.snapshot.name}"
            f" ({self.snapshot.id}), which is {self.age} old: what came after it is lost."
        )


@dataclass(frozen=True)
class Deploy:
    """Deploy the stack. `adopt`: existing resources for the state, see `settings.model.Adopt`."""

    adopt: dict[str, object] = field(default_factory=dict)

    def __str__(self) -> str:
        labels = {
            "cluster": f"the cluster {self.adopt.get('cluster')}",
            "vpc": f"the VPC {self.adopt.get('vpc')}",
            "nodePools": f"the node pools {_listed(self.adopt.get('nodePools'))}",
            "adminPassword": "the admin's password",
            "registry": "the registry",
        }
        adopted = ", ".join(label for key, label in labels.items() if key in self.adopt)
        text = f"Deploy, and adopt {adopted}." if adopted else "Deploy."
        volumes = self.adopt.get("volumes")
        if isinstance(volumes, dict) and volumes:
            text += " Before Argo CD's first sync, " + ", ".join(
                f"the claim {claim} gets the volume {volume}" for volume, claim in volumes.items()
            )
            text += "."
        return text


Step = (
    AcquireLock
    | WaitForCluster
    | MarkCluster
    | StateEdit
    | FinalizeNamespace
    | DeleteHelmRevisions
    | RestoreSnapshot
    | RestoreCopy
    | Deploy
)


def plan(observed: Observed) -> list[Step]:
    """Returns the steps that bring the stack back. Raises `Refused`.

    - The cluster is not in the account: delete what was in it from the state, and deploy again.
    - It is in the account, but not in the state: adopt it.
    - Another state owns it: refuse, unless the user has allowed this state to own it.
    - The stack file has another region, and the cluster does not answer: refuse, unless the user
      has allowed to abandon it. Then delete what was in it from the state; the deployment replaces
      the cluster. Another change that replaces it waits until
      the cluster answers.
    - It does not answer: delete nothing, refuse.
    - It answers: repair what a killed run or a deleted Argo CD left. If another pool has become the
      first one, move it into the cluster's resource, and adopt the former one.

    Whatever an interrupted replacement has deleted is removed from the state first. A cluster in
    which nothing has been synced yet gets the volumes of the stack's claims back.
    """
    _check_team(observed)
    steps = _with_volumes(observed, _steps(observed))
    if observed.deleted:
        removal = RemoveDeleted(observed.deleted, observed.account_clusters, observed.account_pools)
        steps.insert(0, removal)
    state = observed.state
    unlocked = MarkCluster | DeleteHelmRevisions | StateEdit
    if state.pending_creates or any(isinstance(step, unlocked) for step in steps):
        steps.insert(0, AcquireLock(state.stack, state.pending_creates))
    return steps


def _steps(observed: Observed) -> list[Step]:
    state = observed.state
    if len(observed.clusters) > 1:
        ids = " and ".join(cluster.id for cluster in observed.clusters)
        raise Refused(
            f"The account has {len(observed.clusters)} clusters named"
            f" {observed.settings.cluster.name}: {ids}. Nothing was changed.",
            "delete the one that is too much: doctl kubernetes cluster delete ID",
        )
    if not observed.clusters:
        reason = "the cluster is gone from the account"
        # Pulumi would refresh those pools alone that the stack file has, and fail to delete others.
        pools = [urn for id, urn in state.node_pools.items() if id not in observed.account_pools]
        return [*_delete_provider(state, reason, pools), Deploy(_adopted(observed))]
    [cluster] = observed.clusters
    if not _owned(observed, cluster) and not observed.consent.new_state:
        raise Refused(*other_state(observed.settings.stack, cluster))
    if cluster.failed:
        raise _failed(observed, cluster)
    if observed.changes:
        return [*_replace(observed, cluster), Deploy(_adopted(observed))]
    if cluster.state != "provisioning" and observed.cluster_state is None:
        raise _unreachable(observed, cluster)
    steps: list[Step] = []
    deletions: list[Step] = []
    mark = state.owner.mark if state.owner else observed.mark
    marked = cluster.mark == mark.lower()
    # An unmarked cluster of the state is tagged by the deployment.
    takes_over = not marked and (state.cluster != cluster.id or cluster.mark is not None)
    if state.cluster != cluster.id:
        # The state has resources of a cluster that does not exist any more.
        if urn := state.cluster_urn or state.provider:
            reason = f"its cluster {state.cluster} is gone from the account"
            deletions.append(DeleteFromState(urn, reason, state.dependents.get(urn, ())))
        state = replace(state, cluster=None, cluster_urn=None, provider=None, ids=frozenset())
        observed = replace(observed, state=state)
    first = cluster.pools.get(cluster.default_pool or "")
    if first is not None and (urn := state.node_pools.get(first.id)):
        # Everything in the cluster depends on it, and stays.
        reason = f"the pool {cluster.default_pool} is now the first one, a part of the cluster"
        deletions.append(Forget(urn, reason))
    if cluster.state == "provisioning":
        steps.append(WaitForCluster(cluster))
    adopted = _adopted(observed, cluster)
    if takes_over:
        # Before anything is deleted: the token may lack the scope for it.
        steps.append(MarkCluster(cluster, mark))
        if state.owner is None:
            adopted["mark"] = mark
    return [*steps, *deletions, *_repair(observed), Deploy(adopted)]


def _with_volumes(observed: Observed, steps: list[Step]) -> list[Step]:
    """The steps, with the volumes of a cluster in which nothing has been synced yet."""
    *before, deploy = steps
    settings, state = observed.settings, observed.state
    assert isinstance(deploy, Deploy)
    replaced = bool(observed.changes)
    if settings.volumes is not None and replaced and state.destroys_associated:
        assert state.cluster_urn is not None
        before.insert(0, KeepAssociated(state.cluster_urn))
        steps = [*before, deploy]
    in_use = observed.synced if not replaced else observed.cluster_state is not None
    if settings.volumes is None or in_use:
        # If the deployment replaces the cluster, it brings them back itself.
        return steps
    stays = bool(observed.clusters) and not replaced
    cluster = observed.clusters[0].id if stays else None
    mark = (state.owner.mark if state.owner else observed.mark).lower()
    consent, bound = observed.consent, observed.persistent_volumes if stays else ()
    holdings = Holdings(
        observed.volumes,
        settings.cluster.region,
        mark,
        observed.snapshots,
        observed.account_clusters - {cluster, state.cluster},
        lost=_lost_clusters(observed) - {cluster},
        bound=frozenset(volume.volume for volume in bound),
        bound_claims=frozenset(volume.claim for volume in bound if volume.claim),
        copy_tag=copy_tag_of(settings.volumes),
    )
    choices = Choices(consent.volumes, consent.left_volumes, former_states=consent.new_state)
    assignment = assign(holdings, choices, settings.stack)
    region = settings.cluster.region

    def details(snapshot: VolumeSnapshot, *kept: str) -> tuple[str, tuple[str, ...], str]:
        tags = (mark, *(tag for tag in sorted(snapshot.tags) if tag.startswith(kept)))
        return region, tags, age_of(snapshot.created, observed.now)

    restores = [
        RestoreSnapshot(claim, snapshot, *details(snapshot, STORAGE, USED))
        for claim, snapshot in sorted(assignment.snapshots.items())
    ]
    copies = [
        # An empty volume was not in use: DigitalOcean's driver formats it.
        RestoreCopy(claim, snapshot, *details(snapshot, STORAGE), _size_of(snapshot, observed))
        for claim, snapshot in sorted(assignment.copies.items())
    ]
    if restores and not consent.snapshots:
        raise _snapshots_only(settings.stack, restores)
    if copies and not consent.copies:
        raise _copies_only(settings.stack, copies)
    volumes = {volume.id: str(claim) for claim, volume in assignment.volumes.items()}
    return [*before, *restores, *copies, Deploy({**deploy.adopt, "volumes": volumes})]


def _lost_clusters(observed: Observed) -> frozenset[str | None]:
    """IDs of the clusters whose volumes may be the stack's, recorded or not. A new state does not
    know its former cluster: each one that has left volumes and is gone may be it."""
    if not observed.consent.new_state:
        return frozenset({observed.state.cluster})
    makers = (clusters_in(volume.tags) for volume in observed.volumes)
    return frozenset({observed.state.cluster}).union(*makers) - observed.account_clusters


def _size_of(snapshot: VolumeSnapshot, observed: Observed) -> int:
    """GiB of the snapshot's volume, as far as the account tells: a volume never shrinks."""
    own = (x.size for x in observed.volumes if x.id == snapshot.volume)
    later = (x.disk for x in observed.snapshots if x.volume == snapshot.volume)
    return max(snapshot.disk, *own, *later)


def _snapshots_only(stack: str, restores: Sequence[RestoreSnapshot]) -> Refused:
    lines = [
        f"The volume of the claim {restore.claim} is gone from the account. Its newest snapshot,"
        f" {restore.snapshot.name} ({restore.snapshot.id}), is {restore.age} old; what came after"
        f" it would be lost.{_former_state(restore)}"
        for restore in restores
    ]
    recover = f"bin/platform recover --stack {stack}"
    leave = " ".join(f"--leave-volume {restore.snapshot.volume}" for restore in restores)
    return Refused(
        "\n".join([*lines, "Nothing was changed."]),
        f"{recover} --from-snapshots restores them; {recover} {leave} lets the claims begin empty",
    )


def _former_state(restore: RestoreSnapshot | RestoreCopy) -> str:
    mark = mark_in(restore.snapshot.tags)
    return (
        f" It was taken for another state of the stack, {mark}." if mark not in restore.tags else ""
    )


def _copies_only(stack: str, restores: Sequence[RestoreCopy]) -> Refused:
    lines = [
        f"The volume of the claim {restore.claim} is not in {restore.region}. The copy of its"
        f" snapshot {restore.snapshot.name} ({restore.snapshot.id}) is {restore.age} old; what came"
        f" after it would be lost.{_former_state(restore)}"
        for restore in restores
    ]
    leave = " ".join(f"--leave-volume {restore.snapshot.volume}" for restore in restores)
    return Refused(
        "\n".join([*lines, "Nothing was changed."]),
        f"repeat the command with --from-copies, which restores them; with {leave}, the claims"
        f" begin empty, and the volumes of {stack} stay where they are",
    )


def _check_team(observed: Observed) -> None:
    """Raises `PlatformError` unless the token's team is the stack's."""
    state, stack, team = observed.state, observed.settings.stack, observed.team
    if state.owner is not None:
        check_team(stack, state.owner, team)
    elif (
        (state.cluster or state.provider or observed.deleted)
        and state.cluster not in {cluster.id for cluster in observed.clusters}
        and observed.consent.team != team
    ):
        lost = f"its cluster {state.cluster}" if state.cluster else "its cluster"
        raise Refused(
            f"The account does not have {lost} of the stack {stack}, and the state does not"
            f" tell which team the stack was deployed to. The token is of the team {team}. Nothing"
            " was changed.",
            "use the right token (doctl account get shows the team of a token); only if"
            " that is the stack's team and the cluster is lost:"
            f" bin/platform recover --stack {stack} --team {team}",
        )


def _owned(observed: Observed, cluster: RunningCluster) -> bool:
    """Whether the state owns the cluster: by the mark, or without one because it knows it."""
    state = observed.state
    if cluster.mark is not None:
        return state.owner is not None and cluster.mark == state.owner.mark.lower()
    creating = any(CLUSTER.rpartition(":")[0] in urn for urn in state.pending_creates)
    return state.cluster == cluster.id or creating


def _failed(observed: Observed, cluster: RunningCluster) -> Refused:
    recover = f"bin/platform recover --stack {observed.settings.stack}"
    return Refused(
        f"DigitalOcean could not create the cluster {cluster.name} ({cluster.id}):"
        f" {cluster.message or 'it gave no reason'}. Nothing has ever run in it. Nothing was"
        " changed.",
        f"doctl kubernetes cluster delete {cluster.id}, then {recover}",
    )


def _delete_provider(state: StackState, reason: str, pools: Sequence[str] = ()) -> list[Step]:
    """`pools`: URNs of node pools that are gone, too."""
    provider = [state.provider] if state.provider else []
    urns = [*provider, *state.dependents.get(state.provider or "", ()), *pools]
    return [DeleteFromState(urns[0], reason, tuple(urns[1:]))] if urns else []


def _replace(observed: Observed, cluster: RunningCluster) -> list[Step]:
    """The steps before the deployment replaces the cluster."""
    stack = observed.settings.stack
    recover = f"bin/platform recover --stack {stack}"
    differences = " and ".join(
        f"{key_of(NAMESPACE, change.path)} {change.value}, but the cluster {cluster.name} was"
        f" created with {change.current}"
        for change in observed.changes
    )
    if observed.state.cluster != cluster.id:
        commands = [
            set_command(stack, key_of(NAMESPACE, change.path), change.revert)
            for change in observed.changes
            if change.revert is not None
        ]
        raise Refused(
            f"The stack file has {differences}, and the stack's state does not have the cluster."
            " Nothing was changed.",
            f"to adopt it: {', then '.join([*commands, recover])};"
            f" to delete it: doctl kubernetes cluster delete {cluster.id}, then {recover}",
        )
    if observed.settings.cluster.protect:
        raise Refused(
            f"The stack file has {differences}, and it is protected from deletion. Nothing was"
            " changed.",
            "to replace it: pulumi config set --path doks-gitops:cluster.protect false"
            f" --stack {stack}, then pulumi state unprotect --stack {stack}"
            f" '{observed.state.cluster_urn}', then {recover}",
        )
    if observed.cluster_state is not None:
        forgotten: list[Step] = [
            # Helm would refuse to uninstall it once more.
            Forget(urn, "it is uninstalled already")
            for namespace, release, history in _releases(observed, observed.cluster_state)
            if (urn := observed.state.releases.get(f"{namespace}/{release}"))
            and not {*history.revisions} - {*history.incomplete}
        ]
        return [*forgotten, *_repair(observed)]
    region = observed.settings.cluster.region
    if cluster.region == region:
        raise _unreachable(observed, cluster)
    if not observed.consent.abandon_cluster:
        left = (
            ""
            if observed.settings.cluster.destroy_associated_resources
            else " Load balancers and volumes that the applications created stay in the account and"
            " are billed: doctl kubernetes cluster list-associated-resources"
            f" {cluster.id} lists them."
        )
        raise Refused(
            f"The stack file has the region {region}, but the cluster {cluster.name}"
            f" ({cluster.id}) in {cluster.region} is {cluster.state} and does not answer. It is not"
            " lost: moving the stack deletes it with everything in it."
            f"{left} Nothing was changed.",
            f"to delete it and to move: {recover} --abandon-cluster; to keep it: "
            + set_command(stack, f"{NAMESPACE}:cluster.region", cluster.region),
        )
    return _delete_provider(
        observed.state,
        f"the cluster in {cluster.region} does not answer, and the stack moves to {region}",
    )


def _unreachable(observed: Observed, cluster: RunningCluster) -> Refused:
    stack = observed.settings.stack
    fix = (
        "look at the network, and at the token's scope kubernetes:access_cluster:"
        f" doctl kubernetes cluster get {cluster.id}"
    )
    if not observed.region_available:
        fix += (
            f"\nNo cluster can be created in {cluster.region} at present. To move the stack to"
            " another region: pulumi config set --path doks-gitops:cluster.region REGION"
            f" --stack {stack}, then bin/platform recover --stack {stack}"
        )
    return Refused(
        f"The cluster {cluster.name} ({cluster.id}) is not lost: the account says that it is"
        f" {cluster.state}, in {cluster.region}. But it does not answer. Nothing was changed.",
        fix,
    )


def _repair(observed: Observed) -> list[Step]:
    """The steps inside a cluster that answers."""
    cluster_state, namespace = observed.cluster_state, observed.settings.argocd.namespace
    if cluster_state is None:
        return []
    steps: list[Step] = []
    releases = _releases(observed, cluster_state)
    if cluster_state.terminating:
        steps.append(FinalizeNamespace(namespace, cluster_state.terminating))
        # Helm's records in it go with it.
        releases = [release for release in releases if release[0] != namespace]
    return [
        *steps,
        *(step for release in releases for step in _repair_release(*release, observed.state)),
    ]


def _releases(
    observed: Observed, cluster_state: ClusterState
) -> list[tuple[str, str, HelmHistory]]:
    """Namespace, name and history of the stack's Helm releases."""
    releases = [(observed.settings.argocd.namespace, RELEASE_NAME, cluster_state.helm_history)]
    if (sealed := observed.settings.sealed_secrets) is not None:
        history = cluster_state.sealed_secrets_history
        releases.append((sealed.namespace, SEALED_SECRETS_RELEASE, history))
    return releases


def _repair_release(
    namespace: str, release: str, history: HelmHistory, state: StackState
) -> Iterator[Step]:
    if f"{namespace}/{release}" not in state.ids:
        # Helm would not install a release that it has a record of.
        if history.revisions:
            yield DeleteHelmRevisions(namespace, history.revisions)
    elif incomplete := history.incomplete:
        yield DeleteHelmRevisions(namespace, incomplete, history.deployed)


def _adopted(observed: Observed, cluster: RunningCluster | None = None) -> dict[str, object]:
    """What exists and is not in the state. `cluster`: the one that the stack keeps."""
    settings, state, cluster_state = observed.settings, observed.state, observed.cluster_state
    adopted: dict[str, object] = {}
    if cluster is not None:
        if state.cluster != cluster.id:
            adopted["cluster"] = cluster.id
        pools = {
            pool.name: cluster.pools[pool.name].id
            for index, pool in enumerate(settings.cluster.node_pools)
            if pool.name in cluster.pools and index != first_pool(settings, cluster)
        }
        if unknown := {name: id for name, id in pools.items() if id not in state.ids}:
            adopted["nodePools"] = unknown
        secret = f"{settings.argocd.namespace}/{ADMIN_SECRET}"
        if (
            cluster_state is not None
            and cluster_state.admin_password
            and not cluster_state.terminating
            and secret not in state.ids
        ):
            adopted["adminPassword"] = True
    vpc = settings.cluster.vpc
    if vpc is not None and vpc.ip_range is not None and observed.vpc and state.vpc is None:
        adopted["vpc"] = observed.vpc
    if settings.registry.create and observed.registry_exists and state.registry is None:
        adopted["registry"] = True
    return adopted


def left_alone(observed: Observed) -> Iterator[str]:
    """Yields what neither the state nor the stack file has, and the commands for it."""
    for cluster in observed.clusters:
        for name in unknown_pools(observed.settings, cluster):
            if cluster.pools[name].id not in observed.state.ids:
                text = unknown_pool_text(observed.settings, cluster, name)
                yield f"The state does not have {text}."


def _names(urns: tuple[str, ...]) -> str:
    """Returns each resource's kind and name, such as `Release argocd`."""
    return ", ".join(
        f"{urn.split('::')[-2].rpartition(':')[2]} {urn.split('::')[-1]}" for urn in urns
    )


def _listed(pools: object) -> str:
    return ", ".join(pools) if isinstance(pools, dict) else ""
