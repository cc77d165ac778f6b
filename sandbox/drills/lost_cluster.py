"""The cluster is deleted in the account, behind Pulumi's back."""

from sandbox.drills.drill import Context, Drill


def run(context: Context) -> None:
    context.bring_up()
    before, images = context.the_cluster(), _images(context)
    lose(context)
    context.recover()
    after = context.the_cluster()
    context.check(after["id"] != before["id"], "the cluster is the same one")
    context.check(_images(context) == images, "the workloads have other images than before")
    response = context.api("GET", f"/v2/kubernetes/clusters/{after['id']}").json()
    context.check(
        response["kubernetes_cluster"]["registry_enabled"],
        "the new cluster may not pull from the registry",
    )
    context.unchanged()


def lose(context: Context) -> None:
    cluster = context.the_cluster()
    context.api("DELETE", f"/v2/kubernetes/clusters/{cluster['id']}")
    context.until("the cluster is deleted", lambda: context.cluster() is None)
    context.lose(f"the cluster {cluster['name']} ({cluster['id']})")


def _images(context: Context) -> list[list[str]]:
    return [application["images"] for application in context.the_cluster()["applications"]]


DRILL = Drill(
    "lost-cluster",
    "A cluster that was deleted in the account is restored with everything in it.",
    run,
    limit=45,
)
