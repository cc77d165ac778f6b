"""Previews in GitHub's Markdown."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from html import escape

from doks_gitops import markdown
from doks_gitops.ci.preview import Change, Field, Preview

_SHOWN = 60
"""Characters of a value that are shown."""


def comment(previews: Sequence[Preview], title: str) -> str:
    """Returns a table with a row for each stack, and the changes below it.

    If that is too long for GitHub, the stacks with the most changes are left with their row alone.
    """
    lines = [f"### {title}", "", "| stack | result | policies |", "| --- | --- | --- |"]
    lines += [
        f"| `{markdown.cell(preview.stack)}` | {_result(preview)} | {_policies(preview)} |"
        for preview in previews
    ]
    return markdown.fit("\n".join(lines), [_details(preview) for preview in previews])


def _result(preview: Preview) -> str:
    if preview.error:
        return "❌ failed"
    orphans = f", **{len(preview.orphans)} not in the state**" if preview.orphans else ""
    if not preview.changes:
        return f"no changes{orphans}"
    counts = [
        f"**{number} to {operation}**"
        if operation in ("replace", "delete")
        else f"{number} to {operation}"
        for operation, number in preview.count.items()
    ]
    return f"{', '.join(counts)}, {preview.unchanged} unchanged{orphans}"


def _policies(preview: Preview) -> str:
    if preview.error:
        return "not checked"
    if preview.forbidden:
        return "❌ forbidden"
    return f"⚠️ {len(preview.violations)} advised" if preview.violations else "✅ kept"


def _details(preview: Preview) -> str:
    if not (preview.error or preview.changes or preview.violations or preview.warnings):
        return ""
    lines = [f"<details><summary><code>{escape(preview.stack)}</code></summary>", ""]
    if preview.error:
        lines.append(markdown.fenced("text", preview.error))
    lines += [f"- ⚠️ {markdown.prose(warning)}" for warning in preview.warnings]
    lines += [f"- {markdown.prose(violation)}" for violation in preview.violations]
    if preview.changes:
        changes = [line for change in preview.changes for line in _change(change)]
        lines.append(markdown.fenced("diff", "\n".join(changes)))
    return "\n".join([*lines, "", "</details>", ""])


_SIGN = {"create": "+", "delete": "-", "replace": "!", "update": "!"}
"""How GitHub colours a line of a diff."""


def _change(change: Change) -> Iterator[str]:
    words = f"{change.operation} {change.type} {markdown.one_line(change.name)}"
    yield f"{_SIGN.get(change.operation, ' ')} {words}"
    for field in change.fields:
        yield f"    {markdown.one_line(_field(field))}"


def _field(field: Field) -> str:
    if field.old == field.new:
        # Pulumi shows a secret as [secret], before and after its change.
        return f"{field.path}: {_value(field.new)}, changed"
    return f"{field.path}: {_value(field.old)} → {_value(field.new)}"


def _value(value: object) -> str:
    text = "nothing" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
