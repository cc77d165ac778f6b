"""GitHub's Markdown, with texts that may contain anything.

https://docs.github.com/en/get-started/writing-on-github
"""

from __future__ import annotations

import re
from collections.abc import Sequence

LONGEST = 65_000
"""Characters: just below what GitHub accepts as a comment or an issue."""
_LEFT_OUT = "*The details of {count} more are left out: GitHub takes no longer comment.*"


def together(texts: Sequence[str]) -> str:
    """Several texts of `fit` as one, of which the longest details are left out if need be."""
    summaries, details = [], []
    for text in texts:
        summary, blocks = _split(text)
        summaries.append(summary.strip())
        details += blocks
    return fit("\n\n".join(summaries), details)


def _split(text: str) -> tuple[str, list[str]]:
    """What is outside the `<details>` of a text, and each of these that is in no other one."""
    outside: list[str] = []
    blocks: list[list[str]] = []
    depth, fence = 0, ""
    for line in text.splitlines():
        if fence:
            fence = "" if line == fence else fence
        elif line.startswith("```"):
            fence = line[: len(line) - len(line.lstrip("`"))]
        elif line.startswith("<details>"):
            if depth == 0:
                blocks.append([])
            depth += 1
        (blocks[-1] if depth else outside).append(line)
        if not fence and line == "</details>" and depth:
            depth -= 1
    return "\n".join(outside), ["\n".join([*block, ""]) for block in blocks]


def fit(summary: str, details: Sequence[str]) -> str:
    """The summary, and the details below it. If that is too long for GitHub, the longest details
    are left out as a whole."""
    kept = [text for text in details if text]
    count = len(kept)

    def text() -> str:
        left_out = [_LEFT_OUT.format(count=count - len(kept))] if len(kept) < count else []
        return "\n".join([summary, "", *kept, *left_out])

    while len(text()) > LONGEST and kept:
        kept.remove(max(kept, key=len))
    return text()[:LONGEST]


def fenced(language: str, text: str) -> str:
    """A code block that no line of the text can end."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def prose(text: str) -> str:
    """The text as one line without HTML, code and links."""
    line = one_line(text).replace("<", "&lt;").replace("`", "&#96;")
    return line.replace("](", "]&#40;")


def cell(text: str) -> str:
    """The text inside backticks in a table."""
    return one_line(text).replace("`", "'").replace("|", r"\|")


def one_line(text: str) -> str:
    return " ".join(text.split())
