"""Check runs (https://docs.github.com/en/rest/checks/runs).

On GitHub, only an App can have the permission to write them, such as that of a workflow's token.
"""

from typing import Any, Literal

from pydantic import Field
from starlette.responses import Response

from sandbox.emulator import Body
from sandbox.github.errors import invalid
from sandbox.github.models import CheckRun, Conclusion
from sandbox.github.operations import Call, Operation, iso
from sandbox.github.routes import REPOSITORY
from sandbox.github.state import now


class _Output(Body):
    title: str
    summary: str = Field(max_length=65_535)


class _CreateBody(Body):
    name: str
    head_sha: str
    status: Literal["queued", "in_progress", "completed"] = "queued"
    conclusion: Conclusion | None = None
    output: _Output | None = None


def _describe(run: CheckRun, page: str) -> dict[str, Any]:
    return {
        "id": run.id,
        "name": run.name,
        "head_sha": run.commit,
        "status": run.status,
        "conclusion": run.conclusion,
        "html_url": f"{page}/runs/{run.id}",
        "started_at": iso(run.created_at),
        "output": {"title": run.title, "summary": run.summary},
    }


async def _create(call: Call) -> Response:
    body, repository = await call.body(_CreateBody), call.repository
    if body.status == "completed" and body.conclusion is None:
        raise invalid("CheckRun", "conclusion is missing", "conclusion")
    await call.require_commit(body.head_sha)
    with call.state.changing():
        run = CheckRun(
            id=call.state.new_id(),
            commit=body.head_sha,
            name=body.name,
            status="completed" if body.conclusion else body.status,
            conclusion=body.conclusion,
            title=body.output.title if body.output else None,
            summary=body.output.summary if body.output else None,
            created_at=now(),
        )
        repository.check_runs.append(run)
    return call.response(_describe(run, call.github.page(repository.name)), 201)


async def _list(call: Call) -> Response:
    """The latest of each name, as by default."""
    repository, commit = call.repository, call.path["commit"]
    latest = {run.name: run for run in repository.check_runs if run.commit == commit}
    page = call.github.page(repository.name)
    runs = [_describe(run, page) for run in latest.values()]
    items, _ = call.slice(runs)
    return call.response({"total_count": len(runs), "check_runs": list(items)})


OPERATIONS = (
    Operation("POST", f"{REPOSITORY}/check-runs", _create, ("checks:write",)),
    Operation("GET", f"{REPOSITORY}/commits/{{commit}}/check-runs", _list, ("checks:read",)),
)
