"""The stack's Pulumi state is deleted; the cluster is kept."""

from sandbox.drills.drill import Context, Drill


def run(context: Context) -> None:
    context.bring_up()
    before, pods = context.the_cluster(), context.pods()
    password = _password(context)
    lose(context)
    refused = context.platform_recover(fails=True)
    context.check("--new-state" in refused, f"the refusal lacks --new-state:\n{refused}")
    context.recover("--new-state")
    context.check(context.the_cluster()["id"] == before["id"], "the cluster was replaced")
    context.check(context.pods() == pods, "workloads were restarted")
    context.check(_password(context) == password, "the admin password was changed")
    context.unchanged()


def lose(context: Context) -> None:
    stacks = context.home.root / "state" / ".pulumi" / "stacks" / "doks-gitops"
    for file in stacks.glob(f"{context.stack}.json*"):
        file.unlink()
    context.lose(f"the state of the stack {context.stack}")


def _password(context: Context) -> str:
    return context.kubectl(
        "-n", "argocd", "get", "secret", "argocd-admin-password", "-o", "jsonpath={.data.password}"
    )


DRILL = Drill(
    "lost-state",
    "A stack whose state is lost is restored around its existing cluster.",
    run,
)
