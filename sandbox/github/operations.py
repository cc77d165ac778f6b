"""What every API operation has in common: a route, the permissions it needs, who may call it."""

import hashlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.github.errors import ApiError, not_found
from sandbox.github.host import GitHub
from sandbox.github.models import Environment, Hook, Issue, Repository, Token, User
from sandbox.github.state import OWNER, GitHubState

PREFIX = "/api/v3"
"""Where GitHub Enterprise Server has its REST API."""

_PER_PAGE, _MOST_PER_PAGE = 30, 100


class Body(BaseModel):
    """The JSON body of a request. Fields that the emulator does not model are ignored."""

    model_config = ConfigDict(strict=True, frozen=True)


BodyT = TypeVar("BodyT", bound=Body)


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
        """The repository in the path. Ends the request with 404 if there is none."""
        name = self.path["repository"].removesuffix(".git")
        if self.path["owner"] != OWNER or name not in self.github.git:
            raise not_found()
        return self.state.repository(name)

    @property
    def hook(self) -> Hook:
        return found(each for each in self.repository.hooks if each.id == self.path["id"])

    @property
    def environment(self) -> Environment:
        name = self.path["environment"]
        return found(each for each in self.repository.environments if each.name == name)

    @property
    def issue(self) -> Issue:
        """The issue or pull request in the path."""
        number = self.path["number"]
        return found(each for each in self.repository.issues if each.number == number)

    async def body(self, model: type[BodyT]) -> BodyT:
        """The body, read as `model`. Ends the request with 400 if it is not JSON, 422 if it does
        not fit."""
        try:
            return model.model_validate_json(await self.request.body())
        except ValidationError as error:
            first = error.errors()[0]
            if first["type"] == "json_invalid":
                raise ApiError(400, "Problems parsing JSON") from error
            where = ".".join(str(part) for part in first["loc"])
            raise ApiError(422, f"Invalid request.\n\n{where}: {first['msg']}") from error

    def answer(self, content: Any, status: int = 200) -> Response:
        """The answer, unless the client says that it has the same already (304)."""
        response = JSONResponse(content, status)
        etag = f'"{hashlib.sha256(response.body).hexdigest()}"'
        response.headers["etag"] = etag
        if self.request.method == "GET" and self.request.headers.get("if-none-match") == etag:
            return Response(status_code=304, headers={"etag": etag})
        return response

    def page_of(self, items: Sequence[Any]) -> tuple[Sequence[Any], str]:
        """The page that is asked for, and the Link header to the next."""
        query = self.request.query_params
        per_page = min(_MOST_PER_PAGE, int(query.get("per_page", _PER_PAGE)))
        page = int(query.get("page", 1))
        more = len(items) > page * per_page
        following = self.request.url.include_query_params(page=page + 1, per_page=per_page)
        link = f'<{following}>; rel="next"' if more else ""
        return items[(page - 1) * per_page : page * per_page], link

    def pages(self, items: Sequence[Any]) -> Response:
        shown, link = self.page_of(items)
        response = self.answer(list(shown))
        if link:
            response.headers["link"] = link
        return response


T = TypeVar("T")


def found(candidates: Iterable[T]) -> T:
    """The first of them. Ends the request with 404 if there is none."""
    for each in candidates:
        return each
    raise not_found()


def iso(moment: datetime) -> str:
    """A time as GitHub writes it: `2026-03-01T12:00:00Z`."""
    return moment.isoformat().replace("+00:00", "Z")


Handler = Callable[[Call], Awaitable[Response]]


@dataclass(frozen=True)
class Operation:
    """One method of one path, and the permissions of which a fine-grained token must have one, such
    as `issues:write`; none if every token may.

    https://docs.github.com/en/rest/authentication/permissions-required-for-fine-grained-personal-access-tokens
    """

    method: str
    path: str
    handler: Handler
    permissions: tuple[str, ...] = ()
    name: str | None = None
    """By which another answer can refer to its address."""

    def route(self, github: GitHub) -> Route:
        async def endpoint(request: Request) -> Response:
            token = _token(request, github)
            self._authorize(token)
            user = github.state.user(token.login)
            assert user is not None
            return await self.handler(Call(request, github, user, token))

        return Route(self.path, endpoint, methods=[self.method], name=self.name)

    def _authorize(self, token: Token) -> None:
        if self.permissions and not any(allows(token, each) for each in self.permissions):
            wanted = "; ".join(each.replace(":", "=") for each in self.permissions)
            raise ApiError(
                403,
                "Resource not accessible by personal access token",
                headers={"X-Accepted-GitHub-Permissions": wanted},
            )


def allows(token: Token, permission: str) -> bool:
    """Whether the token has such a permission, as `issues:read`."""
    name, _, level = permission.partition(":")
    had = token.permissions.get(name)
    return had == "write" or had == level


def _token(request: Request, github: GitHub) -> Token:
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() not in ("bearer", "token"):
        raise ApiError(401, "Requires authentication")
    token = github.state.find_token(given.strip())
    if token is None:
        raise ApiError(401, "Bad credentials")
    return token


def no_content() -> Response:
    return Response(status_code=204)
