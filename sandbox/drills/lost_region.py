"""A whole region is down, and the stack moves to another one."""

from sandbox.drills.drill import Context, Drill

_KEY = ("config", "set", "--stack", "dev", "--path", "doks-gitops:cluster.region")


def run(context: Context) -> None:
    context.bring_up()
    before = context.the_cluster()
    region = before["context"].split("-")[1]
    new_region = "sfo3" if region != "sfo3" else "nyc1"
    with context.region_down(region):
        context.lose(f"the region {region}")
        refused = context.platform_recover(fails=True)
        context.check("is not lost" in refused, f"the refusal lacks 'is not lost':\n{refused}")
        context.command("pulumi", *_KEY, new_region)
        refused = context.platform_recover(fails=True)
        context.check("--abandon-cluster" in refused, f"no --abandon-cluster in:\n{refused}")
        context.recover("--abandon-cluster")
        after = context.the_cluster()
        context.check(after["id"] != before["id"], "the cluster is the same one")
        context.check(after["context"].split("-")[1] == new_region, "the region is the same one")
        context.unchanged()


DRILL = Drill(
    "lost-region",
    "A stack whose region is down is redeployed into another region by changing one key.",
    run,
)
