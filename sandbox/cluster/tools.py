"""The programs that a cluster needs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol


class ClusterTools(Protocol):
    """The paths of a cluster's programs; implemented by `sandbox.toolchain.Tools`."""

    @property
    def bin_dir(self) -> Path:
        """A folder with etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kwok,
        redis-server, argocd under the names of all its roles, and the programs that Argo CD runs:
        git, helm, kustomize, git-verify-wrapper.sh."""

    @property
    def kwok_stages(self) -> Sequence[Path]:
        """kwok's stage files node/fast, node/heartbeat-with-lease and pod/fast."""

    def path(self, name: str) -> Path:
        """The path of the program with that name."""
