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
from doks_gitops.settings.base import Model, Sets
from doks_gitops.settings.defaults import BY_ENVIRONMENT, NETWORKS
from doks_gitops.settings.load import ENVIRONMENT_VARIABLES
from doks_gitops.settings.model import NAMESPACE, NOT_SET, Cluster, DigitalOcean
from doks_gitops.settings.not_taken import OF_APPLICATION, OF_PROJECT
from doks_gitops.settings.report import ACCOUNT, ROOT, SECTIONS
from doks_gitops.settings.schema import SettingType

FILE = Path("docs") / "config.md"
"""The reference, relative to the project's folder."""

INTRODUCTION = f"""\
# Configuration

<!-- Written by `python -m doks_gitops.settings.reference` from doks_gitops/settings/model.py. -->

The settings of a stack are in `Pulumi.<stack>.yaml`, under `config`. The program checks them as a
whole before it creates anything, and reports all unknown, missing and invalid keys at once, each
with the expected value. Text that looks like a number (`"1.34"`) needs quotes. Merge keys (`<<`),
aliases and tags of YAML are refused: each value is written where it is used.

- **required**: required if the stack file has the object that the key belongs to.
- *secret*: the value must be encrypted. `pulumi config set --secret --path
  '{NAMESPACE}:argocd.admin.password'` prompts for one and encrypts it. Encrypting a value later
  does not remove it from Git's and the backend's history: replace the secret too.
- *change* says what DigitalOcean's provider does when the value changes: it updates the cluster in
  place, or it replaces the cluster or the node pool. *Stays when removed*: a cluster that exists
  keeps the value when the key is taken out of the stack file; set another value instead.

Any value inside `argocd.values`, or inside an application's `helm`, `kustomize`, `directory` or
`ignoreDifferences`, may be encrypted. It then stays encrypted in the state and hidden in previews.
In the cluster, an Application has its values in plain text. If Pulumi has such a key from elsewhere
than the stack file, and a secret is in it, all texts and numbers in these places count as secrets.
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
        if setting.model is Cluster:
            blocks.append(_not_set())
    variables = "; ".join(
        f"`{key}`: {' or '.join(f'`{name}`' for name in names)}"
        for key, names in ENVIRONMENT_VARIABLES.items()
    )
    blocks.append(
        f"## {ACCOUNT}\n\n{_description(DigitalOcean)} Keys that the stack file does not have come "
        f"from environment variables\n({variables}).\n\n"
        + _table(schema.fields(DigitalOcean), (), ACCOUNT)
    )
    blocks.append(_not_taken("an application", "Application", OF_APPLICATION))
    blocks.append(_not_taken("a project", "AppProject", OF_PROJECT))
    return "\n".join(blocks)


def _not_taken(name: str, kind: str, reasons: Mapping[str, str]) -> str:
    """The fields of a kind of Argo CD that its counterpart in the stack file does not have."""
    lines = [f"| `{field}` | {reason} |" for field, reason in sorted(reasons.items())]
    return "\n".join([NOT_TAKEN.format(name=name, kind=kind), *lines, ""])


def _not_set() -> str:
    lines = [f"| `{argument}` | {reason} |" for argument, reason in NOT_SET.items()]
    return (
        "### Arguments of the provider's cluster that no key sets\n\n| argument | reason |\n"
        "| --- | --- |\n" + "\n".join(lines) + "\n"
    )


def _objects(
    setting: SettingType,
    path: tuple[str, ...],
    described: dict[type[Model], str],
    sets: Sets | None = None,
) -> Iterator[str]:
    """A block for each object at or below `setting`.

    - `described`: headings of the objects that have a block already, by their type
    - `sets`: the mark of what contains it
    """
    sets = setting.sets or sets
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
    table = _table(fields, path, sets=sets)
    yield f"## `{heading}`\n\n{_description(setting.model)}\n\n{table}"
    for key, field in fields.items():
        yield from _objects(field, (*path, key), described, sets)


def _table(
    fields: Mapping[str, SettingType],
    path: tuple[str, ...],
    namespace: str | None = None,
    sets: Sets | None = None,
) -> str:
    with_change = sets is not None or any(setting.sets for setting in fields.values())
    headings = ["key", "value", "default", *(["change"] if with_change else []), "meaning"]
    lines = [f"| {' | '.join(headings)} |", "| " + " | ".join("---" for _ in headings) + " |"]
    for key, setting in fields.items():
        name = f"{namespace}:{key}" if namespace else key
        description = (setting.field.description or "") if setting.field else ""
        change = [str(setting.sets or sets or "")] if with_change else []
        default = _default(setting, (*path, key))
        cells = [f"`{name}`", _value(setting), default, *change, description]
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
        # A description that names an environment variable says what replaces the key.
        description = (setting.field.description or "") if setting.field else ""
        in_environment = "the environment variable" in description
        return "**required**, here or in the environment" if in_environment else "**required**"
    if setting.default_from:
        return setting.default_from
    text = "" if setting.default is None else f"`{json.dumps(setting.default)}`"
    if setting.model is not None and setting.field and setting.field.default_factory:
        text = "its defaults"
    if path[:2] == ("cluster", "network") and len(path) == 3:
        return "; ".join(f"{name}: `{ranges[path[2]]}`" for name, ranges in NETWORKS.items())
    for environment, defaults in BY_ENVIRONMENT.items():
        if path in defaults:
            text += f"; {environment}: `{json.dumps(defaults[path])}`"
    return text


if __name__ == "__main__":
    FILE.write_text(reference())
