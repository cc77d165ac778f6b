"""The base class of all settings: immutable, without unknown keys, all violations at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, LiteralString, Self, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)
from pydantic.alias_generators import to_camel, to_snake
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

VIOLATIONS = "violations"
"""Type of the pydantic error that carries the violations of a model's rules."""

Path = tuple[str | int, ...]

Paths = frozenset[Path]

Item = TypeVar("Item")

# Strict mode takes tuples only, but YAML has lists.
ListOf = Annotated[tuple[Item, ...], Field(strict=False)]


@dataclass(frozen=True, slots=True)
class DefaultFrom:
    """Marks a required field that `defaults.complete` adds if the stack file does not have it.

    `source`: where the value comes from, for the reference.
    """

    source: str


class Sets:
    """Marks a setting with the arguments of DigitalOcean's provider that it sets, and with what a
    change of it does. What is below the setting has the same mark.

    - `arguments`: of a cluster, or, for a field of a node pool, of the node pool; none: only the
      program uses the setting
    - `replaces`: what a change replaces; empty: it updates in place
    - `stays`: whether a cluster keeps the value when the setting is taken away

    The provider's schema says which (`ForceNew`, `Computed`):
    https://github.com/digitalocean/terraform-provider-digitalocean/tree/main/digitalocean/kubernetes
    """

    def __init__(
        self, *arguments: str, replaces: Literal["", "cluster", "pool"] = "", stays: bool = False
    ) -> None:
        self.arguments = arguments
        self.replaces = replaces
        self.stays = stays

    def __str__(self) -> str:
        """What a change does, for the reference."""
        if not self.arguments:
            return ""
        change = f"replaces the {self.replaces}" if self.replaces else "updates"
        return f"{change}; stays when removed" if self.stays else change


@dataclass(frozen=True, slots=True)
class Violation:
    """A value that breaks a rule.

    - `at`: path of the value, relative to the object that has the rule
    - `expected`: what the value must be
    - `got`: description of the value; None shows the value itself
    - `example`: a valid value, for the `pulumi config set` command that fixes it
    """

    at: Path
    expected: str
    got: str | None = None
    example: str | None = None


class Model(BaseModel):
    """An immutable part of the settings. Keys are camelCase in the stack file.

    The types check single values, `key_violations` checks which keys are given, and `violations`
    compares values with each other. All violations are reported together; only `violations` is not
    called while a value has the wrong type. A list has each item once.

    - `IDENTITY`: the fields that no two items of a list share; by default all fields
    - `CASELESS`: the lists of texts that differ only if they differ in more than upper and lower
      case
    """

    IDENTITY: ClassVar[tuple[str, ...]] = ()
    CASELESS: ClassVar[tuple[str, ...]] = ()

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, alias_generator=to_camel, populate_by_name=True
    )

    @classmethod
    def key_violations(cls, keys: frozenset[str]) -> Iterator[Violation]:
        """Violations by the given keys, whatever their values are."""
        yield from ()

    def violations(self) -> Iterator[Violation]:
        """Violations by the values together."""
        yield from ()

    @model_validator(mode="wrap")
    @classmethod
    def _report_all_violations(cls, raw: object, handler: ModelWrapValidatorHandler[Self]) -> Self:
        violations: list[Violation] = []
        if isinstance(raw, Mapping):
            violations += cls.key_violations(frozenset(map(str, raw)))
        try:
            model = handler(raw)
        except ValidationError as error:
            if not violations:
                raise
            details = [_init_details(detail) for detail in error.errors(include_url=False)]
            details.append(InitErrorDetails(type=_carrier(violations), loc=(), input=raw))
            raise ValidationError.from_exception_data(cls.__name__, details) from None
        violations += model._repeated_items()
        violations += model.violations()
        if violations:
            raise _carrier(violations)
        return model

    def _repeated_items(self) -> Iterator[Violation]:
        """A violation for each item of a list that is there already."""
        for field, info in type(self).model_fields.items():
            items = getattr(self, field)
            if not isinstance(items, tuple):
                continue
            key, identities = info.alias or field, [*map(self._identity, items)]
            if field in self.CASELESS:
                identities = [str(identity).casefold() for identity in identities]
            for index, item in enumerate(items):
                first = identities.index(identities[index])
                if first < index:
                    yield _repeated(key, index, first, item)

    @staticmethod
    def _identity(item: object) -> object:
        if isinstance(item, Model) and item.IDENTITY:
            return [getattr(item, field) for field in item.IDENTITY]
        return item


def _repeated(key: str, index: int, first: int, item: object) -> Violation:
    if not isinstance(item, Model):
        return Violation((key, index), "each item once", f'"{item}", as in {key}[{first}]')
    kind = to_snake(type(item).__name__).replace("_", " ")
    fields = [to_camel(field) for field in item.IDENTITY]
    if len(fields) == 1:
        got = f'"{getattr(item, item.IDENTITY[0])}", as in {key}[{first}]'
        return Violation((key, index, *fields), f"a {fields[0]} that no other {kind} has", got)
    same = f"the same {' and '.join(fields)} as" if fields else "the same as"
    return Violation((key, index), f"each {kind} once", f"{same} {key}[{first}]")


def one_of(keys: frozenset[str], *choices: str, required: bool = True) -> Iterator[Violation]:
    """A violation unless exactly one of `choices` is in `keys` (if not `required`: at most one)."""
    present = [choice for choice in choices if choice in keys]
    if len(present) > 1 or (required and not present):
        yield Violation(
            at=(),
            got=f"both {' and '.join(present)}" if present else f"none of {', '.join(choices)}",
            expected=f"{'exactly' if required else 'at most'} one of {', '.join(choices)}",
        )


def below(paths: Paths, key: str | int) -> Paths:
    """Those of `paths` that begin with `key`, relative to it."""
    return frozenset(path[1:] for path in paths if path[:1] == (key,))


def _carrier(violations: list[Violation]) -> PydanticCustomError:
    return PydanticCustomError(VIOLATIONS, "rules", {VIOLATIONS: tuple(violations)})


def _init_details(error: ErrorDetails) -> InitErrorDetails:
    """`error` in the form that can be raised again. Only its type, place and context are used."""
    kind: LiteralString = error["type"]  # pyright: ignore[reportAssignmentType]  # typed as str
    return InitErrorDetails(
        type=PydanticCustomError(kind, kind, error.get("ctx")),
        loc=error["loc"],
        input=error["input"],
    )
