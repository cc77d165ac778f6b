"""The Kubernetes API of one cluster, as far as recovery uses it.

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

from components.names import ADMIN_SECRET, RELEASE_NAME, SEALED_SECRETS_RELEASE
from doks_gitops import http
from doks_gitops.errors import PlatformError
from doks_gitops.recovery.observed import ClusterState, HelmHistory, HelmRevision

FINALIZED = ("applications", "applicationsets", "appprojects")
"""Kinds of Argo CD with finalizers that only Argo CD removes."""
OUTDATED = "0.0.0"
"""A chart version that no stack file has."""


class Unreachable(PlatformError):
    """The cluster's API can't be reached, or refused a request."""

    def __init__(self, problem: str, fix: str | None = None, *, status: int | None = None) -> None:
        super().__init__(problem, fix)
        self.status = status
        """HTTP status of the response; None without one."""


class Cluster:
    """A cluster's API. Every method raises `Unreachable`."""

    def __init__(self, endpoint: str, authority: str, token: str) -> None:
        """`authority`: PEM file of the API's certificate authority; empty: the system's."""
        self._endpoint = endpoint
        # A merge patch may be repeated: it sets a state.
        self._session = http.Session(token, methods=("PATCH",), authority=authority or None)

    def state(self, namespace: str, sealed_secrets: str | None = None) -> ClusterState:
        """Returns the state of Argo CD's namespace, and the releases in it and in the namespace
        `sealed_secrets`, if the stack has that."""
        self._call("GET", "/readyz")
        sealed = HelmHistory()
        if sealed_secrets is not None:
            sealed = self._history(sealed_secrets, SEALED_SECRETS_RELEASE)
        response = self._call("GET", f"/api/v1/namespaces/{namespace}", missing=True)
        if response is None:
            return ClusterState(sealed_secrets_history=sealed)
        password = self._call("GET", self._secret(namespace, ADMIN_SECRET), missing=True)
        return ClusterState(
            terminating="deletionTimestamp" in response["metadata"],
            admin_password=password is not None,
            helm_history=self._history(namespace, RELEASE_NAME),
            sealed_secrets_history=sealed,
        )

    def _history(self, namespace: str, release: str) -> HelmHistory:
        secrets = self._list(
            f"/api/v1/namespaces/{namespace}/secrets?labelSelector=owner%3Dhelm%2Cname%3D{release}"
        )
        return HelmHistory(tuple(_revision(secret["metadata"]) for secret in secrets))

    def delete_revision(self, namespace: str, revision: HelmRevision) -> None:
        """Delete the revision. Raises if it has changed since it was observed: another run works on
        the release."""
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {"resourceVersion": revision.version},
        }
        self._call("DELETE", self._secret(namespace, revision.secret), options, missing=True)

    def mark_outdated(self, namespace: str, revision: HelmRevision) -> None:
        """Change the chart version in the revision to one that no stack file has. Raises if the
        revision has changed since it was observed."""
        path = self._secret(namespace, revision.secret)
        if (secret := self._call("GET", path, missing=True)) is None:
            return
        # Kubernetes encodes it in base64, and Helm did before:
        # https://helm.sh/docs/topics/advanced/#storage-backends
        packed = base64.b64decode(base64.b64decode(secret["data"]["release"]))
        release = json.loads(gzip.decompress(packed))
        release["chart"]["metadata"]["version"] = OUTDATED
        packed = base64.b64encode(gzip.compress(json.dumps(release).encode()))
        patch = {
            "metadata": {"resourceVersion": revision.version},
            "data": {"release": base64.b64encode(packed).decode()},
        }
        self._call("PATCH", path, patch)

    def finalize_namespace(self, namespace: str, *, seconds: float = 120) -> None:
        """Complete the deletion of a namespace that waits for finalizers of Argo CD's resources.

        Removes these finalizers, so that what the Applications deployed stays. Then does what
        Kubernetes would do some seconds later: deletes the contents of the namespace, and finalizes
        it once it is empty. Raises `Unreachable` if it still exists after `seconds`.
        https://kubernetes.io/docs/concepts/overview/working-with-objects/namespaces/
        """
        deadline = time.monotonic() + seconds
        argocd = f"/apis/argoproj.io/v1alpha1/namespaces/{namespace}"
        path = f"/api/v1/namespaces/{namespace}"
        while (response := self._call("GET", path, missing=True)) is not None:
            if time.monotonic() > deadline:
                raise Unreachable(
                    f"The namespace {namespace} is still being deleted after {seconds:.0f} s.",
                    f"kubectl describe namespace {namespace}: it names what is left",
                )
            for kind in FINALIZED:
                for resource in self._list(f"{argocd}/{kind}"):
                    if resource["metadata"].get("finalizers"):
                        self._call(
                            "PATCH",
                            f"{argocd}/{kind}/{resource['metadata']['name']}",
                            {"metadata": {"finalizers": None}},
                            missing=True,
                        )
            if self._delete_contents(namespace):
                # The namespace's controller writes to it at the same time: overwrite any version.
                response["metadata"].pop("resourceVersion", None)
                response["spec"]["finalizers"] = []
                self._call("PUT", f"{path}/finalize", response, missing=True)
            else:
                time.sleep(0.1)

    def _delete_contents(self, namespace: str) -> bool:
        """Delete everything in the namespace. Returns whether it was empty already."""
        groups = self._call("GET", "/apis")["groups"]
        versions = ["/api/v1", *(f"/apis/{g['preferredVersion']['groupVersion']}" for g in groups)]
        collections = [
            path
            for version in versions
            for kind in self._kinds(version)
            if kind["namespaced"]
            and {"list", "delete", "deletecollection"} <= set(kind["verbs"])
            and self._list(
                (path := f"{version}/namespaces/{namespace}/{kind['name']}") + "?limit=1"
            )
        ]
        for path in collections:
            self._call("DELETE", path, missing=True)
        return not collections

    def _kinds(self, version: str) -> list[Any]:
        """Returns the kinds of an API group. Empty if the server that serves the group is down: it
        keeps the namespace from being deleted, and so does not have to be asked.

        https://kubernetes.io/docs/concepts/extend-kubernetes/api-extension/apiserver-aggregation/
        """
        try:
            return list(self._call("GET", version)["resources"])
        except Unreachable as error:
            if error.status != 503:
                raise
            return []

    @staticmethod
    def _secret(namespace: str, name: str) -> str:
        return f"/api/v1/namespaces/{namespace}/secrets/{name}"

    def _list(self, path: str) -> list[Any]:
        response = self._call("GET", path, missing=True)
        return list(response["items"]) if response else []

    def _call(self, method: str, path: str, body: object = None, *, missing: bool = False) -> Any:
        """Returns the response's body; None for a 404 where `missing` is allowed."""
        url = self._endpoint + path
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        try:
            response = self._session.request(method, url, headers={"Content-Type": kind}, json=body)
        except requests.RequestException as error:
            raise Unreachable(f"{method} {url}: {http.reason(error)}") from error
        if response.status_code == 404 and missing:
            return None
        if not response.ok:
            status = response.status_code
            fix = (
                "another run has changed it: run the same command again" if status == 409 else None
            )
            raise Unreachable(f"{method} {url}: {status} {response.reason}", fix, status=status)
        json_body = "json" in response.headers.get("Content-Type", "")
        return response.json() if json_body else response.text


def _revision(metadata: Mapping[str, Any]) -> HelmRevision:
    labels = metadata["labels"]
    return HelmRevision(
        metadata["name"], int(labels["version"]), labels["status"], metadata["resourceVersion"]
    )


@contextmanager
def connect(endpoint: str, authority: bytes, token: str) -> Iterator[Cluster]:
    """Open the API of a cluster. `authority`: the certificate authority, PEM."""
    with tempfile.NamedTemporaryFile(suffix=".pem") as file:
        file.write(authority)
        file.flush()
        yield Cluster(endpoint, file.name, token)
