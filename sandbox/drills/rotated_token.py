"""The token of the last deployment is revoked, and there is a new one."""

from sandbox.drills.drill import DEV, Context, Drill

_YES = ("--yes", "--skip-preview", "--stack", DEV)


def run(context: Context) -> None:
    context.bring_up()
    before, pods = context.the_cluster(), context.pods()
    old_token = context.daemon.post("/sandbox/tokens", {"scopes": ["full"]})["token"]
    context.command("pulumi", "up", *_YES, DIGITALOCEAN_TOKEN=old_token)
    state = str(context.home.root / "state-with-old-token.json")
    context.command("pulumi", "stack", "export", "--stack", DEV, "--file", state)
    context.daemon.post("/sandbox/tokens/revoke", {"token": old_token})

    context.lose("the token of the last deployment, which was revoked")
    drift = context.command("bin/platform", "drift", "--stack", DEV)
    context.check("No drift" in drift, f"there is drift:\n{drift}")
    context.recover()
    context.unchanged()

    # Each of the other commands as the first one with the new token.
    for command in ("up", "refresh --run-program"):
        _import(context, state)
        context.command("pulumi", *command.split(), *_YES)
        context.unchanged()
    context.check(context.the_cluster()["id"] == before["id"], "the cluster was replaced")
    context.check(context.pods() == pods, "workloads were restarted")
    _import(context, state)
    context.command("pulumi", "destroy", "--run-program", *_YES)
    context.check(context.cluster() is None, "the cluster is still there")


def _import(context: Context, state: str) -> None:
    context.command("pulumi", "stack", "import", "--stack", DEV, "--file", state)


DRILL = Drill(
    "rotated-token",
    "A new token takes the place of a revoked one in every command, destroying included.",
    run,
)
