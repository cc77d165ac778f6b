"""Prints the status table, and waits until applications are Synced and Healthy."""

import time
from collections.abc import Iterable, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.live import Live
from rich.table import Table

from sandbox.client import Daemon
from sandbox.errors import SandboxError

_COLOURS = {
    "running": "green",
    "Synced": "green",
    "Healthy": "green",
    "provisioning": "yellow",
    "OutOfSync": "yellow",
    "Progressing": "yellow",
    "Unknown": "yellow",
    "Missing": "yellow",
    "Degraded": "red",
    "error": "red",
    "degraded": "red",
}


def render(status: dict[str, Any], console: Console) -> None:
    """Print the status: a table of clusters and their applications, and each Argo CD's address."""
    console.print(table(status["clusters"]))
    for cluster in status["clusters"]:
        if cluster["argocd_url"]:
            kind = "web UI" if cluster["argocd_has_ui"] else "API only, its web UI is not built in"
            line = f"Argo CD of {cluster['name']}: {cluster['argocd_url']}, user admin ({kind})"
            # A wrapped address could not be copied in one piece.
            console.print(line, soft_wrap=True)
    total = status["memory"] / 2**20
    console.print(f"[dim]{total:,.0f} MiB in {len(status['processes'])} processes[/]")


def table(clusters: Sequence[dict[str, Any]]) -> Table:
    """The status table, at most 80 columns wide."""
    result = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for title in ("Cluster and its applications", "Sync", "Health", "Revision"):
        result.add_column(title, overflow="fold")
    for cluster in clusters:
        result.add_row(
            f"{cluster['name']}\n"
            f"[dim]{cluster['version']}, {_count(cluster['nodes'], 'node')}, Argo CD[/]"
            f" {_argocd(cluster['argocd'])}",
            "",
            _coloured(cluster["state"]),
        )
        for application in cluster["applications"]:
            result.add_row(*_application(application))
        result.add_section()
    if not clusters:
        result.add_row("[dim]no cluster yet: bin/sandbox up[/]")
    return result


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _argocd(pods: Iterable[dict[str, Any]]) -> str:
    states = [bool(pod["ready"]) for pod in pods]
    if not states:
        return "[dim]-[/]"
    text = f"{sum(states)}/{len(states)}"
    return f"[green]{text}[/]" if all(states) else f"[yellow]{text}[/]"


def _application(application: dict[str, Any]) -> tuple[str, str, str, str]:
    return (
        f"  {application['name']}",
        _coloured(application["sync"]),
        _coloured(application["health"]),
        (application["revision"] or "")[:7],
    )


def _coloured(word: str) -> str:
    colour = _COLOURS.get(word)
    return f"[{colour}]{word}[/]" if colour else word


def wait_until_healthy(
    daemon: Daemon, names: Sequence[str], console: Console, *, seconds: float
) -> None:
    """Wait until every application in the named clusters is Synced and Healthy.

    Raises SandboxError, which names the others, after `seconds`.
    """
    deadline = time.monotonic() + seconds
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        while True:
            clusters = daemon.get("/sandbox/clusters")
            live.update(table(clusters))
            lagging = list(_lagging(clusters, names))
            if not lagging:
                return
            if time.monotonic() > deadline:
                raise SandboxError(
                    f"Not Synced and Healthy after {seconds:g} s: {'; '.join(lagging)}."
                    " Why: bin/sandbox logs application-controller"
                )
            time.sleep(0.5)


def _lagging(clusters: Sequence[dict[str, Any]], names: Sequence[str]) -> Iterable[str]:
    by_name = {cluster["name"]: cluster for cluster in clusters}
    for name in names:
        if name not in by_name:
            yield f"cluster {name} does not exist"
        elif not by_name[name]["applications"]:
            yield f"cluster {name} has no application"
        else:
            for application in by_name[name]["applications"]:
                if (application["sync"], application["health"]) != ("Synced", "Healthy"):
                    message = f" ({application['message']})" if application["message"] else ""
                    yield (
                        f"{application['name']} is {application['sync']},"
                        f" {application['health']}{message}"
                    )
