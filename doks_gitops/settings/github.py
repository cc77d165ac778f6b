"""The settings of `github`: what stands around the team's repository on GitHub.

https://docs.github.com/en/rest, by the provider https://www.pulumi.com/registry/packages/github/
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

from pydantic import Field

from doks_gitops.settings import scalars
from doks_gitops.settings.base import Listed, Model, Wrong, one_of

MOST_REVIEWERS = 6
"""Of one environment, users and teams together
(https://docs.github.com/en/actions/reference/workflows-and-actions/deployments-and-environments)."""

LONGEST_WAIT = 43200
"""Minutes: 30 days."""


class Webhook(Model):
    """Tells Argo CD of each push, signed with `argocd.webhookSecret`."""

    url: scalars.WebhookUrl | None = Field(
        default=None,
        description="Where GitHub reaches Argo CD; without it `<argocd.url>/api/webhook`.",
        examples=["https://argocd.example.com/api/webhook"],
    )


class Bypass(Model):
    """Who may break the ruleset: exactly one of `user`, `team`, `app` and `organizationAdmins`."""

    user: scalars.Login | None = Field(default=None, description="Login of a person or bot.")
    team: scalars.TeamSlug | None = Field(default=None, description="Name of a team, as in URLs.")
    app: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="Id of a GitHub App, such as one that commits image tags."
    )
    organization_admins: bool = Field(
        default=False, description="The organization's owners, if true."
    )
    mode: Literal["always", "pull_request"] = Field(
        default="always",
        description="`pull_request`: only by merging a pull request that lacks something.",
    )

    @classmethod
    def keys_wrong(cls, given: frozenset[str]) -> Iterator[Wrong]:
        yield from one_of(given, "user", "team", "app", "organizationAdmins")

    def wrong(self) -> Iterator[Wrong]:
        if not (self.user or self.team or self.app or self.organization_admins):
            yield Wrong(at=("organizationAdmins",), right="true, or no such entry", example="true")


class Ruleset(Model):
    """Protects branches: changed by pull request only, never by force, never deleted. A branch that
    is not there yet can be pushed, so that a new repository needs no exception."""

    name: Annotated[str, Field(min_length=1, max_length=100)] = Field(
        default="doks-gitops", description="Name in the repository's list of rulesets."
    )
    branches: Annotated[Listed[scalars.BranchPattern], Field(min_length=1)] = Field(
        default=("~DEFAULT_BRANCH",),
        description="Branches by name or pattern, or ~DEFAULT_BRANCH.",
    )
    approvals: Annotated[int, Field(ge=0, le=10)] = Field(
        default=1, description="Approving reviews that a pull request needs."
    )
    checks: Listed[str] = Field(
        default=(),
        description="Checks that must have passed, by the name of the job (or status).",
    )
    bypass: Listed[Bypass] = Field(default=(), description="Who need not hold to it; nobody else.")


class Environment(Model):
    """A deployment environment, which the jobs of workflows run in. One stack at most owns it."""

    users: Listed[scalars.Login] = Field(
        default=(), description="Who may approve a deployment: one of them has to."
    )
    teams: Listed[scalars.TeamSlug] = Field(
        default=(), description="Teams whose members may approve it, too."
    )
    prevent_self_review: bool = Field(
        default=False, description="Not by whoever started the deployment."
    )
    wait_minutes: Annotated[int, Field(ge=0, le=LONGEST_WAIT)] = Field(
        default=0, description="Minutes to wait before a deployment."
    )
    secrets: Mapping[scalars.ActionsName, scalars.ActionsSecret] = Field(
        default_factory=dict, description="Secrets of its jobs."
    )
    variables: Mapping[scalars.ActionsName, str] = Field(
        default_factory=dict, description="Variables of its jobs."
    )

    def wrong(self) -> Iterator[Wrong]:
        reviewers = len(self.users) + len(self.teams)
        if reviewers > MOST_REVIEWERS:
            yield Wrong(
                at=(),
                found=f"{reviewers} users and teams",
                right=f"at most {MOST_REVIEWERS} users and teams together",
            )


class GitHub(Model):
    """What stands around the team's repository on GitHub: each part is optional, and none is needed
    for a first deployment."""

    owner: scalars.Login = Field(
        description="Organization or user that the repository belongs to.", examples=["my-team"]
    )
    repository: scalars.GitHubRepository = Field(
        description="Name of the repository, without its owner.", examples=["monorepo"]
    )
    token: scalars.Token = Field(
        description="Fine-grained token (docs/permissions.md); else the environment's GITHUB_TOKEN."
    )
    base_url: scalars.ApiEndpoint = Field(
        default="https://api.github.com/",
        description="API of github.com, or address of a GitHub Enterprise Server; else the "
        "environment's GITHUB_BASE_URL.",
    )
    deploy_key: scalars.RepositoryKey | None = Field(
        default=None,
        description="A name under `repositories`: the public half of its `sshPrivateKey` is "
        "registered as a deploy key that may only read.",
    )
    webhook: Webhook | None = Field(default=None, description="Webhook to Argo CD.")
    ruleset: Ruleset | None = Field(
        default=None, description="Protection of branches; one stack at most has it."
    )
    environments: Mapping[scalars.EnvironmentName, Environment] = Field(
        default_factory=dict, description="Deployment environments by name."
    )
    secrets: Mapping[scalars.ActionsName, scalars.ActionsSecret] = Field(
        default_factory=dict, description="Secrets of all workflows of the repository."
    )
    variables: Mapping[scalars.ActionsName, str] = Field(
        default_factory=dict, description="Variables of all workflows of the repository."
    )
