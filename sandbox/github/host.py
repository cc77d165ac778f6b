"""Connects GitHub with the Git server: users, push rules and webhooks."""

from pathlib import Path

from sandbox.git import GitServer, GitUser
from sandbox.git.rules import Rules
from sandbox.git.rules import Ruleset as RefRules
from sandbox.github.models import ROLES, Ruleset
from sandbox.github.state import GitHubState
from sandbox.github.webhooks import Webhooks

BASE = "/github"
"""Path of the emulator, below which GitHub Enterprise Server's paths begin."""

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
        self.webhooks = Webhooks(self.state, git, self.page)
        git.authorizer = self
        git.on_push = self.webhooks.on_push

    def page(self, repository: str) -> str:
        """The repository's web address, which is its clone URL without `.git`."""
        return f"{self.url}/git/{repository}"

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
