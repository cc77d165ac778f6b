"""What stands around the team's repository on GitHub: a key to read it, word of each push to
Argo CD, protected branches, and the environments of its workflows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pulumi
from pulumi_github import (
    ActionsEnvironmentSecret,
    ActionsEnvironmentVariable,
    ActionsSecret,
    ActionsVariable,
    RepositoryDeployKey,
    RepositoryEnvironment,
    RepositoryEnvironmentReviewerArgs,
    RepositoryRuleset,
    RepositoryRulesetBypassActorArgs,
    RepositoryRulesetConditionsArgs,
    RepositoryRulesetConditionsRefNameArgs,
    RepositoryRulesetRulesArgs,
    RepositoryRulesetRulesPullRequestArgs,
    RepositoryRulesetRulesRequiredStatusChecksArgs,
    RepositoryRulesetRulesRequiredStatusChecksRequiredCheckArgs,
    RepositoryWebhook,
    RepositoryWebhookConfigurationArgs,
    get_team_output,
    get_user_output,
)

from components.options import child_options


@dataclass(frozen=True)
class DeployKey:
    """An SSH key that may read the repository and nothing else.

    https://docs.github.com/en/authentication/connecting-to-github-with-ssh/managing-deploy-keys
    """

    title: str
    key: pulumi.Input[str]
    """The public half: `ssh-ed25519 AAAA...`. GitHub takes each key once, in one repository."""


@dataclass(frozen=True)
class Webhook:
    """Tells Argo CD of each push: https://argo-cd.readthedocs.io/en/stable/operator-manual/webhook/

    GitHub does not try again what it could not deliver; Argo CD finds such a push when it polls.
    """

    url: pulumi.Input[str]
    """Argo CD's `/api/webhook`, as it is reached from the internet."""
    secret: pulumi.Input[str]
    """The one that Argo CD knows (`ArgoCdArgs.webhook_secret`)."""


@dataclass(frozen=True)
class Bypass:
    """Who may break a ruleset; exactly one of `user`, `team`, `app` and `organization_admins`."""

    user: str | None = None
    team: str | None = None
    """Its slug."""
    app: int | None = None
    """Id of a GitHub App."""
    organization_admins: bool = False
    mode: str = "always"
    """Or `pull_request`: only by merging one that lacks something."""


@dataclass(frozen=True)
class Ruleset:
    """Branches that are changed by pull request only, never by force, and never deleted.

    https://docs.github.com/en/repositories/configuring-branches-and-merges-in-your-repository/managing-rulesets/about-rulesets
    """

    name: str
    branches: Sequence[str] = ("~DEFAULT_BRANCH",)
    """Names or patterns without `refs/heads/`; `~DEFAULT_BRANCH` and `~ALL` as GitHub has them."""
    approvals: int = 1
    checks: Sequence[str] = ()
    """What must have passed, by the name of its job or status."""
    bypass: Sequence[Bypass] = ()


@dataclass(frozen=True)
class Environment:
    """What the jobs of workflows run in, with approval if it names reviewers.

    https://docs.github.com/en/actions/reference/workflows-and-actions/deployments-and-environments
    """

    users: Sequence[str] = ()
    """Logins; with `teams` at most six."""
    teams: Sequence[str] = ()
    """Slugs."""
    prevent_self_review: bool = False
    wait_minutes: int = 0
    secrets: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    variables: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class GitHubDeliveryArgs:
    """Each part is optional; what is not given is not made."""

    repository: str
    """Its name; its owner is the provider's."""
    deploy_key: DeployKey | None = None
    """With which Argo CD reads it."""
    webhook: Webhook | None = None
    """Tells Argo CD of pushes."""
    ruleset: Ruleset | None = None
    """Protects branches."""
    environments: Mapping[str, Environment] = field(default_factory=dict)
    """By name."""
    secrets: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    """Of all workflows. GitHub never shows them again: one that was changed by hand is written anew
    when Pulumi sees, by its date, that it was."""
    variables: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    """Of all workflows."""


