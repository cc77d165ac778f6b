"""Values for the argo-cd chart. All functions are pure.

The tests check that the chart's values.yaml has every value that is set here.
https://github.com/argoproj/argo-helm/tree/main/charts/argo-cd
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pulumi

PORT_FORWARD_DOMAIN = "localhost:8080"
"""Address of an Argo CD without a URL, through `kubectl port-forward`."""

SYNC_SECONDS = 600
"""How long a sync may take. Argo CD deletes an Application only after its running sync has ended,
and a sync that waits for something that never becomes healthy would never end."""


@dataclass(frozen=True)
class ArgoCdOptions:
    """The options of Argo CD that set values of its chart."""

    high_availability: bool = False
    """Two replicas of the parts that allow it, and three of Redis, which need three nodes."""
    url: str | None = None
    """`https://host[:port]` for users. None: `kubectl port-forward` to this machine."""
    admin_enabled: bool = True
    admin_password_hash: pulumi.Input[str] | None = None
    """bcrypt. With it, Argo CD does not create its own `argocd-initial-admin-secret`."""
    admin_password_set_at: str | None = None
    """RFC 3339. Argo CD ends older sessions."""
    webhook_secret: pulumi.Input[str] | None = None
    """The secret of GitHub's webhook. None: `unknown_webhook_secret`."""
    unknown_webhook_secret: pulumi.Input[str] | None = None
    """Nobody signs with it: Argo CD refuses the webhooks of all Git hosts without a secret of their
    own. None: it accepts theirs unsigned."""
    webhook_checksum: pulumi.Input[str] | None = None
    """Changes with `webhook_secret`. The ApplicationSet controller restarts with it, and starts
    only after Argo CD's server. None: it keeps the secret that it has read when it started."""
    git_submodules: bool = True
    """Argo CD fetches the submodules of Git repositories."""
    separate_secret: bool = False
    """The chart does not create the Secret `argocd-secret`, which holds the admin password and the
    webhook's secret."""


def chart_values(options: ArgoCdOptions) -> dict[str, Any]:
    """The chart's values. Secrets that are outputs stay outputs.

    Raises ValueError for a URL that is not `https://host[:port]`: the chart takes a domain only.
    """
    secret: dict[str, Any] = (
        {"createSecret": False} if options.separate_secret else _chart_secret(secret_data(options))
    )
    common = {
        "global": {"domain": _domain(options.url)},
        # Uninstalling the release must not delete the CRDs, and with them all Applications.
        "crds": {"install": True, "keep": True},
        "configs": {
            "cm": {"admin.enabled": options.admin_enabled},
            "params": {
                "controller.sync.timeout.seconds": str(SYNC_SECONDS),
                **({} if options.git_submodules else _WITHOUT_SUBMODULES),
            },
            **({"secret": secret} if secret else {}),
        },
        **(
            {
                "applicationSet": {
                    "podAnnotations": {_CHECKSUM: options.webhook_checksum},
                    "extraEnv": [_AFTER_SERVER],
                }
            }
            if options.webhook_checksum is not None
            else {}
        ),
    }
    return merge(common, _HIGHLY_AVAILABLE if options.high_availability else _SMALL)


def secret_data(options: ArgoCdOptions) -> dict[str, pulumi.Input[str]]:
    """The data of the Secret `argocd-secret`.

    https://argo-cd.readthedocs.io/en/stable/operator-manual/argocd-secret-yaml/
    """
    data: dict[str, pulumi.Input[str]] = {}
    if options.admin_enabled and options.admin_password_hash is not None:
        data["admin.password"] = options.admin_password_hash
        # The chart's default is the current time, which would change the release in every run.
        data["admin.passwordMtime"] = options.admin_password_set_at or "1970-01-01T00:00:00Z"
    if options.unknown_webhook_secret is not None:
        data |= dict.fromkeys(_WEBHOOKS, options.unknown_webhook_secret)
    if options.webhook_secret is not None:
        data["webhook.github.secret"] = options.webhook_secret
    return data


_CHECKSUM = "checksum/webhook-secret"
_AFTER_SERVER = {
    "name": "STARTS_AFTER_SERVER",
    "valueFrom": {"secretKeyRef": {"name": "argocd-secret", "key": "server.secretkey"}},
}
"""A container starts only when the keys that it refers to exist. Argo CD's server creates this one
when it starts for the first time; an ApplicationSet controller that starts before that serves no
webhooks until it is restarted ("failed to create webhook handler" in its log)."""

_WITHOUT_SUBMODULES = {
    "reposerver.enable.git.submodule": "false",
    "applicationsetcontroller.enable.git.submodule": "false",
}
"""https://argo-cd.readthedocs.io/en/stable/operator-manual/argocd-cmd-params-cm-yaml/"""

_WEBHOOKS = {
    "webhook.azuredevops.password": "azureDevops.password",
    "webhook.azuredevops.username": "azureDevops.username",
    "webhook.bitbucket.uuid": "bitbucketUUID",
    "webhook.bitbucketserver.secret": "bitbucketServerSecret",
    "webhook.github.secret": "githubSecret",
    "webhook.gitlab.secret": "gitlabSecret",
    "webhook.gogs.secret": "gogsSecret",
}
_CHART_NAMES = {
    "admin.password": "argocdServerAdminPassword",
    "admin.passwordMtime": "argocdServerAdminPasswordMtime",
    **_WEBHOOKS,
}
"""Paths of the chart's values in `configs.secret`, by the keys of `argocd-secret`."""


def _chart_secret(data: Mapping[str, pulumi.Input[str]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in data.items():
        *parents, name = _CHART_NAMES[key].split(".")
        target = values
        for parent in parents:
            target = target.setdefault(parent, {})
        target[name] = value
    return values


def merge(base: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Returns `base` with `overrides`. Maps are merged deeply, lists and other values are replaced.

    None removes the key of `base`, so that the chart's default applies.
    """
    merged = dict(base)
    for key, value in overrides.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, Mapping):
            previous = merged.get(key)
            merged[key] = merge(previous if isinstance(previous, Mapping) else {}, value)
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
    """Resource requests without limits, which would throttle or kill a sync at its peak."""
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

# The chart's "HA mode without autoscaling". Its mode with autoscaling needs a metrics server, which
# DOKS does not have by default. A second replica of the controller would not help: replicas divide
# the clusters among themselves, and there is one cluster.
_HIGHLY_AVAILABLE: dict[str, Any] = {
    "global": {
        # Across nodes, not zones: a DOKS cluster is in one data center.
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
