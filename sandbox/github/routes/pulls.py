"""Pull requests, their reviews, and merging them (https://docs.github.com/en/rest/pulls)."""

import tempfile
from collections.abc import Iterator
from typing import Any, Literal

from starlette.responses import Response

from sandbox.emulator import Body
from sandbox.git import GitError
from sandbox.github.errors import ApiError, invalid, not_found
from sandbox.github.models import Issue, PullRequest, Repository, Review
from sandbox.github.operations import Call, Operation
from sandbox.github.routes import REPOSITORY
from sandbox.github.routes.issues import (
    add_issue,
    address,
    change_issue,
    describe_issue,
    has_requested_state,
)
from sandbox.github.state import OWNER, now

_PULLS = f"{REPOSITORY}/pulls"
_PULL = f"{_PULLS}/{{number:int}}"
_REVIEWS = f"{_PULL}/reviews"

_EVENTS: dict[str, Literal["APPROVED", "CHANGES_REQUESTED", "COMMENTED"]] = {
    "APPROVE": "APPROVED",
    "REQUEST_CHANGES": "CHANGES_REQUESTED",
    "COMMENT": "COMMENTED",
}


class _CreateBody(Body):
    title: str
    head: str
    base: str
    body: str | None = None


class _MergeBody(Body):
    commit_title: str | None = None
    sha: str | None = None
    merge_method: Literal["merge", "squash", "rebase"] = "merge"


class _ReviewBody(Body):
    event: Literal["APPROVE", "REQUEST_CHANGES", "COMMENT"]
    body: str = ""


def _describe(call: Call, issue: Issue) -> dict[str, Any]:
    pull = _pull_of(issue)
    return describe_issue(call, issue) | {
        "url": address(call, "pull", number=issue.number),
        **call.github.webhooks.branches(call.repository, pull),
        "merged": pull.merged_commit is not None,
        "merge_commit_sha": pull.merged_commit,
    }


def _pull_of(issue: Issue) -> PullRequest:
    """The pull request. Ends the request with 404 if the issue is not a pull request."""
    if issue.pull_request is None:
        raise not_found()
    return issue.pull_request


async def _current(call: Call, repository: Repository, issue: Issue) -> PullRequest:
    """The pull request, with its branch's current commit."""
    pull = _pull_of(issue)
    if pull.fork is not None:
        return pull
    head = await call.github.git.head(repository.name, pull.head)
    if issue.state == "open" and head not in (None, pull.head_commit):
        assert head is not None
        with call.state.changing():
            pull.head_commit = head
    return pull


async def _list(call: Call) -> Response:
    """Newest first."""
    query, repository = call.request.query_params, call.repository
    descriptions = []
    for issue in reversed(repository.issues):
        if issue.pull_request is None or not has_requested_state(call, issue):
            continue
        pull = await _current(call, repository, issue)
        head, base = query.get("head"), query.get("base")
        if head in (None, f"{pull.fork or OWNER}:{pull.head}") and base in (None, pull.base):
            descriptions.append(_describe(call, issue))
    return call.page(descriptions)


async def _create(call: Call) -> Response:
    body, repository, git = await call.body(_CreateBody), call.repository, call.github.git
    branch = body.head.removeprefix(f"{OWNER}:")
    head, base = await git.head(repository.name, branch), await git.head(repository.name, body.base)
    for field, commit in (("head", head), ("base", base)):
        if commit is None:
            error = {"resource": "PullRequest", "field": field, "code": "invalid"}
            raise ApiError(422, "Validation Failed", [error])
    assert head is not None
    count = await git.git(
        f"--git-dir={git.path(repository.name)}", "rev-list", "--count", f"{base}..{head}"
    )
    if int(count) == 0:
        raise invalid("PullRequest", f"No commits between {body.base} and {branch}")
    for issue in repository.issues:
        pull = issue.pull_request
        if (
            pull
            and issue.state == "open"
            and (pull.fork, pull.head, pull.base) == (None, branch, body.base)
        ):
            raise invalid("PullRequest", f"A pull request already exists for {OWNER}:{branch}.")
    new = PullRequest(head=branch, base=body.base, head_commit=head)
    issue = add_issue(call, repository, body.title, body.body, new)
    call.github.webhooks.pull_request(repository, issue, "opened", call.user.login)
    return call.response(_describe(call, issue), 201)


async def _get(call: Call) -> Response:
    issue = call.issue
    await _current(call, call.repository, issue)
    return call.response(_describe(call, issue))


async def _change(call: Call) -> Response:
    _pull_of(call.issue)
    return call.response(_describe(call, await change_issue(call)))


def _describe_review(review: Review) -> dict[str, Any]:
    description = review.model_dump(exclude={"user", "commit"})
    return description | {"user": {"login": review.user}, "commit_id": review.commit}


async def _reviews(call: Call) -> Response:
    return call.page([_describe_review(review) for review in _pull_of(call.issue).reviews])


