"""A cluster with data on volumes is deleted in the account, and one of the volumes with it."""

from sandbox.drills.data import applications, attached, bound, checksum, write
from sandbox.drills.drill import DEV, Context, Drill

_KEPT, _DELETED = "ledger", "search"
"""Two StatefulSets: the volume of the second is lost too, but has a snapshot."""
_NAMES = (_KEPT, _DELETED)
_RECOVER = ("bin/platform", "recover", "--stack", DEV, "--yes")


def run(context: Context) -> None:
    with applications(context, _NAMES, {"snapshots.keep": "2"}) as volumes:
        _rehearse(context, volumes)


def _rehearse(context: Context, volumes: dict[str, str]) -> None:
    context.command("bin/platform", "volumes", "record", "--stack", DEV)
    context.command("bin/platform", "volumes", "snapshot", "--stack", DEV, "--now")
    saved = {name: checksum(context, volume) for name, volume in volumes.items()}
    for volume in volumes.values():
        write(context, volume)
    newest = checksum(context, volumes[_KEPT])

    before = context.the_cluster()
    context.api("DELETE", f"/v2/kubernetes/clusters/{before['id']}")
    context.until("the cluster is deleted", lambda: not attached(context))
    context.api("DELETE", f"/v2/volumes/{volumes[_DELETED]}")
    refusal = context.command(*_RECOVER, fails=True)
    context.check(
        "--from-snapshots" in refusal and "old; what came after it" in refusal,
        f"the refusal does not tell what would be lost:\n{refusal}",
    )
    context.lose(f"the cluster {before['name']} ({before['id']}) and a volume")
    context.recover(*_RECOVER, "--from-snapshots")
    restored = bound(context, _NAMES)
    context.check(restored[_KEPT] == volumes[_KEPT], "the claim has another volume than before")
    context.check(checksum(context, restored[_KEPT]) == newest, "data was lost")
    context.check(
        checksum(context, restored[_DELETED]) == saved[_DELETED], "the snapshot was not restored"
    )
    context.unchanged()

    pods = context.pods("-l", f"app!={_KEPT}")
    [snapshot] = _snapshots(context, volumes[_KEPT])
    restore = ("bin/platform", "volumes", "restore", snapshot, "--stack", DEV, "--yes")
    context.command(*restore)
    context.until("the stack is well", context.is_well)
    former, restored = restored, bound(context, _NAMES)
    context.check(
        checksum(context, restored[_KEPT]) == saved[_KEPT], "the snapshot was not restored"
    )
    context.check(checksum(context, former[_KEPT]) == newest, "the former volume was changed")
    context.check(restored[_DELETED] == former[_DELETED], "a neighbour's volume was touched")
    context.check(context.pods("-l", f"app!={_KEPT}") == pods, "a neighbour's pod was touched")


def _snapshots(context: Context, volume: str) -> list[str]:
    response = context.api("GET", f"/v2/volumes/{volume}/snapshots").json()
    return [snapshot["id"] for snapshot in response["snapshots"]]


DRILL = Drill(
    "lost-volumes",
    "The claims of a lost cluster get their volumes back, or the newest snapshots of them.",
    run,
    limit=50,
)
