"""Every command of a page is run by a test or a drill, or the page says why not."""

import re
import shlex
from pathlib import Path

import pytest

from tests.docs import DOCS, PAGES, REPOSITORY, RUNBOOKS, all_blocks

RUN_BY = re.compile(r"run by (\S+)")
NOT_RUN = re.compile(r"not run: (?:needs|asks for) \w.+")
RUN_BY_THEIR_PAGE: dict[str, list[str]] = {
    "from-autopilot.md": [],
    "add-application.md": ["The folder", "By the stack file", "By a commit"],
    "real-account.md": [],
    "first-run.md": [],
    "upgrade.md": [],
    "costs.md": [],
    "commands.md": [],
}
"""The pages, or only these sections of them, whose blocks without a mark tests/e2e/test_docs.py
runs."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_every_command_is_run_or_the_page_says_why_not(page: Path) -> None:
    blocks = all_blocks(page)
    fences = re.findall(r"^ *```console", page.read_text(), re.MULTILINE)
    assert len(blocks) == len(fences), "one is hidden"
    for block in blocks:
        assert block.steps, f"a block of {block.heading} has no command"
        commands = [step.command for step in block.steps]
        if block.mark is None and page.parent == RUNBOOKS:
            source = _source_of_drill(page.stem)
            left_out = [command for command in commands if not _is_drilled(command, source)]
            assert not left_out, f"the drill {page.stem} does not run it"
        elif block.mark is None:
            sections = RUN_BY_THEIR_PAGE.get(page.name)
            assert page.parent == DOCS, f"{page}: nothing runs {commands}"
            assert sections is not None, f"{page.name}: nothing runs {commands}"
            assert not sections or block.heading in sections, block.heading
        elif run_by := RUN_BY.fullmatch(block.mark):
            source = (REPOSITORY / run_by[1]).read_text()
            left_out = [command for command in commands if not _is_in(command, source)]
            assert not left_out, f"{run_by[1]} does not run it"
        else:
            assert NOT_RUN.fullmatch(block.mark), f"{page.name}: {block.mark}"


def _is_in(command: str, source: str) -> bool:
    """Whether a file has the command, as a line of a script or as the arguments of a call."""
    words = shlex.split(command, comments=True)
    # A Sandbox of tests/e2e/box.py is called with the arguments of `bin/sandbox` alone.
    arguments = words[1:] if words[0] == "bin/sandbox" else words
    return " ".join(words) in source or ", ".join(f'"{word}"' for word in arguments) in source


def _source_of_drill(name: str) -> str:
    """The code of a drill, and what it shares with others; of README: what all of them share."""
    file = REPOSITORY / "sandbox" / "drills" / f"{name.replace('-', '_')}.py"
    source = file.read_text() if file.exists() else ""
    imported = {"drill", *re.findall(r"^from sandbox\.drills\.(\w+) import", source, re.MULTILINE)}
    return source + "".join(file.with_name(f"{module}.py").read_text() for module in imported)


def _is_drilled(command: str, source: str) -> bool:
    """Whether a drill has the program, its command and every option; it has other values."""
    program, *words = shlex.split(command, comments=True)
    return all(
        re.search(rf"[\"\s]{re.escape(word)}[\"\s]", source)
        for word in (program, words[0], *(word for word in words if word.startswith("--")))
    )
