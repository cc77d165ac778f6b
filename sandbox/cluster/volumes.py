"""DigitalOcean's volume driver: a volume for each claim of its StorageClasses, attached to the node
of the pod that uses it (https://docs.digitalocean.com/products/kubernetes/how-to/add-volumes/).

Kubernetes' own controller binds claims; the driver only makes what it asks for, as the CSI driver
with its external provisioner and attacher does. Pods run before their volume is attached.
"""

import asyncio
import logging
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

import httpx

from sandbox.cluster.api import Api, ApiError, Object
from sandbox.tasks import BackgroundTask

DRIVER = "dobs.csi.digitalocean.com"
DEFAULT_CLASS = "do-block-storage"
_CLASSES = (
    (DEFAULT_CLASS, "Delete", "ext4"),
    (f"{DEFAULT_CLASS}-retain", "Retain", "ext4"),
    (f"{DEFAULT_CLASS}-xfs", "Delete", "xfs"),
    (f"{DEFAULT_CLASS}-xfs-retain", "Retain", "xfs"),
)
"""The StorageClasses of every DOKS cluster: name, reclaim policy, file system."""
_FS_TYPE = "csi.storage.k8s.io/fstype"
_PROVISIONER = "volume.kubernetes.io/storage-provisioner"
_PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
_IS_DEFAULT = "storageclass.kubernetes.io/is-default-class"
_STORAGE = "/apis/storage.k8s.io/v1"
_CLAIMS = "/api/v1/persistentvolumeclaims"
_VOLUMES = "/api/v1/persistentvolumes"
_PODS = "/api/v1/pods"
_MANAGER = "sandbox-volumes"
_SETTLE = 0.1
"""Seconds in which further changes are waited for."""

_log = logging.getLogger(__name__)


class _HasId(Protocol):
    @property
    def id(self) -> str: ...


class Account(Protocol):
    """The account that has the volumes."""

    def provide_volume(self, cluster_id: str, name: str, size_gigabytes: int) -> _HasId:
        """The cluster's volume of that name, created if there is none."""

    def attach_to_node(self, cluster_id: str, volume_id: str, node: str) -> str | None:
        """Attach the volume to the node; returns why that is not possible."""

    def detach_from_cluster(self, cluster_id: str, volume_id: str) -> None:
        """Detach the volume from whatever node of the cluster it is attached to."""

    def remove_volume(self, volume_id: str) -> None:
        """Remove the volume; does nothing if it does not exist."""

    def volume_folder(self, volume_id: str) -> Path:
        """The folder that stands for the volume's file system."""


