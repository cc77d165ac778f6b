"""Image pulls from the team's registry, the only one whose images the sandbox knows.

A pod with an image of the registry waits, as with a kubelet, until the cluster is integrated with
the registry and the registry has the tag. All other images count as pulled.
https://kubernetes.io/docs/concepts/containers/images/
https://docs.digitalocean.com/products/container-registry/how-to/use-registry-docker-kubernetes/
"""

import asyncio
import logging
from typing import Any, Protocol

import httpx

from sandbox.cluster.api import Api, ApiError, Object
from sandbox.digitalocean.catalogue import REGISTRY_HOST
from sandbox.tasks import BackgroundTask

PULLED = "sandbox.doks-gitops/pulled"
"""Annotation of a pod whose images have been pulled from the registry."""
_PREFIX = f"{REGISTRY_HOST}/"
_PERIOD = 1.0
_PENDING = "/api/v1/pods?fieldSelector=status.phase%3DPending"

PULLED_OR_PUBLIC: dict[str, Any] = {
    "key": (
        f'((.metadata.annotations["{PULLED}"] // "") == "true") or ([(.spec.containers[].image),'
        f' (.spec.initContainers // [] | .[].image)] | any(startswith("{_PREFIX}")) | not)'
        " | tostring"
    ),
    "operator": "In",
    "values": ["true"],
}
"""Condition of a kwok stage: the pod has all its images."""

_log = logging.getLogger(__name__)


class Account(Protocol):
    """The account that has the registry."""

    def pull_error(self, cluster_id: str, image: str) -> str | None:
        """The error of pulling `image` in that cluster; None if the pull succeeds."""


class ImagePuller:
    """Pulls the images of one cluster's pods; retries failed pulls every second."""

    def __init__(self, cluster_id: str, account: Account) -> None:
        self._cluster_id = cluster_id
        self._account = account
        self._task = BackgroundTask()

    def start(self, api: Api) -> None:
        self._task.start(self._run(api), name="image puller")

    async def stop(self) -> None:
        await self._task.stop()

    async def _run(self, api: Api) -> None:
        while True:
            try:
                for pod in await api.items(_PENDING):
                    await self._pull(api, pod)
            except (ApiError, httpx.HTTPError) as error:
                # The pod was deleted meanwhile, or the cluster is being stopped.
                _log.debug("image pull: %s", error)
            await asyncio.sleep(_PERIOD)

    async def _pull(self, api: Api, pod: Object) -> None:
        metadata, spec = pod["metadata"], pod["spec"]
        containers = [*spec["containers"], *(spec.get("initContainers") or [])]
        pulling = [container for container in containers if container["image"].startswith(_PREFIX)]
        if not pulling or not spec.get("nodeName") or "deletionTimestamp" in metadata:
            return
        if PULLED in (metadata.get("annotations") or {}):
            return
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
        errors = {
            container["name"]: error
            for container in pulling
            if (error := self._account.pull_error(self._cluster_id, container["image"]))
        }
        if not errors:
            await api.merge(path, {"metadata": {"annotations": {PULLED: "true"}}})
            return
        # A kubelet reports the error first, and then the wait before the next attempt.
        current = pod.get("status", {}).get("containerStatuses")
        reason = "ImagePullBackOff" if current else "ErrImagePull"
        statuses = [
            _waiting(container, reason, errors.get(container["name"]))
            for container in spec["containers"]
        ]
        if current != statuses:
            await api.merge(f"{path}/status", {"status": {"containerStatuses": statuses}})


def _waiting(container: Object, reason: str, error: str | None) -> Object:
    state = {"reason": reason, "message": error} if error else {"reason": "ContainerCreating"}
    return {
        "name": container["name"],
        "image": container["image"],
        "imageID": "",
        "ready": False,
        "restartCount": 0,
        "started": False,
        "state": {"waiting": state},
    }
