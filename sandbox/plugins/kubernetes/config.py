"""The provider's configuration: its settings, and which changes replace the provider.

https://www.pulumi.com/registry/packages/kubernetes/api-docs/provider/
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sandbox.plugins.common import UNKNOWN, Failure
from sandbox.plugins.kubernetes.kubeconfig import (
    Access,
    KubeconfigError,
    active_cluster,
    ambient,
    load,
)

_TEXTS: Final = ("kubeconfig", "context", "cluster", "namespace", "clusterIdentifier")
_SWITCHES: Final = {
    "deleteUnreachable": "PULUMI_K8S_DELETE_UNREACHABLE",
    "skipUpdateUnreachable": "PULUMI_K8S_SKIP_UPDATE_UNREACHABLE",
    "enableServerSideApply": "PULUMI_K8S_ENABLE_SERVER_SIDE_APPLY",
    "enablePatchForce": "PULUMI_K8S_ENABLE_PATCH_FORCE",
    "upsertExistingObjects": "PULUMI_K8S_UPSERT_EXISTING_OBJECTS",
    "enableSecretMutable": "PULUMI_K8S_ENABLE_SECRET_MUTABLE",
    "enableConfigMapMutable": "PULUMI_K8S_ENABLE_CONFIGMAP_MUTABLE",
    "suppressDeprecationWarnings": "PULUMI_K8S_SUPPRESS_DEPRECATION_WARNINGS",
    "suppressHelmHookWarnings": "PULUMI_K8S_SUPPRESS_HELM_HOOK_WARNINGS",
}
_HELM_FOLDERS: Final = {
    "pluginsPath": "HELM_PLUGINS",
    "registryConfigPath": "HELM_REGISTRY_CONFIG",
    "repositoryConfigPath": "HELM_REPOSITORY_CONFIG",
    "repositoryCache": "HELM_REPOSITORY_CACHE",
}
_HELM_SETTINGS: Final = {*_HELM_FOLDERS, "driver", "suppressBetaWarning"}
_CLIENT_SETTINGS: Final = {"burst", "qps", "timeout"}
_OBJECTS: Final = {"helmReleaseSettings": _HELM_SETTINGS, "kubeClientSettings": _CLIENT_SETTINGS}
_NAMES: Final = {*_TEXTS, *_SWITCHES, *_OBJECTS, "version", "pluginDownloadURL"}


@dataclass(frozen=True, repr=False)
class Config:
    """The provider's settings, each with the default of Pulumi's own plugin."""

    kubeconfig: str = ""
    context: str = ""
    cluster: str = ""
    namespace: str = ""
    delete_unreachable: bool = False
    skip_update_unreachable: bool = False
    patch_force: bool = False
    upsert: bool = False
    mutable_secrets: bool = False
    mutable_config_maps: bool = False
    helm_environment: Mapping[str, str] = field(default_factory=dict)
    """Variables for helm, from helmReleaseSettings."""

    @classmethod
    def parse(cls, variables: Mapping[str, str]) -> "Config":
        """From the variables of the engine's Configure call (`kubernetes:config:NAME`)."""
        values = {key.rpartition(":")[2]: value for key, value in variables.items()}

        def switch(name: str) -> bool:
            return values.get(name, os.environ.get(_SWITCHES[name])) == "true"

        helm = _parse_object(values.get("helmReleaseSettings"))
        return cls(
            **{
                name: values.get(name, "")
                for name in ("kubeconfig", "context", "cluster", "namespace")
            },
            delete_unreachable=switch("deleteUnreachable"),
            skip_update_unreachable=switch("skipUpdateUnreachable"),
            patch_force=switch("enablePatchForce"),
            upsert=switch("upsertExistingObjects"),
            mutable_secrets=switch("enableSecretMutable"),
            mutable_config_maps=switch("enableConfigMapMutable"),
            helm_environment={
                variable: str(helm[name])
                for name, variable in _HELM_FOLDERS.items()
                if helm.get(name)
            },
        )

    def access(self) -> Access:
        """The cluster of this configuration. Raises KubeconfigError if it names none."""
        config = load(self.kubeconfig) if self.kubeconfig else ambient()
        return Access.of(config, context=self.context, cluster=self.cluster)


def check(news: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Why a configuration is refused: pairs of a property and the reason."""
    failures = [
        (name, f"the stand-in plugin does not know the provider setting {name}")
        for name in sorted(news.keys() - _NAMES)
    ]
    on = news.get("enableServerSideApply", os.environ.get(_SWITCHES["enableServerSideApply"]))
    if on in (False, "false"):
        failures.append(
            ("enableServerSideApply", "the stand-in plugin knows server-side apply only")
        )
    for name, setting_names in _OBJECTS.items():
        value = news.get(name)
        if value is None or value is UNKNOWN:
            continue
        try:
            settings = _parse_object(value)
        except Failure as error:
            failures.append((name, str(error)))
            continue
        failures += [
            (name, f"the stand-in plugin does not know {name}.{key}")
            for key in sorted(settings.keys() - setting_names)
        ]
        if settings.get("driver", "secret") != "secret":
            failures.append((name, "the stand-in plugin keeps Helm's releases in Secrets only"))
    return failures


def _parse_object(value: object) -> Mapping[str, Any]:
    # The SDKs send a provider's structured settings as JSON text.
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise Failure("it is not valid JSON") from None
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise Failure("it is not an object")
    return value


def diff(olds: Mapping[str, Any], news: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """The settings that changed, and those that replace the provider and all of its resources.

    With a clusterIdentifier, only its change replaces. Without one, a change of the active
    cluster's entry in the kubeconfig does, and so does an unknown kubeconfig.
    Raises Failure for a kubeconfig that can't be read.
    """
    changed = sorted(key for key in olds.keys() | news.keys() if olds.get(key) != news.get(key))
    if not changed:
        return [], []
    old_identifier, new_identifier = olds.get("clusterIdentifier"), news.get("clusterIdentifier")
    if old_identifier and new_identifier and old_identifier == new_identifier:
        return changed, []
    replaces = ["clusterIdentifier"] if old_identifier and new_identifier else []
    selecting = [key for key in ("kubeconfig", "context", "cluster") if key in changed]
    if any(news.get(key) is UNKNOWN for key in selecting):
        return changed, [*replaces, *(key for key in selecting if news[key] is UNKNOWN)]
    old_cluster, new_cluster = _active(olds), _active(news)
    if old_cluster is not None and new_cluster is not None and old_cluster != new_cluster:
        replaces += selecting
    return changed, replaces


def _active(values: Mapping[str, Any]) -> Mapping[str, Any] | None:
    config = values.get("kubeconfig")
    if not config:
        return None
    try:
        parsed = config if isinstance(config, Mapping) else load(str(config))
    except KubeconfigError as error:
        raise Failure(f"failed to parse kubeconfig: {error}") from None
    return active_cluster(
        parsed,
        context=str(values.get("context") or ""),
        cluster=str(values.get("cluster") or ""),
    )