async def _review(call: Call) -> Response:
    body, issue = await call.body(_ReviewBody), call.issue
    pull = await _current(call, call.repository, issue)
    if body.event == "APPROVE" and issue.user == call.user.login:
        raise ApiError(422, "Unprocessable Entity", ["Can not approve your own pull request"])
    with call.state.changing():
        review = Review(
            id=call.state.new_id(),
            user=call.user.login,
            state=_EVENTS[body.event],
            body=body.body,
            commit=pull.head_commit,
        )
        pull.reviews.append(review)
    return call.response(_describe_review(review))


async def _merge(call: Call) -> Response:
    body, repository, issue = await call.body(_MergeBody), call.repository, call.issue
    pull = await _current(call, repository, issue)
    if issue.state == "closed":
        raise ApiError(405, "Pull Request is not mergeable")
    if body.sha not in (None, pull.head_commit):
        raise ApiError(409, "Head branch was modified. Review and try the merge again.")
    if violations := list(_violations(call, repository, pull, body.merge_method)):
        raise ApiError(405, "Repository rule violations found\n\n" + "\n".join(violations))
    title = body.commit_title or f"{issue.title} (#{issue.number})"
    try:
        commit = await _merge_in_git(call, repository, pull, title, body.merge_method)
    except GitError as error:
        raise ApiError(405, "Pull Request is not mergeable") from error
    with call.state.changing():
        pull.merged_commit = commit
        issue.state, issue.updated_at = "closed", now()
    call.github.webhooks.pull_request(repository, issue, "closed", call.user.login)
    return call.response(
        {"sha": commit, "merged": True, "message": "Pull Request successfully merged"}
    )


def _violations(
    call: Call, repository: Repository, pull: PullRequest, method: str
) -> Iterator[str]:
    """The rules that merging the pull request would violate, in GitHub's words."""
    ref = f"refs/heads/{pull.base}"
    for ruleset in repository.rulesets:
        rules = call.github.ref_rules(repository.name, ruleset, bypassed=False)
        if (
            ruleset.enforcement != "active"
            or not rules.covers(ref)
            or call.state.may_bypass(ruleset, call.user.login, {"always", "exempt", "pull_request"})
        ):
            continue
        if (parameters := ruleset.parameters("pull_request")) is not None:
            required = parameters["required_approving_review_count"]
            if len(_approvers(pull, fresh=parameters["dismiss_stale_reviews_on_push"])) < required:
                reviews = "review is" if required == 1 else "reviews are"
                yield (
                    f"At least {required} approving {reviews} required by reviewers with write"
                    " access."
                )
            if method not in parameters["allowed_merge_methods"]:
                yield f"The merge method {method} is not allowed."
        passed = call.state.passed_checks(repository, pull.head_commit)
        for check in rules.checks:
            if check not in passed:
                yield f'Required status check "{check}" is expected.'
        if "required_linear_history" in rules.rules and method == "merge":
            yield "This branch must not contain merge commits."


def _approvers(pull: PullRequest, *, fresh: bool) -> set[str]:
    """The users whose latest review approves; with `fresh`, only reviews of the current commit."""
    latest = {review.user: review for review in pull.reviews if review.state != "COMMENTED"}
    return {
        user
        for user, review in latest.items()
        if review.state == "APPROVED" and (not fresh or review.commit == pull.head_commit)
    }


async def _merge_in_git(
    call: Call, repository: Repository, pull: PullRequest, title: str, method: str
) -> str:
    """Merge into the base branch and return its new commit. Raises GitError if Git fails."""
    git, origin = call.github.git, str(call.github.git.path(repository.name))
    with tempfile.TemporaryDirectory(dir=git.root, prefix=".merge-") as folder:
        await git.git("clone", "--quiet", "--shared", "--branch", pull.base, origin, folder)
        in_clone = ("-C", folder)
        match method:
            case "merge":
                await git.git(
                    *in_clone, "merge", "--quiet", "--no-ff", "-m", title, pull.head_commit
                )
            case "squash":
                await git.git(*in_clone, "merge", "--quiet", "--squash", pull.head_commit)
                await git.git(*in_clone, "commit", "--quiet", "-m", title)
            case _:
                base = f"origin/{pull.base}"
                await git.git(*in_clone, "rebase", "--quiet", base, pull.head_commit)
        await git.record_refs(repository.name)
        await git.git(*in_clone, "push", "--quiet", "origin", f"HEAD:refs/heads/{pull.base}")
        commit = await git.git(*in_clone, "rev-parse", "HEAD")
    await git.notify(repository.name, call.user.login)
    return commit.strip()


OPERATIONS = (
    Operation("GET", _PULLS, _list, ("pull_requests:read",)),
    Operation("POST", _PULLS, _create, ("pull_requests:write",)),
    Operation("GET", _PULL, _get, ("pull_requests:read",), name="pull"),
    Operation("PATCH", _PULL, _change, ("pull_requests:write",)),
    Operation("GET", _REVIEWS, _reviews, ("pull_requests:read",)),
    Operation("POST", _REVIEWS, _review, ("pull_requests:write",)),
    Operation("PUT", f"{_PULL}/merge", _merge, ("contents:write",)),
)
