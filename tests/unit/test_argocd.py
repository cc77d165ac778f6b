"""ArgoCd: the namespace, its Secrets, and the release."""

import base64
from collections.abc import Callable, Mapping
from typing import Any

import bcrypt
import pytest
from pulumi import ResourceOptions

from components.argocd import (
    Admin,
    ArgoCd,
    ArgoCdArgs,
    ChartSource,
    Credentials,
    CredentialTemplate,
    GitHubApp,
    Repository,
)
from tests.unit.mocked import Resource, Run, kubernetes_provider, refused, run

CHART = ChartSource(repository="https://charts.test", version="1.2.3")


def program(**changes: Any) -> Callable[[], Mapping[str, Any]]:
    args = ArgoCdArgs(**{"chart": CHART, **changes})

    def body() -> Mapping[str, Any]:
        argocd = ArgoCd("argocd", args, ResourceOptions(providers=[kubernetes_provider()]))
        return {
            "namespace": argocd.namespace,
            "url": argocd.url,
            "port_forward": argocd.port_forward,
            "admin_password": argocd.admin_password,
        }

    return body


def decoded(secret: Resource) -> dict[str, str]:
    return {key: base64.b64decode(value).decode() for key, value in secret.inputs["data"].items()}


def secret_names(result: Run) -> set[str]:
    return {secret.name for secret in result.all("Secret")}


def test_release_has_the_name_from_which_the_chart_derives_the_six_deployments() -> None:
    release = run(program()).one("Release").inputs
    assert release["name"] == "argocd"
    for part in ("applicationSet", "dex", "notifications", "redis", "repoServer", "server"):
        assert release["values"].get(part, {}).get("enabled", True) is True
        assert "name" not in release["values"].get(part, {})


def test_release_waits_until_it_is_ready_and_stays_installed_if_it_is_not() -> None:
    release = run(program(timeout=300)).one("Release").inputs
    assert release["skipAwait"] is False
    assert release["atomic"] is False
    assert release["timeout"] == 300


def test_namespace_is_a_resource_of_its_own() -> None:
    result = run(program(namespace="gitops"))
    namespace, release = result.one("Namespace"), result.one("Release")
    assert namespace.inputs["metadata"] == {
        "name": "gitops",
        "annotations": {"argocd.argoproj.io/sync-options": "Prune=false"},
    }
    assert release.inputs["namespace"] == "gitops"
    assert release.inputs["createNamespace"] is False
    assert namespace.urn in result.dependencies(release)
    assert result.outputs["namespace"].value == "gitops"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (CHART, {"chart": "argo-cd", "version": "1.2.3", "repo": "https://charts.test"}),
        (
            ChartSource(repository="oci://registry.test/charts/", version="1.2.3"),
            {"chart": "oci://registry.test/charts/argo-cd", "version": "1.2.3", "repo": None},
        ),
        (
            ChartSource(path="./charts/argo-cd"),
            {"chart": "./charts/argo-cd", "version": None, "repo": None},
        ),
    ],
)
def test_chart_comes_from_its_source(source: ChartSource, expected: dict[str, Any]) -> None:
    release = run(program(chart=source)).one("Release").inputs
    assert {
        "chart": release["chart"],
        "version": release.get("version"),
        "repo": release.get("repositoryOpts", {}).get("repo"),
    } == expected


def test_chart_without_an_exact_version_is_refused() -> None:
    with refused("exact version"):
        ChartSource(repository="https://charts.test")
    with refused("either repository or path"):
        ChartSource(repository="https://charts.test", version="1.0.0", path="./chart")
    with refused("either repository or path"):
        ChartSource(version="1.0.0")


def test_credentials_must_be_of_exactly_one_kind() -> None:
    with refused("exactly one of password, ssh_private_key and github_app"):
        Credentials("robot")
    with refused("exactly one of password, ssh_private_key and github_app"):
        Credentials(password="token", ssh_private_key="-----KEY")


@pytest.mark.parametrize(
    ("credentials", "fields"),
    [
        (None, {}),
        (Credentials("robot", password="token"), {"username": "robot", "password": "token"}),
        (Credentials(ssh_private_key="-----KEY"), {"sshPrivateKey": "-----KEY"}),
        (
            Credentials(github_app=GitHubApp("1", "2", "-----KEY")),
            {
                "githubAppID": "1",
                "githubAppInstallationID": "2",
                "githubAppPrivateKey": "-----KEY",
            },
        ),
    ],
)
def test_repository_and_its_credentials_exist_before_argo_cd_starts(
    credentials: Credentials | None, fields: dict[str, str]
) -> None:
    repository = Repository("https://git.test/monorepo", credentials=credentials)
    result = run(program(repositories={"monorepo": repository}))
    secret = result.one("Secret", "argocd-repository-monorepo")
    assert secret.inputs["metadata"]["labels"] == {"argocd.argoproj.io/secret-type": "repository"}
    assert secret.inputs["metadata"]["namespace"] == "argocd"
    assert decoded(secret) == {"type": "git", "url": "https://git.test/monorepo", **fields}
    assert secret.urn in result.dependencies(result.one("Release"))


