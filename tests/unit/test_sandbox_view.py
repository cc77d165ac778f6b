"""The status table of the sandbox."""

from typing import Any

from rich.console import Console

from sandbox.view import table


def _cluster(name: str, *applications: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "version": "1.34.11-do.0",
        "nodes": 3,
        "state": "provisioning",
        "argocd": [{"ready": True}] * 7 + [{"ready": False}],
        "applications": applications,
    }


def _shown(*clusters: dict[str, Any]) -> list[str]:
    console = Console(width=80)
    with console.capture() as captured:
        console.print(table(clusters))
    return [line.rstrip() for line in captured.get().splitlines()]


def test_the_table_truncates_nothing_in_a_terminal_of_eighty_columns() -> None:
    application = {
        "name": "staging-microservices-demo",
        "sync": "OutOfSync",
        "health": "Progressing",
        "revision": "6d5eec4a0f",
    }
    lines = [
        line.split() for line in _shown(_cluster("microservices-demo-production", application))
    ]
    assert ["microservices-demo-production", "provisioning"] in lines
    assert ["1.34.11-do.0,", "3", "nodes,", "Argo", "CD", "7/8"] in lines
    assert ["staging-microservices-demo", "OutOfSync", "Progressing", "6d5eec4"] in lines


def test_the_table_shows_an_empty_cluster_and_without_clusters_the_next_command() -> None:
    assert any(
        "microservices-demo-dev" in line for line in _shown(_cluster("microservices-demo-dev"))
    )
    assert any("bin/sandbox up" in line for line in _shown())
