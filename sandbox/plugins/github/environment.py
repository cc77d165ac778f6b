"""Deployment environments (https://docs.github.com/en/rest/deployments/environments)."""

from typing import Any, ClassVar

from sandbox.plugins.bridge.client import ApiError
from sandbox.plugins.bridge.schema import (
    Fields,
    Properties,
    boolean,
    integer,
    list_of,
    object_of,
    set_of,
    string,
)
from sandbox.plugins.github.api import Api
from sandbox.plugins.github.ids import join, split

_LONGEST_WAIT = 43200


def _wait_rule(value: int) -> str | None:
    return None if 0 <= value <= _LONGEST_WAIT else f"0 to {_LONGEST_WAIT}"


class Environment:
    type = "github:index/repositoryEnvironment:RepositoryEnvironment"
    fields: ClassVar[Fields] = {
        # The real plugin checks whether a repository was only renamed; this one always replaces.
        "repository": string(required=True, replaces=True),
        "repositoryId": integer(output=True),
        "environment": string(required=True, replaces=True),
        "canAdminsBypass": boolean(default=True),
        "preventSelfReview": boolean(),
        "waitTimer": integer(rule=_wait_rule),
        "reviewers": list_of(object_of({"teams": set_of(integer()), "users": set_of(integer())})),
        "deploymentBranchPolicy": object_of(
            {
                "protectedBranches": boolean(required=True),
                "customBranchPolicies": boolean(required=True),
            }
        ),
    }

    async def create(self, api: Api, desired: Properties, seconds: float | None) -> str:
        await self._put(api, desired)
        return join(desired["repository"], desired["environment"])

    async def read(self, api: Api, id: str, state: Properties) -> Properties | None:
        """As the real plugin, keeps reviewers in the state that were removed on GitHub."""
        environment = await api.find(_path(api, state))
        if environment is None:
            return None
        outputs: Properties = {
            "repository": state["repository"],
            "repositoryId": state.get("repositoryId") or await repository_id(api, state),
            "environment": state["environment"],
            "canAdminsBypass": environment["can_admins_bypass"],
            "preventSelfReview": state.get("preventSelfReview", False),
            "reviewers": state.get("reviewers", []),
            "waitTimer": 0,
        }
        for rule in environment["protection_rules"]:
            if rule["type"] == "wait_timer":
                outputs["waitTimer"] = rule["wait_timer"]
            if rule["type"] == "required_reviewers":
                outputs["preventSelfReview"] = rule["prevent_self_review"]
                outputs["reviewers"] = [
                    {
                        "teams": _numbers(rule["reviewers"], "Team"),
                        "users": _numbers(rule["reviewers"], "User"),
                    }
                ]
        if policy := environment["deployment_branch_policy"]:
            outputs["deploymentBranchPolicy"] = {
                "protectedBranches": policy["protected_branches"],
                "customBranchPolicies": policy["custom_branch_policies"],
            }
        return outputs

    async def adopt(self, api: Api, id: str) -> Properties:
        repository, environment = split(id, 2)
        return {"repository": repository, "environment": environment}

    async def update(
        self, api: Api, id: str, old: Properties, desired: Properties, changed: set[str]
    ) -> None:
        await self._put(api, desired)

    async def delete(self, api: Api, id: str, state: Properties, seconds: float | None) -> None:
        try:
            await api.delete(_path(api, state))
        except ApiError as error:
            if error.status != 404:
                raise

    async def _put(self, api: Api, desired: Properties) -> None:
        body: dict[str, Any] = {
            "can_admins_bypass": desired.get("canAdminsBypass", False),
            "prevent_self_review": desired.get("preventSelfReview", False),
            "reviewers": [
                {"type": kind, "id": number}
                for reviewers in desired.get("reviewers") or ()
                for kind, numbers in (
                    ("Team", reviewers.get("teams")),
                    ("User", reviewers.get("users")),
                )
                for number in numbers or ()
            ],
            "deployment_branch_policy": None,
        }
        if desired.get("waitTimer"):
            body["wait_timer"] = desired["waitTimer"]
        if policy := desired.get("deploymentBranchPolicy"):
            body["deployment_branch_policy"] = {
                "protected_branches": policy["protectedBranches"],
                "custom_branch_policies": policy["customBranchPolicies"],
            }
        await api.send("PUT", _path(api, desired), body)


async def repository_id(api: Api, properties: Properties) -> int:
    return int((await api.get(api.repository(properties["repository"])))["id"])


def _path(api: Api, properties: Properties) -> str:
    return f"{api.repository(properties['repository'])}/environments/{properties['environment']}"


def _numbers(reviewers: list[dict[str, Any]], kind: str) -> list[int]:
    return [reviewer["reviewer"]["id"] for reviewer in reviewers if reviewer["type"] == kind]
