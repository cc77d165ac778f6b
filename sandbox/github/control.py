"""Control routes for what GitHub's API can't do: create users, teams and tokens, push to forks."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.github.host import GitHub


def control_routes(github: GitHub) -> list[Route]:
    """`/tokens`, `/teams` and `/forks`."""
    state = github.state

    async def add_token(request: Request) -> Response:
        """Create a fine-grained token with `permissions` for the user `login` with role `role`."""
        body = await request.json()
        state.add_user(body["login"], body["role"])
        return JSONResponse({"token": state.add_token(body["login"], body["permissions"])})

    async def add_team(request: Request) -> Response:
        body = await request.json()
        return JSONResponse({"id": state.add_team(body["slug"], body["members"]).id})

    async def push_to_fork(request: Request) -> Response:
        """See `GitHub.push_to_fork`."""
        issue = await github.push_to_fork(**await request.json())
        return JSONResponse({"number": issue.number})

    return [
        Route("/forks", push_to_fork, methods=["POST"]),
        Route("/tokens", add_token, methods=["POST"]),
        Route("/teams", add_team, methods=["POST"]),
    ]
