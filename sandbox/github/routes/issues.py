"""Issues and comments, also of pull requests (https://docs.github.com/en/rest/issues)."""

from typing import Any, Literal

from starlette.responses import Response

from sandbox.emulator import Body
from sandbox.github.errors import ApiError, invalid
from sandbox.github.models import ROLES, Comment, Issue, Labeling, PullRequest, Repository
from sandbox.github.operations import Call, Operation, first, iso
from sandbox.github.routes import REPOSITORY
from sandbox.github.state import now

_ISSUES = f"{REPOSITORY}/issues"
_ISSUE = f"{_ISSUES}/{{number:int}}"
_COMMENTS = f"{_ISSUE}/comments"
_COMMENT = f"{_ISSUES}/comments/{{id:int}}"

_READ = ("issues:read", "pull_requests:read")
_WRITE = ("issues:write", "pull_requests:write")


class _CreateBody(Body):
    title: str
    body: str | None = None


class _UpdateBody(Body):
    title: str | None = None
    body: str | None = None
    state: Literal["open", "closed"] | None = None


class _LabelsBody(Body):
    labels: list[str]


class _CommentBody(Body):
    body: str


def add_issue(
    call: Call, repository: Repository, title: str, body: str | None, pull: PullRequest | None
) -> Issue:
    """Create an issue or a pull request. Ends the request with 422 if the title is blank."""
    if not title.strip():
        raise invalid("Issue", "title can't be blank", "title")
    with call.state.changing():
        issue = Issue(
            id=call.state.new_id(),
            number=len(repository.issues) + 1,
            title=title,
            body=body,
            state="open",
            user=call.user.login,
            created_at=now(),
            updated_at=now(),
            pull_request=pull,
        )
        repository.issues.append(issue)
    return issue


async def change_issue(call: Call) -> Issue:
    """Change the issue in the path as the body describes."""
    body, issue = await call.body(_UpdateBody), call.issue
    before = issue.state
    with call.state.changing():
        issue.title = body.title or issue.title
        issue.body = body.body if body.body is not None else issue.body
        issue.state = body.state or issue.state
        issue.updated_at = now()
    if issue.state != before:
        action = "closed" if issue.state == "closed" else "reopened"
        call.github.webhooks.pull_request(call.repository, issue, action, call.user.login)
    return issue


def address(call: Call, operation: str, **parameters: int) -> str:
    """URL of an operation on something in the request's repository."""
    repository = {key: call.path[key] for key in ("owner", "repository")}
    return str(call.request.url_for(operation, **repository, **parameters))


def describe_issue(call: Call, issue: Issue) -> dict[str, Any]:
    page = call.github.page(call.path["repository"])
    kind = "pull" if issue.pull_request else "issues"
    description: dict[str, Any] = {
        "id": issue.id,
        "number": issue.number,
        "title": issue.title,
        "body": issue.body,
        "state": issue.state,
        "user": {"login": issue.user},
        "labels": [{"name": name} for name in issue.labels],
        "url": address(call, "issue", number=issue.number),
        "html_url": f"{page}/{kind}/{issue.number}",
        "created_at": iso(issue.created_at),
        "updated_at": iso(issue.updated_at),
    }
    if issue.pull_request:
        description["pull_request"] = {"html_url": description["html_url"]}
    return description


def has_requested_state(call: Call, issue: Issue) -> bool:
    """Whether the issue matches the query parameter `state`."""
    state = call.request.query_params.get("state", "open")
    return state in ("all", issue.state)


def _describe_comment(call: Call, comment: Comment) -> dict[str, Any]:
    page = call.github.page(call.path["repository"])
    return {
        "id": comment.id,
        "body": comment.body,
        "user": {"login": comment.user},
        "url": address(call, "comment", id=comment.id),
        "html_url": f"{page}/issues/{comment.issue}#issuecomment-{comment.id}",
        "created_at": iso(comment.created_at),
        "updated_at": iso(comment.updated_at),
    }


