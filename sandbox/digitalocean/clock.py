"""A clock that can be set forward, so that what expires in a week can be seen to expire now."""

from datetime import UTC, datetime, timedelta


class Clock:
    """The machine's clock plus an offset."""

    def __init__(self, offset: timedelta = timedelta(0)) -> None:
        self.offset = offset

    def now(self) -> datetime:
        """The present moment by this clock, in UTC."""
        return datetime.now(UTC) + self.offset

    def advance(self, by: timedelta) -> None:
        """Set the clock forward. Raises ValueError for a negative step: what has expired by this
        clock must stay so."""
        if by < timedelta(0):
            raise ValueError(f"a clock only goes forward, not by {by}")
        self.offset += by
