"""The provider's own configuration
(https://www.pulumi.com/registry/packages/digitalocean/installation-configuration/)."""

from pydantic import Field, SecretStr

from sandbox.plugins.bridge.configuration import ProviderConfiguration


class Configuration(ProviderConfiguration):
    """How to call the API."""

    variables = {  # noqa: RUF012 (typed in the base class)
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

    token: SecretStr | None = None
    api_endpoint: str = "https://api.digitalocean.com"
    spaces_endpoint: str | None = None
    spaces_access_id: str | None = None
    spaces_secret_key: SecretStr | None = None
    requests_per_second: float = Field(default=0, ge=0)
    """0 for no limit."""
    http_retry_max: int = Field(default=4, ge=0)
    """How often a failed request is repeated; 0: never."""
    http_retry_wait_min: float = Field(default=1, ge=0)
    """Seconds before the first repetition; each further wait is twice as long."""
    http_retry_wait_max: float = Field(default=30, ge=0)
    """Seconds."""
