"""What the tags of a volume tell: whose claim it was, how it is mounted, and which state owns it.

A tag has letters, digits, `:`, `-` and `_`, and at most 255 of them; its case is ignored. Names in
Kubernetes are in lower case and may have dots, but no `_`, which therefore stands for a dot.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from doks_gitops.account.marks import PREFIX as OWNER

CLAIM = "doks-gitops-claim:"
"""Beginning of the tag with the volume's ID, the namespace and the name of its claim."""
STORAGE = "doks-gitops-storage:"
"""Beginning of the tag with the StorageClass, the file system, and the modes."""
USED = "doks-gitops-used"
"""The tag of a volume that was attached to a node, and so has a file system."""
TEMPORARY = "doks-gitops-temporary"
"""The tag of a volume that was made for one run alone, which deletes it."""
COPY = "doks-gitops-copy:"
"""Beginning of the tag of a snapshot that has a copy in another region."""
MADE_BY = "k8s:"
"""Beginning of the tag with the ID of the cluster, set by DigitalOcean."""
LONGEST = 255

_VOLUME_MODES = {mode.lower(): mode for mode in ("Filesystem", "Block")}
_ACCESS_MODES = {
    mode.lower(): mode
    for mode in ("ReadWriteOnce", "ReadWriteOncePod", "ReadOnlyMany", "ReadWriteMany")
}
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")


@dataclass(frozen=True, order=True)
class Claim:
    """A PersistentVolumeClaim."""

    namespace: str
    name: str

    @classmethod
    def parse(cls, text: str) -> Claim:
        """The claim that `NAMESPACE/NAME` names. Raises `ValueError`."""
        namespace, _, name = text.partition("/")
        if not (_NAME.fullmatch(namespace) and _NAME.fullmatch(name)):
            raise ValueError(f"{text!r} is not NAMESPACE/CLAIM")
        return cls(namespace, name)

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True)
class Storage:
    """How a volume is mounted: fields of its PersistentVolume."""

    storage_class: str = "do-block-storage"
    fs_type: str = "ext4"
    volume_mode: str = "Filesystem"
    access_mode: str = "ReadWriteOnce"

    @classmethod
    def of(cls, spec: dict[str, Any]) -> Storage:
        """`spec`: that of a PersistentVolume."""
        return cls(
            spec.get("storageClassName") or "",
            spec["csi"].get("fsType") or cls.fs_type,
            spec.get("volumeMode") or cls.volume_mode,
            next(iter(spec["accessModes"]), cls.access_mode),
        )


def claim_tag(volume: str, claim: Claim) -> str | None:
    """The tag of the volume with that ID; None if it would be too long.

    `volume`: of a volume that is still to be created, what follows `pvc-` in its name, which is as
    unique as the ID in a region. The next record replaces it.
    """
    tag = f"{CLAIM}{volume}:{_encoded(claim.namespace)}:{_encoded(claim.name)}".lower()
    return tag if len(tag) <= LONGEST else None


def claims_in(tags: Collection[str]) -> list[tuple[str, Claim]]:
    """The claims that the tags name, each with the ID of the volume that was tagged. More than one:
    somebody has added tags by hand."""
    return [
        (volume, Claim(_decoded(namespace), _decoded(name)))
        for volume, namespace, name in _fields(tags, CLAIM, 3)
    ]


def claim_tags(tags: Collection[str], claim: Claim) -> list[str]:
    """Those of the tags that name the claim."""
    return [tag for tag in tags if any(known == claim for _, known in claims_in({tag}))]


def storage_tag(storage: Storage) -> str:
    fields = (
        _encoded(storage.storage_class),
        storage.fs_type,
        storage.volume_mode,
        storage.access_mode,
    )
    return f"{STORAGE}{':'.join(fields)}".lower()


def storage_in(tags: Collection[str]) -> Storage:
    """How the volume was mounted; that of DOKS's default StorageClass if no tag tells it."""
    for storage_class, fs_type, volume_mode, access_mode in _fields(tags, STORAGE, 4):
        return Storage(
            _decoded(storage_class),
            fs_type,
            _VOLUME_MODES.get(volume_mode, Storage.volume_mode),
            _ACCESS_MODES.get(access_mode, Storage.access_mode),
        )
    return Storage()


def clusters_in(tags: Collection[str]) -> frozenset[str]:
    """IDs of the clusters that have made the volume or used it."""
    return frozenset(tag.removeprefix(MADE_BY) for tag in tags if tag.startswith(MADE_BY))


def own_tags(tags: Collection[str]) -> frozenset[str]:
    """The tags that are the program's own."""
    own = (OWNER, CLAIM, STORAGE, USED, TEMPORARY)
    return frozenset(tag for tag in tags if tag.startswith(own))


def _fields(tags: Collection[str], prefix: str, number: int) -> Iterator[list[str]]:
    for tag in sorted(tags):
        fields = tag.removeprefix(prefix).split(":")
        if tag.startswith(prefix) and len(fields) == number:
            yield fields


def _encoded(name: str) -> str:
    return name.replace(".", "_")


def _decoded(name: str) -> str:
    return name.replace("_", ".")
