"""Rulesets of a repository (https://docs.github.com/en/rest/repos/rules)."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from starlette.responses import Response

from sandbox.emulator import Body, no_content
from sandbox.github.errors import ApiError
from sandbox.github.models import BypassActor, Ruleset
from sandbox.github.operations import Call, Operation, allows, first, iso
from sandbox.github.routes import REPOSITORY
from sandbox.github.state import OWNER, now

_RULESETS = f"{REPOSITORY}/rulesets"
_RULESET = f"{_RULESETS}/{{id:int}}"

_ACTORS = (
    "RepositoryRole",
    "Team",
    "Integration",
    "OrganizationAdmin",
    "DeployKey",
    "EnterpriseOwner",
    "User",
)
_PLAIN = ("creation", "update", "deletion", "non_fast_forward", "required_linear_history")
_WITH_PARAMETERS: Mapping[str, Mapping[str, Any]] = {
    "pull_request": {
        "allowed_merge_methods": ["merge", "squash", "rebase"],
        "dismiss_stale_reviews_on_push": False,
        "require_code_owner_review": False,
        "require_last_push_approval": False,
        "required_approving_review_count": 0,
        "required_review_thread_resolution": False,
    },
    "required_status_checks": {
        "required_status_checks": [],
        "strict_required_status_checks_policy": False,
        "do_not_enforce_on_create": False,
    },
}
"""The default parameters of the rules that have some."""


class _Actor(Body):
    actor_id: int | None = None
    actor_type: str
    bypass_mode: Literal["always", "pull_request", "exempt"] = "always"


class _Refs(Body):
    include: Sequence[str] = ()
    exclude: Sequence[str] = ()


class _Conditions(Body):
    ref_name: _Refs = _Refs()


class _Rule(Body):
    type: str
    parameters: Mapping[str, Any] | None = None


class _RulesetBody(Body):
    name: str
    target: Literal["branch", "tag", "push"] = "branch"
    enforcement: Literal["disabled", "active", "evaluate"]
    bypass_actors: Sequence[_Actor] = ()
    conditions: _Conditions | None = None
    rules: Sequence[_Rule] = ()


def _invalid(message: str) -> ApiError:
    return ApiError(422, "Validation Failed", [message])


def _describe(call: Call, ruleset: Ruleset) -> dict[str, Any]:
    """The ruleset's JSON; the bypass actors are visible only to those who may change it."""
    description: dict[str, Any] = {
        "id": ruleset.id,
        "node_id": f"RRS_{ruleset.id}",
        "name": ruleset.name,
        "target": ruleset.target,
        "source_type": "Repository",
        "source": f"{OWNER}/{call.path['repository']}",
        "enforcement": ruleset.enforcement,
        "conditions": {"ref_name": {"include": ruleset.include, "exclude": ruleset.exclude}},
        "rules": ruleset.rules,
        "created_at": iso(ruleset.created_at),
        "updated_at": iso(ruleset.updated_at),
    }
    if allows(call.token, "administration:write"):
        description["bypass_actors"] = [actor.model_dump() for actor in ruleset.bypass_actors]
    return description


def _rule(body: _Rule) -> dict[str, Any]:
    if body.type in _PLAIN:
        return {"type": body.type}
    defaults = _WITH_PARAMETERS.get(body.type)
    if defaults is None:
        raise _invalid(f"Invalid rule '{body.type}': the sandbox does not enforce it")
    return {"type": body.type, "parameters": {**defaults, **(body.parameters or {})}}


async def _fields(call: Call, *, own_id: int | None = None) -> dict[str, Any]:
    """The fields of the ruleset that the body describes. Ends the request with 422 if they are
    invalid. `own_id`: the ruleset that may have this name already."""
    body = await call.body(_RulesetBody)
    rulesets = call.repository.rulesets
    if any(ruleset.name == body.name and ruleset.id != own_id for ruleset in rulesets):
        raise _invalid("Name must be unique")
    for actor in body.bypass_actors:
        if actor.actor_type not in _ACTORS:
            raise _invalid(f"Invalid actor type '{actor.actor_type}'")
    refs = body.conditions.ref_name if body.conditions else _Refs()
    for pattern in (*refs.include, *refs.exclude):
        if not pattern.startswith(("refs/", "~")):
            raise _invalid(f"Conditions: invalid target pattern '{pattern}'")
    return {
        "name": body.name,
        "target": body.target,
        "enforcement": body.enforcement,
        "bypass_actors": [BypassActor(**actor.model_dump()) for actor in body.bypass_actors],
        "include": list(refs.include),
        "exclude": list(refs.exclude),
        "rules": [_rule(rule) for rule in body.rules],
        "updated_at": now(),
    }


async def _list(call: Call) -> Response:
    return call.page([_describe(call, ruleset) for ruleset in call.repository.rulesets])


async def _create(call: Call) -> Response:
    fields, repository = await _fields(call), call.repository
    with call.state.changing():
        ruleset = Ruleset(id=call.state.new_id(), created_at=now(), **fields)
        repository.rulesets.append(ruleset)
    return call.response(_describe(call, ruleset), 201)


def _ruleset(call: Call) -> Ruleset:
    ruleset_id = call.path["id"]
    return first(ruleset for ruleset in call.repository.rulesets if ruleset.id == ruleset_id)


async def _get(call: Call) -> Response:
    return call.response(_describe(call, _ruleset(call)))


async def _change(call: Call) -> Response:
    ruleset = _ruleset(call)
    fields = await _fields(call, own_id=ruleset.id)
    with call.state.changing():
        for name, value in fields.items():
            setattr(ruleset, name, value)
    return call.response(_describe(call, ruleset))


async def _delete(call: Call) -> Response:
    ruleset = _ruleset(call)
    with call.state.changing():
        call.repository.rulesets.remove(ruleset)
    return no_content()


OPERATIONS = (
    Operation("GET", _RULESETS, _list),
    Operation("POST", _RULESETS, _create, ("administration:write",)),
    Operation("GET", _RULESET, _get),
    Operation("PUT", _RULESET, _change, ("administration:write",)),
    Operation("DELETE", _RULESET, _delete, ("administration:write",)),
)
