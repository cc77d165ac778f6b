"""The volumes of one cluster, as its API shows them.

https://kubernetes.io/docs/concepts/storage/persistent-volumes/
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from math import ceil
from typing import Any

import yaml

from doks_gitops import kubernetes
from doks_gitops.account import Volume
from doks_gitops.kubernetes import Api, Changed, Unreachable
from doks_gitops.volumes.tags import USED, Claim, Storage, storage_in

DRIVER = "dobs.csi.digitalocean.com"
"""DigitalOcean's CSI driver: https://github.com/digitalocean/csi-digitalocean"""
COPIES_NAMESPACE = "volume-copies"
"""The namespace in which copies are made and restored. Its claims are no application's."""
RETAIN = "Retain"
_NO_FORMAT = {"com.digitalocean.csi/noformat": "true"}
_QUANTITY = re.compile(r"([0-9.]+(?:[eE][0-9]+)?)(?:(k|K(?=i)|[MGTPE])(i?))?")
PERSISTENT_VOLUMES = "/api/v1/persistentvolumes"


@dataclass(frozen=True)
class PersistentVolume:
    """A PersistentVolume of DigitalOcean's driver."""

    name: str
    volume: str
    """ID of the volume in the account."""
    claim: Claim | None
    """The claim that it is bound to, or reserved for."""
    bound: bool
    reclaim_policy: str
    storage: Storage
    size: int = 0
    """GiB."""
    released: bool = False
    """Its claim is gone, and it waits for no other one."""


