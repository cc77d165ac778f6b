"""Valid stack files and their settings."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pydantic
import pytest
from pulumi.runtime.config import set_all_config

from components.chart_values import ArgoCdOptions, chart_values
from doks_gitops import settings
from doks_gitops.settings import reference
from doks_gitops.settings.load import ADOPT
from doks_gitops.settings.model import Copies, Sync
from tests.unit import stackfiles
from tests.unit.stackfiles import ROOT, STACKS, as_text, configuration, own_files

TOKEN = {"DIGITALOCEAN_TOKEN": "dop_v1_from_the_environment"}
URL_KEY = "doks-gitops:repositories.monorepo.url"


def own_config(stack: str, url: str | None = "https://git.example.com/team/shop") -> dict[str, Any]:
    """The configuration of one of the repository's stacks, with the one key that a team sets."""
    config, _ = configuration(own_files()[f"Pulumi.{stack}.yaml"])
    if url is not None:
        config["doks-gitops:repositories"]["monorepo"]["url"] = url
    return config


def own(stack: str, **overrides: Any) -> settings.Settings:
    return settings.parse(stack, own_config(stack) | overrides, own_files(), environ=TOKEN)


def refused(stack: str, config: dict[str, Any], **options: Any) -> tuple[settings.Finding, ...]:
    with pytest.raises(settings.SettingsError) as refusal:
        settings.parse(stack, config, own_files(), **({"environ": TOKEN} | options))
    return refusal.value.findings


@pytest.mark.parametrize("stack", STACKS)
def test_own_stacks_are_valid_once_the_url_is_set(stack: str) -> None:
    parsed = own(stack)
    assert parsed.environment == stack
    assert parsed.project is not None
    assert parsed.project.name == stack
    application = parsed.applications["microservices-demo"]
    assert application.path == f"kustomize/{stack}"
    assert application.repository == "monorepo"
    assert parsed.project.namespaces == (application.namespace,)
    assert not parsed.registry.create


@pytest.mark.parametrize("stack", STACKS)
def test_own_stacks_have_no_default_providers(stack: str) -> None:
    assert own_config(stack, url=None)["pulumi:disable-default-providers"] == ["*"]


@pytest.mark.parametrize("stack", STACKS)
def test_missing_url_is_the_only_finding_and_has_a_fix(stack: str) -> None:
    (finding,) = refused(stack, own_config(stack, url=None))
    assert finding.key == URL_KEY
    assert finding.fix is not None
    assert finding.fix.startswith(f"pulumi config set --path '{URL_KEY}' https://")
    assert finding.fix.endswith(f"--stack {stack}")


@pytest.mark.parametrize("stack", STACKS)
def test_application_has_the_namespace_of_its_overlay(stack: str) -> None:
    assert own(stack).applications["microservices-demo"].namespace == f"microservices-demo-{stack}"


def test_prod_is_highly_available_and_protected_by_default() -> None:
    cluster = own_config("prod")["doks-gitops:cluster"]
    argocd = {"chart": {"version": "1.2.3"}}
    bare = {key: cluster[key] for key in ("name", "region", "version", "nodePools")}
    parsed = own("prod", **{"doks-gitops:cluster": bare, "doks-gitops:argocd": argocd})
    assert parsed.cluster.protect
    assert parsed.cluster.high_availability
    assert parsed.argocd.high_availability
    unprotected = own("prod", **{"doks-gitops:cluster": bare | {"protect": False}})
    assert not unprotected.cluster.protect


def test_other_environments_are_small_by_default() -> None:
    parsed = own("dev")
    assert not parsed.cluster.protect
    assert not parsed.cluster.high_availability
    assert not parsed.argocd.high_availability
    assert parsed.cluster.destroy_associated_resources


