"""What a stack file says arrives at the components, whichever of its forms is used."""

from dataclasses import fields
from typing import Any

import pytest

from components.application import (
    Backoff,
    Directory,
    Helm,
    HelmParameter,
    IgnoreDifference,
    Kustomize,
    Replicas,
    Retry,
    Sync,
)
from components.argocd import ChartSource, Credentials, GitHubApp
from components.cluster import Autoscale, Maintenance, NodePool, Taint
from components.project import ResourceKind
from doks_gitops import arguments
from doks_gitops.settings import model
from doks_gitops.settings.base import Model
from tests.unit.mocked import Found, run
from tests.unit.stackfiles import parsed

KEY = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"


def secret(text: str) -> Found:
    """How a text comes out of a program that keeps it secret."""
    return Found(value=text, known=True, secret=True)


@pytest.mark.parametrize(
    ("argument", "setting"),
    [
        (Autoscale, model.Autoscale),
        (Backoff, model.Backoff),
        (Directory, model.Directory),
        (Helm, model.Helm),
        (HelmParameter, model.HelmParameter),
        (IgnoreDifference, model.IgnoreDifference),
        (Kustomize, model.Kustomize),
        (Maintenance, model.Maintenance),
        (NodePool, model.NodePool),
        (Replicas, model.Replicas),
        (ResourceKind, model.ResourceKind),
        (Retry, model.Retry),
        (Sync, model.Sync),
        (Taint, model.Taint),
    ],
)
def test_no_setting_is_lost_on_the_way(argument: Any, setting: type[Model]) -> None:
    assert {each.name for each in fields(argument)} == set(setting.model_fields)


@pytest.mark.parametrize(
    ("url", "credentials", "texts"),
    [
        (
            "https://git.example.com/team/monorepo",
            {"username": "robot", "password": "token"},
            {"password": "token"},
        ),
        (
            "git@git.example.com:team/monorepo",
            {"sshPrivateKey": KEY},
            {"ssh_private_key": KEY},
        ),
        (
            "https://git.example.com/team/monorepo",
            {"githubApp": {"id": 1, "installationId": 2, "privateKey": KEY}},
            {"private_key": KEY},
        ),
    ],
)
def test_credentials_arrive_as_secrets(
    url: str, credentials: dict[str, Any], texts: dict[str, str]
) -> None:
    stack = parsed(repositories={"monorepo": {"url": url, "credentials": credentials}})

    def program() -> dict[str, Any]:
        repository = arguments.argocd_args(stack, "context", "registry").repositories["monorepo"]
        assert repository.url == url
        assert isinstance(repository.credentials, Credentials)
        holder = repository.credentials.github_app or repository.credentials
        return {name: getattr(holder, name) for name in texts}

    assert run(program).outputs == {name: secret(text) for name, text in texts.items()}


def test_github_app_is_named_by_text_as_a_secret_holds_nothing_else() -> None:
    app = {"githubApp": {"id": 1, "installationId": 2, "privateKey": KEY}}
    url = "https://git.example.com/team/monorepo"
    stack = parsed(repositories={"monorepo": {"url": url, "credentials": app}})

    def program() -> dict[str, Any]:
        repository = arguments.argocd_args(stack, "context", "registry").repositories["monorepo"]
        assert repository.credentials is not None
        app = repository.credentials.github_app
        assert isinstance(app, GitHubApp)
        return {"id": app.id, "at": app.installation_id}

    assert {name: each.value for name, each in run(program).outputs.items()} == {
        "id": "1",
        "at": "2",
    }


def test_chart_is_the_public_one_unless_the_stack_names_another() -> None:
    assert arguments.argocd_args(parsed(), "c", "r").chart == ChartSource(
        repository="https://argoproj.github.io/argo-helm", version="10.1.1"
    )
    stack = parsed(argocd={"chart": {"path": "./charts/argo-cd"}})
    assert arguments.argocd_args(stack, "c", "r").chart == ChartSource(path="./charts/argo-cd")


def test_admin_password_and_webhook_secret_arrive_as_secrets() -> None:
    stack = parsed(
        argocd={
            "chart": {"version": "10.1.1"},
            "admin": {"password": "correct horse", "passwordSetAt": "2026-01-31T12:00:00Z"},
            "webhookSecret": "sixteen characters",
        }
    )

    def program() -> dict[str, Any]:
        args = arguments.argocd_args(stack, "context", "registry")
        assert args.admin.password_set_at == "2026-01-31T12:00:00Z"
        return {"password": args.admin.password, "webhook": args.webhook_secret}

    assert run(program).outputs == {
        "password": secret("correct horse"),
        "webhook": secret("sixteen characters"),
    }


