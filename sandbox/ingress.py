"""Access to each cluster's Argo CD from outside: the sandbox's counterpart of an Ingress."""

import httpx
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from sandbox.cluster.backend import Clusters
from sandbox.cluster.roles import Role
from sandbox.digitalocean.state import AccountState

_PATHS = {
    Role.SERVER: "/argocd/{cluster}/api/webhook",
    Role.APPLICATIONSET_CONTROLLER: "/argocd/{cluster}/applicationsets/api/webhook",
}
"""Of events of pushes, and of pull requests."""


def webhook_url(base: str, cluster: str, role: Role = Role.SERVER) -> str:
    """URL for webhooks to that part of Argo CD in the cluster with that name. It stays the same
    when the cluster is replaced by another one of that name."""
    return base + _PATHS[role].format(cluster=cluster)


def webhooks_of_argocd(account: AccountState, clusters: Clusters) -> list[Route]:
    """The routes that forward a webhook to the Argo CD of the cluster that their path names."""
    return [_route(account, clusters, role, path) for role, path in _PATHS.items()]


def _route(account: AccountState, clusters: Clusters, role: Role, path: str) -> Route:
    async def relay(request: Request) -> Response:
        name = request.path_params["cluster"]
        urls = [
            clusters.url_of(cluster.id, role)
            for cluster in account.data.clusters.values()
            if cluster.name == name
        ]
        argocd_url = next(filter(None, urls), None)
        if argocd_url is None:
            return PlainTextResponse(f"no Argo CD answers in a cluster {name!r}\n", 503)
        headers = {
            key: value
            for key, value in request.headers.items()
            if key.startswith("x-") or key == "content-type"
        }
        # Argo CD's certificate is self-signed, and the connection stays on loopback.
        async with httpx.AsyncClient(verify=False, trust_env=False) as client:
            response = await client.post(
                f"{argocd_url}/api/webhook", content=await request.body(), headers=headers
            )
        return Response(response.content, response.status_code)

    return Route(path, relay, methods=["POST"])
