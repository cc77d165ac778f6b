"""Values for the argo-cd chart (10.1.1): pure functions from what a stack wants to what it says.

Only paths that the chart documents in its values.yaml are set; a test holds them against it.
https://github.com/argoproj/argo-helm/tree/main/charts/argo-cd
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pulumi

PORT_FORWARD_DOMAIN = "localhost:8080"
"""Where Argo CD is reached when it has no URL: behind `kubectl port-forward`."""


@dataclass(frozen=True)
class Wanted:
    """What a stack wants of Argo CD."""

    high_availability: bool = False
    """Two of everything that can be doubled and Redis in three, which takes three nodes."""
    url: str | None = None
    """`https://host[:port]` that people open. None: port-forward to this machine."""
    admin_enabled: bool = True
    admin_password_hash: pulumi.Input[str] | None = None
    """bcrypt. Given, Argo CD makes no `argocd-initial-admin-secret` of its own."""
    admin_password_set_at: str = "1970-01-01T00:00:00Z"  # noqa: S105 (a time)
    """RFC 3339. Argo CD ends the sessions that are older. Always given, for the chart would take
    the current time and so change at each run."""
    webhook_secret: pulumi.Input[str] | None = None
    """Shared with GitHub's webhook, which makes a commit known at once."""
    secret_apart: bool = False
    """The Secret `argocd-secret`, which holds the password and the webhook's secret, is not the
    chart's to make."""


def chart_values(wanted: Wanted) -> dict[str, Any]:
    """The chart's values; secrets stay the `pulumi.Output`s that they came as.

    Raises ValueError for a URL that is not `https://host[:port]`: the chart makes Argo CD's
    address of the host alone.
    """
    secret: dict[str, Any] = (
        {"createSecret": False}
        if wanted.secret_apart
        else {_CHART_NAMES[key]: value for key, value in secret_data(wanted).items()}
    )
    common = {
        "global": {"domain": _domain(wanted.url)},
        # Uninstalling the release must not delete every Application with their definition.
        "crds": {"install": True, "keep": True},
        "configs": {
            "cm": {"admin.enabled": wanted.admin_enabled},
            **({"secret": secret} if secret else {}),
        },
    }
    return merge(common, _HIGHLY_AVAILABLE if wanted.high_availability else _SMALL)


def secret_data(wanted: Wanted) -> dict[str, pulumi.Input[str]]:
    """What is to be in `argocd-secret`, be it made by the chart or in its place.

    https://argo-cd.readthedocs.io/en/stable/operator-manual/argocd-secret-yaml/
    """
    data: dict[str, pulumi.Input[str]] = {}
    if wanted.admin_enabled and wanted.admin_password_hash is not None:
        data["admin.password"] = wanted.admin_password_hash
        data["admin.passwordMtime"] = wanted.admin_password_set_at
    if wanted.webhook_secret is not None:
        data["webhook.github.secret"] = wanted.webhook_secret
    return data


_CHART_NAMES = {
    "admin.password": "argocdServerAdminPassword",
    "admin.passwordMtime": "argocdServerAdminPasswordMtime",
    "webhook.github.secret": "githubSecret",
}
"""What the chart calls the keys of `argocd-secret`, in its values `configs.secret`."""


def merge(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    """`theirs` laid deeply over `ours`; neither is changed.

    Maps are merged, everything else (lists too) is replaced, and a null in `theirs` takes our
    value away, so that the chart's own default holds.
    """
    merged = dict(ours)
    for key, value in theirs.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, Mapping):
            below = merged.get(key)
            merged[key] = merge(below if isinstance(below, Mapping) else {}, value)
        else:
            merged[key] = value
    return merged


def _domain(url: str | None) -> str:
    if url is None:
        return PORT_FORWARD_DOMAIN
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.netloc or parts.path.strip("/") or parts.query:
        raise ValueError(f"Argo CD's url is {url!r}; it must be https://host or https://host:port")
    return parts.netloc


def _requests(cpu: str, memory: str) -> dict[str, Any]:
    """What the scheduler sets aside. No limits: they would throttle or kill a sync at its peak."""
    return {"resources": {"requests": {"cpu": cpu, "memory": memory}}}


_SMALL: dict[str, Any] = {
    "controller": {"replicas": 1, **_requests("50m", "256Mi")},
    "server": {"replicas": 1, **_requests("20m", "64Mi")},
    "repoServer": {"replicas": 1, **_requests("20m", "128Mi")},
    "applicationSet": {"replicas": 1, **_requests("10m", "64Mi")},
    "notifications": _requests("10m", "64Mi"),
    "dex": _requests("10m", "64Mi"),
    "redis": _requests("10m", "32Mi"),
    "redis-ha": {"enabled": False},
}

_PAIR: dict[str, Any] = {"replicas": 2, "pdb": {"enabled": True, "minAvailable": 1}}

# The chart's "HA mode without autoscaling": its other mode asks the metrics API for the pods' load,
# and DOKS has no metrics server unless someone installs one. The controller stays alone: a second
# one would share out clusters, and there is one cluster.
_HIGHLY_AVAILABLE: dict[str, Any] = {
    "global": {
        # By node and not by zone: a DOKS cluster is in one data center.
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
            }
        ]
    },
    "controller": {"replicas": 1, **_requests("250m", "512Mi")},
    "server": {**_PAIR, **_requests("50m", "128Mi")},
    "repoServer": {**_PAIR, **_requests("100m", "256Mi")},
    "applicationSet": {**_PAIR, **_requests("20m", "128Mi")},
    "notifications": _requests("20m", "64Mi"),
    "dex": _requests("20m", "64Mi"),
    "redis-ha": {"enabled": True},
}
