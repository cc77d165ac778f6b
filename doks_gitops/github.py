"""Comments, checks, issues and pull requests of the team's repository on GitHub.

https://docs.github.com/en/rest
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

import requests
from github import Auth, Github, GithubException
from github.Issue import Issue
from github.IssueComment import IssueComment
from github.PullRequest import PullRequest as GithubPullRequest
from github.Requester import (
    HTTPRequestsConnectionClass,
    HTTPSRequestsConnectionClass,
    Requester,
)

from doks_gitops import http
from doks_gitops.errors import PlatformError
from doks_gitops.settings.scalars import is_api_endpoint

MARKER = "<!-- doks-gitops: {name} -->"
"""Invisible first line by which an earlier comment or issue of the same author is found again."""
ACTIONS = "github-actions[bot]"
"""Author of what a workflow writes with its GITHUB_TOKEN."""
LARGEST_PAGE = 100

_NOT_STARTED = ("waiting", "queued", "pending")

_FIXES = {
    401: "Set GITHUB_TOKEN to a valid token.",
    403: "Give the token the permission: pull-requests: write for a comment or a pull request,"
    " issues: write for an issue, checks: write for a check.",
    404: "Check GITHUB_REPOSITORY, and that the token may see it.",
    429: "Run the command again later.",
}


class GitHubError(PlatformError):
    """GitHub can't be reached, or refused a request."""


@dataclass(frozen=True)
class PullRequest:
    """A pull request."""

    number: int
    branch: str
    """The branch that it proposes, in the repository or in the fork."""
    commit: str
    labels: frozenset[str]
    fork: str | None
    """OWNER/NAME of the fork that it comes from; None: from the repository itself. A deleted fork
    is a fork."""
    created: datetime