@pytest.mark.parametrize(
    ("repository", "fields"),
    [
        (
            Repository("https://charts.test", type="helm"),
            {"type": "helm", "url": "https://charts.test", "enableOCI": "false"},
        ),
        (
            Repository("127.0.0.1:5000/charts", type="helm", plain_http=True),
            {
                "type": "helm",
                "url": "127.0.0.1:5000/charts",
                "enableOCI": "true",
                "insecureOCIForceHttp": "true",
            },
        ),
        (
            Repository("oci://ghcr.test/team/shop", type="oci"),
            {"type": "oci", "url": "oci://ghcr.test/team/shop"},
        ),
        (
            Repository("https://git.test/m", enable_lfs=True),
            {"type": "git", "url": "https://git.test/m", "enableLfs": "true"},
        ),
    ],
)
def test_repository_is_of_a_type_of_argo_cd(repository: Repository, fields: dict[str, str]) -> None:
    result = run(program(repositories={"m": repository}))
    assert decoded(result.one("Secret", "argocd-repository-m")) == fields


def test_credential_template_is_a_secret_of_its_own() -> None:
    template = CredentialTemplate("ghcr.test/team/", Credentials("robot", "tok"), type="helm")
    result = run(program(credential_templates={"team": template}))
    secret = result.one("Secret", "argocd-credentials-team")
    assert secret.inputs["metadata"]["labels"] == {"argocd.argoproj.io/secret-type": "repo-creds"}
    assert decoded(secret) == {
        "type": "helm",
        "url": "ghcr.test/team/",
        # A repository takes it from its template, whatever it has itself.
        "enableOCI": "true",
        "username": "robot",
        "password": "tok",
    }
    assert "data" in secret.secret
    assert secret.urn in result.dependencies(result.one("Release"))


def test_inputs_and_outputs_with_secrets_are_secret() -> None:
    result = run(
        program(
            repositories={
                "m": Repository("https://git.test/m", credentials=Credentials(password="tok"))
            },
            admin=Admin(password="correct horse", password_set_at="2026-01-31T12:00:00Z"),
            webhook_secret="webhook",
        )
    )
    assert "data" in result.one("Secret", "argocd-repository-m").secret
    assert "values" in result.one("Release").secret
    assert result.outputs["admin_password"].secret
    assert not result.outputs["url"].secret
    assert not result.outputs["namespace"].secret


WEBHOOKS = ("githubSecret", "gitlabSecret", "bitbucketUUID", "bitbucketServerSecret", "gogsSecret")


@pytest.mark.parametrize(
    ("arguments", "github"),
    [
        ({"admin": Admin(password="correct horse")}, None),
        ({"admin": Admin(password="correct horse"), "webhook_secret": "webhook"}, "webhook"),
        ({"admin": Admin(enabled=False), "webhook_secret": "webhook"}, "webhook"),
    ],
)
def test_webhooks_of_every_git_host_need_a_secret(
    arguments: dict[str, Any], github: str | None
) -> None:
    result = run(program(**arguments))
    release = result.one("Release")
    secret = release.inputs["values"]["configs"]["secret"]
    unknown = secret["gitlabSecret"]
    assert len(unknown) == 64
    assert {name: secret[name] for name in WEBHOOKS} == dict.fromkeys(WEBHOOKS, unknown) | {
        "githubSecret": github or unknown
    }
    assert secret["azureDevops"] == {"username": unknown, "password": unknown}
    assert "values" in release.secret


def test_new_password_ends_older_sessions() -> None:
    admin = Admin(password="correct horse", password_set_at="2026-01-31T12:00:00Z")
    result = run(program(admin=admin))
    secret = result.one("Release").inputs["values"]["configs"]["secret"]
    assert bcrypt.checkpw(b"correct horse", secret["argocdServerAdminPassword"].encode())
    assert secret["argocdServerAdminPasswordMtime"] == "2026-01-31T12:00:00Z"
    assert result.outputs["admin_password"].value == "correct horse"
    assert secret_names(result) == {"argocd-in-cluster"}


