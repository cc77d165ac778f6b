"""Finds the pods that run as processes, by their labels or their first container: those of Argo CD,
of Sealed Secrets and of restic that an administrator wrote."""

import json
from collections.abc import Sequence
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Any

from sandbox.cluster.api import Object


class Role(StrEnum):
    """The role of a pod in Argo CD, as the controller of Sealed Secrets, or as a command of restic.
    Except for Redis, the value is the program's name.

    Dex is missing: the sandbox has no Dex, so its pods are left to kwok and there is no single
    sign-on.
    """

    SERVER = "argocd-server"
    REPO_SERVER = "argocd-repo-server"
    APPLICATION_CONTROLLER = "argocd-application-controller"
    APPLICATIONSET_CONTROLLER = "argocd-applicationset-controller"
    NOTIFICATIONS = "argocd-notifications"
    REDIS = "redis"
    SEALED_SECRETS = "sealed-secrets-controller"
    RESTIC = "restic"
    REDIS_PASSWORD = "argocd admin redis-initial-password"  # noqa: S105

    @property
    def is_command(self) -> bool:
        """Whether the process ends by itself, and is never ready."""
        return self in (Role.RESTIC, Role.REDIS_PASSWORD)


_OTHERS = (Role.REDIS, Role.REDIS_PASSWORD, Role.SEALED_SECRETS)
_PROGRAMS = [role.value for role in Role if role not in _OTHERS]
_PASSWORD_WORDS = ["admin", "redis-initial-password"]
_REDIS_NAMES = ["argocd-redis", "argocd-redis-ha-haproxy"]
"""Label app.kubernetes.io/name of the pods through which Argo CD reaches Redis. With Redis HA that
is HAProxy in front of three servers: here one server replaces HAProxy, and the three are left to
kwok."""
_REDIS_HA_APPS = ["redis-ha-haproxy"]
"""Label `app` of the same pods in the chart's dependency redis-ha."""
_SEALED_SECRETS = "sealed-secrets"
"""Label app.kubernetes.io/name of the pod of Sealed Secrets' controller."""
_NAMES = [*_REDIS_NAMES, _SEALED_SECRETS]

WRITTEN_BY = "sandbox.doks-gitops/written-by"
"""Annotation of a pod: who wrote its workload's template, or the pod itself. The API server sets it
(`admission/`), so that a commit, which Argo CD applies as a service account, can't forge it."""
ADMINISTRATOR = "administrator"
"""A user of the account, such as a person or Pulumi."""

_WORDS = "(.spec.containers[0] | (.command // []) + (.args // []))"


def _jq(words: Sequence[str]) -> str:
    return ", ".join(map(json.dumps, words))


NOT_A_PROCESS: dict[str, Any] = {
    "key": (
        f'(.metadata.annotations["{WRITTEN_BY}"] == "{ADMINISTRATOR}") and ('
        f'({_WORDS} | (.[0] // "") | sub("^.*/"; "") | IN({_jq(_PROGRAMS)}))'
        f" or ({_WORDS} | .[1:3] == {json.dumps(_PASSWORD_WORDS)})"
        f' or (.metadata.labels["app.kubernetes.io/name"] | IN({_jq(_NAMES)}))'
        f" or (.metadata.labels.app | IN({_jq(_REDIS_HA_APPS)}))"
        ") | tostring"
    ),
    "operator": "NotIn",
    "values": ["true"],
}
"""Condition of a kwok stage that holds for exactly the pods without a role (`role_of`)."""


def words_of(container: Object) -> list[str]:
    """The container's command line."""
    return [*(container.get("command") or []), *(container.get("args") or [])]


def runs_redis_password(container: Object) -> bool:
    """Whether the container creates Redis' password (`argocd admin redis-initial-password`)."""
    return words_of(container)[1:3] == _PASSWORD_WORDS


def role_of(pod: Object) -> Role | None:
    """The pod's role; None for a pod that is left to kwok."""
    if (pod["metadata"].get("annotations") or {}).get(WRITTEN_BY) != ADMINISTRATOR:
        return None
    container = pod["spec"]["containers"][0]
    labels = pod["metadata"].get("labels") or {}
    if runs_redis_password(container):
        return Role.REDIS_PASSWORD
    if labels.get("app.kubernetes.io/name") in _REDIS_NAMES or labels.get("app") in _REDIS_HA_APPS:
        return Role.REDIS
    if labels.get("app.kubernetes.io/name") == _SEALED_SECRETS:
        return Role.SEALED_SECRETS
    words = words_of(container)
    program = PurePosixPath(words[0]).name if words else ""
    return Role(program) if program in _PROGRAMS else None
