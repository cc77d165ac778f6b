"""The settings of `github`: the team's repository on GitHub.

https://docs.github.com/en/rest, https://www.pulumi.com/registry/packages/github/
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from doks_gitops.settings import scalars
from doks_gitops.settings.base import ListOf, Model, Violation, one_of

PUBLIC_API = "https://api.github.com/"
"""The API of github.com."""

MOST_REVIEWERS = 6
"""Most reviewers of an environment, users and teams together
(https://docs.github.com/en/actions/reference/workflows-and-actions/deployments-and-environments)."""

LARGEST_ID = 2**53 - 1
"""Largest id of an app: Pulumi passes numbers on as floating-point numbers."""

LONGEST_WAIT = 43200
"""Longest wait before a deployment in minutes: 30 days."""


class Webhook(Model):
    """A webhook that tells Argo CD of pushes, signed with `argocd.webhookSecret`."""

    url: scalars.WebhookUrl | None = Field(
        default=None,
        description="Argo CD's address for GitHub. Default: `<argocd.url>/api/webhook`.",
        examples=["https://argocd.example.com/api/webhook"],
    )


class Bypass(Model):
    """Who may bypass the ruleset: exactly one of `user`, `team`, `app` and `organizationAdmins`."""

    IDENTITY: ClassVar = ("user", "team", "app", "organization_admins")

    user: scalars.Login | None = Field(default=None, description="Login of a user or bot.")
    team: scalars.TeamSlug | None = Field(default=None, description="Slug of a team.")
    app: Annotated[int, Field(ge=1, le=LARGEST_ID)] | None = Field(
        default=None, description="Id of a GitHub App, such as the one that commits image tags."
    )
    organization_admins: bool = Field(default=False, description="The organization's owners.")
    mode: Literal["always", "pull_request"] = Field(
        default="always",
        description="`pull_request`: only to merge a pull request without reviews or checks.",
    )

    @classmethod
    def key_violations(cls, keys: frozenset[str]) -> Iterator[Violation]:
        yield from one_of(keys, "user", "team", "app", "organizationAdmins")

    def violations(self) -> Iterator[Violation]:
        if not (self.user or self.team or self.app or self.organization_admins):
            yield Violation(
                at=("organizationAdmins",), expected="true, or no such entry", example="true"
            )


class Ruleset(Model):
    """Protects branches: they change by pull requests only, and can't be deleted or force-pushed.
    The first push may create a branch, so that a new repository needs no exception."""

    name: scalars.RulesetName = Field(default="doks-gitops", description="Name of the ruleset.")
    branches: Annotated[ListOf[scalars.BranchPattern], Field(min_length=1)] = Field(
        default=("~DEFAULT_BRANCH",),
        description="Names or patterns of branches; `~DEFAULT_BRANCH` is the default branch.",
    )
    approvals: Annotated[int, Field(ge=0, le=10)] = Field(
        default=1, description="Number of approving reviews that a pull request needs."
    )
    code_owners: bool = Field(
        default=True,
        description="A file with owners in `CODEOWNERS` needs an approval by one of them.",
    )
    checks: ListOf[scalars.Line] = Field(
        default=(), description="Names of the checks (jobs or statuses) that must pass."
    )
    bypass: ListOf[Bypass] = Field(default=(), description="Who may bypass the ruleset.")


class Environment(Model):
    """A deployment environment of the repository's workflows. One stack at most owns it."""

    CASELESS: ClassVar = ("users",)

    users: ListOf[scalars.Login] = Field(
        default=(), description="Users who may approve a deployment; one approval is required."
    )
    teams: ListOf[scalars.TeamSlug] = Field(
        default=(), description="Teams whose members may approve a deployment."
    )
    prevent_self_review: bool = Field(
        default=False, description="Nobody may approve a deployment that they started."
    )
    wait_minutes: Annotated[int, Field(ge=0, le=LONGEST_WAIT)] = Field(
        default=0, description="Minutes to wait before a deployment."
    )
    secrets: Mapping[scalars.ActionsName, scalars.ActionsSecret] = Field(
        default_factory=dict, description="Secrets of the environment."
    )
    variables: Mapping[scalars.ActionsName, scalars.ActionsVariable] = Field(
        default_factory=dict, description="Variables of the environment."
    )

    def violations(self) -> Iterator[Violation]:
        reviewers = len(self.users) + len(self.teams)
        if reviewers > MOST_REVIEWERS:
            yield Violation(
                at=(),
                got=f"{reviewers} users and teams",
                expected=f"at most {MOST_REVIEWERS} users and teams together",
            )


class GitHub(Model):
    """The team's repository on GitHub. All parts are optional; a first deployment needs none."""

    owner: scalars.Login = Field(
        description="Organization or user that owns the repository.", examples=["my-team"]
    )
    repository: scalars.GitHubRepository = Field(
        description="Name of the repository, without its owner.", examples=["monorepo"]
    )
    token: scalars.Token = Field(
        description="Fine-grained token (docs/permissions.md). Default: the environment variable "
        "PULUMI_GITHUB_TOKEN or, outside of workflows, GITHUB_TOKEN."
    )
    base_url: scalars.ApiEndpoint = Field(
        default=PUBLIC_API,
        description="API of github.com, or address of a GitHub Enterprise Server. The environment "
        "variable GITHUB_BASE_URL replaces the default.",
    )
    deploy_key: scalars.RepositoryKey | None = Field(
        default=None,
        description="A name under `repositories`. The public half of its `sshPrivateKey` is "
        "registered as a read-only deploy key.",
    )
    webhook: Webhook | None = Field(default=None, description="Webhook to Argo CD.")
    ruleset: Ruleset | None = Field(
        default=None, description="Protection of branches. One stack at most owns it."
    )
    environments: Mapping[scalars.EnvironmentName, Environment] = Field(
        default_factory=dict, description="Deployment environments by name."
    )
    secrets: Mapping[scalars.ActionsName, scalars.ActionsSecret] = Field(
        default_factory=dict, description="Secrets of all workflows of the repository."
    )
    variables: Mapping[scalars.ActionsName, scalars.ActionsVariable] = Field(
        default_factory=dict, description="Variables of all workflows of the repository."
    )
