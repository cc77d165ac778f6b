"""Comments and issues on GitHub that are updated in place.

https://docs.github.com/en/rest/issues
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

MARKER = "<!-- doks-gitops: {name} -->"
"""Invisible first line by which what was written before is found again."""
LARGEST_PAGE = 100


class GitHubError(Exception):
    """GitHub refused something; says what, and what may help."""


class Repository:
    """A repository, as the token of a workflow (or of a person) sees it."""

    def __init__(self, name: str, token: str, api_url: str) -> None:
        self._owner = name.partition("/")[0]
        self._url = f"{api_url.rstrip('/')}/repos/{name}"
        self._session = requests.Session()
        self._session.headers.update(
            {"Authorization": f"Bearer {token}", "Accept": "application/vnd.github+json"}
        )
        retry = Retry(total=4, backoff_factor=0.5, status_forcelist=[429, 502, 503, 504])
        for scheme in ("https://", "http://"):
            self._session.mount(scheme, HTTPAdapter(max_retries=retry))

    @classmethod
    def of_environment(cls) -> Repository:
        """The one that a workflow runs for: GITHUB_REPOSITORY, GITHUB_TOKEN, GITHUB_API_URL.

        Raises `GitHubError` where they are not set.
        """
        try:
            return cls(
                os.environ["GITHUB_REPOSITORY"],
                os.environ["GITHUB_TOKEN"],
                os.environ.get("GITHUB_API_URL", "https://api.github.com"),
            )
        except KeyError as missing:
            raise GitHubError(
                f"{missing.args[0]} is not set. A workflow has it; elsewhere: export"
                " GITHUB_REPOSITORY=OWNER/NAME GITHUB_TOKEN=..."
            ) from None

    def comment(self, pull_request: int, name: str, text: str) -> str:
        """Write the comment `name` on a pull request, or write it anew; its address."""
        marker = MARKER.format(name=name)
        body = {"body": f"{marker}\n{text}"}
        for found in self._all(f"/issues/{pull_request}/comments"):
            if str(found["body"]).startswith(marker):
                return self._call("PATCH", f"/issues/comments/{found['id']}", body)
        return self._call("POST", f"/issues/{pull_request}/comments", body)

    def issue(self, name: str, title: str, text: str) -> str:
        """Open the issue `name`, or write the open one anew; its address."""
        body = {"title": title, "body": f"{MARKER.format(name=name)}\n{text}"}
        if (found := self._open_issue(name)) is not None:
            return self._call("PATCH", f"/issues/{found['number']}", body)
        return self._call("POST", "/issues", body)

    def close_issue(self, name: str, why: str) -> str | None:
        """Close the issue `name`, saying why; its address, or None if none is open."""
        found = self._open_issue(name)
        if found is None:
            return None
        self._call("POST", f"/issues/{found['number']}/comments", {"body": why})
        return self._call("PATCH", f"/issues/{found['number']}", {"state": "closed"})

    def pull_request(self, branch: str, into: str, title: str) -> str:
        """Open a pull request, unless the branch has one open; its address."""
        # A fork may have a branch of that name, too.
        for found in self._all("/pulls", state="open", head=f"{self._owner}:{branch}", base=into):
            return str(found["html_url"])
        return self._call("POST", "/pulls", {"head": branch, "base": into, "title": title})

    def _open_issue(self, name: str) -> Mapping[str, Any] | None:
        marker = MARKER.format(name=name)
        issues = self._all("/issues", state="open")
        return next((each for each in issues if str(each["body"]).startswith(marker)), None)

    def _all(self, path: str, **query: str) -> Iterator[Mapping[str, Any]]:
        page = 1
        while True:
            asked: Mapping[str, str | int] = {**query, "per_page": LARGEST_PAGE, "page": page}
            found = self._request("GET", path, params=asked).json()
            yield from found
            if len(found) < LARGEST_PAGE:
                return
            page += 1

    def _call(self, method: str, path: str, body: Mapping[str, str]) -> str:
        return str(self._request(method, path, json=body).json()["html_url"])

    def _request(self, method: str, path: str, **more: Any) -> requests.Response:
        try:
            answer = self._session.request(method, f"{self._url}{path}", timeout=30, **more)
        except requests.RequestException as error:
            raise GitHubError(f"{method} {self._url}{path}: {error}") from error
        if answer.ok:
            return answer
        hint = {
            401: " GITHUB_TOKEN is no valid token.",
            403: " The token lacks a permission: a comment needs pull-requests: write, an issue"
            " issues: write.",
            404: " Look at GITHUB_REPOSITORY, and whether the token may see it.",
        }.get(answer.status_code, "")
        raise GitHubError(
            f"{method} {self._url}{path}: {answer.status_code} {_said(answer)}.{hint}"
        )


def _said(answer: requests.Response) -> str:
    """Why GitHub refused, in its own words."""
    try:
        said = answer.json()
    except requests.JSONDecodeError:
        return answer.reason
    errors = [
        each if isinstance(each, str) else each.get("message", "")
        for each in said.get("errors", ())
    ]
    return ": ".join(each for each in (said.get("message"), *errors) if each).rstrip(".")
