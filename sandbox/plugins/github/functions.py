"""The lookups of users and teams, whose numbers other resources need."""

from collections.abc import Mapping

from sandbox.plugins.bridge.resource import Function
from sandbox.plugins.bridge.schema import Properties, boolean, not_empty, string
from sandbox.plugins.github.api import Api


async def _user(api: Api, args: Properties) -> Properties:
    user = await api.get(f"users/{args['username']}")
    # The real plugin also requests the keys.
    for kind in ("gpg_keys", "keys"):
        await api.get(f"users/{user['login']}/{kind}")
    return {
        "id": str(user["id"]),
        "username": args["username"],
        "login": user["login"],
        "gpgKeys": [],
        "sshKeys": [],
    }


async def _team(api: Api, args: Properties) -> Properties:
    """The team as with `summaryOnly`, without its members and repositories."""
    team = await api.get(f"orgs/{api.owner}/teams/{args['slug']}")
    return {
        "id": str(team["id"]),
        "teamId": team["id"],
        "slug": team["slug"],
        "name": team["name"],
        "description": team["description"],
        "privacy": team["privacy"],
        "permission": team["permission"],
        "summaryOnly": args["summaryOnly"],
    }


FUNCTIONS: Mapping[str, Function[Api]] = {
    "github:index/getUser:getUser": Function(
        {"username": string(required=True, rule=not_empty)}, _user
    ),
    "github:index/getTeam:getTeam": Function(
        {"slug": string(required=True, rule=not_empty), "summaryOnly": boolean(required=True)},
        _team,
    ),
}
"""Lookups by the token that programs invoke."""
