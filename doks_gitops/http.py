"""HTTP sessions of the API clients: one policy for time-outs, retries, proxies and certificates.

Proxies and certificate authorities come from the environment (HTTPS_PROXY, NO_PROXY,
REQUESTS_CA_BUNDLE): https://requests.readthedocs.io/en/latest/user/advanced/
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from urllib3.util.retry import Retry

from doks_gitops.settings.scalars import is_loopback

TIMEOUT = (5.0, 20.0)
"""Seconds to connect, and to wait for data."""

RETRIES = Retry(
    total=4,
    connect=2,
    # An API that never answers is given up within about a minute.
    read=2,
    backoff_factor=0.5,
    status_forcelist=(429, 500, 502, 503, 504),
    # A rate limit may ask for most of an hour; a person is waiting.
    retry_after_max=30,
    raise_on_status=False,
)
"""For the methods that may be sent twice; by default the idempotent ones (RFC 9110, 9.2.2)."""


class Adapter(HTTPAdapter):
    """Sends requests with the retries and time-outs of this module, and to loopback addresses
    without a proxy: a proxy would read the token, and could not reach this machine anyway.

    `authority`: PEM file of the only certificate authority to trust; by default those of the
    environment, or else of certifi.
    """

    def __init__(self, retries: Retry | int | None = None, *, authority: str | None = None) -> None:
        self._authority = authority
        super().__init__(max_retries=RETRIES if retries is None else retries)

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: float | tuple[float, float] | tuple[float, None] | None = None,
        verify: bool | str = True,
        cert: bytes | str | tuple[bytes | str, bytes | str] | None = None,
        proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        host = urlsplit(request.url or "").hostname or ""
        return super().send(
            request,
            stream,
            timeout or TIMEOUT,
            self._authority or verify,
            cert,
            None if is_loopback(host) else proxies,
        )


class Session(requests.Session):
    """A session that sends `token` with every request, and follows no redirect: a redirect could
    take the token to another host.

    `token`: None: no credentials are sent. `methods`: those that are retried besides the idempotent
    ones. `authority`: see `Adapter`.
    """

    def __init__(
        self, token: str | None, *, methods: Collection[str] = (), authority: str | None = None
    ) -> None:
        super().__init__()
        self.auth = _Bearer(token)
        self.headers["User-Agent"] = "doks-gitops"
        allowed = Retry.DEFAULT_ALLOWED_METHODS | set(methods)
        adapter = Adapter(RETRIES.new(allowed_methods=allowed), authority=authority)
        for scheme in ("https://", "http://"):
            self.mount(scheme, adapter)

    def get_redirect_target(self, resp: requests.Response) -> None:
        """None: the response with the redirect is the answer."""


class _Bearer(AuthBase):
    """Sends the token, if there is one. As an auth object, it keeps requests from sending a
    `.netrc` entry in its place."""

    def __init__(self, token: str | None) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token is not None:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def reason(error: requests.RequestException) -> str:
    """The innermost cause of a failed request, such as `Connection refused`."""
    cause: object = error.args[0] if error.args else error
    cause = getattr(cause, "reason", cause)
    *_, innermost = getattr(cause, "args", ()) or (cause,)
    if isinstance(innermost, OSError) and innermost.strerror:
        return innermost.strerror
    return str(cause).partition("): ")[2] or str(cause) or type(error).__name__
