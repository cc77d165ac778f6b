"""What a person sees while tools are built: a bar for each on a terminal, lines elsewhere."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

HEARTBEAT_SECONDS = 30.0
"""How long a log without a terminal stays silent at most."""


class Board(Protocol):
    """Shows what happens to each tool."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None: ...

    def begin(self, tool: str) -> None:
        """Work on `tool` starts; its time counts from here."""

    def show(self, tool: str, state: str, done: int = 0, total: int | None = None) -> None:
        """`tool` is now in `state`; `done` of `total` steps (None: unknown how many)."""

    def end(self, tool: str) -> None:
        """`tool` is finished."""

    def beat(self) -> None:
        """Called every HEARTBEAT_SECONDS."""


def board(console: Console, tools: Iterable[str]) -> Board:
    """The board that suits `console`, with a row for each of `tools`."""
    return _Bars(console, tools) if console.is_terminal else _Lines(console)


class _Bars:
    def __init__(self, console: Console, tools: Iterable[str]) -> None:
        self._progress = Progress(
            TextColumn("{task.description:<12}"),
            BarColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[state]}"),
            console=console,
        )
        self._tasks: dict[str, TaskID] = {
            tool: self._progress.add_task(tool, start=False, total=None, state="waiting")
            for tool in tools
        }

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def begin(self, tool: str) -> None:
        self._progress.start_task(self._tasks[tool])

    def show(self, tool: str, state: str, done: int = 0, total: int | None = None) -> None:
        self._progress.update(self._tasks[tool], state=state, completed=done, total=total)

    def end(self, tool: str) -> None:
        task = self._tasks[tool]
        self._progress.update(task, state="done", completed=1, total=1)
        self._progress.stop_task(task)

    def beat(self) -> None:
        pass


@dataclass
class _Row:
    began: float
    state: str = "waiting"
    done: int = 0
    total: int | None = None

    def __str__(self) -> str:
        of = f", {self.done} of {self.total} packages" if self.total else ""
        return f"{self.state}{of} ({time.monotonic() - self.began:.0f} s)"


class _Lines:
    def __init__(self, console: Console) -> None:
        self._console = console
        self._rows: dict[str, _Row] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        pass

    def begin(self, tool: str) -> None:
        self._rows[tool] = _Row(began=time.monotonic())

    def show(self, tool: str, state: str, done: int = 0, total: int | None = None) -> None:
        row = self._rows[tool]
        changed = row.state != state
        row.state, row.done, row.total = state, done, total
        if changed:
            self._print(f"{tool}: {state}")

    def end(self, tool: str) -> None:
        row = self._rows.pop(tool)
        row.state, row.total = "done", None
        self._print(f"{tool}: {row}")

    def beat(self) -> None:
        for tool, row in self._rows.items():
            self._print(f"{tool}: {row}")

    def _print(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)
