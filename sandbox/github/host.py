"""GitHub around the Git server: who may push what, and who is told of it."""

from pathlib import Path

from sandbox.git import GitServer, Visitor
from sandbox.git.rules import Rules
from sandbox.git.rules import Ruleset as RefRules
from sandbox.github.models import ROLES, Ruleset
from sandbox.github.state import GitHubState
from sandbox.github.webhooks import Webhooks

BASE = "/github"
"""Where it is mounted: the base URL of a GitHub Enterprise Server."""

_ENFORCED = (
    "creation",
    "update",
    "deletion",
    "non_fast_forward",
    "required_linear_history",
    "pull_request",
)
"""Rules that are nothing but their type."""


class GitHub:
    """The organization kept in `path`, whose repositories are those of `git`, at `url`.

    Takes over what the Git server asks of its host (`sandbox.git.Guard`).
    """

    def __init__(self, path: Path, git: GitServer, url: str) -> None:
        self.url = url
        self.git = git
        self.state = GitHubState.load(path)
        self.webhooks = Webhooks(self.state, git, self.page)
        git.guard = self
        git.on_push = self.webhooks.pushed

    def page(self, repository: str) -> str:
        """The repository's address in a browser, which is that of its clones without `.git`."""
        return f"{self.url}/git/{repository}"

    def visitor(self, repository: str, token: str) -> Visitor | None:
        found = self.state.find_token(token)
        if found is None:
            return None
        contents = found.permissions.get("contents")
        user = self.state.user(found.login)
        may_push = user is not None and ROLES.index(user.role) >= ROLES.index("write")
        return Visitor(found.login, contents is not None, contents == "write" and may_push)

    def rules(self, repository: str, user: str) -> Rules | None:
        known = self.state.repository(repository)
        rulesets = [
            self.ref_rules(
                repository, each, bypassed=self.state.bypasses(each, user, {"always", "exempt"})
            )
            for each in known.rulesets
            if each.enforcement == "active"
        ]
        if not rulesets:
            return None
        commits = {each.commit for each in known.statuses}
        return Rules(rulesets, {each: self.state.passed(known, each) for each in commits})

    def ref_rules(self, repository: str, ruleset: Ruleset, *, bypassed: bool) -> RefRules:
        """The ruleset as the Git server enforces it."""
        checks = ruleset.parameters("required_status_checks") or {}
        return RefRules(
            name=ruleset.name,
            include=[self._pattern(repository, ruleset, each) for each in ruleset.include],
            exclude=[self._pattern(repository, ruleset, each) for each in ruleset.exclude],
            rules=[rule["type"] for rule in ruleset.rules if rule["type"] in _ENFORCED],
            checks=[each["context"] for each in checks.get("required_status_checks", ())],
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
