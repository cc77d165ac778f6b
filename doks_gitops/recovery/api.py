"""The two APIs that recovery asks beside the account: of one cluster in the account, and its own.

https://docs.digitalocean.com/reference/api/reference/kubernetes/
https://kubernetes.io/docs/reference/kubernetes-api/
"""

from __future__ import annotations

import base64
import gzip
import json
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import requests

from components.names import ADMIN_SECRET, RELEASE_NAME
from doks_gitops.account.api import pages
from doks_gitops.recovery.facts import History, Inside, Revision
from doks_gitops.settings import Settings

TIMEOUT = (5.0, 20.0)
"""Seconds to connect, and to wait for an answer."""
CREDENTIALS_SECONDS = 600
"""How long the certificate authority's companion, a token that is not used, holds."""
FINALIZED = ("applications", "applicationsets", "appprojects")
"""Kinds of Argo CD that wait for it before they go."""

OUTDATED = "0.0.0"
"""The version of a chart that is to be applied again."""


class Unanswered(Exception):
    """An API gave no answer, or a refusal."""


def vpc_id(settings: Settings) -> str | None:
    """The ID of the VPC in the account that has the name and the region of the one that the stack
    makes; None if it makes none, or there is none.

    https://docs.digitalocean.com/reference/api/reference/vpcs/
    """
    cluster, account = settings.cluster, settings.digitalocean
    if cluster.vpc is None or cluster.vpc.ip_range is None:
        return None
    session = _session(account.token.get_secret_value())
    url = f"{account.api_endpoint.rstrip('/')}/v2/vpcs"
    for said in pages(lambda query: _answer(session, "GET", f"{url}?{query}")):
        for each in said["vpcs"]:
            if (each["name"], each["region"]) == (cluster.name, cluster.region):
                return str(each["id"])
    return None


class DigitalOcean:
    """The account's API, for one cluster."""

    def __init__(self, settings: Settings, cluster: str) -> None:
        account = settings.digitalocean
        self._url = f"{account.api_endpoint.rstrip('/')}/v2/kubernetes/clusters/{cluster}"
        self._session = _session(account.token.get_secret_value())

    def state(self) -> str:
        """At this moment; see `account.RunningCluster`."""
        return str(self._get("")["kubernetes_cluster"]["status"]["state"])

    def authority(self) -> bytes:
        """The certificate authority of the cluster's API, PEM."""
        said = self._get(f"/credentials?expiry_seconds={CREDENTIALS_SECONDS}")
        return base64.b64decode(said["certificate_authority_data"])

    def _get(self, path: str) -> Any:
        return _answer(self._session, "GET", self._url + path)


