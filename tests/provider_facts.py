"""The table of what the providers do with the properties that the program uses."""

import re
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


def arguments_of_a_cluster() -> dict[str, dict[str, Any]]:
    """The entries of all arguments of a cluster, by their names in the Python SDK."""
    return {
        re.sub("[A-Z]", lambda capital: f"_{capital[0].lower()}", fact.path): fact.what
        for fact in facts("digitalocean")
        if fact.type.endswith(":KubernetesCluster")
        if "." not in fact.path and "output" not in fact.what
    }
