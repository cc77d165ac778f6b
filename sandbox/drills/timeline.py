"""Draws a timeline of the drills: a row for each drill, with its phases as bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from sandbox.drills.drill import PULUMI, Phase

_COLOURS = {
    "until the command": "#9aa5b1",
    PULUMI: "#7a5cff",
    "cluster": "#0069ff",
    "Argo CD": "#ef7b4d",
    "applications": "#18a957",
    # A recovery whose phases are not measured.
    "recovery": "#c3b8f5",
}
_WIDTH, _LEFT, _ROW, _BAR, _TOP = 860, 150, 30, 18, 44


def write(file: Path, drills: Mapping[str, Sequence[Phase]]) -> None:
    """Write the picture as SVG."""
    file.write_text(svg(drills))


def svg(drills: Mapping[str, Sequence[Phase]]) -> str:
    longest = max((phase.end for phases in drills.values() for phase in phases), default=1.0)
    scale = (_WIDTH - _LEFT - 60) / max(longest, 1.0)
    height = _TOP + _ROW * len(drills) + 24
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'width="{_WIDTH}" height="{height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
    ]
    x = float(_LEFT)
    for name, colour in _COLOURS.items():
        parts.append(f'<rect x="{x:.0f}" y="12" width="12" height="12" fill="{colour}"/>')
        parts.append(_text(x + 17, 22, name))
        x += 40 + 7 * len(name)
    for row, (name, phases) in enumerate(drills.items()):
        y = _TOP + row * _ROW
        parts.append(_text(_LEFT - 8, y + 13, name, "end"))
        for phase in phases:
            width = (phase.end - phase.begin) * scale
            if width > 0:
                parts.append(
                    f'<rect x="{_LEFT + phase.begin * scale:.1f}" y="{y}" width="{width:.1f}" '
                    f'height="{_BAR}" fill="{_COLOURS[phase.name]}">'
                    f"<title>{escape(phase.name)}: {phase.end - phase.begin:.1f} s</title></rect>"
                )
        if phases:
            end = phases[-1].end
            parts.append(_text(_LEFT + end * scale + 6, y + 13, f"{end:.1f} s"))
    parts.append(_text(_LEFT, height - 8, "seconds since the loss"))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="#243b53">{escape(text)}</text>'
    )
