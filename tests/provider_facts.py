"""The table of what the providers do with the properties that the program uses."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

FILE = Path(__file__).parent / "contract" / "provider_facts.yaml"


@dataclass(frozen=True)
class Fact:
    """One property of one type."""

    type: str
    path: str
    what: dict[str, Any]
    """The property's entry in the table."""

    def __str__(self) -> str:
        return f"{self.type.rpartition(':')[2]}.{self.path}"


def provider(name: str) -> dict[str, Any]:
    """The section of that Pulumi package."""
    section: dict[str, Any] = yaml.safe_load(FILE.read_text())[name]
    return section


def facts(*providers: str) -> Iterator[Fact]:
    for name in providers:
        for type, described in provider(name)["types"].items():
            for path, what in described["properties"].items():
                yield Fact(type, path, what)
