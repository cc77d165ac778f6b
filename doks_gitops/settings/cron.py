"""The schedules of Argo CD's sync windows: five fields of cron.

Argo CD reads them with https://pkg.go.dev/github.com/robfig/cron/v3, which takes less than other
readers of cron: no @daily, no 7 for Sunday, no L and no #. So a library for Python does not serve.
"""

from __future__ import annotations

import re

_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_WEEKDAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
_MINUTE, _HOUR, _DAY, _MONTH, _WEEKDAY = range(5)
_BOUNDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))
_NAMES = {
    _MONTH: {name: number for number, name in enumerate(_MONTHS, 1)},
    _WEEKDAY: {name: number for number, name in enumerate(_WEEKDAYS)},
}
_PART = re.compile(r"(?:[*?]|([a-z0-9]+)(?:-([a-z0-9]+))?)(?:/([1-9][0-9]{0,3}))?", re.ASCII)
_LONGEST = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
"""Most days of each month."""


def is_schedule(text: str) -> bool:
    """Whether `text` is a schedule: minute, hour, day, month and weekday."""
    try:
        _fields(text)
    except ValueError:
        return False
    return True


def ever_opens(schedule: str) -> bool:
    """Whether the schedule has a time at all: 30 February has none. Raises ValueError."""
    fields = _fields(schedule)
    day, weekday = schedule.split()[_DAY], schedule.split()[_WEEKDAY]
    if not _is_any(day) and not _is_any(weekday):
        return True  # either of them is enough
    return any(min(fields[_DAY]) <= _LONGEST[month - 1] for month in fields[_MONTH])


def _is_any(field: str) -> bool:
    return not {"*", "?", "*/1", "?/1"}.isdisjoint(field.split(","))


def _fields(text: str) -> list[set[int]]:
    parts = text.lower().split()
    if len(parts) != len(_BOUNDS):
        raise ValueError(f"{len(parts)} fields")
    return [_values(index, part) for index, part in enumerate(parts)]


def _values(index: int, field: str) -> set[int]:
    """The numbers that the field of that index stands for."""
    values: set[int] = set()
    for part in field.split(","):
        match = _PART.fullmatch(part)
        if match is None:
            raise ValueError(part)
        low, high, step = match.groups()
        least, most = _BOUNDS[index]
        start = least if low is None else _number(index, low)
        end = _number(index, high) if high else most if low is None or step else start
        if not least <= start <= end <= most:
            raise ValueError(part)
        values.update(range(start, end + 1, int(step or 1)))
    return values


def _number(index: int, text: str) -> int:
    number = _NAMES.get(index, {}).get(text)
    return int(text) if number is None else number
