"""Users, the organization and its teams.

https://docs.github.com/en/rest/users, .../orgs, .../teams
"""

from typing import Any

from starlette.responses import Response

from sandbox.github.errors import not_found
from sandbox.github.models import Team, User
from sandbox.github.operations import Call, Operation, first
from sandbox.github.state import OWNER


def describe_user(user: User) -> dict[str, Any]:
    return {"id": user.id, "login": user.login, "type": "User", "site_admin": False}


def describe_team(team: Team) -> dict[str, Any]:
    return {
        "id": team.id,
        "slug": team.slug,
        "name": team.slug,
        "description": "",
        "privacy": "closed",
        "permission": "pull",
        "notification_setting": "notifications_enabled",
    }


def _describe_owner(call: Call) -> dict[str, Any]:
    return {"id": call.state.data.owner_id, "login": OWNER, "type": "Organization"}


async def _me(call: Call) -> Response:
    return call.response(describe_user(call.user))


async def _user(call: Call) -> Response:
    login = call.path["login"]
    # The organization and its first owner have the same name here.
    if login == OWNER:
        return call.response(_describe_owner(call))
    user = first(user for user in call.state.data.users if user.login == login)
    return call.response(describe_user(user))


async def _no_keys(call: Call) -> Response:
    return call.response([])


async def _organization(call: Call) -> Response:
    if call.path["owner"] != OWNER:
        raise not_found()
    return call.response(_describe_owner(call))


async def _team(call: Call) -> Response:
    if call.path["owner"] != OWNER:
        raise not_found()
    team = first(team for team in call.state.data.teams if team.slug == call.path["slug"])
    return call.response(describe_team(team))


OPERATIONS = (
    Operation("GET", "/user", _me),
    Operation("GET", "/users/{login}", _user),
    Operation("GET", "/users/{login}/gpg_keys", _no_keys),
    Operation("GET", "/users/{login}/keys", _no_keys),
    Operation("GET", "/orgs/{owner}", _organization),
    Operation("GET", "/orgs/{owner}/teams/{slug}", _team, ("members:read",)),
)