class Cluster(Api):
    """A cluster's API. Every method raises `Unreachable`."""

    def persistent_volumes(self, *, copies: bool = False) -> tuple[PersistentVolume, ...]:
        """Those of DigitalOcean's driver for the claims of applications; with `copies`: only those
        for claims in `COPIES_NAMESPACE`."""
        volumes = (
            _persistent_volume(item)
            for item in self._list(PERSISTENT_VOLUMES)
            if item["spec"].get("csi", {}).get("driver") == DRIVER
        )
        return tuple(
            volume
            for volume in volumes
            if (volume.claim is not None and volume.claim.namespace == COPIES_NAMESPACE) == copies
        )

    def read(self, path: str) -> Mapping[str, Any] | None:
        """The object at `path`; None if it does not exist."""
        existing: Mapping[str, Any] | None = self._call("GET", path, missing=True)
        return existing

    def items(self, path: str) -> list[Any]:
        """The objects at `path`."""
        return self._list(path)

    def create(self, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Create an object, and return it. Raises `Changed` if it exists already."""
        created: Mapping[str, Any] = self._call("POST", path, body)
        return created

    def delete(self, path: str) -> None:
        """Delete the object at `path`, with what it owns; one that is gone is no error."""
        self._call("DELETE", f"{path}?propagationPolicy=Background", missing=True)

    def retain(self, volume: PersistentVolume) -> None:
        """Let the volume in the account outlive its claim."""
        patch = {"spec": {"persistentVolumeReclaimPolicy": RETAIN}}
        self._call("PATCH", f"{PERSISTENT_VOLUMES}/{volume.name}", patch)

    def reserve(self, volume: Volume, claim: Claim, storage: Storage | None = None) -> None:
        """Create the PersistentVolume of `volume` for the claim, which may not exist yet.

        `storage`: default is what the volume's tags tell. DigitalOcean's driver never formats a
        volume that was in use, even if it sees no file system on it:
        https://github.com/digitalocean/csi-digitalocean/tree/master/examples/kubernetes/pod-single-existing-volume

        https://kubernetes.io/docs/concepts/storage/persistent-volumes/#reserving-a-persistentvolume
        """
        storage = storage or storage_in(volume.tags)
        body = {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {
                "name": volume.name,
                "annotations": {"pv.kubernetes.io/provisioned-by": DRIVER},
            },
            "spec": {
                "capacity": {"storage": f"{volume.size}Gi"},
                "accessModes": [storage.access_mode],
                "volumeMode": storage.volume_mode,
                "persistentVolumeReclaimPolicy": RETAIN,
                "storageClassName": storage.storage_class,
                "claimRef": {
                    "apiVersion": "v1",
                    "kind": "PersistentVolumeClaim",
                    "namespace": claim.namespace,
                    "name": claim.name,
                },
                "csi": {
                    "driver": DRIVER,
                    "volumeHandle": volume.id,
                    "fsType": storage.fs_type,
                    **({"volumeAttributes": _NO_FORMAT} if USED in volume.tags else {}),
                },
            },
        }
        try:
            self._call("POST", PERSISTENT_VOLUMES, body)
        except Changed:
            # A repeated request, if it is the same volume for the same claim.
            existing = self._call("GET", f"{PERSISTENT_VOLUMES}/{volume.name}", missing=True)
            known = _persistent_volume(existing) if existing else None
            if known is None or (known.volume, known.claim) != (volume.id, claim):
                raise

    def has_applications(self) -> bool:
        """Whether Argo CD may have synced something already."""
        path = "/apis/argoproj.io/v1alpha1/applications?limit=1"
        return bool(self._list(path))

    def pods_of(self, claim: Claim) -> tuple[str, ...]:
        """Names of the pods that use the claim."""
        return tuple(
            pod["metadata"]["name"]
            for pod in self._list(f"/api/v1/namespaces/{claim.namespace}/pods")
            if pod["status"].get("phase") not in ("Succeeded", "Failed")
            and any(
                volume.get("persistentVolumeClaim", {}).get("claimName") == claim.name
                for volume in pod["spec"].get("volumes") or ()
            )
        )

    def claim(self, claim: Claim) -> Mapping[str, Any] | None:
        """The claim's object; None if it does not exist."""
        return self.read(_path(claim))

    def requested(self, claim: Claim) -> int:
        """GiB that the claim requests; 0 if it does not exist."""
        existing = self.claim(claim)
        return gibibytes(existing["spec"]["resources"]["requests"]["storage"]) if existing else 0

    def delete_claim(self, claim: Claim) -> None:
        """Delete the claim. It goes when no pod uses it any more."""
        self._call("DELETE", _path(claim), missing=True)

    def delete_pod(self, namespace: str, name: str) -> None:
        self._call("DELETE", f"/api/v1/namespaces/{namespace}/pods/{name}", missing=True)


def _path(claim: Claim) -> str:
    return f"/api/v1/namespaces/{claim.namespace}/persistentvolumeclaims/{claim.name}"


def _persistent_volume(item: Mapping[str, Any]) -> PersistentVolume:
    spec = item["spec"]
    reference = spec.get("claimRef")
    return PersistentVolume(
        item["metadata"]["name"],
        spec["csi"]["volumeHandle"],
        Claim(reference["namespace"], reference["name"]) if reference else None,
        item.get("status", {}).get("phase") == "Bound",
        spec.get("persistentVolumeReclaimPolicy", RETAIN),
        Storage.of(spec),
        gibibytes(spec.get("capacity", {}).get("storage", "0")),
        item.get("status", {}).get("phase") in ("Released", "Failed"),
    )


def gibibytes(quantity: str) -> int:
    """GiB of a quantity such as `10Gi`, rounded up.

    https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
    """
    match = _QUANTITY.fullmatch(quantity)
    if match is None:
        raise Unreachable(f"The cluster tells a size that can't be read: {quantity!r}.")
    number, unit, binary = match.groups()
    exponent = " KMGTPE".index((unit or " ").upper())
    size = Decimal(number) * Decimal(1024 if binary else 1000) ** exponent
    return ceil(size / 1024**3)


@contextmanager
def of_kubeconfig(kubeconfig: str, token: str) -> Iterator[Cluster]:
    """Open the API of the kubeconfig's only cluster, with `token`."""
    [entry] = yaml.safe_load(kubeconfig)["clusters"]
    authority = base64.b64decode(entry["cluster"]["certificate-authority-data"])
    with kubernetes.connect(Cluster, entry["cluster"]["server"], authority, token) as cluster:
        yield cluster
