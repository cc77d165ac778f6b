"""The JSON schema by which editors check the stack files."""

import json
from typing import Any

import jsonschema
import pytest
import yaml

from doks_gitops.settings.json_schema import FILE, json_schema
from tests.unit.stackfiles import ROOT, STACKS, TextTimes
from tests.unit.test_settings_invalid_stacks import CASES, InvalidStack

SCHEMA = json.loads((ROOT / FILE).read_text())
VALIDATOR = jsonschema.Draft7Validator(SCHEMA)


def errors(text: str) -> list[str]:
    return [error.json_path for error in VALIDATOR.iter_errors(yaml.load(text, Loader=TextTimes))]


def test_schema_is_current() -> None:
    assert (ROOT / FILE).read_text() == json_schema(), (
        "run: python -m doks_gitops.settings.json_schema"
    )


def test_schema_is_valid_itself() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("stack", STACKS)
def test_own_stack_files_name_the_schema_and_match_it(stack: str) -> None:
    text = (ROOT / f"Pulumi.{stack}.yaml").read_text()
    assert text.startswith(f"# yaml-language-server: $schema={FILE}\n")
    assert errors(text) == []


def test_keys_that_pulumi_itself_writes_are_allowed() -> None:
    keys: dict[str, Any] = {"encryptionsalt": "v1:x", "secretsprovider": "passphrase"}
    secret = {"digitalocean:token": {"secure": "v1:x"}, "pulumi:tags": {"team": "shop"}}
    assert errors(yaml.safe_dump({"config": secret, **keys})) == []


def test_valid_stack_matches() -> None:
    assert errors(InvalidStack([]).text) == []


@pytest.mark.parametrize(
    "name",
    [
        "application-sync-option-misspelt",
        "count-as-text",
        "github-app-id-as-text",
        "label-refused-by-kubernetes",
        "list-for-an-object",
        "name-with-capitals",
        "no-node-pools",
        "no-nodes",
        "project-of-no-namespace",
        "region-missing",
        "taint-effect-unknown",
        "text-for-a-switch",
        "token-in-plain-text",
        "unknown-key",
        "unknown-namespace",
        "unknown-provider-key",
        "unknown-section",
        "version-latest",
        "version-without-quotes",
    ],
)
def test_invalid_stack_does_not_match(name: str) -> None:
    assert errors(CASES[name].text)