def test_generated_password_is_stored_in_the_cluster() -> None:
    result = run(program())
    password = decoded(result.one("Secret", "argocd-admin-password"))["password"]
    hashed = result.one("Release").inputs["values"]["configs"]["secret"][
        "argocdServerAdminPassword"
    ]
    assert len(password) >= 24
    assert bcrypt.checkpw(password.encode(), hashed.encode())
    assert result.outputs["admin_password"].value == password
    assert run(program()).outputs["admin_password"].value != password


@pytest.mark.parametrize("admin", [Admin(), Admin(password="correct horse"), Admin(enabled=False)])
def test_second_run_changes_nothing(admin: Admin) -> None:
    same_program = program(
        admin=admin,
        high_availability=True,
        webhook_secret="webhook",
        repositories={"m": Repository("https://git.test/m")},
    )
    first = run(same_program)
    second = run(same_program, previous=first)
    assert second.inputs == first.inputs
    assert second.outputs == first.outputs


def test_disabled_admin_has_no_password_anywhere() -> None:
    result = run(program(admin=Admin(enabled=False)))
    assert result.outputs["admin_password"].value is None
    assert secret_names(result) == {"argocd-in-cluster"}
    configs = result.one("Release").inputs["values"]["configs"]
    assert set(configs) == {"cm", "params"}
    assert configs["cm"] == {"admin.enabled": False}


def test_labels_and_annotations_of_the_cluster_exist_before_argo_cd_starts() -> None:
    result = run(
        program(
            cluster_labels={"environment": "dev", "region": "nyc1"},
            cluster_annotations={"registry-endpoint": "registry.test/team"},
        )
    )
    secret = result.one("Secret", "argocd-in-cluster")
    assert secret.inputs["metadata"]["labels"] == {
        "argocd.argoproj.io/secret-type": "cluster",
        "environment": "dev",
        "region": "nyc1",
    }
    assert secret.inputs["metadata"]["annotations"] == {"registry-endpoint": "registry.test/team"}
    assert decoded(secret) == {
        "name": "in-cluster",
        "server": "https://kubernetes.default.svc",
        "config": "{}",
    }
    assert secret.urn in result.dependencies(result.one("Release"))


def test_argo_cd_managed_by_git_has_its_passwords_in_a_separate_secret() -> None:
    result = run(
        program(
            admin=Admin(password="correct horse", password_set_at="2026-01-31T12:00:00Z"),
            webhook_secret="webhook",
            managed_by_git=True,
        )
    )
    release, secret = result.one("Release"), result.one("Secret", "argocd-secret")
    assert release.inputs["values"]["configs"]["secret"] == {"createSecret": False}
    data = decoded(secret)
    assert bcrypt.checkpw(b"correct horse", data.pop("admin.password").encode())
    unknown = data["webhook.gitlab.secret"]
    assert data == {
        "admin.passwordMtime": "2026-01-31T12:00:00Z",
        "webhook.azuredevops.password": unknown,
        "webhook.azuredevops.username": unknown,
        "webhook.bitbucket.uuid": unknown,
        "webhook.bitbucketserver.secret": unknown,
        "webhook.github.secret": "webhook",
        "webhook.gitlab.secret": unknown,
        "webhook.gogs.secret": unknown,
    }
    assert "data" in secret.secret
    assert secret.urn in result.dependencies(release)


def test_values_override_those_of_the_component() -> None:
    values = (
        run(program(values={"server": {"replicas": 4}, "dex": {"enabled": False}}))
        .one("Release")
        .inputs["values"]
    )
    assert values["server"]["replicas"] == 4
    assert values["dex"]["enabled"] is False
    assert values["repoServer"]["replicas"] == 1


def test_outputs_have_the_url_or_the_port_forward_command() -> None:
    outputs = run(program(kube_context="do-nyc1-demo")).outputs
    assert outputs["url"].value == "https://localhost:8080"
    assert outputs["port_forward"].value == (
        "kubectl --context do-nyc1-demo --namespace argocd"
        " port-forward service/argocd-server 8080:443"
    )
    outputs = run(program(url="https://argocd.example.com")).outputs
    assert outputs["url"].value == "https://argocd.example.com"
    assert outputs["port_forward"].value.startswith("kubectl --namespace argocd port-forward")


def test_all_resources_use_the_provider_of_the_component() -> None:
    result = run(program(repositories={"m": Repository("https://git.test/m")}))
    provider = result.one("kubernetes")
    resources = result.of_packages("kubernetes")
    assert len(resources) == 5
    assert all(resource.provider.startswith(provider.urn) for resource in resources)


def test_argocd_can_be_previewed_before_its_cluster_exists() -> None:
    result = run(program(repositories={"m": Repository("https://git.test/m")}), preview=True)
    assert result.one("Release").inputs["chart"] == "argo-cd"
    assert result.outputs["namespace"].value == "argocd"
