"""The interface of each kind of resource."""

import re
from datetime import UTC, datetime
from typing import ClassVar, Protocol, TypeVar

from sandbox.plugins.bridge.schema import Fields, Properties
from sandbox.plugins.common import Failure

ApiT = TypeVar("ApiT")
_ApiT = TypeVar("_ApiT", contravariant=True)


class Incomplete(Failure):
    """The resource `id` was created, but a later step of its creation failed."""

    def __init__(self, id: str, message: str) -> None:
        super().__init__(message)
        self.id = id


class Resource(Protocol[_ApiT]):
    """One kind of resource. Its operations raise Failure with a message for the user."""

    type: str
    """Such as `digitalocean:index/vpc:Vpc`."""
    fields: ClassVar[Fields]

    async def create(self, api: _ApiT, desired: Properties, seconds: float | None) -> str:
        """Create the resource, wait until it is ready, and return its id.

        `seconds` is the resource's custom timeout. After Incomplete the resource is in the state,
        after any other Failure it is not, even if it exists.
        """

    async def read(self, api: _ApiT, id: str, state: Properties) -> Properties | None:
        """The current outputs, None if the resource is gone. `state` has those of the last run."""

    async def adopt(self, api: _ApiT, id: str) -> Properties:
        """Prepare an existing resource for its import, and return the state that `read` needs."""

    async def update(
        self, api: _ApiT, id: str, old: Properties, desired: Properties, changed: set[str]
    ) -> None:
        """Give the properties in `changed` their values in `desired`."""

    async def delete(self, api: _ApiT, id: str, state: Properties, seconds: float | None) -> None:
        """Delete the resource."""


def api_name(name: str) -> str:
    """A property's name as the API writes it: `surge_upgrade` for `surgeUpgrade`."""
    return re.sub(r"[A-Z]", lambda letter: "_" + letter[0].lower(), name)


def present(properties: Properties) -> Properties:
    """`properties` without zero values, which Go's API clients leave out."""
    return {name: value for name, value in properties.items() if value}


def go_time(text: str | None) -> str:
    """A time of the API as Go prints it and the real plugin keeps it, such as
    `2026-03-01 12:00:00 +0000 UTC`."""
    moment = datetime.fromisoformat(text).astimezone(UTC) if text else datetime.min
    seconds, _, fraction = moment.replace(tzinfo=None).isoformat(sep=" ").partition(".")
    fraction = fraction.rstrip("0")
    return f"{seconds}{'.' if fraction else ''}{fraction} +0000 UTC"
