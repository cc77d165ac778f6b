"""The Kubernetes API of one cluster, as far as recovery uses it.

https://kubernetes.io/docs/reference/kubernetes-api/
"""

from __future__ import annotations

import base64
import gzip
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from components.names import ADMIN_SECRET, RELEASE_NAME, SEALED_SECRETS_RELEASE
from doks_gitops.kubernetes import Api, Changed, Unreachable
from doks_gitops.recovery.observed import ClusterState, HelmHistory, HelmRevision

FINALIZED = ("applications", "applicationsets", "appprojects")
"""Kinds of Argo CD with finalizers that only Argo CD removes."""
_DELETABLE = {"list", "delete", "deletecollection"}
"""Verbs of a kind that Kubernetes deletes together with a namespace."""
OUTDATED = "0.0.0"
"""A chart version that no stack file has."""


class Cluster(Api):
    """A cluster's API. Every method raises `Unreachable`."""

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
            terminating=_terminating(response["metadata"]),
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
        """Delete the revision. Raises `Changed` if it has changed since it was observed: another
        run works on the release."""
        path = self._secret(namespace, revision.secret)
        self._delete(path, revision.uid, resourceVersion=revision.version)

    def mark_outdated(self, namespace: str, revision: HelmRevision) -> None:
        """Change the chart version in the revision to one that no stack file has. Raises `Changed`
        if the revision has changed since it was observed."""
        path = self._secret(namespace, revision.secret)
        if (secret := self._call("GET", path, missing=True)) is None:
            raise Changed(f"GET {path}: it does not exist any more.")
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

    def _delete(self, path: str, uid: str, **conditions: str) -> None:
        """Delete the object with this `uid` and these conditions; it may be gone already, as when a
        request is repeated. Raises `Changed` if there is another one."""
        preconditions = {"uid": uid, **conditions}
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": preconditions}
        self._call("DELETE", path, options, missing=True)

    def finalize_namespace(self, namespace: str, uid: str, *, seconds: float = 120) -> None:
        """Complete the deletion of a namespace that waits for finalizers of Argo CD's resources.

        Removes these finalizers, so that what the Applications deployed stays. Then does what
        Kubernetes would do some seconds later: deletes the contents of the namespace, and finalizes
        it once it is empty. `uid` is the namespace's. As soon as there is another one of its name,
        which another run has created, nothing is changed any more. Raises `Unreachable` if it still
        exists after `seconds`.
        https://kubernetes.io/docs/concepts/overview/working-with-objects/namespaces/
        """
        deadline = time.monotonic() + seconds
        path = f"/api/v1/namespaces/{namespace}"
        while True:
            argocd = f"/apis/argoproj.io/v1alpha1/namespaces/{namespace}"
            waiting = [
                resource
                for kind in FINALIZED
                for resource in self._objects(f"{argocd}/{kind}")
                if resource[1].get("finalizers")
            ]
            contents = list(self._contents(namespace))
            # Read after them: so they are of this namespace, not of the next one.
            response = self._call("GET", path, missing=True)
            if response is None or response["metadata"]["uid"] != uid:
                return
            if time.monotonic() > deadline:
                raise Unreachable(
                    f"The namespace {namespace} is still being deleted after {seconds:.0f} s.",
                    f"kubectl describe namespace {namespace}: it names what is left",
                )
            # What has changed in the meantime is read again.
            for resource_path, metadata in waiting:
                version = {"resourceVersion": metadata["resourceVersion"], "finalizers": None}
                with suppress(Changed):
                    self._call("PATCH", resource_path, {"metadata": version}, missing=True)
            for resource_path, metadata in contents:
                if "deletionTimestamp" not in metadata:
                    with suppress(Changed):
                        self._delete(resource_path, metadata["uid"])
            if contents:
                time.sleep(0.1)
                continue
            # The namespace's controller writes to it at the same time: overwrite any version.
            response["metadata"].pop("resourceVersion", None)
            response["spec"]["finalizers"] = []
            with suppress(Changed):
                self._call("PUT", f"{path}/finalize", response, missing=True)

    def _contents(self, namespace: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yields the path and the metadata of everything in the namespace."""
        groups = self._call("GET", "/apis")["groups"]
        versions = ["/api/v1", *(f"/apis/{g['preferredVersion']['groupVersion']}" for g in groups)]
        for version in versions:
            for kind in self._kinds(version):
                if kind["namespaced"] and set(kind["verbs"]) >= _DELETABLE:
                    yield from self._objects(f"{version}/namespaces/{namespace}/{kind['name']}")

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

    def _objects(self, collection: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yields the path and the metadata of each object in a collection."""
        for resource in self._list(collection):
            yield f"{collection}/{resource['metadata']['name']}", resource["metadata"]


def _revision(metadata: Mapping[str, Any]) -> HelmRevision:
    labels = metadata["labels"]
    return HelmRevision(
        metadata["name"],
        int(labels["version"]),
        labels["status"],
        metadata["resourceVersion"],
        metadata["uid"],
    )


def _terminating(metadata: Mapping[str, Any]) -> str | None:
    return str(metadata["uid"]) if "deletionTimestamp" in metadata else None
