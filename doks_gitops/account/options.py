"""The options of a cluster as DigitalOcean's API has them, and their comparison with the settings.

https://docs.digitalocean.com/reference/api/reference/kubernetes/
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from doks_gitops.settings.base import Model, Path
from doks_gitops.settings.model import Cluster

Options = Mapping[str, Mapping[str, object]]
"""The objects of a cluster in the API by name, such as `control_plane_firewall`."""

_API_NAMES = {
    "autoscaler": "cluster_autoscaler_configuration",
    "maintenance": "maintenance_policy",
    "rdma_shared_device_plugin": "rdma_shared_dev_plugin",
}
"""Names in the API that differ from those of the settings."""


def missing(cluster: Cluster, options: Options) -> Iterator[tuple[Path, object, object]]:
    """Yields the path of each option that a cluster with `options` lacks, its value in the
    settings, and its value in the account."""
    for field in ("control_plane_firewall", "sso", "autoscaler", "maintenance"):
        part = getattr(cluster, field)
        if isinstance(part, Model):
            actual = _option(options, field)
            of_the_run = {"own_address", "own_address_unchecked"}
            values = part.model_dump(mode="json", exclude_none=True, exclude=of_the_run)
            for name, value in values.items():
                is_absent = actual.get(name) is None and value in (False, [])
                if not (is_absent or actual.get(name) == value):
                    key = type(part).model_fields[name].alias or name
                    yield ("cluster", _key(cluster, field), key), value, actual.get(name)
    for name, enabled in cluster.features.model_dump(exclude_none=True).items():
        actual = _option(options, name)
        if bool(actual.get("enabled")) != enabled:
            path = ("cluster", "features", _key(cluster.features, name))
            yield path, enabled, actual.get("enabled")


def _option(options: Options, name: str) -> Mapping[str, object]:
    return options.get(_API_NAMES.get(name, name), {})


def _key(model: Model, field: str) -> str:
    return type(model).model_fields[field].alias or field
