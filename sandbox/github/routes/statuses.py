"""Commit statuses, the results of checks (https://docs.github.com/en/rest/commits/statuses)."""

from typing import Any, Literal

from starlette.responses import Response

from sandbox.emulator import Body
from sandbox.github.models import Status
from sandbox.github.operations import Call, Operation, iso
from sandbox.github.routes import REPOSITORY
from sandbox.github.state import now


class _CreateBody(Body):
    state: Literal["error", "failure", "pending", "success"]
    context: str = "default"
    description: str | None = None


def _describe(status: Status) -> dict[str, Any]:
    return {
        "id": status.id,
        "state": status.state,
        "context": status.context,
        "description": status.description,
        "created_at": iso(status.created_at),
    }


async def _create(call: Call) -> Response:
    body, repository, commit = await call.body(_CreateBody), call.repository, call.path["commit"]
    await call.require_commit(commit)
    with call.state.changing():
        status = Status(
            id=call.state.new_id(),
            commit=commit,
            context=body.context,
            state=body.state,
            description=body.description,
            created_at=now(),
        )
        repository.statuses.append(status)
    return call.response(_describe(status), 201)


async def _list(call: Call) -> Response:
    """Newest first."""
    commit = call.path["commit"]
    statuses = [status for status in reversed(call.repository.statuses) if status.commit == commit]
    return call.page([_describe(status) for status in statuses])


OPERATIONS = (
    Operation("POST", f"{REPOSITORY}/statuses/{{commit}}", _create, ("statuses:write",)),
    Operation("GET", f"{REPOSITORY}/commits/{{commit}}/statuses", _list, ("statuses:read",)),
)
