"""The provider's own configuration
(https://www.pulumi.com/registry/packages/github/installation-configuration/)."""

from pydantic import Field, SecretStr

from sandbox.plugins.bridge.configuration import ProviderConfiguration


class Configuration(ProviderConfiguration):
    """How to call the API with a token; GitHub Apps are not supported."""

    variables = {  # noqa: RUF012 (typed in the base class)
        "token": ("GITHUB_TOKEN",),
        "owner": ("GITHUB_OWNER",),
        "baseUrl": ("GITHUB_BASE_URL",),
    }

    token: SecretStr | None = None
    owner: str | None = None
    """None for the token's owner."""
    base_url: str = "https://api.github.com/"
    read_delay_ms: int = Field(default=0, ge=0)
    write_delay_ms: int = Field(default=1000, ge=0)
    retry_delay_ms: int = Field(default=1000, ge=0)
    max_retries: int = Field(default=3, ge=0)
