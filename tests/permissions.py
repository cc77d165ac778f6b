"""The tables of docs/permissions.md as data."""

import re
from collections.abc import Iterator
from pathlib import Path

from sandbox.github.models import Level

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "permissions.md"
WORKFLOWS = DOCUMENT.with_name("workflows.md")
_CODE = re.compile(r"`([^`]+)`")


def _rows(section: str, heading: str, document: Path = DOCUMENT) -> Iterator[list[str]]:
    """The cells of the table below `section` whose first heading is `heading`."""
    text = document.read_text().split(f"## {section}\n", 1)[1].split("\n## ", 1)[0]
    table = text.split(f"\n| {heading} |", 1)[1].split("\n\n", 1)[0]
    for line in table.splitlines()[2:]:
        yield [cell.strip() for cell in line.strip("|").split("|")]


def uses() -> dict[str, frozenset[str]]:
    """The scopes documented for each use, such as `preview` or `a registry`, without those of
    another use that the row refers to."""
    return {
        use.partition(":")[0]: frozenset(_CODE.findall(scopes))
        for use, scopes in _rows("DigitalOcean", "for")
    }


def scopes(*names: str) -> frozenset[str]:
    """The scopes documented for these uses."""
    return frozenset().union(*(uses()[name] for name in names))


def requests() -> dict[tuple[str, str], frozenset[str]]:
    """The scopes of each documented request, by method and path."""
    documented = {}
    for request, scopes, _ in _rows("DigitalOcean", "request"):
        method, path = request.strip("`").split()
        documented[method, path] = frozenset(_CODE.findall(scopes))
    return documented


def scopes_of(method: str, path: str) -> frozenset[str]:
    """The scopes documented for a request. Raises KeyError if it is in no table."""
    for (documented_method, pattern), scopes in requests().items():
        matches = re.fullmatch(re.sub("ID|NAME", "[^/?]+", pattern), path)
        if documented_method == method and matches:
            return scopes
    raise KeyError(f"{method} {path}")


def workflows() -> dict[str, frozenset[str]]:
    """The permissions documented for the token of each workflow's jobs."""
    return {
        name.strip("`"): frozenset(_CODE.findall(permissions))
        for name, permissions, _ in _rows("GitHub", "workflow")
    }


def github_parts() -> dict[str, dict[str, Level]]:
    """The permissions, by name, documented for each part that a stack has on GitHub."""
    return {
        part.strip("`"): {
            name: "write" if level == "write" else "read"
            for name, level in (permission.split(": ") for permission in _CODE.findall(cell))
        }
        for part, cell, _ in _rows("GitHub", "part")
    }


def secrets() -> dict[frozenset[str], frozenset[str]]:
    """The secrets documented for each group of workflows, by the names of their files."""
    setup = "Setup on GitHub"
    backend = {
        name
        for row in _rows(setup, "backend", WORKFLOWS)
        for name in _CODE.findall(" ".join(row))
        if name.isupper()
    }
    documented = {}
    for _, files, cell in _rows(setup, "environment", WORKFLOWS):
        names = {name for name in _CODE.findall(cell) if name.isupper()}
        with_backend = "those of the backend" in cell
        documented[frozenset(_CODE.findall(files))] = frozenset(
            names | backend if with_backend else names
        )
    return documented
