"""Access to each cluster's Argo CD from outside: the sandbox's counterpart of an Ingress."""

import httpx
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from sandbox.cluster.backend import Clusters
from sandbox.digitalocean.state import AccountState

_PATH = "/argocd/{cluster}/api/webhook"


def webhook_url(base: str, cluster: str) -> str:
    """URL for webhooks to the Argo CD of the cluster with that name. It stays the same when the
    cluster is replaced by another one of that name."""
    return base + _PATH.format(cluster=cluster)


def webhook_of_argocd(account: AccountState, clusters: Clusters) -> Route:
    """The route that forwards a webhook to the Argo CD of the cluster that its path names."""

    async def relay(request: Request) -> Response:
        name = request.path_params["cluster"]
        urls = [
            clusters.server_url(cluster.id)
            for cluster in account.data.clusters.values()
            if cluster.name == name
        ]
        server_url = next(filter(None, urls), None)
        if server_url is None:
            return PlainTextResponse(f"no Argo CD answers in a cluster {name!r}\n", 503)
        headers = {
            key: value
            for key, value in request.headers.items()
            if key.startswith("x-") or key == "content-type"
        }
        # Argo CD's certificate is self-signed, and the connection stays on loopback.
        async with httpx.AsyncClient(verify=False, trust_env=False) as client:
            response = await client.post(
                f"{server_url}/api/webhook", content=await request.body(), headers=headers
            )
        return Response(response.content, response.status_code)

    return Route(_PATH, relay, methods=["POST"])
