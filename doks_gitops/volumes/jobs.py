"""Runs restic on a volume, in a namespace of the platform's own in the stack's cluster.

Everything is made for one volume and deleted afterwards, also what a killed run has left: the
namespace with its Jobs, its claim and the keys of the bucket, and the PersistentVolume.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from doks_gitops.account import DigitalOceanClient, Volume
from doks_gitops.errors import PlatformError
from doks_gitops.kubernetes import Unreachable
from doks_gitops.settings.model import Copies, CopyCredentials
from doks_gitops.volumes.cluster import COPIES_NAMESPACE, PERSISTENT_VOLUMES, Cluster
from doks_gitops.volumes.tags import Claim, storage_in

VERSION = "0.18.1"
IMAGE = f"ghcr.io/restic/restic:{VERSION}"
LONGEST_SECONDS = 4 * 60 * 60
"""How long one command may take: the first copy of a volume reads all of it."""
START_SECONDS = 10 * 60
"""How long a pod may take to start, with its volume and its image."""
ANSWER_TIMEOUT_SECONDS = 10 * 60
"""How long the cluster's API may not answer meanwhile."""
CLEAR_SECONDS = 5 * 60
"""How long what was made may take to be deleted."""
_PAUSE_SECONDS = 1.0

INCOMPLETE, NO_REPOSITORY, LOCKED, WRONG_PASSWORD = 3, 10, 11, 12
"""Exit codes: https://restic.readthedocs.io/en/stable/075_scripting.html#exit-codes"""

