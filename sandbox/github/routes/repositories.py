"""Repositories (https://docs.github.com/en/rest/repos)."""

from starlette.responses import Response

from sandbox.emulator import Body
from sandbox.git import GitError
from sandbox.github.errors import invalid, not_found
from sandbox.github.operations import Call, Operation
from sandbox.github.routes import REPOSITORY
from sandbox.github.state import OWNER


class _CreateBody(Body):
    name: str
    private: bool = False


async def _list(call: Call) -> Response:
    if call.path["owner"] != OWNER:
        raise not_found()
    state = call.state
    return call.page(
        [call.github.webhooks.describe(state.repository(name)) for name in call.github.git.names()]
    )


async def _create(call: Call) -> Response:
    if call.path["owner"] != OWNER:
        raise not_found()
    body = await call.body(_CreateBody)
    try:
        await call.github.git.create(body.name, public=not body.private)
    except GitError as error:
        raise invalid("Repository", str(error), "name") from error
    return call.response(call.github.webhooks.describe(call.state.repository(body.name)), 201)


async def _get(call: Call) -> Response:
    return call.response(call.github.webhooks.describe(call.repository))


async def _branch(call: Call) -> Response:
    repository, branch = call.repository, call.path["branch"]
    commit = await call.github.git.head(repository.name, branch)
    if commit is None:
        raise not_found()
    ref = f"refs/heads/{branch}"
    protected = any(
        call.github.ref_rules(repository.name, ruleset, bypassed=False).covers(ref)
        for ruleset in repository.rulesets
        if ruleset.enforcement == "active"
    )
    return call.response({"name": branch, "commit": {"sha": commit}, "protected": protected})


OPERATIONS = (
    Operation("GET", "/orgs/{owner}/repos", _list),
    Operation("POST", "/orgs/{owner}/repos", _create, ("administration:write",)),
    Operation("GET", REPOSITORY, _get),
    Operation("GET", f"{REPOSITORY}/branches/{{branch:path}}", _branch, ("contents:read",)),
)
