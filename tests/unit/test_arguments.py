"""The settings of a stack file become the arguments of the components."""

from dataclasses import MISSING, dataclass, fields, replace
from typing import Any

import pytest
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from components.application import (
    Directory,
    GitOpsApplicationArgs,
    Helm,
    HelmParameter,
    Kustomize,
    Replicas,
    Source,
    Sync,
)
from components.argocd import (
    Admin,
    ArgoCdArgs,
    ChartSource,
    Credentials,
    CredentialTemplate,
    GitHubApp,
    Repository,
)
from components.cluster import (
    Autoscale,
    ControlPlaneFirewall,
    DoksClusterArgs,
    Existing,
    Maintenance,
    Network,
    NodePool,
)
from components.github import GitHubDeliveryArgs, Webhook
from components.project import GitOpsProjectArgs, ResourceKind
from components.pull_requests import PullRequestEnvironmentsArgs
from components.registry import ContainerRegistryArgs
from components.sealed_secrets import SealedSecretsArgs
from doks_gitops import arguments
from doks_gitops.account import Account, Version
from doks_gitops.settings import cluster_options, github, model, schema
from doks_gitops.settings.base import Model
from doks_gitops.settings.github import GitHub
from doks_gitops.settings.pull_requests import PullRequests
from tests.unit.mocked import OutputValue, run
from tests.unit.stackfiles import parsed
from tests.unit.test_ssh_key import KEYS, TRADITIONAL, private

KEY, APP_KEY = private(), private(KEYS[1], TRADITIONAL)


def secret(text: str) -> OutputValue:
    """The output of a secret text."""
    return OutputValue(value=text, known=True, secret=True)


@dataclass(frozen=True)
class Pair:
    """A model of the settings, and the dataclass of the arguments for it."""

    model: type[Model]
    arguments: Any
    settings_by_hand: tuple[str, ...] = ()
    """Fields of the model that are no arguments."""
    arguments_by_hand: tuple[str, ...] = ()
    """Arguments that are no fields of the model."""
    differing: tuple[str, ...] = ()
    """Fields of both that are required in one of them only, or have another default."""


ROOTS = (
    Pair(model.Registry, ContainerRegistryArgs, ("name",), ("registry_name", "adopt")),
    Pair(
        model.Cluster,
        DoksClusterArgs,
        ("name", "upgrade", "ignored_checks", "replace", "vpc"),
        (
            "cluster_name",
            "hold_version",
            "hold_network",
            "retain_vpc",
            "access_token",
            "registry_integration",
            "vpc_id",
            "vpc_ip_range",
            "adopt",
        ),
    ),
    # A stack has default networks; a component has none.
    Pair(cluster_options.Network, Network, differing=("pods", "services")),
    Pair(
        cluster_options.ControlPlaneFirewall,
        ControlPlaneFirewall,
        ("own_address", "own_address_unchecked"),
    ),
    Pair(model.Adopt, Existing, ("admin_password", "registry", "mark", "volumes", "copies")),
    Pair(
        model.Argocd,
        ArgoCdArgs,
        ("managed_by",),
        (
            "repositories",
            "credential_templates",
            "cluster_id",
            "kube_context",
            "timeout",
            "application_set_webhooks",
            "managed_by_git",
            "cluster_labels",
            "cluster_annotations",
        ),
    ),
    # The settings have the public repository as default; a component has none. The name is that of
    # either component's chart.
    Pair(model.Chart, ChartSource, differing=("repository", "name")),
    Pair(model.SealedSecretsChart, ChartSource, differing=("repository", "name")),
    Pair(model.SealedSecrets, SealedSecretsArgs, (), ("cluster_id", "timeout")),
    Pair(model.Repository, Repository),
    Pair(model.CredentialTemplate, CredentialTemplate),
    Pair(model.Admin, Admin, (), ("adopt",)),
    Pair(
        model.Project,
        GitOpsProjectArgs,
        ("name",),
        ("project_name", "argocd_namespace"),
        # The stack's repositories are added.
        differing=("source_repos",),
    ),
    Pair(
        model.Application,
        GitOpsApplicationArgs,
        tuple(model.Source.model_fields),
        ("application_name", "project_name", "argocd_namespace"),
        differing=("sources",),
    ),
    Pair(model.PartialSource, Source, ("repository", "version"), ("repo_url", "name")),
    Pair(GitHub, GitHubDeliveryArgs, ("owner", "token", "base_url"), ("pull_request_webhook",)),
    Pair(
        PullRequests,
        PullRequestEnvironmentsArgs,
        ("application", "webhook_url", "time_to_live", "service", "port"),
        ("project_name", "argocd_namespace", "owner", "repository", "source", "api_url"),
        # A stack has a default folder; a component has none.
        differing=("limits_path",),
    ),
    # The default of the address is derived from Argo CD's.
    Pair(github.Webhook, Webhook, (), ("secret",), differing=("url",)),
)


