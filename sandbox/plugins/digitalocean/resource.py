"""What the provider asks of each kind of resource, and what those have in common."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import ClassVar, Protocol

from sandbox.plugins.common import Failure
from sandbox.plugins.digitalocean.api import Api
from sandbox.plugins.digitalocean.schema import Fields, Properties

POLL = 1.0
"""Seconds between two looks at something that is under way; the real plugin waits 10."""

CREATE_TIMEOUT = 30 * 60.0
"""Seconds; `custom_timeouts` of the resource may say otherwise."""


class Incomplete(Failure):
    """The resource `id` was created, but what was to follow failed."""

    def __init__(self, id: str, message: str) -> None:
        super().__init__(message)
        self.id = id


class Resource(Protocol):
    """One kind of resource. Operations raise Failure with what the user is to read."""

    type: str
    """Such as `digitalocean:index/vpc:Vpc`."""
    fields: ClassVar[Fields]

    async def create(self, api: Api, wanted: Properties, seconds: float | None) -> str:
        """Create it, wait for it, and return its id. A failure means that the state won't know it,
        even if it exists by then; Incomplete, that the state will."""

    async def read(self, api: Api, id: str, state: Properties) -> Properties | None:
        """The outputs as they are now, given those of the last run; None if it is gone."""

    async def adopt(self, api: Api, id: str) -> Properties:
        """Prepare an existing resource for being managed, and return what `read` needs."""

    async def update(
        self, api: Api, id: str, old: Properties, wanted: Properties, changed: set[str]
    ) -> None:
        """Make the properties in `changed` as wanted."""

    async def delete(self, api: Api, id: str, state: Properties, seconds: float | None) -> None:
        """End it."""


async def polls(seconds: float, *, of: str) -> AsyncIterator[None]:
    """Yield at each moment when it is time to look; raises Failure once `seconds` have passed."""
    deadline = time.monotonic() + seconds
    while True:
        await asyncio.sleep(POLL)
        yield
        if time.monotonic() > deadline:
            raise Failure(f"Timeout waiting to {of}")


def api_name(name: str) -> str:
    """A property's name as the API writes it: `surge_upgrade` for `surgeUpgrade`."""
    return re.sub(r"[A-Z]", lambda letter: "_" + letter[0].lower(), name)


def go_time(text: str | None) -> str:
    """A time of the API as Go prints it, which is how the real plugin keeps it:
    `2026-03-01 12:00:00 +0000 UTC`."""
    moment = datetime.fromisoformat(text).astimezone(UTC) if text else datetime.min
    seconds, _, fraction = moment.replace(tzinfo=None).isoformat(sep=" ").partition(".")
    fraction = fraction.rstrip("0")
    return f"{seconds}{'.' if fraction else ''}{fraction} +0000 UTC"


def present(properties: Properties) -> Properties:
    """Those that have a value other than the zero one: Go's clients send no others."""
    return {name: value for name, value in properties.items() if value}
