"""The kubeconfig for the sandbox's user: one context for each cluster, named as doctl names it."""

from collections.abc import Iterable
from typing import Any

import yaml

from sandbox.paths import Home, write_private


def write_kubeconfig(home: Home, clusters: Iterable[dict[str, Any]], token: str) -> None:
    """Write `kubeconfig` in the sandbox's folder, with a context for each of `clusters` (as
    `/sandbox/clusters` lists them) and the account's token. Without clusters, the file is valid
    and has no context."""
    reachable = [cluster for cluster in clusters if cluster["endpoint"]]
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": cluster["context"],
                "cluster": {
                    "server": cluster["endpoint"],
                    "certificate-authority-data": cluster["ca_certificate"],
                },
            }
            for cluster in reachable
        ],
        "users": [{"name": "account", "user": {"token": token}}],
        "contexts": [
            {
                "name": cluster["context"],
                "context": {"cluster": cluster["context"], "user": "account"},
            }
            for cluster in reachable
        ],
        "current-context": reachable[0]["context"] if reachable else "",
    }
    write_private(home.root / "kubeconfig", yaml.safe_dump(content, sort_keys=False).encode())
