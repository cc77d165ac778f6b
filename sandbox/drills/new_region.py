"""The environment moves to a new region, beside the old one, which serves until the end."""

from sandbox.drills.drill import DEV, Context, Drill, Phase, healthy

_NEW = f"{DEV}2"
_YES = ("--yes", "--skip-preview", "--stack")


def run(context: Context) -> None:
    context.bring_up()
    old = context.the_cluster()
    region = "fra1" if "-fra1-" not in old["context"] else "nyc1"
    name = f"{old['name']}2"
    context.command("pulumi", "stack", "init", _NEW, "--copy-config-from", DEV, "--no-select")
    try:
        for key, value in (
            ("environment", DEV),
            ("cluster.name", name),
            ("cluster.region", region),
            # The defaults of the environment are those of the cluster that still runs.
            ("cluster.network.pods", "172.26.0.0/16"),
            ("cluster.network.services", "172.27.0.0/20"),
        ):
            path = ("--path", f"doks-gitops:{key}", value)
            context.command("pulumi", "config", "set", "--stack", _NEW, *path)
        context.lose(f"nothing: a second environment is made in {region}")
        context.command("pulumi", "up", *_YES, _NEW)
        ended = context.elapsed
        context.until("the new environment is healthy", lambda: _is_healthy(context, name))
        context.seconds = context.elapsed
        context.phases = [
            Phase("recovery", 0, ended),
            Phase("applications", ended, context.seconds),
        ]
        context.check(context.is_well(), "the old environment is not healthy any more")
        context.command("pulumi", "destroy", *_YES, DEV)
        context.check(context.cluster() is None, "the old cluster is left")
        context.check(_is_healthy(context, name), "the new environment is not healthy any more")
        context.command("pulumi", "preview", "--stack", _NEW, "--expect-no-changes")
    finally:
        # For the drills that follow.
        context.command("pulumi", "destroy", *_YES, _NEW)
        context.command("pulumi", "stack", "rm", _NEW, "--yes")


def _is_healthy(context: Context, name: str) -> bool:
    clusters = {cluster["name"]: cluster for cluster in context.daemon.get("/sandbox/clusters")}
    return healthy(clusters.get(name), context.revision())


DRILL = Drill(
    "new-region",
    "An environment moves to another region without an interruption: a second one beside it.",
    run,
)
