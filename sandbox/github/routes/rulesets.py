"""Rulesets of a repository (https://docs.github.com/en/rest/repos/rules)."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from starlette.responses import Response

from sandbox.github.errors import ApiError
from sandbox.github.models import BypassActor, Ruleset
from sandbox.github.operations import Body, Call, Operation, allows, found, iso, no_content
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
"""What each rule's parameters are unless they are given."""


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


class _Wanted(Body):
    name: str
    target: Literal["branch", "tag", "push"] = "branch"
    enforcement: Literal["disabled", "active", "evaluate"]
    bypass_actors: Sequence[_Actor] = ()
    conditions: _Conditions | None = None
    rules: Sequence[_Rule] = ()


def _refused(message: str) -> ApiError:
    return ApiError(422, "Validation Failed", [message])


def _describe(call: Call, ruleset: Ruleset) -> dict[str, Any]:
    """Who may bypass it is told to those only who may change it."""
    described: dict[str, Any] = {
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
        described["bypass_actors"] = [each.model_dump() for each in ruleset.bypass_actors]
    return described


def _rule(given: _Rule) -> dict[str, Any]:
    if given.type in _PLAIN:
        return {"type": given.type}
    defaults = _WITH_PARAMETERS.get(given.type)
    if defaults is None:
        raise _refused(f"Invalid rule '{given.type}': the sandbox does not enforce it")
    return {"type": given.type, "parameters": {**defaults, **(given.parameters or {})}}


async def _read(call: Call, *, own: int | None = None) -> dict[str, Any]:
    """The fields of the ruleset that the body describes. Ends the request if it can't be."""
    body = await call.body(_Wanted)
    if any(each.name == body.name and each.id != own for each in call.repository.rulesets):
        raise _refused("Name must be unique")
    if unknown := [each for each in body.bypass_actors if each.actor_type not in _ACTORS]:
        raise _refused(f"Invalid actor type '{unknown[0].actor_type}'")
    refs = body.conditions.ref_name if body.conditions else _Refs()
    for pattern in (*refs.include, *refs.exclude):
        if not pattern.startswith(("refs/", "~")):
            raise _refused(f"Conditions: invalid target pattern '{pattern}'")
    return {
        "name": body.name,
        "target": body.target,
        "enforcement": body.enforcement,
        "bypass_actors": [BypassActor(**each.model_dump()) for each in body.bypass_actors],
        "include": list(refs.include),
        "exclude": list(refs.exclude),
        "rules": [_rule(each) for each in body.rules],
        "updated_at": now(),
    }


async def _list(call: Call) -> Response:
    return call.pages([_describe(call, each) for each in call.repository.rulesets])


async def _create(call: Call) -> Response:
    fields, repository = await _read(call), call.repository
    with call.state.changing():
        ruleset = Ruleset(id=call.state.new_id(), created_at=now(), **fields)
        repository.rulesets.append(ruleset)
    return call.answer(_describe(call, ruleset), 201)


def _ruleset(call: Call) -> Ruleset:
    return found(each for each in call.repository.rulesets if each.id == call.path["id"])


async def _get(call: Call) -> Response:
    return call.answer(_describe(call, _ruleset(call)))


async def _change(call: Call) -> Response:
    ruleset = _ruleset(call)
    fields = await _read(call, own=ruleset.id)
    with call.state.changing():
        for name, value in fields.items():
            setattr(ruleset, name, value)
    return call.answer(_describe(call, ruleset))


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
