"""Deployment environments (https://docs.github.com/en/rest/deployments/environments)."""

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field
from starlette.responses import Response

from sandbox.emulator import Body, no_content
from sandbox.github.errors import ApiError
from sandbox.github.models import BranchPolicy, Environment, Reviewer
from sandbox.github.operations import Call, Operation, iso
from sandbox.github.routes import REPOSITORY
from sandbox.github.routes.owners import describe_team, describe_user
from sandbox.github.state import new_vault, now

_ENVIRONMENTS = f"{REPOSITORY}/environments"
ENVIRONMENT = f"{_ENVIRONMENTS}/{{environment}}"
ENVIRONMENT_BY_ID = "/repositories/{repository_id}/environments/{environment}"
"""The path of earlier versions of the API, which the Terraform provider still calls."""

_MOST_REVIEWERS = 6


class _Reviewer(Body):
    type: Literal["User", "Team"]
    id: int


class _Policy(Body):
    protected_branches: bool
    custom_branch_policies: bool


class _EnvironmentBody(Body):
    wait_timer: int = Field(default=0, ge=0, le=43200)
    can_admins_bypass: bool = True
    prevent_self_review: bool = False
    reviewers: Sequence[_Reviewer] | None = None
    deployment_branch_policy: _Policy | None = None


def _describe(call: Call, environment: Environment) -> dict[str, Any]:
    rules: list[dict[str, Any]] = []
    if environment.wait_timer:
        rules.append({"id": 1, "type": "wait_timer", "wait_timer": environment.wait_timer})
    if environment.reviewers:
        rules.append(
            {
                "id": 2,
                "type": "required_reviewers",
                "prevent_self_review": environment.prevent_self_review,
                "reviewers": [
                    {"type": reviewer.type, "reviewer": _describe_reviewer(call, reviewer)}
                    for reviewer in environment.reviewers
                ],
            }
        )
    policy = environment.deployment_branch_policy
    if policy:
        rules.append({"id": 3, "type": "branch_policy"})
    return {
        "id": environment.id,
        "name": environment.name,
        "can_admins_bypass": environment.can_admins_bypass,
        "protection_rules": rules,
        "deployment_branch_policy": policy.model_dump() if policy else None,
        "created_at": iso(environment.created_at),
        "updated_at": iso(environment.updated_at),
    }


def _describe_reviewer(call: Call, reviewer: Reviewer | _Reviewer) -> dict[str, Any]:
    """The user or team. Ends the request with 422 if it does not exist."""
    if reviewer.type == "User":
        for user in call.state.data.users:
            if user.id == reviewer.id:
                return describe_user(user)
    else:
        for team in call.state.data.teams:
            if team.id == reviewer.id:
                return describe_team(team)
    raise ApiError(422, f"Failed to create the environment protection rule. {reviewer.type}"
                   f" {reviewer.id} is no possible reviewer")  # fmt: skip


async def _list(call: Call) -> Response:
    environments = call.repository.environments
    page, _ = call.slice(environments)
    descriptions = [_describe(call, environment) for environment in page]
    return call.response({"total_count": len(environments), "environments": descriptions})


async def _get(call: Call) -> Response:
    return call.response(_describe(call, call.environment))


async def _put(call: Call) -> Response:
    """Create or replace an environment; settings that the body does not have get their defaults."""
    body, repository = await call.body(_EnvironmentBody), call.repository
    name = call.path["environment"]
    reviewers = body.reviewers or ()
    if len(reviewers) > _MOST_REVIEWERS:
        raise ApiError(422, f"There can be at most {_MOST_REVIEWERS} reviewers")
    for reviewer in reviewers:
        _describe_reviewer(call, reviewer)
    policy = body.deployment_branch_policy
    if policy and policy.protected_branches == policy.custom_branch_policies:
        raise ApiError(
            422, "protected_branches and custom_branch_policies cannot have the same value"
        )
    with call.state.changing():
        existing = next((env for env in repository.environments if env.name == name), None)
        environment = Environment(
            id=existing.id if existing else call.state.new_id(),
            name=name,
            wait_timer=body.wait_timer,
            can_admins_bypass=body.can_admins_bypass,
            prevent_self_review=body.prevent_self_review,
            reviewers=[Reviewer(**reviewer.model_dump()) for reviewer in reviewers],
            deployment_branch_policy=BranchPolicy(**policy.model_dump()) if policy else None,
            created_at=existing.created_at if existing else now(),
            updated_at=now(),
            vault=existing.vault if existing else new_vault(),
        )
        if existing:
            repository.environments[repository.environments.index(existing)] = environment
        else:
            repository.environments.append(environment)
    return call.response(_describe(call, environment))


async def _delete(call: Call) -> Response:
    environment = call.environment
    with call.state.changing():
        call.repository.environments.remove(environment)
    return no_content()


OPERATIONS = (
    Operation("GET", _ENVIRONMENTS, _list, ("actions:read",)),
    Operation("GET", ENVIRONMENT, _get, ("actions:read",)),
    Operation("PUT", ENVIRONMENT, _put, ("administration:write",)),
    Operation("DELETE", ENVIRONMENT, _delete, ("administration:write",)),
)
