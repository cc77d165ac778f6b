"""Deployment environments (https://docs.github.com/en/rest/deployments/environments)."""

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field
from starlette.responses import Response

from sandbox.github.errors import ApiError
from sandbox.github.models import BranchPolicy, Environment, Reviewer
from sandbox.github.operations import Body, Call, Operation, iso, no_content
from sandbox.github.routes import REPOSITORY
from sandbox.github.routes.owners import describe_team, describe_user
from sandbox.github.state import new_vault, now

_ENVIRONMENTS = f"{REPOSITORY}/environments"
ENVIRONMENT = f"{_ENVIRONMENTS}/{{environment}}"

_MOST_REVIEWERS = 6


class _Reviewer(Body):
    type: Literal["User", "Team"]
    id: int


class _Policy(Body):
    protected_branches: bool
    custom_branch_policies: bool


class _Wanted(Body):
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
                    {"type": each.type, "reviewer": _who(call, each)}
                    for each in environment.reviewers
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


def _who(call: Call, reviewer: Reviewer | _Reviewer) -> dict[str, Any]:
    """Ends the request if there is nobody of that number."""
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
    known = call.repository.environments
    shown, _ = call.page_of(known)
    described = [_describe(call, each) for each in shown]
    return call.answer({"total_count": len(known), "environments": described})


async def _get(call: Call) -> Response:
    return call.answer(_describe(call, call.environment))


async def _put(call: Call) -> Response:
    """What is not given is taken away."""
    body, repository, name = await call.body(_Wanted), call.repository, call.path["environment"]
    reviewers = body.reviewers or ()
    if len(reviewers) > _MOST_REVIEWERS:
        raise ApiError(422, f"There can be at most {_MOST_REVIEWERS} reviewers")
    for each in reviewers:
        _who(call, each)
    policy = body.deployment_branch_policy
    if policy and policy.protected_branches == policy.custom_branch_policies:
        raise ApiError(
            422, "protected_branches and custom_branch_policies cannot have the same value"
        )
    with call.state.changing():
        environment = next((each for each in repository.environments if each.name == name), None)
        kept = environment or Environment(
            id=call.state.new_id(),
            name=name,
            wait_timer=0,
            can_admins_bypass=True,
            prevent_self_review=False,
            reviewers=[],
            deployment_branch_policy=None,
            created_at=now(),
            updated_at=now(),
            vault=new_vault(),
        )
        if environment is None:
            repository.environments.append(kept)
        kept.wait_timer = body.wait_timer
        kept.can_admins_bypass = body.can_admins_bypass
        kept.prevent_self_review = body.prevent_self_review
        kept.reviewers = [Reviewer(type=each.type, id=each.id) for each in reviewers]
        kept.deployment_branch_policy = BranchPolicy(**policy.model_dump()) if policy else None
        kept.updated_at = now()
    return call.answer(_describe(call, kept))


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
