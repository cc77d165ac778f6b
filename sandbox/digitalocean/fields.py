"""The fields of clusters and node pools that the emulator only keeps: they change nothing in the
clusters that it runs.

docs.digitalocean.com/reference/api/reference/kubernetes; godo has those that are not described.
"""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from sandbox.digitalocean.errors import invalid
from sandbox.digitalocean.operations import Body


class Switch(Body):
    enabled: bool | None = None


class Firewall(Switch):
    allowed_addresses: list[str] | None = None


class Autoscaler(Body):
    scale_down_utilization_threshold: float | None = None
    scale_down_unneeded_time: str | None = None
    expanders: list[Literal["random", "priority", "least_waste"]] | None = None


class Sso(Switch):
    required: bool | None = None
    issuer_url: str | None = None
    client_id: str | None = None


@dataclass(frozen=True)
class Kept:
    """A field.

    - `changeable`: whether an update may have it, which otherwise ignores it
    - `zero_resets`: whether zero and empty values mean the default, so that they are not kept
    """

    type: Any
    changeable: bool = True
    zero_resets: bool = False


CLUSTER: Mapping[str, Kept] = {
    "control_plane_firewall": Kept(Firewall),
    "cluster_autoscaler_configuration": Kept(Autoscaler, zero_resets=True),
    "sso": Kept(Sso),
    "worker_subnet_uuid": Kept(str, changeable=False),
    "isolated_workers": Kept(bool, changeable=False),
    **{
        name: Kept(Switch)
        for name in (
            "routing_agent",
            "coredns_autoscaler",
            "nfs_csi_plugin",
            "p2p_oci_registry_plugin",
            "amd_gpu_device_plugin",
            "amd_gpu_device_metrics_exporter_plugin",
            "amd_gpu_dra_driver",
            "nvidia_gpu_device_plugin",
            "nvidia_gpu_dra_driver",
            "rdma_shared_dev_plugin",
        )
    },
}

NODE_POOL: Mapping[str, Kept] = {
    "gpu_partition_mode": Kept(
        Literal["AMD_PARTITION_MODE_SPX_NPS1", "AMD_PARTITION_MODE_DPX_NPS2"], changeable=False
    ),
}


def changed(
    fields: Mapping[str, Kept], before: Mapping[str, Any] | None, body: Mapping[str, Any] | None
) -> dict[str, Any]:
    """`before` (None for something new) with the `fields` of a request's `body`; objects keep what
    the request leaves out.

    Clients written in Go send `{}` or nulls for what they leave out. Ends the request with 422 for
    an invalid value.
    """
    values = dict(before or {})
    for name, value in (body or {}).items():
        field = fields.get(name)
        if field is None or value is None or not (before is None or field.changeable):
            continue
        try:
            # Of the kind that JSON has, so that it can be saved.
            adapter = TypeAdapter(field.type)
            parsed = adapter.dump_python(adapter.validate_python(value), mode="json")
        except ValidationError as error:
            first = error.errors()[0]
            path = ".".join([name, *map(str, first["loc"])])
            raise invalid(f"validation error: {path}: {first['msg']}") from None
        if isinstance(parsed, dict):
            present = {key: item for key, item in parsed.items() if item is not None}
            parsed = {**values.get(name, {}), **present}
            if field.zero_resets:
                parsed = {key: item for key, item in parsed.items() if item}
        values[name] = parsed
        if parsed == {}:
            del values[name]
    return values


def check_cluster(fields: Mapping[str, Any]) -> None:
    """Requires what the API requires between the `CLUSTER` fields of one cluster."""
    for address in fields.get("control_plane_firewall", {}).get("allowed_addresses", ()):
        try:
            ipaddress.IPv4Network(address)
        except ValueError:
            raise invalid(
                f"validation error: allowed_addresses: {address!r} is no IPv4 address or CIDR"
            ) from None
    sso = fields.get("sso", {})
    if sso.get("required") and not sso.get("enabled"):
        raise invalid("validation error: sso.required can only be true when sso.enabled is true")
    if sso.get("enabled") and not (sso.get("issuer_url") and sso.get("client_id")):
        raise invalid("validation error: sso needs issuer_url and client_id when it is enabled")
