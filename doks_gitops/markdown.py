"""GitHub's Markdown, with texts that may contain anything.

https://docs.github.com/en/get-started/writing-on-github
"""

from __future__ import annotations

import re
from collections.abc import Sequence

LONGEST = 65_000
"""Characters: just below what GitHub accepts as a comment or an issue."""
LONGEST_LINE = 500
"""Characters of one finding, so that it leaves room for the others."""
_ZERO_WIDTH_SPACE = "\u200b"
_LINKED = re.compile(r"@|:(?=//)|#(?=\d)|GH-(?=\d)|www(?=\.)|!(?=\[)", re.IGNORECASE)
"""What is followed by somebody's name, a URL, the number of an issue or a picture."""
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
    """The text as one line without HTML, code, pictures, links and mentions."""
    line = plain(text).replace("<", "&lt;").replace("`", "&#96;")
    return line.replace("](", "]&#40;")


def plain(text: str) -> str:
    """The text as one line in which GitHub finds nobody to notify and nothing to link.

    https://docs.github.com/en/get-started/writing-on-github/working-with-advanced-formatting/autolinked-references-and-urls
    """
    return _LINKED.sub(rf"\g<0>{_ZERO_WIDTH_SPACE}", one_line(text))


def shortened(text: str) -> str:
    """The beginning of a text that is longer than `LONGEST_LINE`."""
    return text if len(text) <= LONGEST_LINE else f"{text[: LONGEST_LINE - 1]}…"


def cell(text: str) -> str:
    """The text inside backticks in a table."""
    return one_line(text).replace("`", "'").replace("|", r"\|")


def one_line(text: str) -> str:
    return " ".join(text.split())
