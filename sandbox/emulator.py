"""What the emulated services share: request bodies, credentials and state files."""

import base64
import binascii
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.requests import Request
from starlette.responses import Response


class Body(BaseModel):
    """The JSON body of a request. Fields that the emulator does not model are ignored."""

    model_config = ConfigDict(strict=True, frozen=True)


BodyT = TypeVar("BodyT", bound=Body)
DataT = TypeVar("DataT", bound=BaseModel)


async def read_body(
    request: Request,
    model: type[BodyT],
    *,
    malformed: Exception,
    invalid: Callable[[str, str], Exception],
) -> BodyT:
    """The body of the request.

    Raises `malformed` if it is not JSON, and `invalid(FIELD, REASON)` if it does not fit `model`.
    """
    try:
        return model.model_validate_json(await request.body())
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            raise malformed from error
        raise invalid(".".join(str(part) for part in first["loc"]), first["msg"]) from error


def no_content() -> Response:
    return Response(status_code=204)


def basic_credentials(authorization: str | None) -> tuple[str, str]:
    """User and password of a basic Authorization header; empty if it is missing or malformed."""
    scheme, _, encoded = (authorization or "").partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    try:
        user, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return user, password


def sha256(token: str) -> str:
    """The hash by which a token is kept."""
    # Tokens are random and long, so a fast hash without salt is as safe as a slow one.
    return hashlib.sha256(token.encode()).hexdigest()


class StateUnreadable(Exception):
    """The state file can't be used; the text names the file, the reason and the next command."""


def read_state(path: Path, model: type[DataT]) -> DataT | None:
    """The data in the state file; None if the file does not exist.

    Raises StateUnreadable if another version wrote the file, or it is damaged.
    """
    try:
        return model.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise StateUnreadable(
            f"{path} can't be read as {model.__name__}: {error}\n"
            "Run `bin/sandbox reset` to start with an empty sandbox."
        ) from error


class State(Generic[DataT]):
    """The data of one emulated service, kept in a file.

    Not thread-safe: use it only in the event loop that serves the API.
    """

    def __init__(self, path: Path, data: DataT) -> None:
        self.data = data
        self._path = path

    @contextmanager
    def changing(self) -> Iterator[DataT]:
        """Change the data inside the block; it is on disk when the block ends without an exception.

        Check everything before the first change: an exception does not undo changes.
        """
        yield self.data
        self._save()

    def _save(self) -> None:
        temporary = self._path.with_name(f"{self._path.name}.new")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(self.data.model_dump_json(indent=1))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path)
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
