"""ArgoCd: the namespace, what is in it, and the release."""

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
    GitHubApp,
    GitRepository,
)
from tests.unit.mocked import Asked, Run, kubernetes_provider, refused, run

CHART = ChartSource(repository="https://charts.test", version="1.2.3")


def program(**given: Any) -> Callable[[], Mapping[str, Any]]:
    args = ArgoCdArgs(**{"chart": CHART, **given})

    def body() -> Mapping[str, Any]:
        argocd = ArgoCd("argocd", args, ResourceOptions(providers=[kubernetes_provider()]))
        return {
            "namespace": argocd.namespace,
            "url": argocd.url,
            "port_forward": argocd.port_forward,
            "admin_password": argocd.admin_password,
        }

    return body


def decoded(secret: Asked) -> dict[str, str]:
    return {key: base64.b64decode(value).decode() for key, value in secret.inputs["data"].items()}


def secret_names(made: Run) -> set[str]:
    return {each.name for each in made.all("Secret")}


def test_release_has_the_name_that_gives_the_guide_s_six_deployments() -> None:
    release = run(program()).one("Release").inputs
    assert release["name"] == "argocd"
    for part in ("applicationSet", "dex", "notifications", "redis", "repoServer", "server"):
        assert release["values"].get(part, {}).get("enabled", True) is True
        assert "name" not in release["values"].get(part, {})


def test_release_waits_until_it_is_ready_and_keeps_what_is_not() -> None:
    release = run(program(timeout=300)).one("Release").inputs
    assert release["skipAwait"] is False
    assert release["atomic"] is False
    assert release["timeout"] == 300


def test_namespace_is_the_stack_s_and_not_the_release_s() -> None:
    made = run(program(namespace="gitops"))
    namespace, release = made.one("Namespace"), made.one("Release")
    assert namespace.inputs["metadata"]["name"] == "gitops"
    assert release.inputs["namespace"] == "gitops"
    assert release.inputs["createNamespace"] is False
    assert namespace.urn in made.before(release)
    assert made.outputs["namespace"].value == "gitops"


