"""The team's repository on GitHub: its deploy key, webhook, protected branches and environments."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

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
    """An SSH key with read access to the repository.

    https://docs.github.com/en/authentication/connecting-to-github-with-ssh/managing-deploy-keys
    """

    title: str
    key: pulumi.Input[str]
    """The public key: `ssh-ed25519 AAAA...`. GitHub accepts a key for one repository only."""


@dataclass(frozen=True)
class Webhook:
    """Tells Argo CD of pushes, or its ApplicationSet controller of pull requests:
    https://argo-cd.readthedocs.io/en/stable/operator-manual/webhook/

    GitHub does not retry failed deliveries; Argo CD then detects the push when it polls.
    """

    url: pulumi.Input[str]
    """The `/api/webhook` of Argo CD or of its ApplicationSet controller, at an address for the
    internet."""
    secret: pulumi.Input[str]
    """The same as Argo CD's (`ArgoCdArgs.webhook_secret`)."""


@dataclass(frozen=True)
class Bypass:
    """Who may bypass a ruleset: exactly one of `user`, `team`, `app` and `organization_admins`."""

    user: str | None = None
    """Login."""
    team: str | None = None
    """Slug."""
    app: int | None = None
    """Id of a GitHub App."""
    organization_admins: bool = False
    mode: str = "always"
    """`always`, or `pull_request`: only to merge a pull request without reviews or checks."""


@dataclass(frozen=True)
class Ruleset:
    """Protects branches: they change by pull requests only, and can't be deleted or force-pushed.

    https://docs.github.com/en/repositories/configuring-branches-and-merges-in-your-repository/managing-rulesets/about-rulesets
    """

    name: str = "doks-gitops"
    branches: Sequence[str] = ("~DEFAULT_BRANCH",)
    """Names or patterns without `refs/heads/`, or GitHub's `~DEFAULT_BRANCH` and `~ALL`."""
    approvals: int = 1
    checks: Sequence[str] = ()
    """Names of the jobs or statuses that must pass."""
    bypass: Sequence[Bypass] = ()
    code_owners: bool = True
    """A pull request also needs an approval by the owners of each file that has some in CODEOWNERS.
    https://docs.github.com/en/repositories/managing-your-repositorys-settings-and-features/customizing-your-repository/about-code-owners
    """


@dataclass(frozen=True)
class Environment:
    """A deployment environment of workflows. Deployments need an approval if it has reviewers.

    https://docs.github.com/en/actions/reference/workflows-and-actions/deployments-and-environments
    """

    users: Sequence[str] = ()
    """Logins of reviewers. At most six users and teams."""
    teams: Sequence[str] = ()
    """Slugs of reviewing teams."""
    prevent_self_review: bool = False
    wait_minutes: int = 0
    secrets: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    variables: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class GitHubDeliveryArgs:
    """The parts of a repository. All are optional."""

    repository: str
    """Name of the repository. The provider has its owner."""
    deploy_key: DeployKey | None = None
    """Argo CD's key for the repository."""
    webhook: Webhook | None = None
    """Tells Argo CD of pushes."""
    pull_request_webhook: Webhook | None = None
    """Tells Argo CD's ApplicationSet controller of pull requests."""
    ruleset: Ruleset | None = None
    """Protects branches."""
    environments: Mapping[str, Environment] = field(default_factory=dict)
    """Environments by name."""
    secrets: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    """Secrets of all workflows. GitHub does not return their values: a refresh shows by its date
    that somebody else has written a secret, but an update does not set it again."""
    variables: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    """Variables of all workflows."""