class Repository:
    """A repository, as the token of a workflow or of a person sees it.

    Every method raises `GitHubError`. Requests have the time-outs, retries and proxies of
    `doks_gitops.http`. A `.netrc` entry never takes the place of the token, and a redirect never
    takes it to another host (both are rules of PyGithub).
    """

    def __init__(self, name: str, token: str, api_url: str = "https://api.github.com") -> None:
        """`name`: OWNER/NAME. `api_url`: of a GitHub Enterprise Server, https://HOST/api/v3."""
        if not is_api_endpoint(api_url):
            raise GitHubError(
                f"The API address {api_url} is neither https:// nor http:// on loopback: others"
                " could read the token on its way.",
                "export GITHUB_API_URL=https://HOST/api/v3",
            )
        self.name = name
        self._token = token
        self._owner = name.partition("/")[0]
        self._where = f"{name} at {api_url}"
        github = Github(
            auth=Auth.Token(token),
            base_url=api_url.rstrip("/"),
            user_agent="doks-gitops",
            per_page=LARGEST_PAGE,
            timeout=round(http.TIMEOUT[1]),
            retry=http.RETRIES,
            # Without a request for the repository itself, which a token may not be allowed.
            lazy=True,
        )
        self._github = github
        self._repository = github.get_repo(name)

    @classmethod
    def from_environment(cls) -> Repository:
        """The repository of a workflow: GITHUB_REPOSITORY, GITHUB_TOKEN and GITHUB_API_URL."""
        names = ("GITHUB_REPOSITORY", "GITHUB_TOKEN")
        missing = [name for name in names if not os.environ.get(name)]
        if missing:
            raise GitHubError(
                f"The environment has no {' and no '.join(missing)}; that of a workflow has both.",
                "export GITHUB_REPOSITORY=OWNER/NAME GITHUB_TOKEN=...",
            )
        api_url = os.environ.get("GITHUB_API_URL") or "https://api.github.com"
        return cls(os.environ["GITHUB_REPOSITORY"], os.environ["GITHUB_TOKEN"], api_url)

    def open_pull_requests(self) -> list[PullRequest]:
        """The open pull requests."""
        with self._errors("list the pull requests"):
            return [_pull_request(pull) for pull in self._repository.get_pulls(state="open")]

    def labeled_at(self, pull_request: int, label: str) -> datetime | None:
        """When the pull request got the label last; None if it never did.

        https://docs.github.com/en/rest/issues/events
        """
        with self._errors(f"read the events of pull request {pull_request}"):
            times = [
                event.created_at
                for event in self._repository.get_issue(pull_request).get_events()
                if event.event == "labeled" and event.label.name == label
            ]
        return max(times, default=None)

    def remove_label(self, pull_request: int, label: str) -> None:
        """Take the label of a pull request, if it still has it."""
        with self._errors(f"take the label of pull request {pull_request}"):
            try:
                self._repository.get_issue(pull_request).remove_from_labels(label)
            except GithubException as error:
                if error.status != 404:
                    raise

    def branch_commit(self, branch: str) -> str | None:
        """The commit of a branch of the repository itself; None if there is no such branch."""
        with self._errors(f"read the branch {branch}"):
            try:
                return self._repository.get_branch(branch).commit.sha
            except GithubException as error:
                if error.status != 404:
                    raise
                return None

    def comment(self, pull_request: int, name: str, text: str) -> str:
        """Write the comment `name` on a pull request, or rewrite the token's own; returns its
        URL."""
        with self._errors(f"comment on pull request {pull_request}"):
            issue = self._repository.get_issue(pull_request)
            body = f"{MARKER.format(name=name)}\n{text}"
            comment = self._rewrite(issue, name, body) or issue.create_comment(body)
            return comment.html_url

    def update_comment(self, pull_request: int, name: str, text: str) -> None:
        """Rewrite the token's own comment `name` on a pull request, if there is one."""
        with self._errors(f"comment on pull request {pull_request}"):
            issue = self._repository.get_issue(pull_request)
            self._rewrite(issue, name, f"{MARKER.format(name=name)}\n{text}")

    def _rewrite(self, issue: Issue, name: str, body: str) -> IssueComment | None:
        """The token's own comment `name` with a new body; None if there is none."""
        for comment in issue.get_comments():
            if self._is_own(comment, MARKER.format(name=name)):
                if comment.body != body:
                    comment.edit(body)
                return comment
        return None

    def check(self, commit: str, name: str, title: str, text: str, *, passed: bool) -> str:
        """Write the check `name` on a commit, in place of an earlier one; returns its URL. Only the
        token of an App, such as a workflow's own, may.

        https://docs.github.com/en/rest/checks/runs
        """
        with self._errors(f"write a check on {commit}"):
            run = self._repository.create_check_run(
                name,
                commit,
                status="completed",
                conclusion="success" if passed else "failure",
                output={"title": title, "summary": text},
            )
            return run.html_url

    def issue(self, name: str, title: str, text: str) -> str:
        """Open the issue `name`, or rewrite the token's own open one; returns its URL."""
        body = f"{MARKER.format(name=name)}\n{text}"
        with self._errors("write an issue"):
            if issue := self._open_issue(name):
                issue.edit(title=title, body=body)
                return issue.html_url
            return self._repository.create_issue(title, body).html_url

    def close_issue(self, name: str, reason: str) -> str | None:
        """Close the issue `name` with a comment; returns its URL, or None if none is open."""
        with self._errors("close an issue"):
            issue = self._open_issue(name)
            if issue is None:
                return None
            issue.create_comment(reason)
            issue.edit(state="closed")
            return issue.html_url

    def pull_request(self, branch: str, base: str, title: str) -> str:
        """Open a pull request unless the branch has an open one; returns its URL."""
        with self._errors(f"open a pull request for {branch}"):
            # With the owner: a fork may have a branch of the same name.
            head = f"{self._owner}:{branch}"
            for pull_request in self._repository.get_pulls(state="open", head=head, base=base):
                return pull_request.html_url
            return self._repository.create_pull(base=base, head=branch, title=title).html_url

    def artifact(self, name: str, branch: str) -> bytes | None:
        """The ZIP archive of the newest artifact of that name that a workflow of `branch` has made;
        None if there is none. A fork's branch of the same name is another one.

        https://docs.github.com/en/rest/actions/artifacts
        """
        with self._errors(f"read the artifact {name}"):
            for artifact in self._repository.get_artifacts(name=name):
                run = artifact.raw_data.get("workflow_run") or {}
                own = run.get("head_repository_id") == run.get("repository_id")
                if not artifact.expired and own and run.get("head_branch") == branch:
                    return self._download(artifact.archive_download_url)
            return None

    def _download(self, url: str) -> bytes:
        """What GitHub redirects to, which is another host and needs no token: its URL is signed."""
        with http.Session(self._token) as session, http.Session(None) as anonymous:
            response = session.get(url)
            if (location := response.headers.get("Location")) is not None:
                response = anonymous.get(location)
        if response.status_code != 200:
            # Without the URL: whoever reads it in a log may download the artifact.
            raise GitHubError(
                f"The artifact can't be downloaded: {urlsplit(response.url).hostname} answered"
                f" {response.status_code}.",
                "Run the command again; the token needs the permission actions: read.",
            )
        return response.content

    def deployed_commit(self, environment: str) -> str | None:
        """The commit of the newest deployment to an environment that was started, whether or not it
        succeeded; None if there is none.

        https://docs.github.com/en/rest/deployments/deployments
        """
        with self._errors(f"read the deployments to {environment}"):
            for deployment in self._repository.get_deployments(environment=environment):
                states = [status.state for status in deployment.get_statuses()]
                # Those that wait for an approval have changed nothing.
                if states and states[0] not in _NOT_STARTED:
                    return deployment.sha
            return None

    def _open_issue(self, name: str) -> Issue | None:
        marker = MARKER.format(name=name)
        issues = self._repository.get_issues(state="open")
        # GitHub lists pull requests as issues.
        return next(
            (
                issue
                for issue in issues
                if self._is_own(issue, marker) and issue.pull_request is None
            ),
            None,
        )

    def _is_own(self, text: Issue | IssueComment, marker: str) -> bool:
        """Whether this token's user wrote it, as this program does. Anybody can write the marker,
        so an issue or a comment of someone else is never changed."""
        if not (text.body or "").startswith(marker):
            return False
        return text.user is not None and text.user.login == self._login

    @cached_property
    def _login(self) -> str:
        """The token's user. That of a GitHub App, or of a workflow, may not ask for it.
        GITHUB_APP_SLUG is the App's name in URLs; without it, the App is GitHub Actions."""
        try:
            return self._github.get_user().login
        except GithubException as error:
            # https://docs.github.com/en/rest/users/users#get-the-authenticated-user
            if error.status == 403 and "by integration" in _message(error):
                app = os.environ.get("GITHUB_APP_SLUG")
                return f"{app}[bot]" if app else ACTIONS
            raise

    @contextmanager
    def _errors(self, action: str) -> Iterator[None]:
        try:
            yield
        except requests.RequestException as error:
            raise GitHubError(
                f"GitHub can't be reached to {action} ({self._where}): {http.reason(error)}",
                "Check the network and GITHUB_API_URL, then run the command again.",
            ) from None
        except GithubException as error:
            raise GitHubError(
                f"GitHub refused to {action} ({self._where}): {error.status} {_message(error)}.",
                _FIXES.get(error.status),
            ) from None


def _pull_request(pull: GithubPullRequest) -> PullRequest:
    # GitHub's answer has no repository if the fork was deleted.
    head = (pull.raw_data["head"].get("repo") or {}).get("full_name")
    fork = None if head == pull.raw_data["base"]["repo"]["full_name"] else head or "(deleted)"
    labels = frozenset(label.name for label in pull.labels)
    return PullRequest(pull.number, pull.head.ref, pull.head.sha, labels, fork, pull.created_at)


def _message(error: GithubException) -> str:
    """GitHub's message, with the details of a request that failed validation."""
    data: Any = error.data if isinstance(error.data, dict) else {}
    details = [
        detail if isinstance(detail, str) else str(detail.get("message") or detail.get("code"))
        for detail in data.get("errors") or ()
    ]
    return ": ".join(part for part in (data.get("message"), *details) if part).rstrip(".")


class _Http(HTTPRequestsConnectionClass):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.session.mount("http://", http.Adapter(self.retry))


class _Https(HTTPSRequestsConnectionClass):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.session.mount("https://", http.Adapter(self.retry))


# PyGithub's own connections would send requests for loopback addresses to a proxy.
Requester.injectConnectionClasses(_Http, _Https)
