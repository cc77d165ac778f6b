"""Authenticates bearer tokens for the clusters (TokenReview webhook).

kubernetes.io/docs/reference/access-authn-authz/authentication/#webhook-token-authentication
"""

from typing import Literal

from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.digitalocean.state import AccountState

PATH = "/webhook/authenticate/{cluster_id}"


class _TokenReviewSpec(BaseModel):
    token: str


class _TokenReview(BaseModel):
    apiVersion: Literal["authentication.k8s.io/v1"]
    kind: Literal["TokenReview"]
    spec: _TokenReviewSpec


def webhook_route(account: AccountState) -> Route:
    """The route for kube-apiserver's `--authentication-token-webhook-config-file`, with
    `--authentication-token-webhook-version=v1`."""

    async def authenticate(request: Request) -> Response:
        try:
            review = _TokenReview.model_validate_json(await request.body())
        except ValidationError:
            return JSONResponse({"error": "not a TokenReview of authentication.k8s.io/v1"}, 400)
        verdict = account.authenticate_for_cluster(
            review.spec.token, request.path_params["cluster_id"]
        )
        status: dict[str, object] = {"authenticated": verdict.authenticated}
        if verdict.user is None:
            status["error"] = verdict.error
        else:
            status["user"] = {
                "username": verdict.user.username,
                "uid": verdict.user.uid,
                "groups": list(verdict.user.groups),
            }
        return JSONResponse(
            {"apiVersion": review.apiVersion, "kind": review.kind, "status": status}
        )

    return Route(PATH, authenticate, methods=["POST"])
