"""Applications with data on volumes, for the drills that lose them."""

import hashlib
import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sandbox.drills.drill import DEV, NAMESPACE, Context, Failed

_MANIFEST = """\
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: %(name)s}
spec:
  serviceName: %(name)s
  replicas: 1
  selector: {matchLabels: {app: %(name)s}}
  template:
    metadata: {labels: {app: %(name)s}}
    spec:
      containers:
        - name: main
          image: %(name)s
          volumeMounts: [{name: data, mountPath: /data}]
  volumeClaimTemplates:
    - metadata: {name: data}
      spec:
        accessModes: [ReadWriteOnce]
        resources: {requests: {storage: 1Gi}}
"""
_OVERLAY = Path("kustomize") / DEV
_VOLUMES = "doks-gitops:volumes"
_DESTROYED = "doks-gitops:cluster.destroyAssociatedResources"


def configure(context: Context, key: str, value: str) -> None:
    """Set a key of the stack file."""
    context.command("pulumi", "config", "set", "--stack", DEV, "--path", key, value)


@contextmanager
def applications(
    context: Context, names: Sequence[str], volumes: Mapping[str, str]
) -> Iterator[dict[str, str]]:
    """StatefulSets of these names, each with a volume that has data; yields the IDs of the volumes
    by the names. `volumes`: keys of the stack's `volumes`. Everything is removed at the end."""
    context.bring_up()
    configure(context, _DESTROYED, "false")
    for key, value in volumes.items():
        configure(context, f"{_VOLUMES}.{key}", value)
    with context.clone() as clone:
        before = context.git(clone, "rev-parse", "HEAD").strip()
        try:
            _commit(context, clone, names)
            context.until("the claims are bound", lambda: len(bound(context, names)) == len(names))
            context.until("the stack is well", context.is_well)
            ids = bound(context, names)
            for volume in ids.values():
                write(context, volume)
            yield ids
        finally:
            context.git(clone, "checkout", "--quiet", before, "--", str(_OVERLAY))
            for name in names:
                file = str(_OVERLAY / f"{name}.yaml")
                context.git(clone, "rm", "--quiet", "--force", "--ignore-unmatch", file)
            context.git(clone, "commit", "--quiet", "--allow-empty", "-am", "The drill is over")
            context.git(clone, "push", "--quiet", "origin", "HEAD:main")
            context.command("pulumi", "config", "rm", "--stack", DEV, _VOLUMES)
            configure(context, _DESTROYED, "true")
            _clear(context)
            with suppress(Failed):
                context.command("pulumi", "up", "--stack", DEV, "--yes", "--skip-preview")


def _commit(context: Context, clone: Path, names: Sequence[str]) -> None:
    overlay = clone / _OVERLAY / "kustomization.yaml"
    files = "".join(f"  - {name}.yaml\n" for name in names)
    overlay.write_text(overlay.read_text().replace("resources:\n", f"resources:\n{files}", 1))
    for name in names:
        (clone / _OVERLAY / f"{name}.yaml").write_text(_MANIFEST % {"name": name})
    context.git(clone, "add", str(_OVERLAY))
    context.git(clone, "commit", "--quiet", "-m", "Applications with data")
    context.git(clone, "push", "--quiet", "origin", "HEAD:main")


def bound(context: Context, names: Sequence[str]) -> dict[str, str]:
    """The IDs of the volumes by the StatefulSets that use them."""
    volumes = json.loads(context.kubectl("get", "persistentvolumes", "-o", "json"))["items"]
    claims = {
        volume["spec"]["claimRef"]["name"]: volume["spec"]["csi"]["volumeHandle"]
        for volume in volumes
        if volume["status"]["phase"] == "Bound"
    }
    by_claim = {f"data-{name}-0": name for name in names}
    return {by_claim[claim]: volume for claim, volume in claims.items() if claim in by_claim}


def attached(context: Context) -> bool:
    """Whether a volume is attached to a node, of a cluster that may be being deleted."""
    return any(volume["droplet_ids"] for volume in volumes_of(context))


def volumes_of(context: Context) -> list[dict[str, Any]]:
    """The volumes of the account."""
    volumes: list[dict[str, Any]] = context.api("GET", "/v2/volumes").json()["volumes"]
    return volumes


def _folder(context: Context, volume: str) -> Path:
    return context.home.root / "volumes" / volume


def write(context: Context, volume: str) -> None:
    """Add a file to the volume."""
    (_folder(context, volume) / secrets.token_hex(4)).write_bytes(secrets.token_bytes(100_000))


def checksum(context: Context, volume: str) -> str:
    """A checksum of the names and contents of the volume's files."""
    digest = hashlib.sha256()
    for file in sorted(_folder(context, volume).rglob("*")):
        digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()


def _clear(context: Context) -> None:
    """Delete the claims, the volumes and the snapshots, so that later drills begin without."""
    with suppress(Failed):
        context.until("the workloads are gone", lambda: not attached(context))
        context.kubectl("delete", "persistentvolumeclaims", "--all", "-n", NAMESPACE)
        context.kubectl("delete", "persistentvolumes", "--all")
    for snapshot in context.api("GET", "/v2/snapshots").json()["snapshots"]:
        context.api("DELETE", f"/v2/volumes/snapshots/{snapshot['id']}")
    for volume in volumes_of(context):
        context.api("DELETE", f"/v2/volumes/{volume['id']}")
