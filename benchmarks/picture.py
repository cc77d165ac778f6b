"""Draws line charts as SVG."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

_COLOURS = ("#0069ff", "#9aa5b1", "#ef7b4d")
_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM = 640, 320, 56, 48, 40


@dataclass(frozen=True)
class Line:
    """A named line through points."""

    name: str
    points: Mapping[int, float]


def chart(title: str, lines: Sequence[Line]) -> str:
    """The picture; both axes begin at 0."""
    right = max(x for line in lines for x in line.points)
    top = max(y for line in lines for y in line.points.values())
    wide, high = _WIDTH - _LEFT - 24, _HEIGHT - _TOP - _BOTTOM

    def place(x: float, y: float) -> tuple[float, float]:
        return _LEFT + wide * x / right, _TOP + high * (1 - y / top)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        f'width="{_WIDTH}" height="{_HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>',
        _text(_LEFT, 18, title),
    ]
    for number in range(5):
        x, y = place(0, top * number / 4)
        parts.append(f'<path d="M{x:.1f} {y:.1f}h{wide}" stroke="#e4e7eb"/>')
        parts.append(_text(x - 6, y + 4, f"{top * number / 4:.1f}", "end"))
    for number in sorted({x for line in lines for x in line.points}):
        parts.append(_text(place(number, 0)[0], _HEIGHT - 18, f"{number}", "middle"))
    for index, line in enumerate(lines):
        colour = _COLOURS[index]
        points = [place(x, y) for x, y in sorted(line.points.items())]
        drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{drawn}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points]
        left = _LEFT + 180 * index
        parts.append(f'<rect x="{left}" y="28" width="12" height="12" fill="{colour}"/>')
        parts.append(_text(left + 17, 38, line.name))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="#243b53">{escape(text)}</text>'
    )
