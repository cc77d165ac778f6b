"""The provider's own configuration
(https://www.pulumi.com/registry/packages/github/installation-configuration/)."""

import os
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic.alias_generators import to_camel

from sandbox.plugins.common import has_unknown, plain

_ENVIRONMENT = {"token": "GITHUB_TOKEN", "owner": "GITHUB_OWNER", "baseUrl": "GITHUB_BASE_URL"}
_ENGINES_OWN = ("version", "pluginDownloadURL", "__internal")


class Configuration(BaseModel):
    """How to call the API. Numbers may be text: the engine sends them so. Apps are not known."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel)

    token: SecretStr | None = None
    owner: str | None = None
    """None: whoever the token is of."""
    base_url: str = "https://api.github.com/"
    read_delay_ms: int = Field(default=0, ge=0)
    write_delay_ms: int = Field(default=1000, ge=0)
    retry_delay_ms: int = Field(default=1000, ge=0)
    max_retries: int = Field(default=3, ge=0)


def configure(given: Mapping[str, Any]) -> Configuration:
    """The configuration `given` by the program or the stack, completed from the environment.

    Raises pydantic's ValidationError.
    """
    found = {key: value for key, name in _ENVIRONMENT.items() if (value := os.environ.get(name))}
    own = {
        key: plain(value)
        for key, value in given.items()
        if key not in _ENGINES_OWN and value is not None
    }
    return Configuration.model_validate(found | own)


def faults(given: Mapping[str, Any], *, name: str) -> list[str]:
    """What is wrong with `given`, the configuration of the provider resource `name`; what is not
    known yet is not looked at."""
    try:
        configure({key: value for key, value in given.items() if not has_unknown(value)})
    except ValidationError as error:
        return [
            f"could not validate provider configuration: {item['msg']}. Examine values at"
            f" '{name}.{'.'.join(map(str, item['loc']))}'."
            for item in error.errors()
        ]
    return []
