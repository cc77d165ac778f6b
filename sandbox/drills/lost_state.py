"""Pulumi's state of the stack is gone; the cluster is not."""

from sandbox.drills.drill import Context, Drill


def run(context: Context) -> None:
    context.bring_up()
    before, pods = context.the_cluster(), context.pods()
    password = _password(context)
    kept = context.home.root / "state" / ".pulumi" / "stacks" / "doks-gitops"
    for file in kept.glob("dev.json*"):
        file.unlink()
    context.lose("the state of the stack dev")
    context.recover("bin/platform", "recover", "--stack", "dev", "--yes")
    context.check(context.the_cluster()["id"] == before["id"], "it is another cluster")
    context.check(context.pods() == pods, "workloads were restarted")
    context.check(_password(context) == password, "the admin's password is another one")
    context.unchanged()


def _password(context: Context) -> str:
    return context.kubectl(
        "-n", "argocd", "get", "secret", "argocd-admin-password", "-o", "jsonpath={.data.password}"
    )


DRILL = Drill(
    "lost-state",
    "A stack whose state is gone is rebuilt around the cluster that there is.",
    run,
)