@pytest.mark.parametrize(
    ("source", "asked"),
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
def test_chart_comes_from_where_the_stack_says(source: ChartSource, asked: dict[str, Any]) -> None:
    release = run(program(chart=source)).one("Release").inputs
    assert {
        "chart": release["chart"],
        "version": release.get("version"),
        "repo": release.get("repositoryOpts", {}).get("repo"),
    } == asked


def test_chart_without_an_exact_version_is_refused() -> None:
    with refused("exact version"):
        ChartSource(repository="https://charts.test")
    with refused("either repository or path"):
        ChartSource(repository="https://charts.test", version="1.0.0", path="./chart")
    with refused("either repository or path"):
        ChartSource(version="1.0.0")


def test_credentials_of_no_kind_or_of_two_are_refused() -> None:
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
def test_argocd_can_read_the_repository_when_it_starts(
    credentials: Credentials | None, fields: dict[str, str]
) -> None:
    repository = GitRepository("https://git.test/monorepo", credentials)
    made = run(program(repositories={"monorepo": repository}))
    secret = made.one("Secret", "argocd-repository-monorepo")
    assert secret.inputs["metadata"]["labels"] == {"argocd.argoproj.io/secret-type": "repository"}
    assert secret.inputs["metadata"]["namespace"] == "argocd"
    assert decoded(secret) == {"type": "git", "url": "https://git.test/monorepo", **fields}
    assert secret.urn in made.before(made.one("Release"))


def test_secrets_are_secret_wherever_they_go() -> None:
    made = run(
        program(
            repositories={"m": GitRepository("https://git.test/m", Credentials(password="tok"))},
            admin=Admin(password="correct horse", password_set_at="2026-01-31T12:00:00Z"),
            webhook_secret="webhook",
        )
    )
    assert "data" in made.one("Secret", "argocd-repository-m").secret
    assert "values" in made.one("Release").secret
    assert made.outputs["admin_password"].secret
    assert not made.outputs["url"].secret
    assert not made.outputs["namespace"].secret


def test_given_password_is_the_admin_s_and_sessions_before_it_end() -> None:
    admin = Admin(password="correct horse", password_set_at="2026-01-31T12:00:00Z")
    made = run(program(admin=admin))
    secret = made.one("Release").inputs["values"]["configs"]["secret"]
    assert bcrypt.checkpw(b"correct horse", secret["argocdServerAdminPassword"].encode())
    assert secret["argocdServerAdminPasswordMtime"] == "2026-01-31T12:00:00Z"
    assert made.outputs["admin_password"].value == "correct horse"
    assert secret_names(made) == {"argocd-in-cluster"}


def test_generated_password_is_kept_in_the_cluster_and_opens_argocd() -> None:
    made = run(program())
    kept = decoded(made.one("Secret", "argocd-admin-password"))["password"]
    hashed = made.one("Release").inputs["values"]["configs"]["secret"]["argocdServerAdminPassword"]
    assert len(kept) >= 24
    assert bcrypt.checkpw(kept.encode(), hashed.encode())
    assert made.outputs["admin_password"].value == kept
    assert run(program()).outputs["admin_password"].value != kept


@pytest.mark.parametrize("admin", [Admin(), Admin(password="correct horse"), Admin(enabled=False)])
def test_second_run_changes_nothing(admin: Admin) -> None:
    given = program(
        admin=admin,
        high_availability=True,
        webhook_secret="webhook",
        repositories={"m": GitRepository("https://git.test/m")},
    )
    first = run(given)
    second = run(given, previous=first)
    assert {urn: each.inputs for urn, each in second.asked.items()} == {
        urn: each.inputs for urn, each in first.asked.items()
    }
    assert second.outputs == first.outputs


def test_disabled_admin_has_no_password_anywhere() -> None:
    made = run(program(admin=Admin(enabled=False)))
    assert made.outputs["admin_password"].value is None
    assert secret_names(made) == {"argocd-in-cluster"}
    configs = made.one("Release").inputs["values"]["configs"]
    assert configs == {"cm": {"admin.enabled": False}}


def test_argocd_is_told_the_facts_of_its_cluster_before_it_starts() -> None:
    made = run(
        program(
            cluster_labels={"environment": "dev", "region": "nyc1"},
            cluster_annotations={"registry-endpoint": "registry.test/team"},
        )
    )
    secret = made.one("Secret", "argocd-in-cluster")
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
    assert secret.urn in made.before(made.one("Release"))


def test_argocd_that_git_upgrades_has_its_passwords_outside_of_the_chart() -> None:
    made = run(
        program(
            admin=Admin(password="correct horse", password_set_at="2026-01-31T12:00:00Z"),
            webhook_secret="webhook",
            managed_by_git=True,
        )
    )
    release, secret = made.one("Release"), made.one("Secret", "argocd-secret")
    assert release.inputs["values"]["configs"]["secret"] == {"createSecret": False}
    held = decoded(secret)
    assert bcrypt.checkpw(b"correct horse", held.pop("admin.password").encode())
    assert held == {
        "admin.passwordMtime": "2026-01-31T12:00:00Z",
        "webhook.github.secret": "webhook",
    }
    assert "data" in secret.secret
    assert secret.urn in made.before(release)


def test_extra_values_override_ours() -> None:
    values = (
        run(program(values={"server": {"replicas": 4}, "dex": {"enabled": False}}))
        .one("Release")
        .inputs["values"]
    )
    assert values["server"]["replicas"] == 4
    assert values["dex"]["enabled"] is False
    assert values["repoServer"]["replicas"] == 1


def test_url_or_the_command_that_reaches_argocd() -> None:
    outputs = run(program(kube_context="do-nyc1-demo")).outputs
    assert outputs["url"].value == "https://localhost:8080"
    assert outputs["port_forward"].value == (
        "kubectl --context do-nyc1-demo --namespace argocd"
        " port-forward service/argocd-server 8080:443"
    )
    outputs = run(program(url="https://argocd.example.com")).outputs
    assert outputs["url"].value == "https://argocd.example.com"
    assert outputs["port_forward"].value.startswith("kubectl --namespace argocd port-forward")


def test_everything_uses_the_provider_that_it_is_given() -> None:
    made = run(program(repositories={"m": GitRepository("https://git.test/m")}))
    provider = made.one("kubernetes")
    below = [each for each in made.asked.values() if each.type.startswith("kubernetes:")]
    assert len(below) == 5
    assert all(each.provider.startswith(provider.urn) for each in below)


def test_argocd_can_be_previewed_before_its_cluster_exists() -> None:
    made = run(program(repositories={"m": GitRepository("https://git.test/m")}), preview=True)
    assert made.one("Release").inputs["chart"] == "argo-cd"
    assert made.outputs["namespace"].value == "argocd"