class GitHubDelivery(pulumi.ComponentResource):
    """Needs a `github` provider in `opts`, of the repository's owner.

    It depends on nothing in the cluster, so that a lost cluster does not take it along. What
    Argo CD reads with the deploy key should depend on it.
    """

    def __init__(
        self, name: str, args: GitHubDeliveryArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("doks-gitops:index:GitHubDelivery", name, {}, opts)
        inside = child_options(self, opts)
        if args.deploy_key is not None:
            RepositoryDeployKey(
                f"{name}-deploy-key",
                repository=args.repository,
                title=args.deploy_key.title,
                key=args.deploy_key.key,
                read_only=True,
                opts=inside,
            )
        if args.webhook is not None:
            RepositoryWebhook(
                f"{name}-webhook",
                repository=args.repository,
                events=["push"],
                configuration=RepositoryWebhookConfigurationArgs(
                    url=args.webhook.url,
                    content_type="json",
                    secret=pulumi.Output.secret(args.webhook.secret),
                    insecure_ssl=False,
                ),
                opts=inside,
            )
        if args.ruleset is not None:
            self._ruleset(f"{name}-ruleset", args.repository, args.ruleset, inside)
        for key, environment in sorted(args.environments.items()):
            self._environment(f"{name}-environment", args.repository, key, environment, inside)
        for key, secret in sorted(args.secrets.items()):
            ActionsSecret(
                f"{name}-secret-{key}",
                repository=args.repository,
                secret_name=key,
                value=pulumi.Output.secret(secret),
                opts=inside,
            )
        for key, variable in sorted(args.variables.items()):
            ActionsVariable(
                f"{name}-variable-{key}",
                repository=args.repository,
                variable_name=key,
                value=variable,
                opts=inside,
            )
        self.register_outputs({})

    def _ruleset(
        self, name: str, repository: str, ruleset: Ruleset, inside: pulumi.ResourceOptions
    ) -> None:
        checks = RepositoryRulesetRulesRequiredStatusChecksArgs(
            required_checks=[
                RepositoryRulesetRulesRequiredStatusChecksRequiredCheckArgs(context=each)
                for each in ruleset.checks
            ],
            # A new branch has no commit that anything could have been checked of before.
            do_not_enforce_on_create=True,
        )
        RepositoryRuleset(
            name,
            name=ruleset.name,
            repository=repository,
            target="branch",
            enforcement="active",
            conditions=RepositoryRulesetConditionsArgs(
                ref_name=RepositoryRulesetConditionsRefNameArgs(
                    includes=[_ref(each) for each in ruleset.branches], excludes=[]
                )
            ),
            rules=RepositoryRulesetRulesArgs(
                deletion=True,
                non_fast_forward=True,
                pull_request=RepositoryRulesetRulesPullRequestArgs(
                    required_approving_review_count=ruleset.approvals,
                    # What was approved is what is merged.
                    dismiss_stale_reviews_on_push=True,
                ),
                required_status_checks=checks if ruleset.checks else None,
            ),
            bypass_actors=[self._actor(each) for each in ruleset.bypass],
            opts=inside,
        )

    def _actor(self, bypass: Bypass) -> RepositoryRulesetBypassActorArgs:
        kind, number = "OrganizationAdmin", None
        if bypass.user is not None:
            kind, number = "User", self._user(bypass.user)
        elif bypass.team is not None:
            kind, number = "Team", self._team(bypass.team)
        elif bypass.app is not None:
            kind, number = "Integration", pulumi.Output.from_input(bypass.app)
        return RepositoryRulesetBypassActorArgs(
            actor_type=kind, actor_id=number, bypass_mode=bypass.mode
        )

    def _environment(
        self,
        name: str,
        repository: str,
        key: str,
        environment: Environment,
        inside: pulumi.ResourceOptions,
    ) -> None:
        reviewed = bool(environment.users or environment.teams)
        made = RepositoryEnvironment(
            f"{name}-{key}",
            repository=repository,
            environment=key,
            prevent_self_review=environment.prevent_self_review,
            wait_timer=environment.wait_minutes,
            reviewers=[
                RepositoryEnvironmentReviewerArgs(
                    users=[self._user(each) for each in environment.users],
                    teams=[self._team(each) for each in environment.teams],
                )
            ]
            if reviewed
            else None,
            opts=inside,
        )
        within = pulumi.ResourceOptions.merge(inside, pulumi.ResourceOptions(parent=made))
        for each, secret in sorted(environment.secrets.items()):
            ActionsEnvironmentSecret(
                f"{name}-{key}-secret-{each}",
                repository=repository,
                environment=made.environment,
                secret_name=each,
                value=pulumi.Output.secret(secret),
                opts=within,
            )
        for each, variable in sorted(environment.variables.items()):
            ActionsEnvironmentVariable(
                f"{name}-{key}-variable-{each}",
                repository=repository,
                environment=made.environment,
                variable_name=each,
                value=variable,
                opts=within,
            )

    def _user(self, login: str) -> pulumi.Output[int]:
        found = get_user_output(username=login, opts=pulumi.InvokeOutputOptions(parent=self))
        return found.id.apply(int)

    def _team(self, slug: str) -> pulumi.Output[int]:
        found = get_team_output(
            slug=slug, summary_only=True, opts=pulumi.InvokeOutputOptions(parent=self)
        )
        return found.id.apply(int)


def _ref(branch: str) -> str:
    """A branch, or a pattern of branches, as conditions of rulesets have it."""
    return branch if branch.startswith("~") else f"refs/heads/{branch}"