_NAMESPACE = f"/api/v1/namespaces/{COPIES_NAMESPACE}"
_JOBS = f"/apis/batch/v1/namespaces/{COPIES_NAMESPACE}/jobs"
_SECRET = "restic"  # noqa: S105 (the name of an object)
_OWN = {"app.kubernetes.io/managed-by": "doks-gitops"}
_CAPABILITIES = {
    # To read every file, on a mount that can't be written to.
    "backup": ["DAC_OVERRIDE"],
    # To write them with their owners, modes and attributes.
    "restore": ["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "MKNOD", "SETFCAP"],
}
FOLDER = "volume"
"""The volume's folder, in the folder where the commands run: restic keeps the owner and the mode of
a folder that it is given by name, not those of the one where it runs."""


class CopyError(PlatformError):
    """A copy can't be made or restored."""


class CommandFailed(CopyError):
    """A command of restic has failed."""

    def __init__(self, command: str, code: int | None, message: str) -> None:
        ended = "was stopped" if code is None else f"ended with the exit code {code}"
        super().__init__(
            f"restic {command} {ended}: {message or 'no message'}",
            "see https://restic.readthedocs.io/en/stable/077_troubleshooting.html",
        )
        self.code = code
        """None: it did not end by itself."""


@dataclass(frozen=True)
class Restic:
    """Commands on one volume and one repository. Each raises `CommandFailed`."""

    cluster: Cluster
    volume: Volume
    region: str
    repository: str

    def run(self, command: str, *arguments: str) -> None:
        """Run a command in a Job of its own; `backup` and `restore` have the volume in `FOLDER`."""
        body = job(self.volume.name, self.region, self.repository, command, arguments)
        path = f"{_JOBS}/{body['metadata']['name']}"
        uid = self.cluster.create(_JOBS, body)["metadata"]["uid"]
        try:
            code, message = self._ended(path, uid)
        finally:
            self.cluster.delete(path)
        if code != 0:
            raise CommandFailed(command, code, message)

    def _ended(self, path: str, uid: str) -> tuple[int | None, str]:
        """Exit code and last lines of the Job's pod."""
        answered = begin = time.monotonic()
        pods = f"{_NAMESPACE}/pods?labelSelector=batch.kubernetes.io%2Fcontroller-uid%3D{uid}"
        while True:
            try:
                existing, listed = self.cluster.read(path) or {}, self.cluster.items(pods)
            except Unreachable:
                # A command that takes hours outlives a control plane that is being upgraded.
                if time.monotonic() - answered > ANSWER_TIMEOUT_SECONDS:
                    raise
                time.sleep(_PAUSE_SECONDS)
                continue
            answered = time.monotonic()
            states = [
                status["state"]
                for pod in listed
                for status in pod["status"].get("containerStatuses") or ()
            ]
            for state in states:
                if terminated := state.get("terminated"):
                    return terminated["exitCode"], _text_of(terminated)
            if end := _end_of(existing):
                # Its pod is gone: deleted after its time, evicted, or with its node.
                return (0 if end["type"] == "Complete" else None), _text_of(end)
            if time.monotonic() - begin > START_SECONDS and not any(
                "running" in state for state in states
            ):
                waiting = (state.get("waiting", {}).get("reason") for state in states)
                reason = next(filter(None, waiting), "no node, or no volume")
                return None, f"its pod has not started within {START_SECONDS // 60} min: {reason}"
            time.sleep(_PAUSE_SECONDS)


def _end_of(existing: Any) -> Any:
    """The condition of a Job that has completed or failed; None if it has not."""
    conditions = existing.get("status", {}).get("conditions") or ()
    return next(
        (
            condition
            for condition in conditions
            if condition["type"] in ("Complete", "Failed") and condition["status"] == "True"
        ),
        None,
    )


def _text_of(end: Mapping[str, str]) -> str:
    """Why a Job or a container has ended, such as `OOMKilled`, and the message about it."""
    reason, message = end.get("reason", ""), end.get("message", "").strip()
    # Of a container that has ended by itself, the exit code tells it already.
    return ": ".join(text for text in (reason if reason != "Error" else "", message) if text)


def job(
    volume: str, region: str, repository: str, command: str, arguments: Sequence[str]
) -> dict[str, Any]:
    """The Job of one command. `volume`: name of the claim that `backup` and `restore` have in
    `FOLDER`.

    https://restic.readthedocs.io/en/stable/040_backup.html#environment-variables
    """
    mounted = command in _CAPABILITIES
    mounts: list[dict[str, Any]] = [{"name": "temporary", "mountPath": "/tmp"}]
    volumes: list[dict[str, Any]] = [{"name": "temporary", "emptyDir": {"sizeLimit": "1Gi"}}]
    if mounted:
        mount = {"name": "volume", "mountPath": f"/{FOLDER}", "readOnly": command == "backup"}
        mounts.append(mount)
        volumes.append({"name": "volume", "persistentVolumeClaim": {"claimName": volume}})
    container = {
        "name": "restic",
        "image": IMAGE,
        "command": ["/usr/bin/restic"],
        "args": [command, *arguments, "--no-cache"],
        "workingDir": "/",
        "env": [
            {"name": "RESTIC_REPOSITORY", "value": repository},
            {"name": "AWS_DEFAULT_REGION", "value": region},
        ],
        "envFrom": [{"secretRef": {"name": _SECRET}}],
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "resources": {
            "requests": {"cpu": "100m", "memory": "256Mi"},
            "limits": {"cpu": "1", "memory": "1Gi"},
        },
        "securityContext": {
            # The files of a volume belong to any user.
            "runAsUser": 0,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"], "add": _CAPABILITIES.get(command, [])},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumeMounts": mounts,
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": f"{command}-{volume[-36:]}", "labels": _OWN},
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": LONGEST_SECONDS,
            "template": {
                "metadata": {"labels": _OWN},
                "spec": {
                    "restartPolicy": "Never",
                    "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    "containers": [container],
                    "volumes": volumes,
                },
            },
        },
    }


@contextmanager
def restic(
    cluster: Cluster,
    client: DigitalOceanClient,
    volume: Volume,
    copies: Copies,
    credentials: CopyCredentials,
    repository: str,
) -> Iterator[Restic]:
    """Run commands on the volume and a repository in the bucket; everything that is made in the
    cluster for them is deleted again. Raises `PlatformError`."""
    clear(cluster, client)
    labels = {**_OWN, "pod-security.kubernetes.io/enforce": "baseline"}
    metadata = {"name": COPIES_NAMESPACE, "labels": labels}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
    cluster.create("/api/v1/namespaces", namespace)
    with undone(lambda: clear(cluster, client, running=True)):
        _prepare(cluster, volume, credentials)
        yield Restic(cluster, volume, copies.region, f"s3:{copies.url}/{repository}")


@contextmanager
def undone(undo: Callable[[], object]) -> Iterator[None]:
    """Call `undo` at the end of the block. If the block has failed, the next run does what `undo`
    fails to do."""
    try:
        yield
    except BaseException:
        with suppress(PlatformError):
            undo()
        raise
    undo()


def _prepare(cluster: Cluster, volume: Volume, credentials: CopyCredentials) -> None:
    """Create the Secret, and the claim of the volume with its PersistentVolume."""
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": _SECRET, "labels": _OWN},
        "stringData": {
            "AWS_ACCESS_KEY_ID": credentials.access_key.get_secret_value(),
            "AWS_SECRET_ACCESS_KEY": credentials.secret_key.get_secret_value(),
            "RESTIC_PASSWORD": credentials.password.get_secret_value(),
        },
    }
    cluster.create(f"{_NAMESPACE}/secrets", secret)
    cluster.reserve(volume, Claim(COPIES_NAMESPACE, volume.name))
    storage = storage_in(volume.tags)
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": volume.name, "labels": _OWN},
        "spec": {
            "accessModes": [storage.access_mode],
            "storageClassName": storage.storage_class,
            "volumeName": volume.name,
            "resources": {"requests": {"storage": f"{volume.size}Gi"}},
        },
    }
    cluster.create(f"{_NAMESPACE}/persistentvolumeclaims", claim)


