"""Deployment environments (https://docs.github.com/en/rest/deployments/environments)."""

from typing import Any, ClassVar

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
from sandbox.plugins.github.api import Api, ApiError
from sandbox.plugins.github.ids import join, split

_LONGEST_WAIT = 43200


def _wait(value: int) -> str | None:
    return None if 0 <= value <= _LONGEST_WAIT else f"0 to {_LONGEST_WAIT}"


class Environment:
    type = "github:index/repositoryEnvironment:RepositoryEnvironment"
    fields: ClassVar[Fields] = {
        # The real plugin asks whether another name is another repository; here it always is.
        "repository": string(required=True, replaces=True),
        "repositoryId": integer(output=True),
        "environment": string(required=True, replaces=True),
        "canAdminsBypass": boolean(default=True),
        "preventSelfReview": boolean(),
        "waitTimer": integer(rule=_wait),
        "reviewers": list_of(object_of({"teams": set_of(integer()), "users": set_of(integer())})),
        "deploymentBranchPolicy": object_of(
            {
                "protectedBranches": boolean(required=True),
                "customBranchPolicies": boolean(required=True),
            }
        ),
    }

    async def create(self, api: Api, wanted: Properties, seconds: float | None) -> str:
        await self._put(api, wanted)
        return join(wanted["repository"], wanted["environment"])

    async def read(self, api: Api, id: str, state: Properties) -> Properties | None:
        """Reviewers that were taken away are not noticed: the state keeps them."""
        found = await api.find(_path(api, state))
        if found is None:
            return None
        environment, _ = found
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
        self, api: Api, id: str, old: Properties, wanted: Properties, changed: set[str]
    ) -> None:
        await self._put(api, wanted)

    async def delete(self, api: Api, id: str, state: Properties, seconds: float | None) -> None:
        try:
            await api.delete(_path(api, state))
        except ApiError as error:
            if error.status != 404:
                raise

    async def _put(self, api: Api, wanted: Properties) -> None:
        body: dict[str, Any] = {
            "can_admins_bypass": wanted.get("canAdminsBypass", False),
            "prevent_self_review": wanted.get("preventSelfReview", False),
            "reviewers": [
                {"type": kind, "id": number}
                for each in wanted.get("reviewers") or ()
                for kind, numbers in (("Team", each.get("teams")), ("User", each.get("users")))
                for number in numbers or ()
            ],
            "deployment_branch_policy": None,
        }
        if wanted.get("waitTimer"):
            body["wait_timer"] = wanted["waitTimer"]
        if policy := wanted.get("deploymentBranchPolicy"):
            body["deployment_branch_policy"] = {
                "protected_branches": policy["protectedBranches"],
                "custom_branch_policies": policy["customBranchPolicies"],
            }
        await api.send("PUT", _path(api, wanted), body)


async def repository_id(api: Api, properties: Properties) -> int:
    return int((await api.get(api.repository(properties["repository"])))["id"])


def _path(api: Api, properties: Properties) -> str:
    return f"{api.repository(properties['repository'])}/environments/{properties['environment']}"


def _numbers(reviewers: list[dict[str, Any]], kind: str) -> list[int]:
    return [each["reviewer"]["id"] for each in reviewers if each["type"] == kind]
