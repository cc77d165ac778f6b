"""Previews in GitHub's Markdown."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from html import escape

from doks_gitops.ci.preview import Change, Field, Preview

LONGEST = 65_000
"""Characters: just below what GitHub accepts as a comment or an issue."""
_SHOWN = 60
"""Characters of a value that are shown."""


def comment(previews: Sequence[Preview], title: str) -> str:
    """Returns a table with a row for each stack, and the changes below it.

    If that is too long for GitHub, the stacks with the most changes are left with their row alone.
    """
    details = {preview.stack: _details(preview) for preview in previews}
    while len(text := _text(previews, title, details)) > LONGEST:
        longest = max(details, key=lambda stack: len(details[stack]))
        if not details[longest]:
            return text[:LONGEST]
        details[longest] = ""
    return text


def _text(previews: Sequence[Preview], title: str, details: dict[str, str]) -> str:
    lines = [f"### {title}", "", "| stack | result | policies |", "| --- | --- | --- |"]
    lines += [
        f"| `{_cell(preview.stack)}` | {_result(preview)} | {_policies(preview)} |"
        for preview in previews
    ]
    return "\n".join([*lines, "", *(text for text in details.values() if text)])


def _result(preview: Preview) -> str:
    if preview.error:
        return "❌ failed"
    if not preview.changes:
        return "no changes"
    counts = [
        f"**{number} to {operation}**"
        if operation in ("replace", "delete")
        else f"{number} to {operation}"
        for operation, number in preview.count.items()
    ]
    return f"{', '.join(counts)}, {preview.unchanged} unchanged"


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
        lines.append(_fenced("text", preview.error))
    lines += [f"- ⚠️ {_prose(warning)}" for warning in preview.warnings]
    lines += [f"- {_prose(violation)}" for violation in preview.violations]
    if preview.changes:
        changes = [line for change in preview.changes for line in _change(change)]
        lines.append(_fenced("diff", "\n".join(changes)))
    return "\n".join([*lines, "", "</details>", ""])


_SIGN = {"create": "+", "delete": "-", "replace": "!", "update": "!"}
"""How GitHub colours a line of a diff."""


def _change(change: Change) -> Iterator[str]:
    words = f"{change.operation} {change.type} {_one_line(change.name)}"
    yield f"{_SIGN.get(change.operation, ' ')} {words}"
    for field in change.fields:
        yield f"    {_one_line(_field(field))}"


def _field(field: Field) -> str:
    if field.old == field.new:
        # Pulumi shows a secret as [secret], before and after its change.
        return f"{field.path}: {_value(field.new)}, changed"
    return f"{field.path}: {_value(field.old)} → {_value(field.new)}"


def _value(value: object) -> str:
    text = "nothing" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def _fenced(language: str, text: str) -> str:
    """A code block that no line of the text can end."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def _prose(text: str) -> str:
    """The text as one line without HTML, code and links."""
    line = _one_line(text).replace("<", "&lt;").replace("`", "&#96;")
    return line.replace("](", "]&#40;")


def _cell(text: str) -> str:
    """The text inside backticks in a table."""
    return _one_line(text).replace("`", "'").replace("|", r"\|")


def _one_line(text: str) -> str:
    return " ".join(text.split())
