"""A comment as a picture, for those who have no pull request to look at."""

from __future__ import annotations

import io
import re

from rich.console import Console
from rich.markdown import Markdown
from rich.terminal_theme import TerminalTheme
from rich.theme import Theme

_WIDTH = 88
"""Characters."""
_SUMMARY = re.compile(r"<details><summary><(code|b)>(.*)</\1>(.*)</summary>")
_COLOURS = TerminalTheme((255, 255, 255), (31, 35, 40), [(31, 35, 40)] * 8)
"""Those of GitHub's light theme."""
_STYLES = Theme(
    {
        "markdown.h3": "bold",
        "markdown.code": "bold",
        "markdown.item.bullet": "default",
        "markdown.table.border": "#d1d9e0",
        "markdown.table.header": "bold",
    }
)
_SVG = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">
<style>
.{unique_id}-matrix {{font: {char_height}px ui-monospace, Menlo, Consolas, monospace;}}
{styles}
</style>
<defs>{lines}</defs>
<rect fill="#fff" stroke="#d1d9e0" x="1" y="1" width="99.8%" height="99.8%" rx="8"/>
<g transform="translate({terminal_x}, 15)">{backgrounds}
<g class="{unique_id}-matrix">{matrix}</g></g>
</svg>
"""


def svg(comment: str) -> str:
    """Returns the Markdown of a comment as GitHub shows it, with all details open."""
    text = _SUMMARY.sub(r"▾ `\2`\3", comment).replace("</details>", "")
    console = Console(record=True, width=_WIDTH, file=io.StringIO(), theme=_STYLES)
    console.print(Markdown(text, code_theme="friendly"))
    return console.export_svg(theme=_COLOURS, code_format=_SVG)
