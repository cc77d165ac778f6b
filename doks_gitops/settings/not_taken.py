"""What an Application and an AppProject of Argo CD take and a stack file does not."""

from collections.abc import Mapping
from types import MappingProxyType

_ONE_CLUSTER = "Each cluster has its own Argo CD, which deploys to no other one."
_OF_THE_CLUSTER = "Argo CD asks the cluster; another value would render for another cluster."
_IN_KUSTOMIZATION = (
    "It is said in the folder's `kustomization.yaml`, where `kustomize build` shows its effect on "
    "any machine; the stack file has what differs between environments."
)
_JSONNET = (
    "Jsonnet files are rendered, but without arguments: what differs between environments is said "
    "in a file of their own, which can be reviewed and rendered on any machine."
)

_SIGNATURES = (
    "Argo CD would need the public keys of all who sign commits, which the stack file does not "
    "have. Who may push is decided where the repository is: see `github.ruleset`."
)

OF_APPLICATION: Mapping[str, str] = MappingProxyType(
    {
        "destination.name": _ONE_CLUSTER,
        "sourceHydrator": "It pushes rendered manifests to Git: it needs Argo CD's commit server, "
        "which is not installed by default, and credentials that may write.",
        "source.name": "The program sets it: it changes with the project, so that Argo CD tries "
        "failed syncs again.",
        "source.tagPrefix": "It narrows a range of versions down; versions are exact.",
        "source.plugin": "A plugin is a program beside Argo CD's repo server that renders "
        "manifests, with access to all repositories' contents. None is installed.",
        "source.directory.jsonnet": _JSONNET,
        "source.helm.values": "It is `helm.valuesObject` as one text, which could not be checked.",
        "source.helm.version": "Argo CD has one version of Helm.",
        "source.helm.passCredentials": "It sends the repository's password to every host that its "
        "index names.",
        "source.helm.namespace": "A chart is rendered for the application's `namespace`.",
        "source.helm.kubeVersion": _OF_THE_CLUSTER,
        "source.helm.apiVersions": _OF_THE_CLUSTER,
        "source.kustomize.version": "Argo CD has one version of Kustomize.",
        "source.kustomize.kubeVersion": _OF_THE_CLUSTER,
        "source.kustomize.apiVersions": _OF_THE_CLUSTER,
        "source.kustomize.namespace": _IN_KUSTOMIZATION,
        "source.kustomize.patches": _IN_KUSTOMIZATION,
        "source.kustomize.commonAnnotationsEnvsubst": "Annotations have the values that the stack "
        "file shows.",
        "syncPolicy.automated.enabled": "`sync.automated: false` leaves the automated policy out.",
    }
)
"""The reason by the field's path in an Application's `spec`. A path stands for all fields below it,
and `source` for each of `sources` too."""

OF_PROJECT: Mapping[str, str] = MappingProxyType(
    {
        "destinations.name": _ONE_CLUSTER,
        "destinationServiceAccounts": "Syncs as another service account are switched off in Argo "
        "CD by default; the lists of kinds and namespaces limit the applications.",
        "permitOnlyProjectScopedClusters": _ONE_CLUSTER,
        "signatureKeys": _SIGNATURES,
        "sourceIntegrity": _SIGNATURES,
        "sourceNamespaces": "Applications are in Argo CD's own namespace, where only the platform "
        "makes them.",
        "syncWindows.clusters": _ONE_CLUSTER,
    }
)
"""As `OF_APPLICATION`, for an AppProject."""