def nested_model(field: FieldInfo) -> type[Model] | None:
    """The model of a field's value, or of the items of its list or map."""
    setting: schema.SettingType | None = schema.setting_type(field.annotation)
    while setting is not None and setting.model is None:
        setting = setting.child(0) or setting.child("")
    return setting.model if setting else None


def all_pairs() -> dict[type[Model], Pair]:
    """`ROOTS`, and the pairs of the fields that they have in common."""
    pairs = {pair.model: pair for pair in ROOTS}
    pending = list(ROOTS)
    while pending:
        pair = pending.pop()
        for field in fields(pair.arguments):
            setting = pair.model.model_fields.get(field.name)
            nested = nested_model(setting) if setting else None
            for arguments_type in arguments.dataclasses_in(field.type):
                if nested is not None and nested not in pairs:
                    pairs[nested] = Pair(nested, arguments_type)
                    pending.append(pairs[nested])
    return pairs


PAIRS = all_pairs()


@pytest.mark.parametrize("pair", PAIRS.values(), ids=lambda pair: pair.model.__name__)
def test_settings_and_arguments_have_the_same_fields_and_defaults(pair: Pair) -> None:
    settings_fields = pair.model.model_fields
    argument_fields = {field.name: field for field in fields(pair.arguments)}
    assert set(pair.settings_by_hand) <= set(settings_fields)
    assert set(pair.arguments_by_hand) <= set(argument_fields)
    common = set(settings_fields) - set(pair.settings_by_hand)
    assert common == set(argument_fields) - set(pair.arguments_by_hand)
    for name in common:
        field, setting = argument_fields[name], settings_fields[name]
        default = field.default if field.default_factory is MISSING else field.default_factory()
        expected: object = MISSING
        if not setting.is_required():
            value = setting.get_default(call_default_factory=True, validated_data={})
            expected = arguments.convert_value(value, field.type)
        assert (default == expected) is (name not in pair.differing), name


def test_every_object_of_the_settings_has_a_pair_except_those_mapped_by_hand() -> None:
    models: list[type[Model]] = [model.Settings]
    for known in models:
        nested = map(nested_model, known.model_fields.values())
        models += {item for item in nested if item is not None and item not in models}
    assert set(models) - set(PAIRS) == {
        model.Settings,
        model.DigitalOcean,
        model.Vpc,
        model.AppOfApps,
        model.Volumes,
        model.Snapshots,
        model.Copies,
        model.CopyCredentials,
    }


def test_setting_that_reaches_no_argument_is_an_error() -> None:
    class NodePoolWithRoot(model.NodePool):
        root_volume: int | None = None

    pool = NodePoolWithRoot(name="default", size="s-2vcpu-4gb", count=1)
    with pytest.raises(TypeError, match="NodePool has no root_volume"):
        arguments.convert(pool, NodePool)


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
            {"githubApp": {"id": 1, "installationId": 2, "privateKey": APP_KEY}},
            {"private_key": APP_KEY},
        ),
    ],
)
def test_credentials_become_secrets(
    url: str, credentials: dict[str, Any], texts: dict[str, str]
) -> None:
    stack = parsed(repositories={"monorepo": {"url": url, "credentials": credentials}})

    def program() -> dict[str, Any]:
        repository = arguments.argocd_args(stack, "id", "context", "registry").repositories[
            "monorepo"
        ]
        assert repository.url == url
        assert isinstance(repository.credentials, Credentials)
        holder = repository.credentials.github_app or repository.credentials
        return {name: getattr(holder, name) for name in texts}

    assert run(program).outputs == {name: secret(text) for name, text in texts.items()}


