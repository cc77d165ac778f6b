"""docs/commands.md against the command line, and the README against the declared dependencies."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.core import TyperGroup

from doks_gitops.cli import app

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = (REPOSITORY / "docs" / "commands.md").read_text()
SECTIONS = {
    name: re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    for name, text in re.findall(r"^## ([a-z-]+)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
}
"""The text of each command's section, without the examples."""


def options() -> dict[str, set[str]]:
    """The long options of each command of `bin/platform`, with those of its own commands."""
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    return {name: set(options_of(command)) for name, command in group.commands.items()}


def options_of(command: Any) -> Iterator[str]:
    for parameter in command.params:
        if parameter.param_type_name == "option":
            yield max(parameter.opts, key=len)
    if isinstance(command, TyperGroup):
        for inner in command.commands.values():
            yield from options_of(inner)


def test_every_command_has_a_section() -> None:
    assert SECTIONS.keys() == options().keys()


@pytest.mark.parametrize("name", SECTIONS)
def test_a_section_lists_every_option_of_its_command_and_no_other(name: str) -> None:
    documented = set(re.findall(r"`(--[a-z-]+)", SECTIONS[name]))
    assert documented == options()[name]


def test_the_readme_says_why_each_declared_dependency_is_there() -> None:
    pyproject = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    project = pyproject["project"]
    groups = (
        project["dependencies"],
        *project["optional-dependencies"].values(),
        *pyproject["dependency-groups"].values(),
    )
    declared = {re.split(r"[<>=]", requirement)[0] for group in groups for requirement in group}
    table = (REPOSITORY / "README.md").read_text().split("## Why each dependency is there\n")[1]
    rows = re.findall(r"^\| ([^|]+) \|", table, re.MULTILINE)[2:]
    explained = {name for names in rows for name in names.split(", ")}
    stubs = {name for name in declared if name.startswith("types-")}
    assert explained == declared - stubs | {"types-*"}
