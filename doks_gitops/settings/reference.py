"""Writes docs/config.md, the reference of a stack file's keys, from the settings' types:

python -m doks_gitops.settings.reference
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import get_origin

from doks_gitops.settings import schema
from doks_gitops.settings.base import Model
from doks_gitops.settings.defaults import BY_ENVIRONMENT
from doks_gitops.settings.load import ENVIRONMENT_VARIABLES
from doks_gitops.settings.model import NAMESPACE, DigitalOcean
from doks_gitops.settings.not_taken import OF_APPLICATION, OF_PROJECT
from doks_gitops.settings.report import ACCOUNT, ROOT, SECTIONS
from doks_gitops.settings.schema import SettingType

FILE = Path("docs") / "config.md"
"""The reference, relative to the project's folder."""

INTRODUCTION = f"""\
# Configuration

<!-- Written by `python -m doks_gitops.settings.reference` from doks_gitops/settings/model.py. -->

The settings of a stack are in `Pulumi.<stack>.yaml`, under `config`. The program checks them as a
whole before it creates anything: it reports all unknown, missing and invalid keys at once, each
with the expected value. Text that looks like a number (`"1.34"`) needs quotes.
Merge keys (`<<`), aliases and tags of YAML are refused: each value is written where it is used.

Values marked *secret* must be encrypted; `pulumi config set --secret --path
'{NAMESPACE}:argocd.admin.password'` prompts for one and encrypts it.
A value that is encrypted inside `argocd.values`, or inside an application's `helm`, `kustomize`,
`directory` or `ignoreDifferences`, stays encrypted in the state and hidden in previews. In the
cluster, an Application has its values in plain text. If such a key comes from another source than
the stack file and holds a secret, all its texts and numbers in these places count as secrets.
Encrypting a value later does not remove it from the backend's history: replace the secret too.

A **required** key is required if the stack file has the object that it belongs to.
"""


NOT_TAKEN = """\
## What {name} does not take

{kind}, Argo CD's kind for it, has more fields
(https://argo-cd.readthedocs.io/en/stable/operator-manual/declarative-setup/). These can't be set in
a stack file, each for a reason; what comes from Git by `appOfApps` may have them.

| field of `spec` | reason |
| --- | --- |"""


def reference() -> str:
    """The text of docs/config.md."""
    blocks = [INTRODUCTION]
    sections = {key: setting for key in SECTIONS if (setting := ROOT.child(key)) is not None}
    blocks.append(f"## {NAMESPACE}\n\n" + _table(sections, (), NAMESPACE))
    described: dict[type[Model], str] = {}
    for key, setting in sections.items():
        blocks += _objects(setting, (key,), described)
    variables = "; ".join(
        f"`{key}`: {' or '.join(f'`{name}`' for name in names)}"
        for key, names in ENVIRONMENT_VARIABLES.items()
    )
    blocks.append(
        f"## {ACCOUNT}\n\n{_description(DigitalOcean)} Keys that the stack file does not have come "
        f"from environment variables ({variables}).\n\n"
        + _table(schema.fields(DigitalOcean), (), ACCOUNT)
    )
    blocks.append(_not_taken("an application", "Application", OF_APPLICATION))
    blocks.append(_not_taken("a project", "AppProject", OF_PROJECT))
    return "\n".join(blocks)


def _not_taken(name: str, kind: str, reasons: Mapping[str, str]) -> str:
    """The fields of a kind of Argo CD that its counterpart in the stack file does not have."""
    lines = [f"| `{field}` | {reason} |" for field, reason in sorted(reasons.items())]
    return "\n".join([NOT_TAKEN.format(name=name, kind=kind), *lines, ""])


def _objects(
    setting: SettingType, path: tuple[str, ...], described: dict[type[Model], str]
) -> Iterator[str]:
    """A block for each object at or below `setting`. `described`: headings of the objects that have
    a block already, by their type."""
    suffix = ""
    while setting.model is None:
        if get_origin(setting.kind) is tuple:
            suffix, item = suffix + "[]", setting.child(0)
        elif get_origin(setting.kind) is Mapping:
            suffix, item = suffix + ".<name>", setting.child("")
        else:
            return
        if item is None:
            return
        setting = item
    path = (*path[:-1], path[-1] + suffix)
    fields, heading = schema.fields(setting.model), ".".join(path)
    if same := described.get(setting.model):
        anchor = re.sub(r"[^\w-]", "", same).lower()
        yield f"## `{heading}`\n\nThe same keys as [`{same}`](#{anchor}).\n"
        return
    described[setting.model] = heading
    yield f"## `{heading}`\n\n{_description(setting.model)}\n\n" + _table(fields, path)
    for key, field in fields.items():
        yield from _objects(field, (*path, key), described)


def _table(
    fields: Mapping[str, SettingType], path: tuple[str, ...], namespace: str | None = None
) -> str:
    lines = ["| key | value | default | meaning |", "| --- | --- | --- | --- |"]
    for key, setting in fields.items():
        name = f"{namespace}:{key}" if namespace else key
        description = (setting.field.description or "") if setting.field else ""
        cells = [f"`{name}`", _value(setting), _default(setting, (*path, key)), description]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _description(model: type[Model]) -> str:
    return inspect.cleandoc(model.__doc__ or "")


def _value(setting: SettingType) -> str:
    if setting.model is not None:
        return "an object"
    if get_origin(setting.kind) in (tuple, Mapping):
        is_list = get_origin(setting.kind) is tuple
        item = setting.child(0 if is_list else "")
        # Chart values are JSON of any kind.
        known = item is not None and (item.model or item.scalar or item.secret)
        value = _value(item) if item and known else "anything"
        return f"list; each item {value}" if is_list else f"map by name; each value {value}"
    if setting.secret:
        return f"*secret*: {setting.expected()}"
    return "text" if setting.expected().startswith("text") else setting.expected()


def _default(setting: SettingType, path: tuple[str, ...]) -> str:
    if setting.required:
        return "**required**"
    if setting.default_from:
        return setting.default_from
    text = "" if setting.default is None else f"`{json.dumps(setting.default)}`"
    if setting.model is not None and setting.field and setting.field.default_factory:
        text = "its defaults"
    for environment, defaults in BY_ENVIRONMENT.items():
        if path in defaults:
            text += f"; {environment}: `{json.dumps(defaults[path])}`"
    return text


if __name__ == "__main__":
    FILE.write_text(reference())
