"""What the provider asks of each kind of resource and of each lookup."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import ClassVar, Generic, Protocol, TypeVar

from sandbox.plugins.bridge.schema import Fields, Properties
from sandbox.plugins.common import Failure

ApiT = TypeVar("ApiT")
_ApiT = TypeVar("_ApiT", contravariant=True)


class Incomplete(Failure):
    """The resource `id` was created, but what was to follow failed."""

    def __init__(self, id: str, message: str) -> None:
        super().__init__(message)
        self.id = id


class Resource(Protocol[_ApiT]):
    """One kind of resource. Operations raise Failure with what the user is to read."""

    type: str
    """Such as `digitalocean:index/vpc:Vpc`."""
    fields: ClassVar[Fields]

    async def create(self, api: _ApiT, wanted: Properties, seconds: float | None) -> str:
        """Create it, wait for it, and return its id. A failure means that the state won't know it,
        even if it exists by then; Incomplete, that the state will."""

    async def read(self, api: _ApiT, id: str, state: Properties) -> Properties | None:
        """The outputs as they are now, given those of the last run; None if it is gone."""

    async def adopt(self, api: _ApiT, id: str) -> Properties:
        """Prepare an existing resource for being managed, and return what `read` needs."""

    async def update(
        self, api: _ApiT, id: str, old: Properties, wanted: Properties, changed: set[str]
    ) -> None:
        """Make the properties in `changed` as wanted."""

    async def delete(self, api: _ApiT, id: str, state: Properties, seconds: float | None) -> None:
        """End it."""


@dataclass(frozen=True)
class Function(Generic[ApiT]):
    """One lookup: `fields` are its arguments, `look_up` answers its outputs or raises Failure."""

    fields: Fields
    look_up: Callable[[ApiT, Properties], Awaitable[Properties]]


def api_name(name: str) -> str:
    """A property's name as the API writes it: `surge_upgrade` for `surgeUpgrade`."""
    return re.sub(r"[A-Z]", lambda letter: "_" + letter[0].lower(), name)


def present(properties: Properties) -> Properties:
    """Those that have a value other than the zero one: Go's clients send no others."""
    return {name: value for name, value in properties.items() if value}


def go_time(text: str | None) -> str:
    """A time of the API as Go prints it, which is how the real plugin keeps it:
    `2026-03-01 12:00:00 +0000 UTC`."""
    moment = datetime.fromisoformat(text).astimezone(UTC) if text else datetime.min
    seconds, _, fraction = moment.replace(tzinfo=None).isoformat(sep=" ").partition(".")
    fraction = fraction.rstrip("0")
    return f"{seconds}{'.' if fraction else ''}{fraction} +0000 UTC"