class Cluster:
    """A cluster's own API, as the account's token sees it."""

    def __init__(self, endpoint: str, authority: str, token: str) -> None:
        self._endpoint = endpoint
        self._session = _session(token, authority)

    def inside(self, namespace: str) -> Inside:
        """Raises `Unanswered` if the cluster does not answer or does not take the token."""
        self._call("GET", "/readyz")
        found = self._call("GET", f"/api/v1/namespaces/{namespace}", missing=True)
        if found is None:
            return Inside()
        return Inside(
            terminating="deletionTimestamp" in found["metadata"],
            admin_password=self._call("GET", self._secret(namespace, ADMIN_SECRET), missing=True)
            is not None,
            history=History(
                tuple(
                    _revision(each["metadata"])
                    for each in self._list(
                        f"/api/v1/namespaces/{namespace}/secrets"
                        f"?labelSelector=owner%3Dhelm%2Cname%3D{RELEASE_NAME}"
                    )
                )
            ),
        )

    def drop(self, namespace: str, revision: Revision) -> None:
        self._call("DELETE", self._secret(namespace, revision.secret), missing=True)

    def outdate(self, namespace: str, revision: Revision) -> None:
        """Have the record say that the chart is of a version which no stack file asks for."""
        path = self._secret(namespace, revision.secret)
        if (found := self._call("GET", path, missing=True)) is None:
            return
        # Kubernetes has it in base64, and Helm once more: https://helm.sh/docs/topics/advanced/#storage-backends
        packed = base64.b64decode(base64.b64decode(found["data"]["release"]))
        release = json.loads(gzip.decompress(packed))
        release["chart"]["metadata"]["version"] = OUTDATED
        packed = base64.b64encode(gzip.compress(json.dumps(release).encode()))
        self._call("PATCH", path, {"data": {"release": base64.b64encode(packed).decode()}})

    def free(self, namespace: str, *, seconds: float = 120) -> None:
        """Take the finalizers off what holds a namespace that is being deleted, until it is gone.

        What the Applications deployed stays: nobody is told to remove it. The rest is done as
        Kubernetes itself would some seconds later: what is in the namespace is deleted, and once
        it is seen to be empty it is finalized.
        https://kubernetes.io/docs/concepts/overview/working-with-objects/namespaces/
        """
        deadline = time.monotonic() + seconds
        kinds = f"/apis/argoproj.io/v1alpha1/namespaces/{namespace}"
        path = f"/api/v1/namespaces/{namespace}"
        while (found := self._call("GET", path, missing=True)) is not None:
            if time.monotonic() > deadline:
                raise Unanswered(
                    f"the namespace {namespace} is still being deleted after {seconds:.0f} s:"
                    f" kubectl describe namespace {namespace} says what holds it"
                )
            for kind in FINALIZED:
                for each in self._list(f"{kinds}/{kind}"):
                    if each["metadata"].get("finalizers"):
                        self._call(
                            "PATCH",
                            f"{kinds}/{kind}/{each['metadata']['name']}",
                            {"metadata": {"finalizers": None}},
                            missing=True,
                        )
            if self._emptied(namespace):
                # Its controller writes it at the same time, so of which version is no matter.
                found["metadata"].pop("resourceVersion", None)
                found["spec"]["finalizers"] = []
                self._call("PUT", f"{path}/finalize", found, missing=True)
            else:
                time.sleep(0.1)

    def _emptied(self, namespace: str) -> bool:
        """Delete what is left in the namespace, of any kind; whether nothing was."""
        groups = self._call("GET", "/apis")["groups"]
        versions = ["/api/v1", *(f"/apis/{g['preferredVersion']['groupVersion']}" for g in groups)]
        left = [
            path
            for version in versions
            for kind in self._call("GET", version)["resources"]
            if kind["namespaced"]
            and {"list", "delete", "deletecollection"} <= set(kind["verbs"])
            and self._list(
                (path := f"{version}/namespaces/{namespace}/{kind['name']}") + "?limit=1"
            )
        ]
        for path in left:
            self._call("DELETE", path, missing=True)
        return not left

    @staticmethod
    def _secret(namespace: str, name: str) -> str:
        return f"/api/v1/namespaces/{namespace}/secrets/{name}"

    def _list(self, path: str) -> list[Any]:
        found = self._call("GET", path, missing=True)
        return list(found["items"]) if found else []

    def _call(self, method: str, path: str, body: object = None, *, missing: bool = False) -> Any:
        """The answer; None if it is 404 and `missing` allows that."""
        return _answer(self._session, method, self._endpoint + path, body, missing=missing)


def _revision(metadata: Mapping[str, Any]) -> Revision:
    labels = metadata["labels"]
    return Revision(metadata["name"], int(labels["version"]), labels["status"])


@contextmanager
def cluster(endpoint: str, authority: bytes, token: str) -> Iterator[Cluster]:
    with tempfile.NamedTemporaryFile(suffix=".pem") as file:
        file.write(authority)
        file.flush()
        yield Cluster(endpoint, file.name, token)


def _session(token: str, authority: str | None = None) -> requests.Session:
    session = requests.Session()
    # No proxy, and no .netrc in place of the token.
    session.trust_env = False
    session.headers["Authorization"] = f"Bearer {token}"
    session.verify = authority or True
    return session


def _answer(
    session: requests.Session,
    method: str,
    url: str,
    body: object = None,
    *,
    missing: bool = False,
) -> Any:
    kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
    try:
        answer = session.request(
            method, url, headers={"Content-Type": kind}, json=body, timeout=TIMEOUT
        )
    except requests.RequestException as error:
        raise Unanswered(f"{method} {url}: {error}") from error
    if answer.status_code == 404 and missing:
        return None
    if not answer.ok:
        raise Unanswered(f"{method} {url}: {answer.status_code} {answer.reason}")
    return answer.json() if "json" in answer.headers.get("Content-Type", "") else answer.text
