"""The Kubernetes API of one cluster, as far as recovery uses it.

https://kubernetes.io/docs/reference/kubernetes-api/
"""

from __future__ import annotations

import base64
import gzip
import json
import time
from collections.abc import Mapping
from typing import Any

from components.names import ADMIN_SECRET, RELEASE_NAME
from doks_gitops.kubernetes import Api, Unreachable
from doks_gitops.recovery.observed import ClusterState, HelmHistory, HelmRevision

FINALIZED = ("applications", "applicationsets", "appprojects")
"""Kinds of Argo CD with finalizers that only Argo CD removes."""
OUTDATED = "0.0.0"
"""A chart version that no stack file has."""


class Cluster(Api):
    """A cluster's API. Every method raises `Unreachable`."""

    def state(self, namespace: str) -> ClusterState:
        """Returns the state of Argo CD's namespace."""
        self._call("GET", "/readyz")
        response = self._call("GET", f"/api/v1/namespaces/{namespace}", missing=True)
        if response is None:
            return ClusterState()
        password = self._call("GET", self._secret(namespace, ADMIN_SECRET), missing=True)
        secrets = self._list(
            f"/api/v1/namespaces/{namespace}/secrets"
            f"?labelSelector=owner%3Dhelm%2Cname%3D{RELEASE_NAME}"
        )
        return ClusterState(
            terminating="deletionTimestamp" in response["metadata"],
            admin_password=password is not None,
            helm_history=HelmHistory(tuple(_revision(secret["metadata"]) for secret in secrets)),
        )

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


def _revision(metadata: Mapping[str, Any]) -> HelmRevision:
    labels = metadata["labels"]
    return HelmRevision(
        metadata["name"], int(labels["version"]), labels["status"], metadata["resourceVersion"]
    )