async def _list(call: Call) -> Response:
    """Newest first."""
    issues = [
        issue for issue in reversed(call.repository.issues) if has_requested_state(call, issue)
    ]
    return call.page([describe_issue(call, issue) for issue in issues])


async def _create(call: Call) -> Response:
    body, repository = await call.body(_CreateBody), call.repository
    issue = add_issue(call, repository, body.title, body.body, None)
    return call.response(describe_issue(call, issue), 201)


async def _get(call: Call) -> Response:
    return call.response(describe_issue(call, call.issue))


async def _change(call: Call) -> Response:
    return call.response(describe_issue(call, await change_issue(call)))


async def _comments(call: Call) -> Response:
    repository, issue = call.repository, call.issue
    comments = [comment for comment in repository.comments if comment.issue == issue.number]
    return call.page([_describe_comment(call, comment) for comment in comments])


async def _add_comment(call: Call) -> Response:
    body, issue = await call.body(_CommentBody), call.issue
    with call.state.changing():
        comment = Comment(
            id=call.state.new_id(),
            issue=issue.number,
            body=body.body,
            user=call.user.login,
            created_at=now(),
            updated_at=now(),
        )
        call.repository.comments.append(comment)
    return call.response(_describe_comment(call, comment), 201)


async def _change_comment(call: Call) -> Response:
    body = await call.body(_CommentBody)
    comment_id = call.path["id"]
    comment = first(comment for comment in call.repository.comments if comment.id == comment_id)
    with call.state.changing():
        comment.body, comment.updated_at = body.body, now()
    return call.response(_describe_comment(call, comment))


def _label(call: Call, event: Literal["labeled", "unlabeled"], name: str) -> None:
    """Add or remove a label, and tell the webhooks. Needs the role `triage`."""
    if ROLES.index(call.user.role) < ROLES.index("triage"):
        raise ApiError(403, "Resource not accessible by personal access token")
    issue = call.issue
    with call.state.changing():
        if event == "labeled":
            issue.labels.append(name)
        else:
            issue.labels.remove(name)
        issue.labelings.append(
            Labeling(
                id=call.state.new_id(),
                event=event,
                label=name,
                user=call.user.login,
                created_at=now(),
            )
        )
    call.github.webhooks.pull_request(call.repository, issue, event, call.user.login, name)


async def _add_labels(call: Call) -> Response:
    body = await call.body(_LabelsBody)
    for name in body.labels:
        if name not in call.issue.labels:
            _label(call, "labeled", name)
    return call.response([{"name": name} for name in call.issue.labels])


async def _remove_label(call: Call) -> Response:
    if call.path["name"] not in call.issue.labels:
        raise ApiError(404, "Label does not exist")
    _label(call, "unlabeled", call.path["name"])
    return call.response([{"name": name} for name in call.issue.labels])


async def _events(call: Call) -> Response:
    """https://docs.github.com/en/rest/issues/events, of labels only."""
    return call.page(
        [
            {
                "id": labeling.id,
                "event": labeling.event,
                "label": {"name": labeling.label},
                "actor": {"login": labeling.user},
                "created_at": iso(labeling.created_at),
            }
            for labeling in call.issue.labelings
        ]
    )


OPERATIONS = (
    Operation("GET", _ISSUES, _list, ("issues:read",)),
    Operation("POST", _ISSUES, _create, ("issues:write",)),
    Operation("PATCH", _COMMENT, _change_comment, _WRITE, name="comment"),
    Operation("GET", _ISSUE, _get, _READ, name="issue"),
    Operation("PATCH", _ISSUE, _change, _WRITE),
    Operation("GET", _COMMENTS, _comments, _READ),
    Operation("POST", _COMMENTS, _add_comment, _WRITE),
    Operation("POST", f"{_ISSUE}/labels", _add_labels, _WRITE),
    Operation("DELETE", f"{_ISSUE}/labels/{{name}}", _remove_label, _WRITE),
    Operation("GET", f"{_ISSUE}/events", _events, ("issues:read",)),
)