def test_ids_of_a_github_app_become_text() -> None:
    app = {"githubApp": {"id": 1, "installationId": 2, "privateKey": APP_KEY}}
    url = "https://git.example.com/team/monorepo"
    stack = parsed(repositories={"monorepo": {"url": url, "credentials": app}})

    def program() -> dict[str, Any]:
        repository = arguments.argocd_args(stack, "id", "context", "registry").repositories[
            "monorepo"
        ]
        assert repository.credentials is not None
        app = repository.credentials.github_app
        assert isinstance(app, GitHubApp)
        return {"id": app.id, "at": app.installation_id}

    assert {name: output.value for name, output in run(program).outputs.items()} == {
        "id": "1",
        "at": "2",
    }


def test_chart_is_the_public_one_by_default() -> None:
    assert arguments.argocd_args(parsed(), "id", "c", "r").chart == ChartSource(
        repository="https://argoproj.github.io/argo-helm", name="argo-cd", version="1.2.3"
    )
    stack = parsed(argocd={"chart": {"path": "./charts/argo-cd"}})
    assert arguments.argocd_args(stack, "id", "c", "r").chart == ChartSource(
        path="./charts/argo-cd"
    )


def test_admin_password_and_webhook_secret_become_secrets() -> None:
    stack = parsed(
        argocd={
            "chart": {"version": "1.2.3"},
            "admin": {"password": "correct horse", "passwordSetAt": "2026-01-31T12:00:00Z"},
            "webhookSecret": "sixteen characters",
        }
    )

    def program() -> dict[str, Any]:
        args = arguments.argocd_args(stack, "id", "context", "registry")
        assert args.admin.password_set_at == "2026-01-31T12:00:00Z"
        return {"password": args.admin.password, "webhook": args.webhook_secret}

    assert run(program).outputs == {
        "password": secret("correct horse"),
        "webhook": secret("sixteen characters"),
    }


def test_settings_of_the_cluster_become_arguments() -> None:
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
    team = Account(("nyc1",), (), (Version.parse("1.34.1-do.0"),), (), ())

    def program() -> dict[str, Any]:
        args = arguments.cluster_args(stack, team, "mark")
        assert (args.cluster_name, args.version) == ("demo", "1.34.1-do.0")
        assert args.auto_upgrade is True
        assert args.tags == ["team", "mark"]
        assert args.destroy_associated_resources is True
        assert args.maintenance == Maintenance("sunday", "03:00")
        assert (args.vpc_id, args.vpc_ip_range) == (None, "10.10.0.0/20")
        assert args.node_pools == (NodePool("a", "s-2vcpu-4gb", autoscale=Autoscale(1, 3)),)
        return {"token": args.access_token, "integrated": args.registry_integration}

    assert run(program).outputs == {
        "token": secret("dop_v1_token"),
        "integrated": OutputValue(value=True, known=True, secret=False),
    }


def test_kubeconfig_gets_the_clusters_own_token_if_the_stack_has_one() -> None:
    stack = parsed()
    account = stack.digitalocean.model_copy(update={"cluster_token": SecretStr("dop_v1_cluster")})
    stack = stack.model_copy(update={"digitalocean": account})
    team = Account(("nyc1",), (), (Version.parse("1.34.1-do.0"),), (), ())
    outputs = run(
        lambda: {"token": arguments.cluster_args(stack, team, "mark").access_token}
    ).outputs
    assert outputs == {"token": secret("dop_v1_cluster")}


