"""Writes docs/config.md, the reference of a stack file's keys, from the settings' types.

python -m settings.reference           writes it
python -m settings.reference --check   fails if it isn't what would be written
"""

from __future__ import annotations

import argparse
import inspect
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import get_origin

from pydantic_core import PydanticUndefined

from doks_gitops.settings import schema
from doks_gitops.settings.base import Model
from doks_gitops.settings.defaults import BY_ENVIRONMENT
from doks_gitops.settings.load import ENVIRONMENT_VARIABLES
from doks_gitops.settings.model import NAMESPACE, DigitalOcean
from doks_gitops.settings.report import ACCOUNT, ROOT, SECTIONS

FILE = Path("docs") / "config.md"

INTRODUCTION = f"""\
# Configuration

<!-- Written by `python -m settings.reference` from the types in settings/model.py. -->

A stack's settings stand in `Pulumi.<stack>.yaml`, under `config`. They are checked as a whole
before anything is created: every unknown, missing or wrong key is reported at once, with what
would be right. Text that looks like a number (`"1.34"`) needs quotes.

Values marked *secret* are refused in plain text; `pulumi config set --secret --path
'{NAMESPACE}:argocd.admin.password'` asks for one and encrypts it.

A **required** key is required where the object that it belongs to is given.
"""


def reference() -> str:
    """The text of docs/config.md."""
    blocks = [INTRODUCTION]
    top = {key: spot for key in SECTIONS if (spot := ROOT.child(key)) is not None}
    blocks.append(f"## {NAMESPACE}\n\n" + _table(top, (), NAMESPACE))
    for key, spot in top.items():
        blocks += _objects(spot, (key,))
    variables = "; ".join(
        f"`{key}`: {' or '.join(f'`{name}`' for name in names)}"
        for key, names in ENVIRONMENT_VARIABLES.items()
    )
    blocks.append(
        f"## {ACCOUNT}\n\nThe account. Without a key, the environment is asked ({variables}).\n\n"
        + _table(schema.fields(DigitalOcean), (), ACCOUNT)
    )
    return "\n".join(blocks)


def _objects(spot: schema.Spot, path: tuple[str, ...]) -> Iterator[str]:
    """A block for each object at or below `spot`."""
    suffix, inner = "", spot
    while inner.model is None:
        if get_origin(inner.kind) is tuple:
            suffix, below = suffix + "[]", inner.child(0)
        elif get_origin(inner.kind) is Mapping:
            suffix, below = suffix + ".<name>", inner.child("")
        else:
            return
        if below is None:
            return
        inner = below
    where = (*path[:-1], path[-1] + suffix)
    yield f"## `{'.'.join(where)}`\n\n{_meaning(inner.model)}\n\n" + _table(
        schema.fields(inner.model), where
    )
    for key, child in schema.fields(inner.model).items():
        yield from _objects(child, (*where, key))


def _table(
    fields: Mapping[str, schema.Spot], where: tuple[str, ...], namespace: str | None = None
) -> str:
    lines = ["| key | value | default | meaning |", "| --- | --- | --- | --- |"]
    for key, spot in fields.items():
        name = f"{namespace}:{key}" if namespace else key
        description = (spot.field.description or "") if spot.field else ""
        cells = [f"`{name}`", _value(spot), _default(spot, (*where, key)), description]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _meaning(model: type[Model]) -> str:
    return inspect.cleandoc(model.__doc__ or "")


def _value(spot: schema.Spot) -> str:
    if spot.model is not None:
        return "an object"
    if get_origin(spot.kind) in (tuple, Mapping):
        item = spot.child(0 if get_origin(spot.kind) is tuple else "")
        # Chart values are anything that JSON can say: no type of ours.
        inner = _value(item) if item and (item.model or item.scalar or item.secret) else "anything"
        if get_origin(spot.kind) is tuple:
            return f"list; each item {inner}"
        return f"map by name; each value {inner}"
    if spot.secret:
        return f"*secret*: {spot.right()}"
    return "text" if spot.right().startswith("text") else spot.right()


def _default(spot: schema.Spot, path: tuple[str, ...]) -> str:
    if spot.field is None or spot.field.is_required():
        return "the stack's name" if path == ("environment",) else _required(path)
    default = spot.field.get_default(call_default_factory=True, validated_data={})
    if default is None or default is PydanticUndefined:
        text = ""
    elif isinstance(default, Model):
        text = "its defaults"
    elif isinstance(default, tuple):
        plain = [
            each.model_dump(by_alias=True) if isinstance(each, Model) else each for each in default
        ]
        text = f"`{json.dumps(plain)}`" if plain else ""
    elif isinstance(default, Mapping):
        text = ""
    else:
        text = f"`{json.dumps(default)}`"
    for environment, values in BY_ENVIRONMENT.items():
        if path in values:
            text += f"; {environment}: `{json.dumps(values[path])}`"
    return text


def _required(path: tuple[str, ...]) -> str:
    known: dict[tuple[str, ...], str] = {
        ("project", "name"): "the environment",
        ("applications.<name>", "repository"): "the only repository",
    }
    return known.get(path, "**required**")


def main() -> int:
    """Writes or checks the reference; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m settings.reference", description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare only")
    checking = parser.parse_args().check
    text = reference()
    if not checking:
        FILE.parent.mkdir(exist_ok=True)
        FILE.write_text(text)
        return 0
    if FILE.exists() and FILE.read_text() == text:
        return 0
    print(f"{FILE} is out of date; write it with: python -m settings.reference", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
