"""The tables of docs/permissions.md as data."""

import re
from collections.abc import Iterator
from pathlib import Path

from sandbox.github.models import Level

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "permissions.md"
_CODE = re.compile(r"`([^`]+)`")


def _rows(section: str, heading: str) -> Iterator[list[str]]:
    """The cells of the table below `section` whose first heading is `heading`."""
    text = DOCUMENT.read_text().split(f"## {section}\n", 1)[1].split("\n## ", 1)[0]
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
