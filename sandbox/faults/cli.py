"""`bin/sandbox fault`: give the sandbox faults, and take them away."""

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from sandbox import client
from sandbox.faults.kinds import KINDS
from sandbox.paths import Home

app = typer.Typer(
    no_args_is_help=True,
    help="Give the sandbox faults: an API that fails, a region that is down, ...",
)
console = Console(highlight=False, markup=False)


@app.command()
def kinds() -> None:
    """List the faults that there are."""
    table = Table("KIND", "TARGET", "WHAT IT DOES", box=None)
    for kind in KINDS.values():
        table.add_row(kind.name, kind.target, kind.what)
    console.print(table)


@app.command()
def add(
    kind: Annotated[str, typer.Argument(help="See `bin/sandbox fault kinds`.")],
    target: Annotated[
        str | None, typer.Argument(help="What it befalls, such as nyc1; none: any.")
    ] = None,
    times: Annotated[int | None, typer.Option(help="How often; none: until it is cleared.")] = None,
    method: Annotated[str | None, typer.Option(help="Of requests, such as POST.")] = None,
    path: Annotated[
        str | None, typer.Option(help="Of requests, such as '/v2/kubernetes/clusters/*'.")
    ] = None,
    status: Annotated[int | None, typer.Option(help="Of the answer, such as 502.")] = None,
    seconds: Annotated[float | None, typer.Option(help="Of Retry-After, or of the wait.")] = None,
) -> None:
    """Add a fault. It lasts until it is cleared, or the sandbox goes down."""
    asked = {
        "kind": kind,
        "target": target,
        "times": times,
        "method": method,
        "path": path,
        "status": status,
        "seconds": seconds,
    }
    given = {name: value for name, value in asked.items() if value is not None}
    fault = client.required(Home.default()).post("/sandbox/faults", given, seconds=120)
    console.print(f"{_line(fault)}. To clear it: bin/sandbox fault clear {fault['id']}")


@app.command("list")
def list_() -> None:
    """List the faults that stand."""
    faults = client.required(Home.default()).get("/sandbox/faults")
    for fault in faults:
        console.print(f"{_line(fault)}, {fault['hits']} times so far")
    if not faults:
        console.print("There are no faults.")


@app.command()
def clear(
    which: Annotated[str | None, typer.Argument(help="Number or kind; none: all.")] = None,
) -> None:
    """Clear faults; returns when the clusters have got over them."""
    body = {"which": which}
    cleared = client.required(Home.default()).post("/sandbox/faults/clear", body, seconds=120)
    if which is not None and not cleared:
        raise client.SandboxError(f"There is no fault {which!r}. All: bin/sandbox fault list")
    for fault in cleared:
        console.print(f"Cleared {_line(fault)}.")


def _line(fault: dict[str, Any]) -> str:
    said = [f"{name} {fault[name]}" for name in fault if name not in ("id", "hits", "kind")]
    return f"fault {fault['id']}: {' '.join([fault['kind'], *said])}"
