"""The stack is left alone for longer than DOKS's own credentials hold."""

from sandbox.drills.drill import DEV, Context, Drill

_SECONDS = 8 * 86400
"""DOKS's credentials hold for seven days."""


def run(context: Context) -> None:
    context.bring_up()
    before = context.the_cluster()
    known = _resources(context)
    now = context.daemon.post("/sandbox/clock", {"seconds": _SECONDS})["now"]
    context.lose(f"a week: the account's clock shows {now}")
    context.unchanged()
    context.command("pulumi", "refresh", "--stack", DEV, "--yes", "--skip-preview")
    context.recover("pulumi", "up", "--refresh", "--yes", "--skip-preview", "--stack", DEV)
    context.check(_resources(context) == known, "something was forgotten")
    context.check(context.the_cluster()["id"] == before["id"], "it is another cluster")


def _resources(context: Context) -> list[str]:
    said = context.command("pulumi", "stack", "--stack", DEV, "--show-urns")
    return sorted(line.strip() for line in said.splitlines() if "URN:" in line)


DRILL = Drill(
    "expired-credentials",
    "A stack that was left alone for longer than DOKS's credentials hold is updated as ever.",
    run,
)
