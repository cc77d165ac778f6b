"""The stack is not updated for longer than DOKS's credentials are valid."""

from sandbox.drills.drill import DEV, Context, Drill

_SECONDS = 8 * 86400
"""DOKS's credentials are valid for seven days."""


def run(context: Context) -> None:
    context.bring_up()
    before = context.the_cluster()
    resources = _resources(context)
    lose(context)
    context.unchanged()
    context.command("pulumi", "refresh", "--stack", DEV, "--yes", "--skip-preview")
    context.recover_by("pulumi", "up", "--refresh", "--yes", "--skip-preview", "--stack", DEV)
    context.check(_resources(context) == resources, "the state lost resources")
    context.check(context.the_cluster()["id"] == before["id"], "the cluster was replaced")


def lose(context: Context) -> None:
    now = context.daemon.post("/sandbox/clock", {"seconds": _SECONDS})["now"]
    context.lose(f"the credentials: the account's clock shows {now}")


def _resources(context: Context) -> list[str]:
    output = context.command("pulumi", "stack", "--stack", DEV, "--show-urns")
    return sorted(line.strip() for line in output.splitlines() if "URN:" in line)


DRILL = Drill(
    "expired-credentials",
    "A stack can be updated as usual after DOKS's credentials have expired.",
    run,
)
