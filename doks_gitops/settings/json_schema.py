"""The JSON schema of the stack files, for editors.

An editor finds it by the comment in the first line of a stack file
(https://github.com/redhat-developer/yaml-language-server#using-inlined-schema).
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args, get_origin

from doks_gitops.settings import schema
from doks_gitops.settings.base import Model
from doks_gitops.settings.model import NAMESPACE, DigitalOcean, Repository, Settings
from doks_gitops.settings.report import ACCOUNT, SECTIONS
from doks_gitops.settings.scalars import Pattern

FILE = Path("doks_gitops") / "settings" / "stack-file.schema.json"
"""The file that holds the schema, relative to the project's folder."""

JsonSchema = dict[str, object]

_SECRET: JsonSchema = {
    "description": "A value that `pulumi config set --secret` encrypted.",
    "type": "object",
    "properties": {"secure": {"type": "string"}},
    "required": ["secure"],
    "additionalProperties": False,
}
_SET_BY_COMMAND = {(Repository, "url")}
"""Required keys that the project's stack files do not have: each team sets them by a command."""


def json_schema() -> str:
    """The schema as JSON (https://json-schema.org/draft-07).

    It has the keys, types and patterns of values; only `settings.parse` knows the rules between
    several values. No section is required: Pulumi.yaml or a Pulumi environment may have it.
    """
    definitions: dict[str, JsonSchema] = {"secret": _SECRET}
    sections, account = schema.fields(Settings), schema.fields(DigitalOcean)
    settings = {f"{NAMESPACE}:{key}": sections[key] for key in SECTIONS}
    settings |= {f"{ACCOUNT}:{key}": setting for key, setting in account.items()}
    document = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Stack file",
        "description": "Settings of a stack (https://www.pulumi.com/docs/iac/concepts/config/).",
        "type": "object",
        "properties": {
            "config": {
                "type": "object",
                "properties": {
                    key: _setting(value, definitions) for key, value in settings.items()
                },
                "patternProperties": {"^pulumi:": {}},
                "additionalProperties": False,
            },
            "environment": {},
            "encryptionsalt": {"type": "string"},
            "encryptedkey": {"type": "string"},
            "secretsprovider": {"type": "string"},
        },
        "additionalProperties": False,
        "definitions": definitions,
    }
    return json.dumps(document, indent=2) + "\n"


def _setting(setting: schema.SettingType, definitions: dict[str, JsonSchema]) -> JsonSchema:
    """The schema of one setting. Adds the schemas of its objects to `definitions`."""
    json_type = _type(setting, definitions)
    if "$ref" in json_type:
        # Draft 7 ignores what is beside a `$ref`.
        json_type = {"allOf": [json_type]}
    if setting.field is not None and setting.field.description:
        json_type["description"] = setting.field.description
    if setting.default is not None:
        json_type["default"] = setting.default
    return json_type


def _type(setting: schema.SettingType, definitions: dict[str, JsonSchema]) -> JsonSchema:
    origin, arguments = get_origin(setting.kind), get_args(setting.kind)
    if setting.secret:
        return {"$ref": "#/definitions/secret"}
    if setting.model is not None:
        name = setting.model.__name__
        if name not in definitions:
            definitions[name] = {}  # a place in the order of the settings
            definitions[name] = _object(setting.model, definitions)
        return {"$ref": f"#/definitions/{name}"}
    if origin is tuple:
        items = _setting(schema.setting_type(arguments[0]), definitions)
        return {"type": "array", "items": items, "minItems": int(setting.not_empty)}
    if origin is Mapping:
        names, values = map(schema.setting_type, arguments)
        return {
            "type": "object",
            "propertyNames": _setting(names, definitions),
            "additionalProperties": _setting(values, definitions),
            "minProperties": int(setting.not_empty),
        }
    if origin is Literal:
        return {"enum": list(setting.choices)}
    if setting.kind is bool:
        return {"type": "boolean"}
    if setting.kind in (int, float):
        bounds = zip(("minimum", "maximum"), setting.bounds, strict=True)
        name = "integer" if setting.kind is int else "number"
        return {"type": name, **{key: bound for key, bound in bounds if bound is not None}}
    return _text(setting) if setting.kind is str else {}


def _text(setting: schema.SettingType) -> JsonSchema:
    rule = setting.rule
    if setting.choices:
        return {"type": "string", "enum": list(setting.choices)}
    if rule is None or not isinstance(rule.is_valid, Pattern):
        return {"type": "string"}
    return {
        "type": "string",
        "pattern": f"^(?:{rule.is_valid.regex})$",
        "maxLength": rule.is_valid.longest,
        # Editors show it (https://code.visualstudio.com/docs/languages/json).
        "patternErrorMessage": f"expected: {rule.expected}",
    }


def _object(model: type[Model], definitions: dict[str, JsonSchema]) -> JsonSchema:
    fields = schema.fields(model)
    return {
        "description": inspect.cleandoc(model.__doc__ or ""),
        "type": "object",
        "properties": {key: _setting(field, definitions) for key, field in fields.items()},
        "required": [
            key
            for key, field in fields.items()
            if field.required and (model, key) not in _SET_BY_COMMAND
        ],
        "additionalProperties": False,
    }


if __name__ == "__main__":
    FILE.write_text(json_schema())