@pytest.mark.parametrize(
    ("options", "source"),
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
def test_application_has_the_options_of_its_kind(
    options: dict[str, Any], source: Kustomize | Directory | Helm | None
) -> None:
    shop = {"path": "shop", "namespace": "shop-dev", **options}
    stack = parsed(applications={"shop": shop})
    args = arguments.applications_args(stack, "argocd")["shop"]
    [shop_source] = args.sources
    kinds = {kind: getattr(shop_source, kind) for kind in ("kustomize", "directory", "helm")}
    assert kinds == {**dict.fromkeys(kinds), **dict.fromkeys(options, source)}
    assert args.sync == Sync()


def test_applications_change_with_what_their_project_allows_so_that_failed_syncs_are_repeated() -> (
    None
):
    def source_name(**project: Any) -> str | None:
        stack = parsed(
            project={"namespaces": ["shop-dev"], **project},
            applications={"shop": {"path": "shop", "namespace": "shop-dev"}},
        )
        return arguments.applications_args(stack, "argocd")["shop"].sources[0].name

    assert source_name() == source_name(description="another")
    assert source_name() != source_name(clusterResources=[{"kind": "Namespace"}, {"kind": "Node"}])
    assert source_name() != source_name(namespaces=["shop-dev", "shop-test"])


REPOSITORIES = {
    "git": {"url": "https://git.example.com/team/values"},
    "charts": {"url": "ghcr.io/team/charts", "type": "helm"},
    "artifacts": {"url": "oci://ghcr.io/team/manifests", "type": "oci"},
}


def test_sources_of_each_type_have_their_url_and_exact_revision() -> None:
    sources = [
        {
            "repository": "charts",
            "chart": "redis",
            "version": "1.2.3",
            "helm": {"valueFiles": ["$values/redis.yaml"]},
        },
        {"repository": "git", "revision": "main", "ref": "values"},
        {"repository": "artifacts", "version": "v2.0.0"},
    ]
    shop = {"namespace": "shop-dev", "sources": sources}
    stack = parsed(repositories=REPOSITORIES, applications={"shop": shop})
    converted = arguments.applications_args(stack, "argocd")["shop"].sources
    assert (replace(converted[0], name=None), *converted[1:]) == (
        Source(
            "ghcr.io/team/charts",
            chart="redis",
            revision="1.2.3",
            helm=Helm(value_files=("$values/redis.yaml",)),
        ),
        Source("https://git.example.com/team/values", revision="main", ref="values"),
        Source("oci://ghcr.io/team/manifests", path=".", revision="v2.0.0"),
    )


def test_project_has_the_stack_s_repositories_and_more() -> None:
    project = {"namespaces": ["shop-dev"], "sourceRepos": ["https://git.example.com/team/other"]}
    args = arguments.project_args(parsed(project=project), "argocd")
    assert args.project_name == "dev"
    assert args.source_repos == (
        "https://git.example.com/team/monorepo",
        "https://git.example.com/team/other",
    )
    assert args.cluster_resources == (ResourceKind("Namespace"),)


@pytest.mark.parametrize(
    ("managed_by", "source"),
    [("pulumi", Directory(exclude="argo-cd.yaml")), ("git", None)],
)
def test_app_of_apps_is_an_application_that_may_deploy_only_argo_cd_s_own_kinds(
    managed_by: str, source: Directory | None
) -> None:
    stack = parsed(
        project=None,
        appOfApps={"revision": "main"} | ({"path": "gitops/dev"} if managed_by == "git" else {}),
        argocd={"chart": {"version": "1.2.3"}, "managedBy": managed_by},
    )
    project = arguments.project_args(stack, "argocd")
    assert project.project_name == "platform"
    assert list(project.namespaces) == ["argocd"]
    assert project.source_repos == ("https://git.example.com/team/monorepo",)
    assert not project.cluster_resources
    assert {resource.kind for resource in project.namespace_resources} == {
        "AppProject",
        "Application",
        "ApplicationSet",
    }
    [(name, application)] = arguments.applications_args(stack, "argocd").items()
    assert (name, application.namespace) == ("bootstrap", "argocd")
    folder = "gitops/dev" if managed_by == "git" else "argocd/dev"
    # Argo CD has one owner: the stack or Git.
    assert application.sources == (
        Source(
            "https://git.example.com/team/monorepo",
            path=f"{folder}/bootstrap",
            revision="main",
            directory=source,
        ),
    )
    assert arguments.argocd_args(stack, "id", "c", "r").managed_by_git == (managed_by == "git")
