"""Image pulls from the team's registry: the only images whose presence the sandbox can judge.

A pod that uses one is left waiting, as a kubelet does, until the cluster may pull from the registry
and the tag is in it. All other images count as pulled.
https://kubernetes.io/docs/concepts/containers/images/
https://docs.digitalocean.com/products/container-registry/how-to/use-registry-docker-kubernetes/
"""

import asyncio
import logging
from typing import Any, Protocol

import httpx

from sandbox.cluster.api import Api, ApiError, Object
from sandbox.digitalocean.catalogue import REGISTRY_HOST
from sandbox.tasks import end

PULLED = "sandbox.doks-gitops/pulled"
"""Annotation of a pod whose images of the registry have been pulled."""
_PREFIX = f"{REGISTRY_HOST}/"
_EVERY = 1.0
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
"""Condition of a kwok stage that holds for the pods that have all their images."""

_log = logging.getLogger(__name__)


class Account(Protocol):
    """The account whose registry it is."""

    def refuses_image(self, cluster_id: str, image: str) -> str | None:
        """Why that cluster can't pull `image` of the registry; None if it can."""


class ImagePuller:
    """Pulls, or fails to, for the pods of one cluster; tries again until it can."""

    def __init__(self, cluster_id: str, account: Account) -> None:
        self._cluster_id = cluster_id
        self._account = account
        self._task: asyncio.Task[None] | None = None

    def start(self, api: Api) -> None:
        self._task = asyncio.create_task(self._pull(api), name="image puller")

    async def stop(self) -> None:
        await end(self._task)
        self._task = None

    async def _pull(self, api: Api) -> None:
        while True:
            try:
                for pod in await api.items(_PENDING):
                    await self._consider(api, pod)
            except (ApiError, httpx.HTTPError) as error:
                # The pod has gone meanwhile, or the cluster is being stopped.
                _log.debug("image pull: %s", error)
            await asyncio.sleep(_EVERY)

    async def _consider(self, api: Api, pod: Object) -> None:
        metadata, spec = pod["metadata"], pod["spec"]
        ours = [each for each in _containers(pod) if each["image"].startswith(_PREFIX)]
        if not ours or not spec.get("nodeName") or "deletionTimestamp" in metadata:
            return
        if PULLED in (metadata.get("annotations") or {}):
            return
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
        refused = {
            each["name"]: why
            for each in ours
            if (why := self._account.refuses_image(self._cluster_id, each["image"]))
        }
        if not refused:
            await api.merge(path, {"metadata": {"annotations": {PULLED: "true"}}})
            return
        # First the error, then the wait for the next try, as a kubelet reports them.
        known = pod.get("status", {}).get("containerStatuses")
        reason = "ImagePullBackOff" if known else "ErrImagePull"
        statuses = [
            _waiting(each, reason, refused.get(each["name"])) for each in spec["containers"]
        ]
        if known != statuses:
            await api.merge(f"{path}/status", {"status": {"containerStatuses": statuses}})


def _containers(pod: Object) -> list[Object]:
    return [*pod["spec"]["containers"], *(pod["spec"].get("initContainers") or [])]


def _waiting(container: Object, reason: str, why: str | None) -> Object:
    state = {"reason": reason, "message": why} if why else {"reason": "ContainerCreating"}
    return {
        "name": container["name"],
        "image": container["image"],
        "imageID": "",
        "ready": False,
        "restartCount": 0,
        "started": False,
        "state": {"waiting": state},
    }
