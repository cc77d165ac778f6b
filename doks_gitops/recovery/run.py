"""Carries a recovery out: observes, plans, asks, and takes the steps."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from doks_gitops import account, volumes
from doks_gitops.environments import short_name
from doks_gitops.errors import PlatformError
from doks_gitops.kubernetes import ApiT, Changed, Unreachable, connect
from doks_gitops.policy.preview import PACK
from doks_gitops.recovery import kubernetes
from doks_gitops.recovery.observed import (
    ClusterState,
    Consent,
    Observed,
    StackState,
    clusters_of,
    remove_deleted,
    revision,
)
from doks_gitops.recovery.plan import (
    AcquireLock,
    DeleteHelmRevisions,
    Deploy,
    FinalizeNamespace,
    MarkCluster,
    RestoreCopy,
    RestoreSnapshot,
    StateEdit,
    Step,
    WaitForCluster,
    left_alone,
    plan,
)
from doks_gitops.settings import Settings
from doks_gitops.settings.load import ADOPT
from doks_gitops.settings.model import NAMESPACE
from doks_gitops.settings.offline import billable_sections
from doks_gitops.stack import Stack, StackLocked, StackNotFound
from doks_gitops.volumes import bucket, copies

PROVISIONING_SECONDS = 30 * 60
"""How long DigitalOcean may take to create a cluster; its Pulumi provider waits as long."""

Approve = Callable[[str], object]
"""Asks the user a question; raises if the answer is no."""


class RecoveryError(PlatformError):
    """A step of the recovery failed."""


class Recovery:
    """The recovery of one stack.

    Nothing is changed before `approve` has been asked. Without `approve`, nothing is changed at
    all: the plan is only shown.

    Pulumi gives its lock to none but its own commands. So each step acts on what was observed
    alone, and is refused if another run has changed it: docs/decisions.md tells how.
    """

    def __init__(
        self, stack: Stack, approve: Approve | None, consent: Consent | None = None
    ) -> None:
        self._stack = stack
        self._approve = approve
        self._consent = consent or Consent()
        self._mark = account.new_mark(NAMESPACE, short_name(stack.name))
        self._revision: object = None
        """The `revision` of the state that the next step acts on."""
        self._restored: dict[str, str] = {}
        """Claims by the IDs of the volumes that were made for them."""
        self._copies: dict[str, str] = {}
        """Snapshots by the IDs of the volumes into which their copies are restored."""

    def run(self, *, cancel: bool = False) -> Settings | None:
        """Returns the settings that were deployed; None if nothing was. Raises `PlatformError`.

        `cancel`: first release the lock that a killed run left.
        """
        try:
            if cancel and self._approved("Cancel the run that holds the stack's lock"):
                self._stack.cancel()
            settings, export = self._settings_and_export()
        except StackNotFound:
            if not self._consent.new_state:
                raise self._no_state() from None
            if not self._approved(f"Create the stack {self._stack.name}, missing in the backend"):
                return None
            self._create()
            settings, export = self._settings_and_export()
        observed = self._observe(settings, export)
        steps = plan(observed)
        while True:
            taken = 0
            _require_copies(steps, observed.settings)
            print(f"Plan for the stack {self._stack.name}:", *steps, sep="\n  - ", flush=True)
            for text in left_alone(observed):
                _report(text)
            if not self._approved("Carry out the plan"):
                return None
            if len(steps) == 1:
                # The deployment is the only step. It checks the state while it has the lock.
                break
            # The plan was made without the lock, and before the user was asked.
            if isinstance(lock := steps[0], AcquireLock):
                self._report_step(1, steps)
                self._take(lock, observed)
                taken = 1
            observed = self._observe_again(observed)
            if (new := plan(observed)) == steps:
                break
            _report("Something has changed since the plan was made.")
            steps = new
        for number, step in enumerate(steps[taken:], taken + 1):
            self._report_step(number, steps)
            self._take(step, observed)
        return observed.settings

    def _create(self) -> None:
        try:
            if self._stack.create():
                _report("Pulumi changed the stack file. It was restored.")
        except StackLocked as locked:
            # Pulumi releases the lock of a stack that exists, and makes no stack that is locked.
            raise RecoveryError(
                locked.problem,
                "wait until that run has ended; if it does not exist any more: delete the lock's"
                " file, which is named above, in the backend, then: bin/platform recover --stack"
                f" {self._stack.name} --new-state",
            ) from None

    @staticmethod
    def _report_step(number: int, steps: Sequence[Step]) -> None:
        _report(f"{number}/{len(steps)} {steps[number - 1]}")

    def _observe_again(self, before: Observed) -> Observed:
        """Returns what is there now. The interrupted creations, which the lock's step has removed
        from the state, are still to be adopted."""
        observed = self._observe(*self._settings_and_export())
        creates = (*before.state.pending_creates, *observed.state.pending_creates)
        creates = tuple(dict.fromkeys(creates))
        return replace(observed, state=replace(observed.state, pending_creates=creates))

    def _no_state(self) -> RecoveryError:
        """The backend has no such stack: most often it is another backend."""
        name = self._stack.name
        return RecoveryError(
            f"The backend has no stack {name}.{self._existing_cluster()} Nothing was changed.",
            "look whether this is the right backend: pulumi whoami --verbose, and the variable"
            f" PULUMI_BACKEND_URL; for a new stack: pulumi stack init {name}, then pulumi up"
            f" --stack {name}; only if the state is lost: bin/platform recover --stack {name}"
            " --new-state",
        )

    def _existing_cluster(self) -> str:
        """Tells whether the account of the environment has the stack's cluster, without the stack's
        configuration: Pulumi decrypts it only for a stack that exists."""
        try:
            cluster, _ = billable_sections(self._stack.name, self._stack.text())
            with account.DigitalOceanClient.from_environment() as client:
                ids = [known.id for known in client.clusters() if known.name == cluster.name]
        except PlatformError:
            return ""
        return f" But the account has its cluster {cluster.name} ({', '.join(ids)})." if ids else ""

    def _approved(self, action: str) -> bool:
        if self._approve is None:
            _report(f"Not done in a dry run: {action}.")
            return False
        self._approve(f"{action}?")
        return True

    def _settings_and_export(self) -> tuple[Settings, dict[str, Any]]:
        with ThreadPoolExecutor() as threads:
            settings = threads.submit(self._stack.settings)
            export = self._stack.export()
        self._revision = revision(export)
        return settings.result(), export

    def _observe(self, settings: Settings, export: Mapping[str, Any]) -> Observed:
        name, region = settings.cluster.name, settings.cluster.region
        _report(f"Reading the state, the account and the cluster {name}.")
        token = settings.digitalocean.token.get_secret_value()
        api_url, vpcs = settings.digitalocean.api_endpoint, settings.cluster.creates_vpc
        account_state = account.read(token, api_url, vpcs=vpcs)
        account_clusters = frozenset(cluster.id for cluster in account_state.clusters)
        account_pools = frozenset(
            pool.id for cluster in account_state.clusters for pool in cluster.pools.values()
        )
        export, deleted = remove_deleted(export, account_clusters, account_pools)
        state = StackState.from_export(export)
        account_state = replace(account_state, recorded=account.of_export(export))
        clusters = clusters_of(account_state, name, state)
        left = account.left_vpc(settings, account_state)
        if left is not None:
            account_state = replace(
                account_state, recorded=replace(account_state.recorded, vpc=left.id)
            )
        observed = Observed(
            settings,
            state,
            clusters,
            region_available=region in account_state.regions,
            registry_exists=settings.registry.name in account_state.registries,
            vpc=left.id if left else None,
            changes=account.replacing_changes(settings, account_state, *clusters)
            if len(clusters) == 1
            else (),
            deleted=deleted,
            account_clusters=account_clusters,
            account_pools=account_pools,
            team=account_state.team,
            mark=self._mark,
            consent=self._consent,
            now=datetime.now(UTC),
        )
        if len(clusters) == 1 and clusters[0].state != "provisioning":
            observed = replace(observed, cluster_state=self._cluster_state(observed))
        return observed if settings.volumes is None else _with_volumes(observed)

    @staticmethod
    def _cluster_state(observed: Observed) -> ClusterState | None:
        settings = observed.settings
        sealed = settings.sealed_secrets.namespace if settings.sealed_secrets else None
        try:
            with _connect(observed) as cluster:
                return cluster.state(settings.argocd.namespace, sealed)
        except (Unreachable, account.AccountError) as error:
            _report(f"The cluster does not answer: {error.problem}")
            return None

    def _take(self, step: Step, observed: Observed) -> None:
        match step:
            case AcquireLock(urn):
                # A refresh locks the stack as every run does.
                self._stack.clear_pending_creates(urn)
            case WaitForCluster(cluster):
                _wait(observed.settings, cluster.id)
            case MarkCluster(cluster):
                with _account(observed.settings) as client:
                    tags = {known.id: {*known.tags} for known in client.clusters()}
                    if tags.get(cluster.id) != {*cluster.tags}:
                        raise self._changed(f"the tags of the cluster {cluster.id} are others")
                    client.tag_cluster(cluster, step.tags)
            case StateEdit():
                self._edit_state(step)
            case FinalizeNamespace(namespace, uid):
                with _connect(observed) as api:
                    api.finalize_namespace(namespace, uid)
            case DeleteHelmRevisions(namespace, revisions, outdated):
                try:
                    with _connect(observed) as api:
                        if outdated:
                            api.mark_outdated(namespace, outdated)
                        for helm_revision in revisions:
                            api.delete_revision(namespace, helm_revision)
                except Changed as changed:
                    raise self._changed(changed.problem) from changed
            case RestoreSnapshot(claim, snapshot, region, tags):
                with _account(observed.settings) as client:
                    volume = volumes.create_from_snapshot(client, snapshot, claim, region, tags)
                self._restored[volume.id] = str(claim)
            case RestoreCopy(claim, snapshot, region, tags, size=size):
                with _account(observed.settings) as client:
                    volume = copies.empty_volume(client, snapshot, claim, region, tags, size)
                self._restored[volume.id] = str(claim)
                self._copies[volume.id] = snapshot.id
            case Deploy(adopt):
                if isinstance(planned := adopt.get("volumes"), dict):
                    adopt = {**adopt, "volumes": {**planned, **self._restored}}
                if self._copies:
                    adopt = {**adopt, "copies": self._copies}
                # Even if it is empty, it lets the program know that the state is read anew.
                self._stack.up(
                    policy_pack=PACK,
                    preview=True,
                    refresh=True,
                    env={ADOPT: json.dumps(adopt)},
                    check=self._check,
                )

    def _edit_state(self, edit: StateEdit) -> None:
        """Change the state, unless it is another one than the one that was observed.

        Pulumi locks the import, but does not compare. A run that began and ended between reading
        and importing is found by the history.
        """
        last = self._stack.last_run()
        export = self._stack.export()
        self._check(export)
        edited = edit.edited(export)
        self._stack.import_state(edited)
        self._revision = revision(edited)
        if self._stack.last_run() != last:
            # Unless it began after the import.
            self._check()
            raise RecoveryError(
                f"{self._stack.name} was changed by another run in the moment before this one wrote"
                " the state: what that run has written to the state is not in it.",
                "take it from the backend's backups before you run anything:"
                ' docs/recovery/README.md, "Two runs at the same time"',
            )

    def _check(self, export: Mapping[str, Any] | None = None) -> None:
        """Raises if another run has changed the state since it was observed or edited."""
        if revision(export or self._stack.export()) != self._revision:
            raise self._changed("its state is not the one that was observed")

    def _changed(self, what: str) -> RecoveryError:
        return RecoveryError(
            f"{self._stack.name} was changed by another run: {what}.",
            f"run it again: bin/platform recover --stack {self._stack.name}",
        )


def _require_copies(steps: Sequence[Step], settings: Settings) -> None:
    """Raises `PlatformError` if a copy that is to be restored is not in the bucket."""
    for step in steps:
        if isinstance(step, RestoreCopy):
            repository = copies.repository_of(settings.stack, step.claim)
            bucket.require(*copies.required(settings), repository)


def _connect(observed: Observed) -> AbstractContextManager[kubernetes.Cluster]:
    return _opened(observed, kubernetes.Cluster)


def _opened(observed: Observed, api: type[ApiT]) -> AbstractContextManager[ApiT]:
    [cluster] = observed.clusters
    with _account(observed.settings) as client:
        authority = client.certificate_authority(cluster.id)
    token = observed.settings.digitalocean.kubernetes_token.get_secret_value()
    return connect(api, cluster.endpoint, authority, token)


def _with_volumes(observed: Observed) -> Observed:
    """Returns `observed` with what the plan needs to bring the volumes back."""
    if observed.cluster_state is not None:
        with _opened(observed, volumes.Cluster) as cluster:
            observed = replace(
                observed,
                synced=cluster.has_applications(),
                persistent_volumes=cluster.persistent_volumes(),
            )
    if observed.synced and not observed.changes:
        return observed
    with _account(observed.settings) as client, ThreadPoolExecutor() as threads:
        existing, snapshots = threads.submit(client.volumes), threads.submit(client.snapshots)
        return replace(observed, volumes=existing.result(), snapshots=snapshots.result())


def _wait(settings: Settings, cluster_id: str) -> None:
    deadline = time.monotonic() + PROVISIONING_SECONDS
    with _account(settings) as client:
        while (state := client.cluster_state(cluster_id)) == "provisioning":
            if time.monotonic() > deadline:
                raise RecoveryError(
                    "DigitalOcean has not created the cluster within 30 minutes.",
                    "see https://status.digitalocean.com, then run the same command again",
                )
            time.sleep(1)
    _report(f"    It is {state}.")


def _account(settings: Settings) -> account.DigitalOceanClient:
    return account.DigitalOceanClient.from_settings(settings.digitalocean)


def _report(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
