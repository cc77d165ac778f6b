"""The commands of README.md and docs/ as data.

A block that is not run as its page shows it has a comment above it, with the reason: `<!-- not run:
needs ... -->`, or with the file that runs its commands: `<!-- run by tests/e2e/... -->`.
"""

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
DOCS = REPOSITORY / "docs"
RUNBOOKS = DOCS / "recovery"
"""Blocks without a comment are run by the drill of their page's name."""
PAGES = [REPOSITORY / "README.md", *sorted(DOCS.rglob("*.md"))]
_BLOCK = re.compile(
    r"^(?P<indent> *)(?:<!-- (?P<mark>[^\n]+) -->\n(?P=indent))?```console\n"
    r"(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Step:
    """A command, and the lines of its output that the page shows."""

    command: str
    shown: tuple[str, ...]

    @classmethod
    def all_in(cls, text: str) -> list["Step"]:
        steps = []
        for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
            command, *shown = part.splitlines()
            steps.append(cls(command, tuple(shown)))
        return steps


@dataclass(frozen=True)
class Block:
    """A fenced block of a page; `mark` is the comment above it."""

    heading: str
    mark: str | None
    steps: list[Step]


def all_blocks(page: Path) -> list[Block]:
    blocks = []
    text = page.read_text()
    for match in _BLOCK.finditer(text):
        headings = re.findall(r"^#+ (.+)$", text[: match.start()], re.MULTILINE)
        steps = Step.all_in(textwrap.dedent(match["text"]))
        blocks.append(Block(headings[-1], match["mark"], steps))
    return blocks


def steps(page: Path, *headings: str) -> list[Step]:
    """The commands to run of a page, or only of these sections."""
    blocks = [block for block in all_blocks(page) if not headings or block.heading in headings]
    assert blocks, f"{page.name} has no such section"
    return [step for block in blocks if block.mark is None for step in block.steps]


def table_steps(page: Path, heading: str) -> list[Step]:
    """The commands in the first column of a section's table, without those with placeholders."""
    section = page.read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    commands = re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)
    return [Step(command, ()) for command in commands if not re.search(r"\b[A-Z]{3}", command)]