class GitHubDelivery(pulumi.ComponentResource):
    """The parts of a repository. Needs a `github` provider in `opts`, of the repository's owner.

    It depends on nothing in the cluster, so that it outlives a lost cluster. Applications that need
    the deploy key should depend on it.
    """

    def __init__(
        self, name: str, args: GitHubDeliveryArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("doks-gitops:index:GitHubDelivery", name, {}, opts)
        child_opts = child_options(self, opts)
        if args.deploy_key is not None:
            RepositoryDeployKey(
                f"{name}-deploy-key",
                repository=args.repository,
                title=args.deploy_key.title,
                key=args.deploy_key.key,
                read_only=True,
                opts=child_opts,
            )
        for key, event, webhook in (
            ("webhook", "push", args.webhook),
            ("pull-request-webhook", "pull_request", args.pull_request_webhook),
        ):
            if webhook is not None:
                RepositoryWebhook(
                    f"{name}-{key}",
                    repository=args.repository,
                    events=[event],
                    configuration=RepositoryWebhookConfigurationArgs(
                        url=webhook.url,
                        content_type="json",
                        secret=pulumi.Output.secret(webhook.secret),
                        insecure_ssl=False,
                    ),
                    opts=child_opts,
                )
        if args.ruleset is not None:
            self._ruleset(f"{name}-ruleset", args.repository, args.ruleset, child_opts)
        for key, environment in sorted(args.environments.items()):
            self._environment(
                f"{name}-environment-{key}", args.repository, key, environment, child_opts
            )
        repository = {"repository": args.repository, "opts": child_opts}
        _secrets_and_variables(name, args, ActionsSecret, ActionsVariable, repository)
        self.register_outputs({})

    def _ruleset(
        self, name: str, repository: str, ruleset: Ruleset, opts: pulumi.ResourceOptions
    ) -> None:
        checks = RepositoryRulesetRulesRequiredStatusChecksArgs(
            required_checks=[
                RepositoryRulesetRulesRequiredStatusChecksRequiredCheckArgs(context=check)
                for check in ruleset.checks
            ],
            # The commits of a new branch have no checks yet.
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
                    includes=[_ref(branch) for branch in ruleset.branches], excludes=[]
                )
            ),
            rules=RepositoryRulesetRulesArgs(
                deletion=True,
                non_fast_forward=True,
                pull_request=RepositoryRulesetRulesPullRequestArgs(
                    required_approving_review_count=ruleset.approvals,
                    require_code_owner_review=ruleset.code_owners,
                    # A new commit needs a new approval.
                    dismiss_stale_reviews_on_push=True,
                ),
                required_status_checks=checks if ruleset.checks else None,
            ),
            bypass_actors=[self._actor(bypass) for bypass in ruleset.bypass],
            opts=opts,
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
        environment_name: str,
        environment: Environment,
        opts: pulumi.ResourceOptions,
    ) -> None:
        has_reviewers = bool(environment.users or environment.teams)
        resource = RepositoryEnvironment(
            name,
            repository=repository,
            environment=environment_name,
            prevent_self_review=environment.prevent_self_review,
            wait_timer=environment.wait_minutes,
            reviewers=[
                RepositoryEnvironmentReviewerArgs(
                    users=[self._user(login) for login in environment.users],
                    teams=[self._team(slug) for slug in environment.teams],
                )
            ]
            if has_reviewers
            else None,
            opts=opts,
        )
        child_opts = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(parent=resource))
        _secrets_and_variables(
            name,
            environment,
            ActionsEnvironmentSecret,
            ActionsEnvironmentVariable,
            {
                "repository": repository,
                "environment": resource.environment,
                "opts": child_opts,
            },
        )

    def _user(self, login: str) -> pulumi.Output[int]:
        user = get_user_output(username=login, opts=pulumi.InvokeOutputOptions(parent=self))
        return user.id.apply(int)

    def _team(self, slug: str) -> pulumi.Output[int]:
        team = get_team_output(
            slug=slug, summary_only=True, opts=pulumi.InvokeOutputOptions(parent=self)
        )
        return team.id.apply(int)


def _secrets_and_variables(
    name: str,
    owner: GitHubDeliveryArgs | Environment,
    secret_type: Callable[..., pulumi.Resource],
    variable_type: Callable[..., pulumi.Resource],
    arguments: Mapping[str, Any],
) -> None:
    """Create the secrets and variables of `owner`. `arguments`: those that all of them share."""
    for key, value in sorted(owner.secrets.items()):
        secret = pulumi.Output.secret(value)
        secret_type(f"{name}-secret-{key}", secret_name=key, value=secret, **arguments)
    for key, value in sorted(owner.variables.items()):
        variable_type(f"{name}-variable-{key}", variable_name=key, value=value, **arguments)


def _ref(branch: str) -> str:
    """A branch or a pattern in the form of a ruleset's conditions."""
    return branch if branch.startswith("~") else f"refs/heads/{branch}"
