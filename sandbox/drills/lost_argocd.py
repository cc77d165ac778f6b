"""Argo CD's namespace is deleted; the cluster and the workloads are kept."""

from sandbox.drills.drill import Context, Drill


def run(context: Context) -> None:
    context.bring_up()
    pods, revision = context.pods(), context.revision()
    lose(context)
    context.recover()
    context.check(context.pods() == pods, "workloads were restarted")
    context.check(context.revision() == revision, "Git was changed")
    context.unchanged()


def lose(context: Context) -> None:
    context.kubectl("delete", "namespace", "argocd", "--wait=false")
    context.until("Argo CD is deleted", lambda: not _pods(context))
    context.lose("Argo CD and its namespace")


def _pods(context: Context) -> list[str]:
    return context.kubectl("-n", "argocd", "get", "pods", "-o", "name").split()


DRILL = Drill(
    "lost-argocd",
    "A deleted Argo CD is restored, adopts the workloads and restarts none of them.",
    run,
    limit=15,
)
