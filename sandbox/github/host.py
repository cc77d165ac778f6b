"""Connects GitHub with the Git server: users, push rules and webhooks."""

from pathlib import Path

from sandbox.git import GitServer, GitUser
from sandbox.git.rules import NO_COMMIT, Rules
from sandbox.git.rules import Ruleset as RefRules
from sandbox.github.models import ROLES, Issue, PullRequest, Ruleset
from sandbox.github.state import GitHubState, now
from sandbox.github.webhooks import Webhooks

PREFIX = "/api/v3"
"""Path of the REST API on GitHub Enterprise Server."""

_ENFORCED = (
    "creation",
    "update",
    "deletion",
    "non_fast_forward",
    "required_linear_history",
    "pull_request",
)
"""The rule types that the Git server enforces by the type alone."""


class GitHub:
    """The organization in the state file `path`, with the repositories of `git`, served at `url`.

    It is the Git server's `sandbox.git.Authorizer`.
    """

    def __init__(self, path: Path, git: GitServer, url: str) -> None:
        self.url = url
        self.git = git
        self.state = GitHubState.load(path)
        self.webhooks = Webhooks(self.state, git, self.page, f"{url}{PREFIX}")
        git.authorizer = self
        git.on_push = self._on_push

    def page(self, repository: str) -> str:
        """The repository's web address, which is its clone URL without `.git`."""
        return f"{self.url}/git/{repository}"

    async def _on_push(self, repository: str, user: str, ref: str, old: str, new: str) -> None:
        """See `sandbox.git.server.OnPush`."""
        await self.webhooks.on_push(repository, user, ref, old, new)
        record = self.state.repository(repository)
        for issue in record.issues:
            pull = issue.pull_request
            if pull is None or pull.fork or issue.state == "closed":
                continue
            if ref != f"refs/heads/{pull.head}":
                continue
            with self.state.changing():
                if new == NO_COMMIT:
                    issue.state = "closed"
                else:
                    pull.head_commit = new
            action = "closed" if new == NO_COMMIT else "synchronize"
            self.webhooks.pull_request(record, issue, action, user)

    async def push_to_fork(
        self, repository: str, login: str, branch: str, base: str, source: str
    ) -> Issue:
        """Push the commit of `branch` in the Git folder `source` to a fork of the user `login`, and
        open a pull request for it unless there is one. As on GitHub, the repository then has the
        commit too, as `refs/pull/<number>/head`."""
        record = self.state.repository(repository)
        issue = next(
            (
                issue
                for issue in record.issues
                if issue.state == "open"
                and issue.pull_request is not None
                and (issue.pull_request.fork, issue.pull_request.head) == (login, branch)
            ),
            None,
        )
        number = issue.number if issue is not None else len(record.issues) + 1
        folder, ref = f"--git-dir={self.git.path(repository)}", f"refs/pull/{number}/head"
        await self.git.git(folder, "fetch", "--quiet", "--force", source, f"{branch}:{ref}")
        commit = (await self.git.git(folder, "rev-parse", ref)).strip()
        with self.state.changing():
            if issue is None:
                action = "opened"
                issue = Issue(
                    id=self.state.new_id(),
                    number=number,
                    title=branch,
                    body=None,
                    state="open",
                    user=login,
                    created_at=now(),
                    updated_at=now(),
                    pull_request=PullRequest(
                        head=branch, fork=login, base=base, head_commit=commit
                    ),
                )
                record.issues.append(issue)
            else:
                action = "synchronize"
                assert issue.pull_request is not None
                issue.pull_request.head_commit = commit
        self.webhooks.pull_request(record, issue, action, login)
        return issue

    def user_of(self, repository: str, token: str) -> GitUser | None:
        record = self.state.find_token(token)
        if record is None:
            return None
        contents = record.permissions.get("contents")
        user = self.state.user(record.login)
        may_push = user is not None and ROLES.index(user.role) >= ROLES.index("write")
        return GitUser(
            record.login,
            may_read=contents is not None,
            may_write=contents == "write" and may_push,
        )

    def rules(self, repository: str, user: str) -> Rules | None:
        record = self.state.repository(repository)
        rulesets = [
            self.ref_rules(
                repository,
                ruleset,
                bypassed=self.state.may_bypass(ruleset, user, {"always", "exempt"}),
            )
            for ruleset in record.rulesets
            if ruleset.enforcement == "active"
        ]
        if not rulesets:
            return None
        commits = {status.commit for status in record.statuses}
        passed = {commit: self.state.passed_checks(record, commit) for commit in commits}
        return Rules(rulesets, passed)

    def ref_rules(self, repository: str, ruleset: Ruleset, *, bypassed: bool) -> RefRules:
        """The ruleset in the form that the Git server enforces."""
        checks = ruleset.parameters("required_status_checks") or {}
        return RefRules(
            name=ruleset.name,
            include=[self._pattern(repository, ruleset, ref) for ref in ruleset.include],
            exclude=[self._pattern(repository, ruleset, ref) for ref in ruleset.exclude],
            rules=[rule["type"] for rule in ruleset.rules if rule["type"] in _ENFORCED],
            checks=[check["context"] for check in checks.get("required_status_checks", ())],
            bypassed=bypassed,
        )

    def _pattern(self, repository: str, ruleset: Ruleset, pattern: str) -> str:
        match pattern:
            case "~ALL":
                return "refs/tags/**" if ruleset.target == "tag" else "refs/heads/**"
            case "~DEFAULT_BRANCH":
                return f"refs/heads/{self.git.default_branch(repository)}"
            case _:
                return pattern