def test_stack_with_another_name_sets_its_environment() -> None:
    config = own_config("prod")
    config["doks-gitops:cluster"]["name"] = "shop-blue"
    config["doks-gitops:environment"] = "prod"
    parsed = settings.parse("blue", config, own_files(), environ=TOKEN)
    assert (parsed.stack, parsed.environment) == ("blue", "prod")
    assert parsed.cluster.protect
    assert parsed.project is not None
    assert parsed.project.name == "prod"


def test_settings_are_immutable() -> None:
    parsed = own("dev")
    with pytest.raises(pydantic.ValidationError):
        parsed.cluster.region = "ams3"  # type: ignore[misc]
    assert isinstance(parsed.cluster.node_pools, tuple)


def test_parsing_does_not_change_the_configuration() -> None:
    config = own_config("prod")
    before = copy.deepcopy(config)
    settings.parse("prod", config, own_files(), environ=TOKEN)
    assert config == before


def test_secrets_are_not_in_the_representation() -> None:
    parsed = own("dev")
    assert parsed.digitalocean.token.get_secret_value() == TOKEN["DIGITALOCEAN_TOKEN"]
    assert TOKEN["DIGITALOCEAN_TOKEN"] not in repr(parsed)


def test_clusters_token_comes_from_the_environment_and_by_default_is_that_of_the_account() -> None:
    own = {**TOKEN, "DIGITALOCEAN_CLUSTER_TOKEN": "dop_v1_of_the_cluster"}
    for environ, token in ((own, "dop_v1_of_the_cluster"), (TOKEN, TOKEN["DIGITALOCEAN_TOKEN"])):
        parsed = settings.parse("dev", own_config("dev"), own_files(), environ=environ)
        assert parsed.digitalocean.kubernetes_token.get_secret_value() == token
        assert parsed.digitalocean.token.get_secret_value() == TOKEN["DIGITALOCEAN_TOKEN"]


def test_token_of_the_stack_overrides_the_environment() -> None:
    parsed = own("dev", **{"digitalocean:token": "dop_v1_own"})
    assert parsed.digitalocean.token.get_secret_value() == "dop_v1_own"


def test_environment_overrides_the_address_of_the_api() -> None:
    environ = TOKEN | {"DIGITALOCEAN_API_URL": "http://127.0.0.1:8080"}
    parsed = settings.parse("dev", own_config("dev"), own_files(), environ=environ)
    assert parsed.digitalocean.api_endpoint == "http://127.0.0.1:8080"


def test_finding_in_an_environment_variable_names_the_variable() -> None:
    environ = TOKEN | {"DIGITALOCEAN_API_URL": "http://api.example.com"}
    (finding,) = refused("dev", own_config("dev"), environ=environ)
    assert finding.source == "environment variable DIGITALOCEAN_API_URL"


def test_value_that_is_not_in_the_stack_file_is_secret_if_pulumi_says_so() -> None:
    config = own_config("dev") | {"digitalocean:token": "dop_v1_own"}
    parsed = settings.parse("dev", config, own_files(), secret_keys=["digitalocean:token"])
    assert parsed.digitalocean.token.get_secret_value() == "dop_v1_own"
    (finding,) = refused("dev", config, secret_keys=[])
    assert (finding.key, finding.got) == ("digitalocean:token", "a secret in plain text")


def test_encrypted_value_is_not_shown() -> None:
    config = own_config("dev")
    config["doks-gitops:cluster"]["region"] = "Atlantis"
    files = own_files()
    files["Pulumi.dev.yaml"] = files["Pulumi.dev.yaml"].replace(
        "region: nyc1", "region: {secure: v1:abc}"
    )
    with pytest.raises(settings.SettingsError, match=r"got: +a secret") as refusal:
        settings.parse("dev", config, files, environ=TOKEN)
    assert "Atlantis" not in str(refusal.value)


