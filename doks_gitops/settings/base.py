"""What every settings object has in common: immutable, no unknown keys, all its faults at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, LiteralString, Self, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

WRONGS = "wrongs"
"""Type of the pydantic error that carries a model's own findings (`Wrong`)."""

Path = tuple[str | int, ...]

Item = TypeVar("Item")

# Strict mode would take tuples only, and what comes from YAML is a list.
Listed = Annotated[tuple[Item, ...], Field(strict=False)]


@dataclass(frozen=True, slots=True)
class Wrong:
    """One finding of a rule: where (below the object that has the rule), and what would be right.

    `found` describes the value if showing the value itself isn't the clearest. `example` is a
    value for the `pulumi config set` command that would put it right.
    """

    at: Path
    right: str
    found: str | None = None
    example: str | None = None


class Model(BaseModel):
    """An immutable part of the settings. Keys are camelCase in the stack file.

    Fields are checked by their types, groups of keys by `keys_wrong`, values against each other by
    `wrong`. All that is found is reported together; only `wrong` has to wait for fields that fit.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, alias_generator=to_camel, populate_by_name=True
    )

    @classmethod
    def keys_wrong(cls, given: frozenset[str]) -> Iterator[Wrong]:
        """What is wrong about which keys are given, whatever their values."""
        yield from ()

    def wrong(self) -> Iterator[Wrong]:
        """What is wrong about the values taken together."""
        yield from ()

    @model_validator(mode="wrap")
    @classmethod
    def _everything_wrong_at_once(
        cls, raw: object, handler: ModelWrapValidatorHandler[Self]
    ) -> Self:
        given = frozenset(map(str, raw)) if isinstance(raw, Mapping) else frozenset()
        wrongs = list(cls.keys_wrong(given)) if isinstance(raw, Mapping) else []
        try:
            model = handler(raw)
        except ValidationError as error:
            if not wrongs:
                raise
            lines = [_line(detail) for detail in error.errors(include_url=False)]
            lines.append(InitErrorDetails(type=_carrying(wrongs), loc=(), input=raw))
            raise ValidationError.from_exception_data(cls.__name__, lines) from None
        wrongs += model.wrong()
        if wrongs:
            raise _carrying(wrongs)
        return model


def one_of(given: frozenset[str], *keys: str, required: bool = True) -> Iterator[Wrong]:
    """A `Wrong` unless exactly one of `keys` is given (or, if not `required`, at most one)."""
    present = [key for key in keys if key in given]
    if len(present) > 1 or (required and not present):
        yield Wrong(
            at=(),
            found=f"both {' and '.join(present)}" if present else f"none of {', '.join(keys)}",
            right=f"{'exactly' if required else 'at most'} one of {', '.join(keys)}",
        )


def _carrying(wrongs: list[Wrong]) -> PydanticCustomError:
    return PydanticCustomError(WRONGS, "rules", {"wrongs": tuple(wrongs)})


def _line(error: ErrorDetails) -> InitErrorDetails:
    """`error` in the form that can be raised again; only its type, place and context are read."""
    kind: LiteralString = error["type"]  # pyright: ignore[reportAssignmentType]  # typed as str
    return InitErrorDetails(
        type=PydanticCustomError(kind, kind, error.get("ctx")),
        loc=error["loc"],
        input=error["input"],
    )
