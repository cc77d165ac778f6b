"""The cluster's integration with the team's registry is removed by hand."""

from sandbox.drills.drill import DEV, Context, Drill

_POD = ("--restart=Never", "--image=registry.digitalocean.com/microservices-demo/drill:v1")


def run(context: Context) -> None:
    context.bring_up()
    context.sandbox("push-image", "drill:v1")
    cluster = context.the_cluster()
    lose(context)
    try:
        context.kubectl("run", "drill", *_POD)
        context.until("a pull fails", lambda: "BackOff" in _pod(context))
        context.recover_by("pulumi", "up", "--refresh", "--yes", "--skip-preview", "--stack", DEV)
        context.until("the image is pulled", lambda: "Running" in _pod(context))
    finally:
        context.kubectl("delete", "pod", "drill", "--ignore-not-found")
    response = context.api("GET", f"/v2/kubernetes/clusters/{cluster['id']}").json()
    enabled = response["kubernetes_cluster"]["registry_enabled"]
    context.check(enabled, "the registry integration was not restored")
    context.unchanged()


def lose(context: Context) -> None:
    body = {"cluster_uuids": [context.the_cluster()["id"]], "registries": ["microservices-demo"]}
    context.api("DELETE", "/v2/kubernetes/registries", body)
    context.lose("the registry integration")


def _pod(context: Context) -> str:
    status = "{.status.phase} {.status.containerStatuses[*].state.waiting.reason}"
    return context.kubectl("get", "pod", "drill", "-o", f"jsonpath={status}")


DRILL = Drill(
    "lost-registry",
    "A registry integration that was removed by hand is restored by `pulumi up --refresh`.",
    run,
)
