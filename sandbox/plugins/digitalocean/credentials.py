"""A cluster's credentials as the outputs of its resource."""

import base64
from datetime import UTC, datetime
from typing import Any

import yaml

from sandbox.plugins.bridge.schema import Properties
from sandbox.plugins.common import Failure


def expired(kube_configs: list[Properties]) -> bool:
    """True if there are no credentials or they have expired. Raises Failure for an invalid time."""
    if not kube_configs or not (text := kube_configs[0].get("expiresAt")):
        return True
    try:
        return datetime.fromisoformat(text) < datetime.now(UTC)
    except ValueError as error:
        raise Failure(f"Unable to parse Kubernetes credentials expiry: {error}") from None


def kube_config(name: str, region: str, credentials: dict[str, Any]) -> Properties:
    """The API's `credentials` for the cluster `name` as outputs."""
    expires = datetime.fromisoformat(credentials["expires_at"]).astimezone(UTC)
    outputs = {
        "rawConfig": _kubeconfig(name, region, credentials),
        "host": credentials["server"],
        "clusterCaCertificate": credentials["certificate_authority_data"],
        "token": credentials["token"],
        "expiresAt": f"{expires:%Y-%m-%dT%H:%M:%SZ}",
    }
    for output, field in (
        ("clientKey", "client_key_data"),
        ("clientCertificate", "client_certificate_data"),
    ):
        if data := credentials.get(field):
            outputs[output] = base64.b64decode(data).decode()
    return outputs


def _kubeconfig(name: str, region: str, credentials: dict[str, Any]) -> str:
    cluster = f"do-{region}-{name}"
    user = f"{cluster}-admin"
    secrets = {
        "client-key-data": credentials.get("client_key_data"),
        "client-certificate-data": credentials.get("client_certificate_data"),
    }
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "cluster": {
                    "certificate-authority-data": credentials["certificate_authority_data"],
                    "server": credentials["server"],
                },
                "name": cluster,
            }
        ],
        "contexts": [{"context": {"cluster": cluster, "user": user}, "name": cluster}],
        "current-context": cluster,
        "users": [
            {
                "name": user,
                "user": {
                    **{key: value for key, value in secrets.items() if value},
                    "token": credentials["token"],
                },
            }
        ],
    }
    return yaml.safe_dump(config, sort_keys=False, width=1_000_000)