def test_cluster_is_as_the_stack_file_says() -> None:
    cluster = {
        "name": "demo",
        "region": "nyc1",
        "version": "1.34",
        "autoUpgrade": True,
        "maintenance": {"day": "sunday", "startTime": "03:00"},
        "vpc": {"ipRange": "10.10.0.0/20"},
        "tags": ["team"],
        "destroyAssociatedResources": True,
        "nodePools": [{"name": "a", "size": "s-2vcpu-4gb", "autoscale": {"min": 1, "max": 3}}],
    }
    stack = parsed(cluster=cluster)

    def program() -> dict[str, Any]:
        args = arguments.cluster_args(
            stack, "1.34.1-do.0", "registry.digitalocean.com/shop", hold_version=False
        )
        assert (args.cluster_name, args.version) == ("demo", "1.34.1-do.0")
        assert args.auto_upgrade is True
        assert args.destroy_associated_resources is True
        assert args.maintenance == Maintenance("sunday", "03:00")
        assert (args.vpc_id, args.vpc_ip_range) == (None, "10.10.0.0/20")
        assert args.node_pools == (NodePool("a", "s-2vcpu-4gb", autoscale=Autoscale(1, 3)),)
        return {"token": args.access_token, "integrated": args.registry_integration}

    assert run(program).outputs == {
        "token": secret("dop_v1_token"),
        "integrated": Found(value=True, known=True, secret=False),
    }


@pytest.mark.parametrize(
    ("given", "source"),
    [
        ({}, None),
        (
            {"kustomize": {"replicas": [{"name": "shop", "count": 2}]}},
            Kustomize(replicas=(Replicas("shop", 2),)),
        ),
        ({"directory": {"recurse": True}}, Directory(recurse=True)),
        (
            {"helm": {"parameters": [{"name": "a.b", "value": "1", "forceString": True}]}},
            Helm(parameters=(HelmParameter("a.b", "1", force_string=True),)),
        ),
    ],
)
def test_application_s_source_is_of_the_kind_that_is_given(
    given: dict[str, Any], source: Kustomize | Directory | Helm | None
) -> None:
    shop = {"path": "shop", "namespace": "shop-dev", **given}
    stack = parsed(applications={"shop": shop})
    args = arguments.applications_args(stack, "argocd")["shop"]
    kinds = {"kustomize": args.kustomize, "directory": args.directory, "helm": args.helm}
    assert kinds == {**dict.fromkeys(kinds), **dict.fromkeys(given, source)}
    assert args.sync == Sync()


def test_project_reads_the_stack_s_repositories_and_those_that_it_adds() -> None:
    project = {"namespaces": ["shop-dev"], "sourceRepos": ["https://git.example.com/team/other"]}
    args = arguments.project_args(parsed(project=project), "argocd")
    assert args.project_name == "dev"
    assert args.source_repos == (
        "https://git.example.com/team/monorepo",
        "https://git.example.com/team/other",
    )
    assert args.cluster_resources == (ResourceKind("", "Namespace"),)


@pytest.mark.parametrize(
    ("managed_by", "source"),
    [("pulumi", Directory(exclude="argo-cd.yaml")), ("git", None)],
)
def test_app_of_apps_is_one_application_that_may_hold_nothing_but_argocd_s_own_kinds(
    managed_by: str, source: Directory | None
) -> None:
    stack = parsed(
        project=None,
        appOfApps={"revision": "main"} | ({"path": "gitops/dev"} if managed_by == "git" else {}),
        argocd={"chart": {"version": "10.1.1"}, "managedBy": managed_by},
    )
    project = arguments.project_args(stack, "argocd")
    assert project.project_name == "platform"
    assert list(project.namespaces) == ["argocd"]
    assert project.source_repos == ("https://git.example.com/team/monorepo",)
    assert not project.cluster_resources
    assert {each.kind for each in project.namespace_resources} == {
        "AppProject",
        "Application",
        "ApplicationSet",
    }
    [(name, application)] = arguments.applications_args(stack, "argocd").items()
    assert (name, application.revision, application.namespace) == ("bootstrap", "main", "argocd")
    folder = "gitops/dev" if managed_by == "git" else "argocd/dev"
    assert application.path == f"{folder}/bootstrap"
    # Argo CD has one owner: the stack, or the file in Git.
    assert application.directory == source
    assert arguments.argocd_args(stack, "c", "r").managed_by_git == (managed_by == "git")