@pytest.mark.parametrize(
    "url",
    [
        "https://github.com/team/shop",
        "https://git.example.com:8443/team/shop.git",
        "ssh://git@git.example.com:2222/team/shop.git",
        "git@github.com:team/shop.git",
        "http://127.0.0.1:9418/git/shop.git",
        "http://10.0.0.5/shop.git",
    ],
)
def test_usual_forms_of_a_repository_url_are_valid(url: str) -> None:
    config = own_config("dev", url)
    parsed = settings.parse("dev", config, own_files(), environ=TOKEN)
    assert parsed.repositories["monorepo"].url == url


@pytest.mark.parametrize("url", ["https://argocd.example.com", "https://argocd.example.com:8443/"])
def test_valid_url_of_argo_cd_is_valid_for_the_chart(url: str) -> None:
    argocd = own_config("dev")["doks-gitops:argocd"] | {"url": url}
    parsed = own("dev", **{"doks-gitops:argocd": argocd})
    domain = chart_values(ArgoCdOptions(url=parsed.argocd.url))["global"]["domain"]
    assert f"https://{domain}" == url.removesuffix("/")


@pytest.mark.parametrize(
    "url",
    ["https://a/b", "https://a?b", "https://a#b", "https://a:", "https://", "http://10.0.0.5", "a"],
)
def test_other_urls_of_argo_cd_are_refused(url: str) -> None:
    config = own_config("dev")
    config["doks-gitops:argocd"]["url"] = url
    (finding,) = refused("dev", config)
    assert finding.key == "doks-gitops:argocd.url"
    assert finding.fix is not None
    assert finding.fix.endswith("argocd.url' https://argocd.example.com --stack dev")


@pytest.mark.parametrize("value", [{"enabled": False}, {"hardAntiAffinity": False}])
def test_highly_available_argo_cd_needs_three_nodes_only_for_its_redis(
    value: dict[str, bool],
) -> None:
    config = own_config("staging")
    config["doks-gitops:argocd"] |= {"highAvailability": True}
    (finding,) = refused("staging", config)
    assert finding.key == "doks-gitops:argocd.highAvailability"
    config["doks-gitops:argocd"] |= {"values": {"redis-ha": value}}
    assert settings.parse("staging", config, own_files(), environ=TOKEN).argocd.high_availability


@pytest.mark.parametrize("version", ["1.34", "1.34.1", "1.34.1-do.0"])
def test_kubernetes_version_may_be_a_minor_version_or_exact(version: str) -> None:
    cluster = own_config("dev")["doks-gitops:cluster"] | {"version": version}
    assert own("dev", **{"doks-gitops:cluster": cluster}).cluster.version == version


def test_two_stacks_may_own_two_registries() -> None:
    files = own_files()
    files["Pulumi.prod.yaml"] = files["Pulumi.prod.yaml"].replace(
        "{name: microservices-demo, create: false}", "{name: other, create: true}"
    )
    config = own_config("dev") | {"doks-gitops:registry": {"name": "mine", "create": True}}
    assert settings.parse("dev", config, files, environ=TOKEN).registry.create


def test_sync_options_are_checked() -> None:
    options = ["CreateNamespace=true", "PrunePropagationPolicy=foreground", "Prune=confirm"]
    assert Sync(options=tuple(options)).options == tuple(options)
    with pytest.raises(pydantic.ValidationError):
        Sync(options=("PrunePropagationPolicy=true",))


def test_load_reads_the_configuration_of_pulumi_and_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = own_config("staging") | {"digitalocean:token": "dop_v1_own"}
    for name, text in own_files().items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DIGITALOCEAN_API_URL", "http://127.0.0.1:8080")

    monkeypatch.setattr("pulumi.get_stack", lambda: "staging")
    set_all_config(as_text(config), ["digitalocean:token"])
    try:
        parsed = settings.load()
    finally:
        set_all_config({}, [])
    assert (parsed.stack, parsed.cluster.name) == ("staging", "microservices-demo-staging")
    assert parsed.digitalocean.api_endpoint == "http://127.0.0.1:8080"
    assert parsed.digitalocean.token.get_secret_value() == "dop_v1_own"


