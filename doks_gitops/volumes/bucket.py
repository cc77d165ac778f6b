"""The bucket of the copies: whether its keys are accepted, and a copy is there, before anything is
changed."""

from __future__ import annotations

import requests
from requests_aws4auth import AWS4Auth

from doks_gitops import http
from doks_gitops.settings.model import Copies, CopyCredentials
from doks_gitops.volumes.jobs import CopyError


def require(copies: Copies, credentials: CopyCredentials, repository: str | None = None) -> None:
    """Raises `CopyError` unless the keys may read the bucket, and it has the repository.

    https://docs.digitalocean.com/reference/api/spaces/
    """
    # A bucket that is empty has nothing to read but its list.
    path = f"/{repository}/config" if repository else "?list-type=2&max-keys=1"
    auth = AWS4Auth(
        credentials.access_key.get_secret_value(),
        credentials.secret_key.get_secret_value(),
        copies.region,
        "s3",
    )
    with http.Session("") as session:
        try:
            response = session.get(copies.url + path, auth=auth)
        except requests.RequestException as error:
            raise CopyError(
                f"The bucket {copies.bucket} can't be reached at {copies.url}:"
                f" {http.reason(error)}. Nothing was changed.",
                "look at the network, at doks-gitops:volumes.copies and at"
                " https://status.digitalocean.com",
            ) from None
    if response.status_code == 200:
        return
    missing = f"no copy at {copies.url}/{repository}" if repository else f"no bucket {copies.url}"
    raise CopyError(
        f"There is {missing}. Nothing was changed."
        if response.status_code == 404
        else f"The keys may not read the bucket {copies.bucket} in {copies.region}"
        f" ({response.status_code} at {copies.url}). Nothing was changed.",
        "look at the bucket, the region and the keys in doks-gitops:volumes.copies: https://"
        "cloud.digitalocean.com/spaces",
    )