def clear(cluster: Cluster, client: DigitalOceanClient, *, running: bool = False) -> None:
    """Delete what an earlier run has left in the cluster, and detach its volumes. Raises
    `CopyError` if a Job of it still works, unless `running`."""
    if (namespace := cluster.read(_NAMESPACE)) is not None:
        labels = namespace["metadata"].get("labels") or {}
        if not _OWN.items() <= labels.items():
            raise CopyError(
                f"The cluster has a namespace {COPIES_NAMESPACE} that is not the platform's."
                " Nothing was changed.",
                "move what is in it to another namespace, and delete it",
            )
        active = [x["metadata"]["name"] for x in cluster.items(_JOBS) if not _end_of(x)]
        if active and not running and "deletionTimestamp" not in namespace["metadata"]:
            raise CopyError(
                f"Another run, or one that was killed, still works: {', '.join(active)}.",
                "wait until it has ended, or stop it: kubectl delete namespace"
                f" {COPIES_NAMESPACE}; then run the command again",
            )
        cluster.delete(_NAMESPACE)
    _until(lambda: cluster.read(_NAMESPACE) is None, f"the namespace {COPIES_NAMESPACE} is deleted")
    for left in cluster.persistent_volumes(copies=True):
        # The driver detaches the volume only while the cluster knows it.
        attached = _until_detached(client, left.volume)
        _until(attached, f"the volume {left.volume} is detached")
        cluster.delete(f"{PERSISTENT_VOLUMES}/{left.name}")
    _until(lambda: not cluster.persistent_volumes(copies=True), "PersistentVolumes are deleted")


def _until_detached(client: DigitalOceanClient, id: str) -> Callable[[], bool]:
    return lambda: not any(volume.droplets for volume in client.volumes() if volume.id == id)


def _until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + CLEAR_SECONDS
    while not holds():
        if time.monotonic() > deadline:
            raise CopyError(
                f"Not within {CLEAR_SECONDS // 60} min: {what}.",
                f"kubectl get all --namespace {COPIES_NAMESPACE}; then run the command again",
            )
        time.sleep(_PAUSE_SECONDS)
