"""The runbooks name only what there is: drills, files, and commands with their options."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox.drills.cli import drills

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = REPOSITORY / "docs" / "recovery"
INDEX = FOLDER / "README.md"
RUNBOOKS = sorted(set(FOLDER.glob("*.md")) - {INDEX})
OURS = {"recover": ["recovery"], "gitops": ["gitops"], "sandbox": ["sandbox"]}


def commands(page: Path) -> list[list[str]]:
    """What follows a prompt in the page's blocks, and the commands of ours inside its lines."""
    text = page.read_text()
    prompted = re.findall(r"^ *\$ (.+)$", text, re.MULTILINE)
    inline = re.findall(r"`(bin/[^`]+)`", text)
    lines = [part for line in prompted for part in line.split(" && ")] + inline
    return [shlex.split(line, comments=True) for line in lines]


@pytest.mark.parametrize("page", [*RUNBOOKS, INDEX], ids=lambda page: page.stem)
def test_every_command_of_ours_exists_with_the_options_it_is_given(page: Path) -> None:
    ours = [words for words in commands(page) if words[0].startswith("bin/")]
    for program, *arguments in ours:
        assert os.access(REPOSITORY / program, os.X_OK), program
        chosen = [word for word in arguments[:1] if re.fullmatch("[a-z][a-z-]+", word)]
        if program == "bin/platform recover":
            chosen = []
        asked = subprocess.run(
            [sys.executable, "-m", *OURS[Path(program).name], *chosen, "--help"],
            cwd=REPOSITORY, env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1"},
            text=True, capture_output=True, check=False,
        )  # fmt: skip
        assert asked.returncode == 0, f"{page.name}: {program} {chosen}: {asked.stderr}"
        for option in (word for word in arguments if word.startswith("--")):
            assert option.split("=")[0] in asked.stdout, f"{page.name}: {program} {option}"


@pytest.mark.parametrize("page", [*RUNBOOKS, INDEX], ids=lambda page: page.stem)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_drill_has_a_runbook_that_says_how_to_rehearse_it() -> None:
    assert {page.stem for page in RUNBOOKS} == set(drills())
    for page in RUNBOOKS:
        text = page.read_text()
        assert f"bin/sandbox drill {page.stem}" in text
        assert all(each in text for each in ("**You see**", "**Run**")), page.name
        assert f"({page.name})" in INDEX.read_text(), page.name
