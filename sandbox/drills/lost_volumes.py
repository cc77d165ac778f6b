"""A cluster with data on volumes is deleted in the account, and one of the volumes with it."""

import hashlib
import json
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sandbox.drills.drill import DEV, NAMESPACE, Context, Drill, Failed

_KEPT, _DELETED = "ledger", "search"
"""Two StatefulSets: the volume of the second is lost too, but has a snapshot."""
MANIFEST = """\
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
"""A StatefulSet with one claim, by its name."""
_OVERLAY = Path("kustomize") / DEV
SETTING = "doks-gitops:volumes"
_DESTROYED = "doks-gitops:cluster.destroyAssociatedResources"


def run(context: Context) -> None:
    with applications(context, {"snapshots.keep": "2"}) as volumes:
        _rehearse(context, volumes)


@contextmanager
def applications(context: Context, settings: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Two StatefulSets, each with a volume that has data; yields the IDs of the volumes by the
    names. `settings`: keys of the stack's `volumes`. Everything is removed at the end."""
    context.bring_up()
    configure(context, _DESTROYED, "false")
    for key, value in settings.items():
        configure(context, f"{SETTING}.{key}", value)
    with context.clone() as clone:
        before = context.git(clone, "rev-parse", "HEAD").strip()
        try:
            _commit(context, clone)
            context.until("the claims are bound", lambda: len(bound(context)) == 2)
            context.until("the stack is well", context.is_well)
            volumes = bound(context)
            for volume in volumes.values():
                write(folder(context, volume))
            yield volumes
        finally:
            context.git(clone, "checkout", "--quiet", before, "--", str(_OVERLAY))
            for name in (_KEPT, _DELETED):
                file = str(_OVERLAY / f"{name}.yaml")
                context.git(clone, "rm", "--quiet", "--force", "--ignore-unmatch", file)
            context.git(clone, "commit", "--quiet", "--allow-empty", "-am", "The drill is over")
            context.git(clone, "push", "--quiet", "origin", "HEAD:main")
            context.command("pulumi", "config", "rm", "--stack", DEV, SETTING)
            configure(context, _DESTROYED, "true")
            _clear(context)
            with suppress(Failed):
                context.command("pulumi", "up", "--stack", DEV, "--yes", "--skip-preview")


def configure(context: Context, key: str, value: str) -> None:
    """Set a key of the stack file."""
    context.command("pulumi", "config", "set", "--stack", DEV, "--path", key, value)


def _commit(context: Context, clone: Path) -> None:
    overlay = clone / _OVERLAY / "kustomization.yaml"
    files = "".join(f"  - {name}.yaml\n" for name in (_KEPT, _DELETED))
    overlay.write_text(overlay.read_text().replace("resources:\n", f"resources:\n{files}", 1))
    for name in (_KEPT, _DELETED):
        (clone / _OVERLAY / f"{name}.yaml").write_text(MANIFEST % {"name": name})
    context.git(clone, "add", str(_OVERLAY))
    context.git(clone, "commit", "--quiet", "-m", "Two applications with data")
    context.git(clone, "push", "--quiet", "origin", "HEAD:main")


def _rehearse(context: Context, volumes: Mapping[str, str]) -> None:
    context.command("bin/platform", "volumes", "record", "--stack", DEV)
    context.command("bin/platform", "volumes", "snapshot", "--stack", DEV, "--now")
    saved = {name: checksum(folder(context, volume)) for name, volume in volumes.items()}
    for volume in volumes.values():
        write(folder(context, volume))
    newest = checksum(folder(context, volumes[_KEPT]))

    before = context.the_cluster()
    context.api("DELETE", f"/v2/kubernetes/clusters/{before['id']}")
    context.until("the cluster is deleted", lambda: not _attached(context))
    context.api("DELETE", f"/v2/volumes/{volumes[_DELETED]}")
    refusal = context.platform_recover(fails=True)
    context.check(
        "--from-snapshots" in refusal and "old; what came after it" in refusal,
        f"the refusal does not tell what would be lost:\n{refusal}",
    )
    context.lose(f"the cluster {before['name']} ({before['id']}) and a volume")
    context.recover("--from-snapshots")
    restored = bound(context)
    context.check(restored[_KEPT] == volumes[_KEPT], "the claim has another volume than before")
    context.check(checksum(folder(context, restored[_KEPT])) == newest, "data was lost")
    context.check(
        checksum(folder(context, restored[_DELETED])) == saved[_DELETED],
        "the snapshot was not restored",
    )
    context.unchanged()

    pods = context.pods("-l", f"app!={_KEPT}")
    [snapshot] = _snapshots(context, volumes[_KEPT])
    restore = ("bin/platform", "volumes", "restore", snapshot, "--stack", DEV, "--yes")
    context.command(*restore)
    context.until("the stack is well", context.is_well)
    former, restored = restored, bound(context)
    context.check(
        checksum(folder(context, restored[_KEPT])) == saved[_KEPT], "the snapshot was not restored"
    )
    context.check(
        checksum(folder(context, former[_KEPT])) == newest, "the former volume was changed"
    )
    context.check(restored[_DELETED] == former[_DELETED], "a neighbour's volume was touched")
    context.check(context.pods("-l", f"app!={_KEPT}") == pods, "a neighbour's pod was touched")


def bound(context: Context) -> dict[str, str]:
    """The IDs of the volumes by the StatefulSets that use them."""
    volumes = json.loads(context.kubectl("get", "persistentvolumes", "-o", "json"))["items"]
    claims = {
        volume["spec"]["claimRef"]["name"]: volume["spec"]["csi"]["volumeHandle"]
        for volume in volumes
        if volume["status"]["phase"] == "Bound"
    }
    names = {f"data-{name}-0": name for name in (_KEPT, _DELETED)}
    return {names[claim]: volume for claim, volume in claims.items() if claim in names}


def _attached(context: Context) -> bool:
    """Whether a volume is attached to a node, of a cluster that may be being deleted."""
    return any(volume["droplet_ids"] for volume in volumes_of(context))


def volumes_of(context: Context) -> list[dict[str, Any]]:
    """The volumes of the account."""
    volumes: list[dict[str, Any]] = context.api("GET", "/v2/volumes").json()["volumes"]
    return volumes


def folder(context: Context, volume: str) -> Path:
    """The folder that stands for the volume's file system."""
    return context.home.root / "volumes" / volume / "volume"


def write(files: Path) -> None:
    """Add a file to those of a volume."""
    (files / secrets.token_hex(4)).write_bytes(secrets.token_bytes(100_000))


def checksum(files: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(files.rglob("*")):
        digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()


def _snapshots(context: Context, volume: str) -> list[str]:
    response = context.api("GET", f"/v2/volumes/{volume}/snapshots").json()
    return [snapshot["id"] for snapshot in response["snapshots"]]


def _clear(context: Context) -> None:
    """Delete the claims, the volumes and the snapshots, so that later drills begin without."""
    with suppress(Failed):
        context.until("the workloads are gone", lambda: not _attached(context))
        context.kubectl("delete", "persistentvolumeclaims", "--all", "-n", NAMESPACE)
        context.kubectl("delete", "persistentvolumes", "--all")
    for snapshot in context.api("GET", "/v2/snapshots").json()["snapshots"]:
        context.api("DELETE", f"/v2/volumes/snapshots/{snapshot['id']}")
    for volume in volumes_of(context):
        context.api("DELETE", f"/v2/volumes/{volume['id']}")


DRILL = Drill(
    "lost-volumes",
    "The claims of a lost cluster get their volumes back, or the newest snapshots of them.",
    run,
    limit=50,
)
