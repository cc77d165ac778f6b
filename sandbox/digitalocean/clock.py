"""A clock that can be set forward, to test the expiry of tokens and credentials."""

from datetime import UTC, datetime, timedelta


class Clock:
    """The machine's clock plus an offset."""

    def __init__(self, offset: timedelta = timedelta(0)) -> None:
        self.offset = offset

    def now(self) -> datetime:
        """The time of this clock, in UTC."""
        return datetime.now(UTC) + self.offset

    def advance(self, by: timedelta) -> None:
        """Set the clock forward. Raises ValueError for a negative step, after which expired tokens
        would be valid again."""
        if by < timedelta(0):
            raise ValueError(f"a clock only goes forward, not by {by}")
        self.offset += by
