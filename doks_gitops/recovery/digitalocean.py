"""What recovery asks of the account beside `account.read`.

https://docs.digitalocean.com/reference/api/reference/kubernetes/
"""

from __future__ import annotations

import base64
from typing import Any

from doks_gitops.account.api import pages
from doks_gitops.recovery.kubernetes import call, session
from doks_gitops.settings import Settings

CREDENTIALS_SECONDS = 600
"""Lifetime of the token that comes with the certificate authority; it is not used."""


def vpc_id(settings: Settings) -> str | None:
    """Returns the ID of the account's VPC with the name and region of the one that the stack
    creates; None if the stack creates none, or there is none.

    https://docs.digitalocean.com/reference/api/reference/vpcs/
    """
    cluster, account = settings.cluster, settings.digitalocean
    if cluster.vpc is None or cluster.vpc.ip_range is None:
        return None
    token = session(account.token.get_secret_value())
    url = f"{account.api_endpoint.rstrip('/')}/v2/vpcs"
    for page in pages(lambda query: call(token, "GET", f"{url}?{query}")):
        for vpc in page["vpcs"]:
            if (vpc["name"], vpc["region"]) == (cluster.name, cluster.region):
                return str(vpc["id"])
    return None


class DigitalOcean:
    """The account's API, for one cluster."""

    def __init__(self, settings: Settings, cluster: str) -> None:
        account = settings.digitalocean
        self._url = f"{account.api_endpoint.rstrip('/')}/v2/kubernetes/clusters/{cluster}"
        self._session = session(account.token.get_secret_value())

    def state(self) -> str:
        """Returns the state of the cluster at this moment; see `account.RunningCluster`."""
        return str(self._get("")["kubernetes_cluster"]["status"]["state"])

    def authority(self) -> bytes:
        """Returns the certificate authority of the cluster's API, PEM."""
        credentials = self._get(f"/credentials?expiry_seconds={CREDENTIALS_SECONDS}")
        return base64.b64decode(credentials["certificate_authority_data"])

    def _get(self, path: str) -> Any:
        return call(self._session, "GET", self._url + path)
