"""GitHubDelivery, and the settings of the repository on GitHub."""

from collections.abc import Mapping
from typing import Any

import pulumi
import pytest

from components.github import (
    Bypass,
    DeployKey,
    Environment,
    GitHubDelivery,
    GitHubDeliveryArgs,
    Ruleset,
    Webhook,
)
from doks_gitops import arguments, settings
from doks_gitops.settings.ssh_key import public_key
from tests.unit.mocked import NUMBERS, Run, run
from tests.unit.stackfiles import parsed
from tests.unit.test_program import CONFIG, platform
from tests.unit.test_ssh_key import private

GITHUB = {"owner": "team", "repository": "monorepo", "token": "github_pat_1"}
KEY = private()
SSH = {
    "monorepo": {"url": "git@github.com:team/monorepo.git", "credentials": {"sshPrivateKey": KEY}}
}
URL = "https://argocd.example.com/api/webhook"


def delivery(**changes: Any) -> Run:
    def program() -> Mapping[str, Any]:
        import pulumi_github

        provider = pulumi_github.Provider("github", owner="team", token="token")
        GitHubDelivery(
            "github",
            GitHubDeliveryArgs("monorepo", **changes),
            pulumi.ResourceOptions(providers=[provider]),
        )
        return {}

    return run(program)


def own(result: Run) -> list[str]:
    return sorted(resource.name for resource in result.of_packages("github"))


def test_without_parts_there_are_no_resources() -> None:
    assert own(delivery()) == []


def test_deploy_key_is_read_only() -> None:
    key = delivery(deploy_key=DeployKey("dev", "ssh-ed25519 AAAA")).one("RepositoryDeployKey")
    assert key.inputs == {
        "repository": "monorepo", "title": "dev", "key": "ssh-ed25519 AAAA", "readOnly": True,
    }  # fmt: skip


def test_webhook_sends_signed_messages_of_pushes() -> None:
    hook = delivery(webhook=Webhook(URL, "a webhook secret")).one("RepositoryWebhook")
    assert hook.inputs["events"] == ["push"]
    assert hook.inputs["configuration"] == {
        "url": URL, "contentType": "json", "secret": "a webhook secret", "insecureSsl": False,
    }  # fmt: skip
    assert "configuration" in hook.secret


def test_ruleset_names_everybody_who_may_bypass_it() -> None:
    bypass = (
        Bypass(user="bot"),
        Bypass(team="ops", mode="pull_request"),
        Bypass(app=7),
        Bypass(organization_admins=True),
    )
    rules = Ruleset("main", ("~DEFAULT_BRANCH", "release/*"), 2, ("tests",), bypass)
    result = delivery(ruleset=rules).one("RepositoryRuleset").inputs
    assert result["conditions"]["refName"]["includes"] == [
        "~DEFAULT_BRANCH",
        "refs/heads/release/*",
    ]
    assert result["bypassActors"] == [
        {"actorType": "User", "actorId": NUMBERS["bot"], "bypassMode": "always"},
        {"actorType": "Team", "actorId": NUMBERS["ops"], "bypassMode": "pull_request"},
        {"actorType": "Integration", "actorId": 7, "bypassMode": "always"},
        {"actorType": "OrganizationAdmin", "bypassMode": "always"},
    ]
    assert result["rules"] == {
        "deletion": True,
        "nonFastForward": True,
        "pullRequest": {
            "requiredApprovingReviewCount": 2,
            "dismissStaleReviewsOnPush": True,
            "requireCodeOwnerReview": True,
        },
        "requiredStatusChecks": {
            "requiredChecks": [{"context": "tests"}], "doNotEnforceOnCreate": True,
        },
    }  # fmt: skip


def test_ruleset_without_checks_requires_none() -> None:
    assert "requiredStatusChecks" not in delivery(ruleset=Ruleset("x")).one(
        "RepositoryRuleset"
    ).inputs["rules"]  # fmt: skip


def test_environment_has_its_reviewers_secrets_and_variables() -> None:
    environment = Environment(("ada",), ("ops",), True, 5, {"TOKEN": "hush"}, {"REGION": "nyc1"})
    result = delivery(environments={"prod": environment})
    resource = result.one("RepositoryEnvironment")
    assert resource.inputs == {
        "repository": "monorepo",
        "environment": "prod",
        "preventSelfReview": True,
        "waitTimer": 5,
        "reviewers": [{"users": [NUMBERS["ada"]], "teams": [NUMBERS["ops"]]}],
    }
    secret = result.one("ActionsEnvironmentSecret")
    assert (secret.inputs["secretName"], secret.inputs["value"]) == ("TOKEN", "hush")
    assert "value" in secret.secret
    variable = result.one("ActionsEnvironmentVariable")
    assert (variable.inputs["variableName"], variable.inputs["value"]) == ("REGION", "nyc1")
    assert resource.urn in result.dependencies(secret) & result.dependencies(variable)


