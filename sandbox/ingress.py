"""How a cluster's Argo CD is reached from outside: what an Ingress is on a real cluster."""

import httpx
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from sandbox.cluster.backend import Clusters
from sandbox.digitalocean.state import AccountState

_PATH = "/argocd/{cluster}/api/webhook"


def webhook_url(base: str, cluster: str) -> str:
    """Where the Argo CD of the cluster of that name takes webhooks, whichever cluster it is."""
    return base + _PATH.format(cluster=cluster)


def webhook_of_argocd(account: AccountState, clusters: Clusters) -> Route:
    """Hands a webhook on to the Argo CD of the cluster that is named in the path."""

    async def relay(request: Request) -> Response:
        name = request.path_params["cluster"]
        urls = [
            clusters.server_url(each.id)
            for each in account.data.clusters.values()
            if each.name == name
        ]
        url = next((each for each in urls if each), None)
        if url is None:
            return PlainTextResponse(f"no Argo CD answers in a cluster {name!r}\n", 503)
        headers = {
            key: value
            for key, value in request.headers.items()
            if key.startswith("x-") or key == "content-type"
        }
        # Its certificate is of its own making, and the way to it is loopback.
        async with httpx.AsyncClient(verify=False, trust_env=False) as client:
            answer = await client.post(
                f"{url}/api/webhook", content=await request.body(), headers=headers
            )
        return Response(answer.content, answer.status_code)

    return Route(_PATH, relay, methods=["POST"])
