"""The organization's data: users, teams, tokens and repositories. The state file is its JSON."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Level = Literal["read", "write"]
Conclusion = Literal[
    "action_required", "cancelled", "failure", "neutral", "success", "skipped", "timed_out"
]
Role = Literal["read", "triage", "write", "maintain", "admin"]

ROLES: tuple[Role, ...] = ("read", "triage", "write", "maintain", "admin")
"""In the order of their permissions, from the least to the most."""


class Record(BaseModel):
    """A record in the state file."""

    model_config = ConfigDict(extra="forbid")


class User(Record):
    id: int
    login: str
    role: Role
    """The role in every repository. An `admin` is also an owner of the organization."""


class Team(Record):
    id: int
    slug: str
    members: list[str] = Field(default_factory=list)


class Token(Record):
    """A fine-grained personal access token."""

    login: str
    sha256: str
    permissions: dict[str, Level]
    """By name, such as `administration`. Every token has `metadata: read` too."""


class DeployKey(Record):
    id: int
    title: str
    key: str
    read_only: bool
    added_by: str
    created_at: datetime


class Delivery(Record):
    """One attempt to deliver an event to a webhook."""

    id: int
    guid: str
    """The same for all deliveries of the same event."""
    event: str
    redelivery: bool
    delivered_at: datetime
    duration: float
    """Seconds."""
    status: str
    status_code: int
    """0 if there was no response."""
    request_headers: dict[str, str]
    payload: dict[str, Any]
    response_headers: dict[str, str] = Field(default_factory=dict)
    response: str = ""


class HookConfig(Record):
    url: str
    content_type: Literal["json", "form"] = "form"
    secret: str | None = None
    insecure_ssl: Literal["0", "1"] = "0"


class Hook(Record):
    id: int
    events: list[str]
    active: bool
    config: HookConfig
    created_at: datetime
    updated_at: datetime
    deliveries: list[Delivery] = Field(default_factory=list)
    """The latest deliveries, newest first."""


class BypassActor(Record):
    actor_id: int | None = None
    actor_type: str
    bypass_mode: Literal["always", "pull_request", "exempt"] = "always"


class Ruleset(Record):
    id: int
    name: str
    target: Literal["branch", "tag", "push"]
    enforcement: Literal["disabled", "active", "evaluate"]
    bypass_actors: list[BypassActor]
    include: list[str]
    exclude: list[str]
    rules: list[dict[str, Any]]
    """In the form of the API: `type`, and for some types `parameters`."""
    created_at: datetime
    updated_at: datetime

    def parameters(self, type: str) -> dict[str, Any] | None:
        """The parameters of the rule of that type; None if it is not enforced."""
        for rule in self.rules:
            if rule["type"] == type and self.enforcement == "active":
                return dict(rule.get("parameters") or {})
        return None


class Secret(Record):
    value: str
    created_at: datetime
    updated_at: datetime


class Variable(Record):
    value: str
    created_at: datetime
    updated_at: datetime


class Vault(Record):
    """The secrets and variables of a repository or an environment, by their names in capitals."""

    private_key: str
    """Base64. Clients encrypt secrets with its public key."""
    secrets: dict[str, Secret] = Field(default_factory=dict)
    variables: dict[str, Variable] = Field(default_factory=dict)


class Reviewer(Record):
    type: Literal["User", "Team"]
    id: int


class BranchPolicy(Record):
    protected_branches: bool
    custom_branch_policies: bool


class Environment(Record):
    id: int
    name: str
    wait_timer: int
    """Minutes."""
    can_admins_bypass: bool
    prevent_self_review: bool
    reviewers: list[Reviewer]
    deployment_branch_policy: BranchPolicy | None
    created_at: datetime
    updated_at: datetime
    vault: Vault


class Review(Record):
    id: int
    user: str
    state: Literal["APPROVED", "CHANGES_REQUESTED", "COMMENTED"]
    body: str
    commit: str


class PullRequest(Record):
    head: str
    """A branch of the same repository, or of the fork."""
    fork: str | None = None
    """Login of the fork's owner. Of a fork, only its commits are emulated."""
    base: str
    head_commit: str
    """The branch's last known commit."""
    merged_commit: str | None = None
    reviews: list[Review] = Field(default_factory=list)


class Labeling(Record):
    """A label that was added or removed."""

    id: int
    event: Literal["labeled", "unlabeled"]
    label: str
    user: str
    created_at: datetime


class Issue(Record):
    """An issue or a pull request, which share their numbers."""

    id: int
    number: int
    title: str
    body: str | None
    state: Literal["open", "closed"]
    user: str
    created_at: datetime
    updated_at: datetime
    pull_request: PullRequest | None = None
    labels: list[str] = Field(default_factory=list)
    labelings: list[Labeling] = Field(default_factory=list)


class Comment(Record):
    id: int
    issue: int
    """Number of the issue or pull request."""
    body: str
    user: str
    created_at: datetime
    updated_at: datetime


class Status(Record):
    id: int
    commit: str
    context: str
    state: Literal["error", "failure", "pending", "success"]
    description: str | None
    created_at: datetime


class CheckRun(Record):
    id: int
    commit: str
    name: str
    status: Literal["queued", "in_progress", "completed"]
    conclusion: Conclusion | None
    title: str | None
    summary: str | None
    created_at: datetime


class Repository(Record):
    """The data of a repository on GitHub, besides its Git data."""

    id: int
    name: str
    vault: Vault
    keys: list[DeployKey] = Field(default_factory=list)
    hooks: list[Hook] = Field(default_factory=list)
    rulesets: list[Ruleset] = Field(default_factory=list)
    environments: list[Environment] = Field(default_factory=list)
    issues: list[Issue] = Field(default_factory=list)
    comments: list[Comment] = Field(default_factory=list)
    statuses: list[Status] = Field(default_factory=list)
    check_runs: list[CheckRun] = Field(default_factory=list)


class GitHubData(Record):
    owner_id: int
    next_id: int
    users: list[User] = Field(default_factory=list)
    teams: list[Team] = Field(default_factory=list)
    tokens: list[Token] = Field(default_factory=list)
    repositories: dict[str, Repository] = Field(default_factory=dict)