def test_reference_is_current() -> None:
    text = (ROOT / reference.FILE).read_text()
    assert text == reference.reference(), "run: python -m doks_gitops.settings.reference"


@pytest.mark.parametrize(
    ("key", "example", "secret", "command"),
    [
        ("doks-gitops:environment", "dev", False, "doks-gitops:environment dev"),
        ("doks-gitops:a.b[0]", "x y", False, "--path 'doks-gitops:a.b[0]' 'x y'"),
        (
            "doks-gitops:a.passwordSetAt",
            "t",
            False,
            "--plaintext --path 'doks-gitops:a.passwordSetAt' t",
        ),
        ("doks-gitops:a.b", "never", True, "--secret --path 'doks-gitops:a.b'"),
    ],
)
def test_commands_are_valid_for_pulumi(key: str, example: str, secret: bool, command: str) -> None:
    from doks_gitops.settings.errors import set_command

    expected = f"pulumi config set {command} --stack dev"
    assert set_command("dev", key, example, secret=secret) == expected


@pytest.mark.parametrize(
    ("patterns", "permitted"),
    [
        (["shop-dev"], True),
        (["shop"], False),
        (["shop-*"], True),
        (["*-*-dev"], False),
        (["s*p-*v"], True),
        (["shop-de?"], True),
        (["shop-de??"], False),
        (["shop-[a-d]ev"], True),
        (["shop-[!d]ev"], False),
        (["!kube-system"], True),
        (["!shop-*"], False),
        (["!shop-dev", "*"], False),
        (["shop-dev", "!kube-*"], True),
    ],
)
def test_namespaces_of_a_project_are_matched_as_argo_cd_does(
    patterns: list[str], permitted: bool
) -> None:
    config = own_config("dev")
    config["doks-gitops:project"] = {"namespaces": patterns, "allowAny": True}
    config["doks-gitops:applications"] = {"shop": {"path": "shop", "namespace": "shop-dev"}}
    if permitted:
        settings.parse("dev", config, own_files(), environ=TOKEN)
    else:
        (finding,) = refused("dev", config)
        assert finding.key == "doks-gitops:applications.shop.namespace"


@pytest.mark.parametrize("text", ["{", "[]", "1", "[" * 100_000, '{"a":' * 5000 + "1" + "}" * 5000])
def test_variable_of_a_recovery_that_is_broken_is_an_error_that_names_it(text: str) -> None:
    [finding] = refused("dev", own_config("dev"), environ=TOKEN | {ADOPT: text})
    assert finding.key == ADOPT
    assert "`bin/platform recover`" in finding.expected


def test_a_project_may_deploy_to_the_namespaces_of_its_applications() -> None:
    def namespaces(**sections: object) -> tuple[str, ...]:
        project = stackfiles.parsed(
            applications={
                "shop": {"path": "shop", "namespace": "shop-dev"},
                "web": {"path": "web", "namespace": "web-dev"},
            },
            **sections,
        ).project
        assert project is not None
        assert project.name == "dev"
        return project.namespaces

    assert namespaces(project=None) == ("shop-dev", "web-dev")
    assert namespaces(project={"description": "Shop"}) == ("shop-dev", "web-dev")
    wider = ["other", "shop-dev", "web-dev"]
    assert namespaces(project={"namespaces": wider}) == tuple(wider)


def test_a_namespace_that_each_cluster_has_is_never_a_default() -> None:
    system = {"tools": {"path": "tools", "namespace": "kube-system"}}
    with pytest.raises(settings.SettingsError, match=r"doks-gitops:project\b"):
        stackfiles.parsed(project=None, applications=system)
    shop = {"shop": {"path": "shop", "namespace": "shop-dev"}}
    with pytest.raises(settings.SettingsError, match="which the project may not deploy to"):
        stackfiles.parsed(project=None, applications={**system, **shop})


