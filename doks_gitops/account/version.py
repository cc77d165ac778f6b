"""DOKS version slugs, compared as versions: 1.34.10 is newer than 1.34.9."""

from __future__ import annotations

import re
from dataclasses import dataclass, field


@dataclass(frozen=True, order=True, slots=True)
class Version:
    """A version slug such as 1.34.1-do.0, or the beginning of one ("1.34", "1.34.1")."""

    numbers: tuple[int, ...]
    text: str = field(compare=False)

    @classmethod
    def of(cls, text: str) -> Version:
        """Raises ValueError if `text` is no such version."""
        if not re.fullmatch(r"\d+\.\d+(\.\d+(-do\.\d+)?)?", text):
            raise ValueError(f"{text!r} is no DOKS version")
        return cls(tuple(map(int, re.findall(r"\d+", text))), text)

    @property
    def minor(self) -> tuple[int, int]:
        return self.numbers[0], self.numbers[1]

    @property
    def minor_text(self) -> str:
        return "{}.{}".format(*self.minor)

    def begins(self, other: Version) -> bool:
        """Whether `other` is this version, or a patch or revision of it."""
        return other.numbers[: len(self.numbers)] == self.numbers

    def compared(self, other: Version) -> int:
        """Below 0, 0 or above 0 as this is older than, the beginning of, or newer than `other`."""
        other_numbers = other.numbers[: len(self.numbers)]
        return (self.numbers > other_numbers) - (self.numbers < other_numbers)

    def __str__(self) -> str:
        return self.text
