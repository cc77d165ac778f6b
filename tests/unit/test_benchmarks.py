"""How the benchmarks report their measurements."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import typer
from rich.console import Console

import benchmarks.__main__ as command
from benchmarks import growth, recovery
from benchmarks.bench import Bench, machine
from benchmarks.picture import Line, chart
from sandbox.client import Daemon
from sandbox.engine import Engine
from sandbox.paths import Home


def test_compared_values_are_measured_alternately_and_reported_as_medians(tmp_path: Path) -> None:
    home = Home(tmp_path)
    daemon = Daemon(1, "http://127.0.0.1:1", "token", {}, {})
    bench = Bench(home, daemon, Engine(home, {}, {}), Console(quiet=True), runs=3)
    order: list[str] = []

    def measure(name: str, times: list[float]) -> float:
        order.append(name)
        return times.pop()

    slow, fast = [9.0, 5.0, 6.0], [1.0, 2.0, 9.0]
    medians = bench.side_by_side(
        {"slow": lambda: measure("slow", slow), "fast": lambda: measure("fast", fast)}
    )
    assert medians == {"slow": 6.0, "fast": 2.0}
    assert order == ["slow", "fast"] * 3


def test_a_line_twice_as_steep_is_drawn_twice_as_high() -> None:
    picture = ElementTree.fromstring(
        chart(
            "seconds", [Line("platform", {0: 0.0, 500: 10.0}), Line("engine", {0: 0.0, 500: 5.0})]
        )
    )
    lines = picture.findall("{http://www.w3.org/2000/svg}polyline")
    ends = [[float(y.split(",")[1]) for y in line.attrib["points"].split()] for line in lines]
    (zero, platform), (_, engine) = ends
    assert zero - platform == 2 * (zero - engine) > 0


def test_the_machine_is_described_without_its_host_name() -> None:
    assert "cores" in machine()
    assert Path("/proc/sys/kernel/hostname").read_text().strip() not in machine()


def test_parts_that_are_measured_alone_leave_the_pictures_of_the_page(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    drawn: list[Path | None] = []

    def measure(bench: Bench, picture: Path | None) -> list[Any]:
        drawn.append(picture)
        return []

    monkeypatch.setattr(command, "bench", lambda console, runs: nullcontext())
    for part in (recovery, growth):
        monkeypatch.setattr(part, "measure", measure)
    command.main(only=[command.Part.RECOVERY, command.Part.GROWTH], write_to=tmp_path / "page.md")
    assert drawn == [None, None]
    assert [*tmp_path.iterdir()] == []


def test_cold_is_refused_beside_the_parts_to_which_it_would_add_nothing() -> None:
    with pytest.raises(typer.BadParameter, match="--only cold"):
        command.main(cold=True, only=[command.Part.DIFF])
