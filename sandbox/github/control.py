"""What is done to the organization by no API of GitHub's: people, teams and tokens are made."""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.github.state import GitHubState


def control_routes(state: GitHubState, authorize: Callable[[Request], None]) -> list[Route]:
    """`/tokens` and `/teams`; `authorize` ends requests that may not."""

    def route(path: str, act: Callable[[Request], Awaitable[Response]]) -> Route:
        async def endpoint(request: Request) -> Response:
            authorize(request)
            return await act(request)

        return Route(path, endpoint, methods=["POST"])

    async def add_token(request: Request) -> Response:
        """A fine-grained token with `permissions` of the user `login`, who has the role `role`."""
        body = await request.json()
        state.add_user(body["login"], body["role"])
        return JSONResponse({"token": state.add_token(body["login"], body["permissions"])})

    async def add_team(request: Request) -> Response:
        body = await request.json()
        return JSONResponse({"id": state.add_team(body["slug"], body["members"]).id})

    return [route("/tokens", add_token), route("/teams", add_team)]