def test_secrets_and_variables_of_all_workflows_belong_to_the_repository() -> None:
    result = delivery(secrets={"A": "hush"}, variables={"B": "x"})
    assert result.one("ActionsSecret").inputs["value"] == "hush"
    assert "value" in result.one("ActionsSecret").secret
    assert result.one("ActionsVariable").inputs["value"] == "x"


def github_args(**github: Any) -> GitHubDeliveryArgs:
    stack = parsed(
        github=GITHUB | github,
        repositories=SSH,
        argocd={
            "chart": {"version": "1.2.3"},
            "url": "https://argocd.example.com",
            "webhookSecret": "a webhook secret",
        },
    )
    return arguments.github_args(stack)


def test_webhook_has_the_address_of_argo_cd_by_default() -> None:
    webhook = github_args(webhook={}).webhook
    assert webhook is not None
    assert webhook.url == URL
    webhook = github_args(webhook={"url": "https://hooks.example.com/x"}).webhook
    assert webhook is not None
    assert webhook.url == "https://hooks.example.com/x"


def test_deploy_key_is_the_public_half_of_the_key_of_argo_cd() -> None:
    key = github_args(deployKey="monorepo").deploy_key
    assert key == DeployKey("demo (Argo CD)", public_key(KEY))


def test_settings_become_the_arguments_of_the_component() -> None:
    result = github_args(
        ruleset={
            "branches": ["main"],
            "approvals": 2,
            "bypass": [{"team": "ops"}],
            "codeOwners": False,
        },
        environments={"prod": {"users": ["ada"], "variables": {"A": "1"}, "secrets": {"B": "x"}}},
        secrets={"C": "y"},
        variables={"D": "z"},
    )
    assert result.repository == "monorepo"
    bypass = (Bypass(team="ops"),)
    assert result.ruleset == Ruleset("doks-gitops", ("main",), 2, (), bypass, code_owners=False)
    assert result.environments["prod"].users == ("ada",)
    assert result.environments["prod"].variables == {"A": "1"}
    assert set(result.environments["prod"].secrets) == {"B"}
    assert set(result.secrets) == {"C"}
    assert result.variables == {"D": "z"}


def test_token_and_address_come_from_the_environment_if_the_stack_has_none() -> None:
    config = {
        **CONFIG,
        "doks-gitops:github": {"owner": "team", "repository": "monorepo"},
    }
    environ = {"GITHUB_TOKEN": "github_pat_2", "GITHUB_BASE_URL": "https://github.example.com/"}
    github = settings.parse("dev", config, {}, environ=environ).github
    assert github is not None
    assert github.token.get_secret_value() == "github_pat_2"
    assert github.base_url == "https://github.example.com/"
    with pytest.raises(settings.SettingsError, match=r"github\.token") as without_token:
        settings.parse("dev", config, {})
    # A workflow's own token is none of the stack's: only some of its jobs have one.
    workflow = {**environ, "GITHUB_ACTIONS": "true"}
    with pytest.raises(settings.SettingsError) as in_workflow:
        settings.parse("dev", config, {}, environ=workflow)
    assert str(in_workflow.value) == str(without_token.value)
    workflow["PULUMI_GITHUB_TOKEN"] = "github_pat_3"
    github = settings.parse("dev", config, {}, environ=workflow).github
    assert github is not None
    assert github.token.get_secret_value() == "github_pat_3"
    assert settings.parse("dev", CONFIG, {}, environ=environ).github is None


def test_stack_without_github_has_no_github_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not platform(monkeypatch).all("pulumi:providers:github")


def test_webhook_needs_nothing_in_the_cluster_and_exists_before_applications(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    github = GITHUB | {"webhook": {"url": URL}, "ruleset": {}}
    result = platform(monkeypatch, config={**CONFIG, "doks-gitops:github": github})
    hook = result.one("RepositoryWebhook")
    assert hook.provider.startswith(result.one("pulumi:providers:github").urn)
    assert not [urn for urn in result.dependencies(hook) if "kubernetes" in urn.lower()]
    assert hook.urn in result.dependencies(result.one("Application"))
    for resource in result.resources.values():
        for key, value in resource.inputs.items():
            if "github_pat_1" in str(value):
                assert key in resource.secret