class VolumeDriver:
    """The volume driver of one cluster in `region`."""

    def __init__(self, cluster_id: str, region: str, account: Account) -> None:
        self._cluster_id = cluster_id
        self._region = region
        self._account = account
        self._changed = asyncio.Event()
        self._tasks = [BackgroundTask() for _ in range(4)]

    async def install(self, api: Api) -> None:
        """Create the StorageClasses and the CSIDriver."""
        for name, policy, file_system in _CLASSES:
            default = {_IS_DEFAULT: "true"} if name == DEFAULT_CLASS else {}
            storage_class = {
                "apiVersion": "storage.k8s.io/v1",
                "kind": "StorageClass",
                "metadata": {"name": name, "annotations": default},
                "provisioner": DRIVER,
                "reclaimPolicy": policy,
                "volumeBindingMode": "Immediate",
                "allowVolumeExpansion": True,
                "parameters": {_FS_TYPE: file_system} if file_system != "ext4" else {},
            }
            await api.apply(f"{_STORAGE}/storageclasses/{name}", storage_class, manager=_MANAGER)
        driver = {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "CSIDriver",
            "metadata": {"name": DRIVER},
            "spec": {"attachRequired": True, "podInfoOnMount": True},
        }
        await api.apply(f"{_STORAGE}/csidrivers/{DRIVER}", driver, manager=_MANAGER)

    def start(self, api: Api) -> None:
        self._changed.set()
        reconciling, *watching = self._tasks
        reconciling.start(self._run(api), name="volume driver")
        for task, path in zip(watching, (_CLAIMS, _VOLUMES, _PODS), strict=True):
            task.start(self._watch(api, path), name=f"volume driver, {path}")

    async def stop(self) -> None:
        for task in self._tasks:
            await task.stop()

    async def _watch(self, api: Api, path: str) -> None:
        async for change in api.watch(path):
            if path != _PODS or any(_claims_of(change.object)):
                self._changed.set()

    async def _run(self, api: Api) -> None:
        while True:
            await self._changed.wait()
            await asyncio.sleep(_SETTLE)
            self._changed.clear()
            try:
                await self._reconcile(api)
            except (ApiError, httpx.HTTPError) as error:
                # Something was changed meanwhile, and a watch reports that too.
                _log.warning("volumes: %s", error)

    async def _reconcile(self, api: Api) -> None:
        claims, volumes = await api.items(_CLAIMS), await api.items(_VOLUMES)
        names = {volume["metadata"]["name"] for volume in volumes}
        for claim in claims:
            metadata = claim["metadata"]
            wanted = (metadata.get("annotations") or {}).get(_PROVISIONER) == DRIVER
            if (
                wanted
                and not claim["spec"].get("volumeName")
                and "deletionTimestamp" not in metadata
                and _name_of(claim) not in names
            ):
                try:
                    await self._provision(api, claim)
                except ValueError as error:
                    # The other claims do not wait for it.
                    _log.error("claim %s: %s", metadata["name"], error)
        await self._attach(api, claims, volumes)
        for volume in volumes:
            metadata, spec = volume["metadata"], volume["spec"]
            if (
                volume["status"].get("phase") == "Released"
                and spec["persistentVolumeReclaimPolicy"] == "Delete"
                and (metadata.get("annotations") or {}).get(_PROVISIONED_BY) == DRIVER
            ):
                self._account.remove_volume(spec["csi"]["volumeHandle"])
                await api.delete(f"{_VOLUMES}/{metadata['name']}")

    async def _provision(self, api: Api, claim: Object) -> None:
        metadata, spec = claim["metadata"], claim["spec"]
        path = f"{_STORAGE}/storageclasses/{spec['storageClassName']}"
        if (storage_class := await api.get(path)) is None:
            return
        size = gibibytes(spec["resources"]["requests"]["storage"])
        provided = self._account.provide_volume(self._cluster_id, _name_of(claim), size)
        in_region = {"key": "topology.kubernetes.io/region", "operator": "In"}
        volume = {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": _name_of(claim), "annotations": {_PROVISIONED_BY: DRIVER}},
            "spec": {
                "capacity": {"storage": f"{size}Gi"},
                "accessModes": spec["accessModes"],
                "volumeMode": spec.get("volumeMode", "Filesystem"),
                "persistentVolumeReclaimPolicy": storage_class["reclaimPolicy"],
                "storageClassName": spec["storageClassName"],
                "claimRef": {
                    "apiVersion": "v1",
                    "kind": "PersistentVolumeClaim",
                    **{key: metadata[key] for key in ("namespace", "name", "uid")},
                },
                "csi": {
                    "driver": DRIVER,
                    "volumeHandle": provided.id,
                    "fsType": (storage_class.get("parameters") or {}).get(_FS_TYPE, "ext4"),
                },
                "nodeAffinity": {
                    "required": {
                        "nodeSelectorTerms": [
                            {"matchExpressions": [{**in_region, "values": [self._region]}]}
                        ]
                    }
                },
            },
        }
        await api.call("POST", _VOLUMES, volume)

    async def _attach(self, api: Api, claims: list[Object], volumes: list[Object]) -> None:
        """Attach the volumes that pods use to these pods' nodes, and detach the others."""
        handles = {
            volume["metadata"]["name"]: volume["spec"]["csi"]["volumeHandle"]
            for volume in volumes
            if volume["spec"].get("csi", {}).get("driver") == DRIVER
        }
        if not handles:
            return
        bound = {
            (claim["metadata"]["namespace"], claim["metadata"]["name"]): handle
            for claim in claims
            if (handle := handles.get(claim["spec"].get("volumeName", "")))
        }
        nodes: dict[str, str] = {}
        for pod in await api.items(_PODS):
            node = pod["spec"].get("nodeName")
            if node and pod["status"].get("phase") not in ("Succeeded", "Failed"):
                for name in _claims_of(pod):
                    if handle := bound.get((pod["metadata"]["namespace"], name)):
                        nodes.setdefault(handle, node)
        for handle in handles.values():
            if handle not in nodes:
                self._account.detach_from_cluster(self._cluster_id, handle)
            elif reason := self._account.attach_to_node(self._cluster_id, handle, nodes[handle]):
                _log.warning("%s", reason)


async def bound_volume(api: Api, namespace: str, claim: str) -> str | None:
    """ID of DigitalOcean's volume that the claim is bound to; None if it is not bound to one."""
    path = f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/{claim}"
    existing = await api.get(path) or {}
    if existing.get("status", {}).get("phase") != "Bound":
        return None
    volume = await api.get(f"{_VOLUMES}/{existing['spec']['volumeName']}") or {}
    csi = volume.get("spec", {}).get("csi") or {}
    return str(csi["volumeHandle"]) if csi.get("driver") == DRIVER else None


def _name_of(claim: Mapping[str, Object]) -> str:
    """The name of the volume that is made for the claim."""
    return f"pvc-{claim['metadata']['uid']}"


def _claims_of(pod: Object) -> Iterator[str]:
    for volume in pod.get("spec", {}).get("volumes") or ():
        if claim := volume.get("persistentVolumeClaim"):
            yield claim["claimName"]


_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12,
          "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}  # fmt: skip


def gibibytes(quantity: str) -> int:
    """A quantity of Kubernetes in GiB, rounded up; at least 1, the smallest volume."""
    match = re.fullmatch(r"([0-9.]+)([A-Za-z]*)", quantity)
    if match is None or match[2] not in _UNITS:
        raise ValueError(f"{quantity!r} is no quantity that is known here")
    return max(1, -int(-float(match[1]) * _UNITS[match[2]] // 2**30))
