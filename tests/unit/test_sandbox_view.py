"""The status table of the sandbox."""

from typing import Any

import pytest
from rich.console import Console

from sandbox.view import render, table


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


@pytest.mark.parametrize(
    ("has_ui", "kind"), [(True, "(web UI)"), (False, "(API only, its web UI is not built in)")]
)
def test_the_status_says_the_address_of_argo_cd_and_whether_a_browser_can_use_it(
    has_ui: bool, kind: str
) -> None:
    url = "https://127.0.0.1:27012"
    cluster = {**_cluster("dev"), "argocd_url": url, "argocd_has_ui": has_ui}
    starting = {**_cluster("prod"), "argocd_url": None, "argocd_has_ui": False}
    console = Console(width=80)
    with console.capture() as captured:
        render({"clusters": [cluster, starting], "memory": 0, "processes": []}, console)
    lines = [line for line in captured.get().splitlines() if "Argo CD of" in line]
    assert lines == [f"Argo CD of dev: {url}, user admin {kind}"]
