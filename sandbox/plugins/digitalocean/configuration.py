"""The provider's own configuration
(https://www.pulumi.com/registry/packages/digitalocean/installation-configuration/)."""

import os
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic.alias_generators import to_camel

from sandbox.plugins.common import has_unknown, plain

_ENVIRONMENT = {
    "token": ("DIGITALOCEAN_TOKEN", "DIGITALOCEAN_ACCESS_TOKEN"),
    "apiEndpoint": ("DIGITALOCEAN_API_URL",),
    "spacesEndpoint": ("SPACES_ENDPOINT_URL",),
    "spacesAccessId": ("SPACES_ACCESS_KEY_ID",),
    "spacesSecretKey": ("SPACES_SECRET_ACCESS_KEY",),
    "requestsPerSecond": ("DIGITALOCEAN_REQUESTS_PER_SECOND",),
    "httpRetryMax": ("DIGITALOCEAN_HTTP_RETRY_MAX",),
    "httpRetryWaitMin": ("DIGITALOCEAN_HTTP_RETRY_WAIT_MIN",),
    "httpRetryWaitMax": ("DIGITALOCEAN_HTTP_RETRY_WAIT_MAX",),
}

_ENGINES_OWN = ("version", "pluginDownloadURL", "__internal")


class Configuration(BaseModel):
    """How to call the API. Numbers may be text: the engine sends them so."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel)

    token: SecretStr | None = None
    api_endpoint: str = "https://api.digitalocean.com"
    spaces_endpoint: str | None = None
    spaces_access_id: str | None = None
    spaces_secret_key: SecretStr | None = None
    requests_per_second: float = Field(default=0, ge=0)
    """0: as many as there are."""
    http_retry_max: int = Field(default=4, ge=0)
    """How often a failed request is made again; 0: never."""
    http_retry_wait_min: float = Field(default=1, ge=0)
    """Seconds before the first of these; each further wait is twice as long."""
    http_retry_wait_max: float = Field(default=30, ge=0)
    """Seconds."""


def configure(given: Mapping[str, Any]) -> Configuration:
    """The configuration `given` by the program or the stack, completed from the environment.

    Raises pydantic's ValidationError.
    """
    found = {
        key: value
        for key, names in _ENVIRONMENT.items()
        if (value := next(filter(None, map(os.environ.get, names)), None))
    }
    return Configuration.model_validate(found | _own(given))


def faults(given: Mapping[str, Any], *, name: str) -> list[str]:
    """What is wrong with `given`, the configuration of the provider resource `name`; what is not
    known yet is not looked at."""
    known = {key: value for key, value in given.items() if not has_unknown(value)}
    try:
        configure(known)
    except ValidationError as error:
        return [_fault(item["type"], item["msg"], item["loc"], name) for item in error.errors()]
    return []


def _own(given: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: plain(value)
        for key, value in given.items()
        if key not in _ENGINES_OWN and value is not None
    }


def _fault(kind: str, message: str, location: tuple[int | str, ...], name: str) -> str:
    key = ".".join(map(str, location))
    reason = "Invalid or unknown key" if kind == "extra_forbidden" else message
    where = (
        f"Check `pulumi config get digitalocean:{key}`."
        if name.startswith("default")
        else f"Examine values at '{name}.{key}'."
    )
    return f"could not validate provider configuration: {reason}. {where}"