def test_source_has_the_only_repository_of_its_type_by_default() -> None:
    repositories = {
        "git": {"url": "https://git.example.com/team/shop"},
        "charts": {"url": "https://charts.example.com", "type": "helm"},
        "artifacts": {"url": "oci://ghcr.io/team/shop", "type": "oci"},
    }
    chart = {"chart": "redis", "version": "1.2.3"}
    sources = [chart, {"ref": "values"}, {"version": "1.2.3"}]
    stack = stackfiles.parsed(
        repositories=repositories,
        applications={
            "shop": {"path": "shop", "namespace": "shop-dev"},
            "cache": {**chart, "namespace": "shop-dev"},
            "all": {"sources": sources, "namespace": "shop-dev"},
        },
    )
    names = {
        name: [source.repository for source in application.all_sources]
        for name, application in stack.applications.items()
    }
    assert names == {"shop": ["git"], "cache": ["charts"], "all": ["charts", "git", "artifacts"]}


def test_source_names_its_repository_if_several_are_of_its_type() -> None:
    repositories = {name: {"url": f"https://git.example.com/{name}"} for name in ("one", "two")}
    shop = {"path": "shop", "namespace": "shop-dev"}
    with pytest.raises(settings.SettingsError, match=r"shop.repository\n +got: +nothing"):
        stackfiles.parsed(repositories=repositories, applications={"shop": shop})


@pytest.mark.parametrize(
    ("variables", "complete"),
    [
        ({}, False),
        ({"SPACES_ACCESS_KEY_ID": "key", "SPACES_SECRET_ACCESS_KEY": "secret"}, False),
        (
            {
                "SPACES_ACCESS_KEY_ID": "key",
                "SPACES_SECRET_ACCESS_KEY": "secret",
                "RESTIC_PASSWORD": "p" * 20,
            },
            True,
        ),
    ],
)
def test_credentials_of_copies_come_from_the_environment_all_or_none(
    variables: dict[str, str], complete: bool
) -> None:
    assert (copies_in(variables).credentials is not None) == complete


def test_credentials_of_copies_in_the_environment_are_taken_before_those_of_the_stack() -> None:
    """The workflow that makes the copies has no others, so a recovery with the same variables must
    not look for them with other ones."""
    stack = {"accessKey": "k", "secretKey": "s", "password": "q" * 20}
    variables = {
        "SPACES_ACCESS_KEY_ID": "key",
        "SPACES_SECRET_ACCESS_KEY": "secret",
        "RESTIC_PASSWORD": "p" * 20,
    }
    for environ, password in ({}, "q" * 20), (variables, "p" * 20):
        credentials = copies_in(environ, credentials=stack).credentials
        assert credentials is not None
        assert credentials.password.get_secret_value() == password


def copies_in(variables: Mapping[str, str], **settings_of_copies: object) -> Copies:
    sections = {
        "cluster": stackfiles.CLUSTER,
        "registry": {"name": "team"},
        "argocd": {"chart": {"version": "1.2.3"}},
        "repositories": {"monorepo": {"url": "https://git.example.com/team/monorepo"}},
        "project": {"namespaces": ["shop-dev"]},
        "volumes": {
            "snapshots": {},
            "copies": {"bucket": "shop-copies", "region": "fra1", **settings_of_copies},
        },
    }
    config: dict[str, Any] = {f"doks-gitops:{name}": value for name, value in sections.items()}
    config["digitalocean:token"] = "dop_v1_token"
    environ = {"SPACES_ENDPOINT_URL": "https://storage.example.com/", **variables}
    secret_keys = ["digitalocean:token", "doks-gitops:volumes"]
    volumes = settings.parse("dev", config, {}, environ=environ, secret_keys=secret_keys).volumes
    assert volumes is not None
    assert volumes.copies is not None
    assert volumes.copies.url == "https://storage.example.com/shop-copies"
    return volumes.copies
