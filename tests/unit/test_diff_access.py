"""Credentials reach the repositories that the stack has them for, and no others."""

import json
from pathlib import Path
from typing import Any

import pytest

from doks_gitops.diff import access, environment
from doks_gitops.diff.access import Access
from doks_gitops.errors import PlatformError
from doks_gitops.settings import SettingsError
from tests.unit.pulumi_command import PulumiCommand
from tests.unit.test_ssh_key import KEYS, TRADITIONAL, private

KEY, APP_KEY = private(), private(KEYS[1], TRADITIONAL)
USER = {"credentials": {"username": "team", "password": "hunter2"}}
SECTIONS: dict[str, Any] = {
    "repositories": {
        "monorepo": {"url": "https://git.test/team/monorepo.git"},
        "charts": {"url": "registry.test/charts", "type": "helm", **USER},
        "keyed": {
            "url": "git@git.test:team/a.git",
            "credentials": {"sshPrivateKey": KEY},
        },
        "app": {
            "url": "https://github.com/team/b",
            "credentials": {"githubApp": {"id": 1, "installationId": 2, "privateKey": APP_KEY}},
        },
        "local": {"url": "127.0.0.1:5000/charts", "type": "helm", "plainHttp": True},
    },
    "credentialTemplates": {
        "team": {"url": "https://git.test/", **USER},
        "other": {
            "url": "https://git.test/team/",
            "credentials": {"username": "other", "password": "hunter3"},
        },
    },
}
URLS = {entry["url"] for section in SECTIONS.values() for entry in section.values()}


@pytest.fixture
def stack(pulumi: PulumiCommand) -> None:
    pulumi.prints(
        {
            f"doks-gitops:{key}": {"value": json.dumps(section), "secret": True}
            for key, section in SECTIONS.items()
        }
    )


def read(urls: set[str]) -> Access:
    return access.read("dev", Path(), urls)


def test_each_kind_of_credentials_is_that_of_argo_cds_message(stack: None) -> None:
    fields = read(URLS).fields
    assert fields("registry.test/charts") == {"username": "team", "password": "hunter2"}
    assert fields("git@git.test:team/a") == {"sshPrivateKey": KEY}
    assert fields("https://github.com/team/b.git") == {
        "githubAppID": 1, "githubAppInstallationID": 2, "githubAppPrivateKey": APP_KEY,
    }  # fmt: skip
    assert fields("127.0.0.1:5000/charts") == {"insecureOCIForceHttp": True}
    assert fields("https://elsewhere.test/a") == {}


def test_longest_template_that_fits_is_used(stack: None) -> None:
    fields = read(URLS).fields
    assert fields("https://git.test/team/monorepo")["username"] == "other"
    assert fields("https://git.test/b")["username"] == "team"


def test_url_that_the_change_brings_gets_no_credentials(stack: None) -> None:
    fields = read(URLS - {"registry.test/charts", "https://git.test/team/"}).fields
    assert fields("registry.test/charts") == {}
    assert fields("https://git.test/team/monorepo")["username"] == "team"


def test_invalid_credentials_are_told_without_them(pulumi: PulumiCommand) -> None:
    broken = {"a": {"url": "https://a.test", "credentials": {"password": ["hunter2"]}}}
    pulumi.prints({"doks-gitops:repositories": {"value": json.dumps(broken), "secret": True}})
    with pytest.raises(PlatformError) as error:
        read(set())
    assert "hunter2" not in str(error.value)


STACK_FILE = """\
config:
  doks-gitops:cluster:
    name: a
    region: nyc1
    version: "1.34"
    nodePools: [{name: default, size: s-2vcpu-4gb, count: 1}]
"""
REPOSITORIES = """\
  doks-gitops:repositories:
    monorepo: {url: "https://git.test/a.git"}
    private: {url: "https://private.test/b", credentials: {password: {secure: "v1:abc"}}}
  doks-gitops:appOfApps: {repository: monorepo}
  doks-gitops:credentialTemplates:
    team: {url: "https://git.test/", credentials: {password: {secure: "v1:abc"}}}
"""


def test_urls_before_the_change_are_read_without_decrypting_anything(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.dev.yaml").write_text(STACK_FILE + REPOSITORIES)
    env = environment.read("dev", tmp_path)
    assert env is not None
    assert env.urls == {"https://git.test/a.git", "https://private.test/b", "https://git.test/"}
    private = ("https://private.test/b.git", "https://git.test/c")
    assert all(env.has_credentials(url) for url in private)
    assert not env.has_credentials("https://private.test/c")


def test_stack_without_project_and_applications_is_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.dev.yaml").write_text(STACK_FILE)
    with pytest.raises(SettingsError, match="doks-gitops:project"):
        environment.read("dev", tmp_path)
