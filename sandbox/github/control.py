"""Control routes for what GitHub's API can't do: creating users, teams and tokens."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.github.state import GitHubState


def control_routes(state: GitHubState) -> list[Route]:
    """`/tokens` and `/teams`."""

    async def add_token(request: Request) -> Response:
        """Create a fine-grained token with `permissions` for the user `login` with role `role`."""
        body = await request.json()
        state.add_user(body["login"], body["role"])
        return JSONResponse({"token": state.add_token(body["login"], body["permissions"])})

    async def add_team(request: Request) -> Response:
        body = await request.json()
        return JSONResponse({"id": state.add_team(body["slug"], body["members"]).id})

    return [
        Route("/tokens", add_token, methods=["POST"]),
        Route("/teams", add_team, methods=["POST"]),
    ]
