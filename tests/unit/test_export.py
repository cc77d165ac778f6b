"""An export of a stack has no secret, and a preview of it shows no difference but the new ones."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from doks_gitops.ci import export
from doks_gitops.ci.export import PLACEHOLDER, Export
from doks_gitops.errors import PlatformError
from doks_gitops.settings.ssh_key import public_key
from doks_gitops.stack import Stack
from tests.unit.pulumi_command import PulumiCommand

HIDDEN = base64.b64encode(b"hush").decode()
STACK_FILE = """\
encryptionsalt: v1:salt
config:
  digitalocean:token: {secure: v1:account}
  doks-gitops:environment: dev
  doks-gitops:cluster: {version: "1.34", maintenance: {startTime: "04:00"}}
  doks-gitops:argocd:
    webhookSecret: {secure: v1:webhook}
    values: {configs: {secret: {extra: {a.b: {secure: v1:nested}}}}}
  doks-gitops:repositories:
    monorepo:
      credentials: {sshPrivateKey: {secure: v1:key}}
  doks-gitops:sealedSecrets:
    keys: [{certificate: in clear, privateKey: {secure: v1:sealing}}]
"""


def secret(value: object) -> dict[str, str]:
    """A secret as `pulumi stack export --show-secrets` has it."""
    return {
        "4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270",
        "plaintext": json.dumps(value),
    }


def state(*resources: dict[str, Any]) -> dict[str, Any]:
    """A state as `pulumi stack export --show-secrets` prints it."""
    providers = {"type": "passphrase", "state": {"salt": "v1:salt"}}
    deployment = {"secrets_providers": providers, "resources": [*resources]}
    return {"version": 3, "deployment": deployment}


def resources(exported: dict[str, Any]) -> list[dict[str, Any]]:
    result: list[dict[str, Any]] = exported["deployment"]["resources"]
    return result


def test_no_secret_of_the_state_is_exported_and_none_of_its_key() -> None:
    nested = {"data": secret({"password": "hush"}), "enabled": True}
    exported = export.redacted(
        state(
            {
                "inputs": {"token": secret("hush"), "region": "nyc1"},
                "outputs": {"a": [secret(70707)]},
            },
            {"inputs": {"values": {"a": secret("hush")}}, "outputs": {"__inputs": secret(nested)}},
            {"inputs": {"password": {**secret(""), "plaintext": '"hush"'}}},
        )
    )
    text = json.dumps(exported)
    assert "hush" not in text
    assert "70707" not in text
    assert "salt" not in text
    assert resources(exported)[0]["inputs"] == {"token": secret(PLACEHOLDER), "region": "nyc1"}


def test_secret_objects_keep_the_form_that_the_providers_expect() -> None:
    data = {"password": HIDDEN, "url": "x"}
    [exported] = resources(export.redacted(state({"inputs": {"data": secret(data)}})))
    shown = json.loads(exported["inputs"]["data"]["plaintext"])
    assert shown == dict.fromkeys(data, PLACEHOLDER)
    # What is decoded must be a text.
    assert base64.b64decode(PLACEHOLDER).decode().isprintable()


def test_exported_kubeconfig_names_no_cluster_and_is_still_one() -> None:
    [exported] = resources(export.redacted(state({"inputs": {"kubeconfig": secret("users: x")}})))
    assert exported["inputs"]["kubeconfig"] == secret("{}")


def test_exported_certificate_of_a_cluster_is_empty_because_a_provider_must_parse_it() -> None:
    credentials = [{"clusterCaCertificate": "abc", "token": "hush"}]
    [exported] = resources(
        export.redacted(state({"outputs": {"kubeConfigs": secret(credentials)}}))
    )
    shown = json.loads(exported["outputs"]["kubeConfigs"]["plaintext"])
    assert shown == [{"clusterCaCertificate": "", "token": PLACEHOLDER}]


def test_inputs_become_those_that_the_program_makes_of_placeholders() -> None:
    old = {"data": secret({"a": "x"}), "kind": "Secret", "gone": 1, "unknown": 2}
    before = state(
        {"urn": "changed", "inputs": old, "outputs": {"data": secret({"a": "x"}), "__inputs": old}},
        {"urn": "same", "inputs": {"a": 1}, "outputs": {"a": 1}},
    )
    new = secret({"a": "y", "b": "z"})
    difference = {
        "updates": {"data": new, "unknown": "04da6b54-80e4-46f7-96ec-b56ff0331ba9"},
        "deletes": ["gone"],
        "adds": {"added": 3},
    }
    plan = {"resourcePlans": {"changed": {"goal": {"inputDiff": difference}}, "same": {}}}
    changed, same = resources(export.completed(before, plan))
    inputs = {"data": new, "kind": "Secret", "unknown": 2, "added": 3}
    assert changed == {
        "urn": "changed",
        "inputs": inputs,
        "outputs": {"data": new, "__inputs": inputs},
    }
    assert same == resources(before)[1]


def test_every_encrypted_value_is_replaced_by_a_placeholder_that_the_settings_take() -> None:
    document, placeholders = export.without_secrets(STACK_FILE, {"DIGITALOCEAN_TOKEN": "x"})
    assert "secure" not in json.dumps(document)
    assert "encryptionsalt" not in document
    config = document["config"]
    assert "digitalocean:token" not in config, "the program takes that of the environment"
    assert config["doks-gitops:cluster"]["maintenance"]["startTime"] == "04:00"
    assert placeholders == {
        "digitalocean:clusterToken": PLACEHOLDER,
        "doks-gitops:argocd.webhookSecret": PLACEHOLDER,
        'doks-gitops:argocd.values.configs.secret.extra["a.b"]': PLACEHOLDER,
        "doks-gitops:repositories.monorepo.credentials.sshPrivateKey": (
            config["doks-gitops:repositories"]["monorepo"]["credentials"]["sshPrivateKey"]
        ),
        "doks-gitops:sealedSecrets.keys[0].privateKey": (
            config["doks-gitops:sealedSecrets"]["keys"][0]["privateKey"]
        ),
    }
    key = placeholders["doks-gitops:repositories.monorepo.credentials.sshPrivateKey"]
    assert public_key(key).startswith("ssh-ed25519 AAAA")


def test_without_a_token_in_the_environment_there_is_none() -> None:
    github = "  doks-gitops:github: {owner: team, repository: demo}\n"
    document, placeholders = export.without_secrets(STACK_FILE + github, {}, github_token=True)
    assert document["config"]["digitalocean:token"] == PLACEHOLDER
    assert placeholders["doks-gitops:github.token"] == PLACEHOLDER


@pytest.mark.parametrize("workflow", [{}, {"GITHUB_ACTIONS": "true", "GITHUB_TOKEN": "ghs_job"}])
def test_a_stack_that_was_deployed_without_a_token_for_github_is_previewed_without_one(
    workflow: dict[str, str],
) -> None:
    """The preview then refuses it in the words of the deployment."""
    github = "  doks-gitops:github: {owner: team, repository: demo}\n"
    document, placeholders = export.without_secrets(STACK_FILE + github, workflow)
    assert "token" not in document["config"]["doks-gitops:github"]
    assert "doks-gitops:github.token" not in placeholders


def test_only_an_encrypted_value_with_another_ciphertext_has_changed() -> None:
    exported = Export("dev", None, export.ciphertexts(STACK_FILE), None)
    assert exported.changed_secrets(STACK_FILE.replace('"1.34"', '"1.35"')) == ()
    changed = STACK_FILE.replace("v1:webhook", "v1:other").replace("a.b: {secure: v1:nested}", "")
    assert exported.changed_secrets(changed) == (
        'doks-gitops:argocd.values.configs.secret.extra["a.b"]',
        "doks-gitops:argocd.webhookSecret",
    )


@pytest.mark.parametrize(
    "leak", ['"hush"-hush', json.dumps('"hush"-hush'), base64.b64encode(b'"hush"-hush').decode()]
)
def test_export_in_which_a_secret_of_the_stack_file_is_left_is_refused(
    pulumi: PulumiCommand, tmp_path: Path, leak: str
) -> None:
    """As a value that somebody has also written into the stack file in plain text."""
    (tmp_path / "Pulumi.dev.yaml").write_text("config: {doks-gitops:a: {b: {secure: v1:x}}}\n")
    config = {"doks-gitops:a": {"value": json.dumps({"b": '"hush"-hush'}), "secret": True}}
    exported = state({"urn": "u", "inputs": {"values": {"plain": leak}}})
    (pulumi.folder / "config").write_text(json.dumps(config))
    (pulumi.folder / "state").write_text(json.dumps(exported))
    pulumi.script(
        f"""case "$2 $3" in
          config*) cat '{pulumi.folder}/config' ;;
          'stack export') cat '{pulumi.folder}/state' ;;
          preview*) while [ "$1" != --save-plan ]; do shift; done; echo '{{}}' >"$2"; echo '{{}}' ;;
        esac"""
    )
    with pytest.raises(PlatformError, match="would contain a secret"):
        export.export(Stack("dev", tmp_path), None)


def test_file_that_is_no_export_is_an_error_with_the_command_that_writes_one(
    tmp_path: Path,
) -> None:
    for text in ("", "[]", '{"stack": "dev"}'):
        (file := tmp_path / "export-dev.json").write_text(text)
        with pytest.raises(PlatformError, match="bin/platform deploy --stack STACK --export"):
            Export.read(file)
