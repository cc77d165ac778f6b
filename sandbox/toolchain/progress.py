"""Shows the progress of downloads and builds: bars on a terminal, lines elsewhere."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

HEARTBEAT_SECONDS = 30.0
"""The longest silence of the output without a terminal."""


class Board(Protocol):
    """Shows the state of each tool."""

    def begin(self, tool: str) -> None:
        """Work on `tool` starts; its time counts from now."""

    def show(self, tool: str, state: str, done: int = 0, total: int | None = None) -> None:
        """`tool` is now in `state`, after `done` of `total` steps (None: unknown)."""

    def end(self, tool: str, state: str = "done") -> None:
        """Work on `tool` has ended; its last `state` is said only if there was one before."""

    def beat(self) -> None:
        """Called every HEARTBEAT_SECONDS."""


@asynccontextmanager
async def beating(board: Board) -> AsyncIterator[None]:
    """Calls `board.beat` every HEARTBEAT_SECONDS."""

    async def beat() -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            board.beat()

    heartbeat = asyncio.create_task(beat())
    try:
        yield
    finally:
        heartbeat.cancel()


@contextmanager
def board(console: Console, tools: Iterable[str]) -> Iterator[Board]:
    """The board that suits `console`, with a row for each of `tools`."""
    if not console.is_terminal:
        yield _Lines(console)
        return
    with Progress(
        TextColumn("{task.description:<12}"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[state]}"),
        console=console,
    ) as bars:
        yield _Bars(bars, tools)


class _Bars:
    def __init__(self, bars: Progress, tools: Iterable[str]) -> None:
        self._bars = bars
        self._tasks = {
            tool: bars.add_task(tool, start=False, total=None, state="waiting") for tool in tools
        }

    def begin(self, tool: str) -> None:
        self._bars.start_task(self._tasks[tool])

    def show(self, tool: str, state: str, done: int = 0, total: int | None = None) -> None:
        self._bars.update(self._tasks[tool], state=state, completed=done, total=total)

    def end(self, tool: str, state: str = "done") -> None:
        task = self._tasks[tool]
        self._bars.update(task, state=state, completed=1, total=1)
        self._bars.stop_task(task)

    def beat(self) -> None:
        """The bars refresh themselves."""


@dataclass
class _Row:
    began: float
    state: str = "waiting"
    done: int = 0
    total: int | None = None

    def __str__(self) -> str:
        progress = f", {100 * self.done // self.total}%" if self.total else ""
        return f"{self.state}{progress} ({time.monotonic() - self.began:.0f} s)"


class _Lines:
    def __init__(self, console: Console) -> None:
        self._console = console
        self._rows: dict[str, _Row] = {}

    def begin(self, tool: str) -> None:
        self._rows[tool] = _Row(began=time.monotonic())

    def show(self, tool: str, state: str, done: int = 0, total: int | None = None) -> None:
        row = self._rows[tool]
        changed = row.state != state
        row.state, row.done, row.total = state, done, total
        if changed:
            self._print(f"{tool}: {state}")

    def end(self, tool: str, state: str = "done") -> None:
        row = self._rows.pop(tool)
        if row.state != _Row.state:
            row.state, row.total = state, None
            self._print(f"{tool}: {row}")

    def beat(self) -> None:
        for tool, row in self._rows.items():
            self._print(f"{tool}: {row}")

    def _print(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)
