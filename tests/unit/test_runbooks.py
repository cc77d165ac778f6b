"""The documentation names only what exists: commands with their options, and drills."""

import re
import shlex
from pathlib import Path

import pytest

from sandbox.drills.cli import drills
from tests.unit.command_lines import mistake

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = REPOSITORY / "docs" / "recovery"
INDEX = FOLDER / "README.md"
RUNBOOKS = sorted(set(FOLDER.glob("*.md")) - {INDEX})
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
PROMPT = re.compile(r"^ *\$ (.+)$", re.MULTILINE)
INLINE = re.compile(r"`(bin/[^`]+)`")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_every_documented_command_is_right_usage(page: Path) -> None:
    text = page.read_text()
    prompted = [part for line in PROMPT.findall(text) for part in line.split(" && ")]
    lines = [
        *((line, True) for line in prompted),
        *((line, False) for line in INLINE.findall(text)),
    ]
    mistakes = {
        line: message
        for line, complete in lines
        if (words := shlex.split(line, comments=True)) and words[0].startswith("bin/")
        if (message := mistake(words, complete=complete))
    }
    assert mistakes == {}


def test_every_drill_has_a_runbook_that_says_how_to_rehearse_it() -> None:
    assert {page.stem for page in RUNBOOKS} == set(drills())
    for page in RUNBOOKS:
        text = page.read_text()
        assert f"bin/sandbox drill {page.stem}" in text
        assert all(heading in text for heading in ("**You see**", "**Run**")), page.name
        assert f"({page.name})" in INDEX.read_text(), page.name
