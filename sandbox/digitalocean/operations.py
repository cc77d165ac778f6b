"""API operations: their routes, authentication, and the scopes that they need."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import model_validator
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox import emulator
from sandbox.digitalocean.errors import ApiError, invalid
from sandbox.digitalocean.lifecycle import Clusters
from sandbox.digitalocean.pagination import page_of
from sandbox.digitalocean.state import AccountState


class Body(emulator.Body):
    """The JSON body of a request. A null is the same as a missing field, since clients written in
    Go send null for it."""

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, content: Any) -> Any:
        if isinstance(content, dict):
            return {key: value for key, value in content.items() if value is not None}
        return content


BodyT = TypeVar("BodyT", bound=Body)


@dataclass(frozen=True)
class Call:
    """One authenticated and authorized request."""

    request: Request
    account: AccountState
    clusters: Clusters

    @property
    def path(self) -> Mapping[str, Any]:
        return self.request.path_params

    async def body(self, model: type[BodyT]) -> BodyT:
        """The body. Ends the request with 400 if it is not JSON, 422 if it does not fit `model`."""
        return await emulator.read_body(
            self.request,
            model,
            malformed=ApiError(400, "unable to decode the request body as JSON"),
            invalid=lambda field, reason: invalid(f"validation error: {field or 'body'}: {reason}"),
        )

    def seconds(self, name: str) -> int:
        """A query parameter with a duration in seconds; 0 if it is missing."""
        text = self.request.query_params.get(name, "0")
        if not text.isdecimal():
            raise invalid(f"{name} must be a number of seconds")
        return int(text)

    def flag(self, name: str) -> bool:
        return self.request.query_params.get(name, "").lower() in ("1", "true")

    def allows(self, scope: str) -> bool:
        """Whether the token has a scope that the operation itself does not need."""
        token = self.account.find_token(bearer_token(self.request.headers["authorization"]))
        return token is not None and token.allows(scope)

    def page(self, key: str, items: Sequence[Any]) -> JSONResponse:
        return JSONResponse(page_of(self.request, key, items))


Handler = Callable[[Call], Awaitable[Response]]


@dataclass(frozen=True)
class Operation:
    """One method of one path. A token needs all of `scopes` to call it
    (docs.digitalocean.com/reference/api/scopes)."""

    method: str
    path: str
    handler: Handler
    scopes: tuple[str, ...]

    def route(self, account: AccountState, clusters: Clusters) -> Route:
        async def endpoint(request: Request) -> Response:
            self._authorize(request, account)
            return await self.handler(Call(request, account, clusters))

        return Route(self.path, endpoint, methods=[self.method])

    def _authorize(self, request: Request, account: AccountState) -> None:
        token = account.find_token(bearer_token(request.headers.get("authorization", "")))
        if token is None:
            raise ApiError(401, "Unable to authenticate you")
        if not all(token.allows(scope) for scope in self.scopes):
            raise ApiError(403, "You do not have access for the attempted action.")


def bearer_token(authorization: str) -> str:
    """The token of an Authorization header; empty if it is not a bearer token."""
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def accepted() -> Response:
    return Response(status_code=202)
