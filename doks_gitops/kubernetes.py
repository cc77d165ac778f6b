"""The Kubernetes API of one cluster, for what is not a resource of Pulumi.

https://kubernetes.io/docs/reference/kubernetes-api/
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import requests

from doks_gitops import http
from doks_gitops.errors import PlatformError

ApiT = TypeVar("ApiT", bound="Api")


class Unreachable(PlatformError):
    """The cluster's API can't be reached, or refused a request."""

    def __init__(self, problem: str, fix: str | None = None, *, status: int | None = None) -> None:
        super().__init__(problem, fix)
        self.status = status
        """HTTP status of the response; None without one."""


class Changed(Unreachable):
    """What was observed has changed since then."""


class Api:
    """A cluster's API. Every method raises `Unreachable`."""

    def __init__(self, endpoint: str, authority: str, token: str) -> None:
        """`authority`: PEM file of the API's certificate authority; empty: the system's."""
        self._endpoint = endpoint
        # A merge patch may be repeated: it sets a state.
        self._session = http.Session(token, methods=("PATCH",), authority=authority or None)

    def _list(self, path: str) -> list[Any]:
        response = self._call("GET", path, missing=True)
        return list(response["items"]) if response else []

    def _call(self, method: str, path: str, body: object = None, *, missing: bool = False) -> Any:
        """Returns the response's body; None for a 404 where `missing` is allowed."""
        url = self._endpoint + path
        media_type = "application/merge-patch+json" if method == "PATCH" else "application/json"
        headers = {"Content-Type": media_type}
        try:
            response = self._session.request(method, url, headers=headers, json=body)
        except requests.RequestException as error:
            raise Unreachable(f"{method} {url}: {http.reason(error)}") from error
        if response.status_code == 404 and missing:
            return None
        if not response.ok:
            status = response.status_code
            kind = Changed if status == 409 else Unreachable
            raise kind(f"{method} {url}: {status} {response.reason}", status=status)
        json_body = "json" in response.headers.get("Content-Type", "")
        return response.json() if json_body else response.text


@contextmanager
def connect(api: type[ApiT], endpoint: str, authority: bytes, token: str) -> Iterator[ApiT]:
    """Open the API of a cluster. `authority`: the certificate authority, PEM."""
    with tempfile.NamedTemporaryFile(suffix=".pem") as file:
        file.write(authority)
        file.flush()
        yield api(endpoint, file.name, token)
