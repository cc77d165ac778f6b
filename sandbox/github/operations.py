"""API operations: their routes, authentication, and the permissions that they need."""

import hashlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.emulator import BodyT, read_body
from sandbox.git import GitError
from sandbox.github.errors import ApiError, not_found
from sandbox.github.host import GitHub
from sandbox.github.models import Environment, Hook, Issue, Repository, Token, User
from sandbox.github.state import OWNER, GitHubState

_PER_PAGE, _MOST_PER_PAGE = 30, 100


@dataclass(frozen=True)
class Call:
    """One authenticated and authorized request."""

    request: Request
    github: GitHub
    user: User
    token: Token

    @property
    def state(self) -> GitHubState:
        return self.github.state

    @property
    def path(self) -> Mapping[str, Any]:
        return self.request.path_params

    @property
    def repository(self) -> Repository:
        """The repository in the path. Ends the request with 404 if it does not exist."""
        if "repository_id" in self.path:
            repositories = self.state.data.repositories.values()
            return first(
                repo for repo in repositories if str(repo.id) == self.path["repository_id"]
            )
        name = self.path["repository"].removesuffix(".git")
        if self.path["owner"] != OWNER or name not in self.github.git:
            raise not_found()
        return self.state.repository(name)

    @property
    def hook(self) -> Hook:
        return first(hook for hook in self.repository.hooks if hook.id == self.path["id"])

    @property
    def environment(self) -> Environment:
        name = self.path["environment"]
        return first(
            environment for environment in self.repository.environments if environment.name == name
        )

    @property
    def issue(self) -> Issue:
        """The issue or pull request in the path."""
        number = self.path["number"]
        return first(issue for issue in self.repository.issues if issue.number == number)

    async def require_commit(self, commit: str) -> None:
        """Ends the request with 422 if the repository does not have the commit."""
        git = self.github.git
        try:
            await git.git(
                f"--git-dir={git.path(self.repository.name)}",
                "cat-file",
                "-e",
                f"{commit}^{{commit}}",
            )
        except GitError:
            raise ApiError(422, f"No commit found for SHA: {commit}") from None

    async def body(self, model: type[BodyT]) -> BodyT:
        """The body. Ends the request with 400 if it is not JSON, 422 if it does not fit `model`."""
        return await read_body(
            self.request,
            model,
            malformed=ApiError(400, "Problems parsing JSON"),
            invalid=lambda field, reason: ApiError(422, f"Invalid request.\n\n{field}: {reason}"),
        )

    def response(self, content: Any, status: int = 200) -> Response:
        """A JSON response, or 304 if the client's copy (If-None-Match) is current."""
        response = JSONResponse(content, status)
        etag = f'"{hashlib.sha256(response.body).hexdigest()}"'
        response.headers["etag"] = etag
        if self.request.method == "GET" and self.request.headers.get("if-none-match") == etag:
            return Response(status_code=304, headers={"etag": etag})
        return response

    def slice(self, items: Sequence[Any]) -> tuple[Sequence[Any], str]:
        """The requested page of the items, and the Link header to the next page."""
        query = self.request.query_params
        per_page = min(_MOST_PER_PAGE, int(query.get("per_page", _PER_PAGE)))
        page = int(query.get("page", 1))
        has_next = len(items) > page * per_page
        next_url = self.request.url.include_query_params(page=page + 1, per_page=per_page)
        link = f'<{next_url}>; rel="next"' if has_next else ""
        return items[(page - 1) * per_page : page * per_page], link

    def page(self, items: Sequence[Any]) -> Response:
        """A response with the requested page of the items."""
        page, link = self.slice(items)
        response = self.response(list(page))
        if link:
            response.headers["link"] = link
        return response


T = TypeVar("T")


def first(matches: Iterable[T]) -> T:
    """The first match. Ends the request with 404 if there is none."""
    for match in matches:
        return match
    raise not_found()


def iso(moment: datetime) -> str:
    """A time in GitHub's format: `2026-03-01T12:00:00Z`."""
    return moment.isoformat().replace("+00:00", "Z")


Handler = Callable[[Call], Awaitable[Response]]


@dataclass(frozen=True)
class Operation:
    """One method of one path. A fine-grained token needs one of `permissions`, such as
    `issues:write`, to call it; if there are none, every token may.

    https://docs.github.com/en/rest/authentication/permissions-required-for-fine-grained-personal-access-tokens
    """

    method: str
    path: str
    handler: Handler
    permissions: tuple[str, ...] = ()
    name: str | None = None
    """Name for `Request.url_for`."""

    def route(self, github: GitHub) -> Route:
        async def endpoint(request: Request) -> Response:
            token = _token(request, github)
            self._authorize(token)
            user = github.state.user(token.login)
            assert user is not None
            return await self.handler(Call(request, github, user, token))

        return Route(self.path, endpoint, methods=[self.method], name=self.name)

    def _authorize(self, token: Token) -> None:
        if self.permissions and not any(allows(token, name) for name in self.permissions):
            accepted = "; ".join(name.replace(":", "=") for name in self.permissions)
            raise ApiError(
                403,
                "Resource not accessible by personal access token",
                headers={"X-Accepted-GitHub-Permissions": accepted},
            )


def allows(token: Token, permission: str) -> bool:
    """Whether the token has a permission such as `issues:read`."""
    name, _, level = permission.partition(":")
    return token.permissions.get(name) in ("write", level)


def _token(request: Request, github: GitHub) -> Token:
    scheme, _, text = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() not in ("bearer", "token"):
        raise ApiError(401, "Requires authentication")
    token = github.state.find_token(text.strip())
    if token is None:
        raise ApiError(401, "Bad credentials")
    return token
