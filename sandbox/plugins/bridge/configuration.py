"""The configuration of a bridged provider."""

import os
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from sandbox.plugins.common import has_unknown, plain

_ENGINE_KEYS = ("version", "pluginDownloadURL", "__internal")


class ProviderConfiguration(BaseModel):
    """How to call the API. Numbers may be text: the engine sends them so."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel)

    variables: ClassVar[Mapping[str, tuple[str, ...]]]
    """Environment variables by setting; the first that is not empty counts."""

    @classmethod
    def parse(cls, settings: Mapping[str, Any]) -> Self:
        """The `settings` of the program or the stack, completed from the environment.

        Raises pydantic.ValidationError.
        """
        ambient = {
            key: value
            for key, names in cls.variables.items()
            if (value := next(filter(None, map(os.environ.get, names)), None))
        }
        explicit = {
            key: plain(value)
            for key, value in settings.items()
            if key not in _ENGINE_KEYS and value is not None
        }
        return cls.model_validate(ambient | explicit)

    @classmethod
    def failures(cls, settings: Mapping[str, Any], *, package: str, provider: str) -> list[str]:
        """Why the `settings` of the provider resource named `provider` are refused.

        Unknown values are not checked.
        """
        try:
            cls.parse({key: value for key, value in settings.items() if not has_unknown(value)})
        except ValidationError as error:
            return [
                _failure(detail["type"], detail["msg"], detail["loc"], package, provider)
                for detail in error.errors()
            ]
        return []


def _failure(
    kind: str, message: str, location: tuple[int | str, ...], package: str, provider: str
) -> str:
    key = ".".join(map(str, location))
    reason = "Invalid or unknown key" if kind == "extra_forbidden" else message
    advice = (
        f"Check `pulumi config get {package}:{key}`."
        if provider.startswith("default")
        else f"Examine values at '{provider}.{key}'."
    )
    return f"could not validate provider configuration: {reason}. {advice}"
