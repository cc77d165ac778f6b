"""Helm's storage of releases in the cluster: one Secret per revision.

https://helm.sh/docs/topics/advanced/#storage-backends
"""

import base64
import gzip
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import yaml

from sandbox.plugins.kubernetes.client import Cluster
from sandbox.plugins.kubernetes.objects import Gvk, Object, name_of, namespace_of

_SECRET: Final = Gvk("", "v1", "Secret")
_RELEASE_TYPE: Final = "helm.sh/release.v1"


@dataclass(frozen=True, repr=False)
class Revision:
    """One revision of a release."""

    name: str
    namespace: str
    number: int
    status: str
    """deployed, failed, superseded, uninstalling, or pending-install, -upgrade or -rollback."""
    chart: Mapping[str, Any]
    """The chart's Chart.yaml."""
    values: Mapping[str, Any]
    """The user's values, without the chart's defaults."""
    manifest: str
    secret: str
    """The name of the Secret that contains it."""

    def resource_names(self) -> dict[str, list[str]]:
        """The release's objects by `Kind.group/apiVersion`, as `namespace/name` or `name`."""
        names: dict[str, set[str]] = {}
        for item in yaml.load_all(_CONTENT.sub("", self.manifest), Loader=_Loader):
            if not isinstance(item, dict) or not item.get("kind"):
                continue
            gvk = Gvk.of(item)
            group_kind = f"{gvk.kind}.{gvk.group}" if gvk.group else gvk.kind
            namespace = namespace_of(item)
            name = f"{namespace}/{name_of(item)}" if namespace else name_of(item)
            names.setdefault(f"{group_kind}/{gvk.api_version}", set()).add(name)
        return {key: sorted(value) for key, value in sorted(names.items())}


# A chart's manifests are a megabyte of YAML, which takes seconds to parse. The content of objects
# under these keys, as a block or on one line, is removed first; the C parser, if there is one,
# reads the rest.
_CONTENT: Final = re.compile(
    r"^(?:spec|data|stringData|status|rules):[ \t]*(?:\{.*\})?[ \t]*\n"
    r"(?:(?:(?:[ \t]|-(?!--)).*)?\n)*",
    re.MULTILINE,
)
_Loader: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


async def latest(cluster: Cluster, namespace: str, name: str) -> Revision | None:
    """The newest revision of a release, or None if there is none."""
    revisions = [
        _parse(secret)
        for secret in await cluster.find(_SECRET, namespace, labels=f"owner=helm,name={name}")
        if secret.get("type") == _RELEASE_TYPE
    ]
    return max(revisions, key=lambda revision: revision.number, default=None)


def _parse(secret: Object) -> Revision:
    compressed = base64.b64decode(base64.b64decode(secret["data"]["release"]))
    release = json.loads(gzip.decompress(compressed))
    return Revision(
        name=release["name"],
        namespace=release.get("namespace", namespace_of(secret)),
        number=int(release["version"]),
        status=release["info"]["status"],
        chart=release["chart"]["metadata"],
        values=release.get("config") or {},
        manifest=release.get("manifest") or "",
        secret=name_of(secret),
    )
