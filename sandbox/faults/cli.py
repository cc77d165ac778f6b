"""`bin/sandbox fault`: inject faults into the sandbox, and clear them."""

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from sandbox import client
from sandbox.errors import SandboxError
from sandbox.faults.kinds import KINDS
from sandbox.paths import Home

app = typer.Typer(
    no_args_is_help=True,
    help="Inject faults into the sandbox: an API that fails, a region that is down, ...",
)
console = Console(highlight=False, markup=False)


@app.command()
def kinds() -> None:
    """List the faults that can be injected."""
    table = Table("KIND", "TARGET", "WHAT IT DOES", box=None)
    for kind in KINDS.values():
        table.add_row(kind.name, kind.target, kind.description)
    console.print(table)


@app.command()
def add(
    kind: Annotated[str, typer.Argument(help="See `bin/sandbox fault kinds`.")],
    target: Annotated[
        str | None, typer.Argument(help="What has the fault, such as nyc1; without: everything.")
    ] = None,
    times: Annotated[
        int | None, typer.Option(help="How often it occurs; without: until it is cleared.")
    ] = None,
    method: Annotated[
        str | None, typer.Option(help="Method of the requests, such as POST.")
    ] = None,
    path: Annotated[
        str | None, typer.Option(help="Path of the requests, such as '/v2/kubernetes/clusters/*'.")
    ] = None,
    status: Annotated[int | None, typer.Option(help="Status of the response, such as 502.")] = None,
    seconds: Annotated[
        float | None, typer.Option(help="Seconds of Retry-After, or of the delay.")
    ] = None,
) -> None:
    """Inject a fault. It lasts until it is cleared or the sandbox stops."""
    options = {
        "kind": kind,
        "target": target,
        "times": times,
        "method": method,
        "path": path,
        "status": status,
        "seconds": seconds,
    }
    body = {name: value for name, value in options.items() if value is not None}
    fault = client.required(Home.default()).post("/sandbox/faults", body, seconds=120)
    console.print(f"{_line(fault)}. To clear it: bin/sandbox fault clear {fault['id']}")


@app.command("list")
def list_() -> None:
    """List the active faults."""
    faults = client.required(Home.default()).get("/sandbox/faults")
    for fault in faults:
        console.print(f"{_line(fault)}, {fault['hits']} times so far")
    if not faults:
        console.print("There are no faults.")


@app.command()
def clear(
    which: Annotated[str | None, typer.Argument(help="Number or kind; without: all.")] = None,
) -> None:
    """Clear faults. Returns when the clusters work without them again."""
    body = {"which": which}
    cleared = client.required(Home.default()).post("/sandbox/faults/clear", body, seconds=120)
    if which is not None and not cleared:
        raise SandboxError(f"There is no fault {which!r}. All: bin/sandbox fault list")
    for fault in cleared:
        console.print(f"Cleared {_line(fault)}.")


def _line(fault: dict[str, Any]) -> str:
    details = [f"{name} {fault[name]}" for name in fault if name not in ("id", "hits", "kind")]
    return f"fault {fault['id']}: {' '.join([fault['kind'], *details])}"
