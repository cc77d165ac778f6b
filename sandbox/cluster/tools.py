"""The programs that a cluster consists of."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol


class ClusterTools(Protocol):
    """Where the programs are that a cluster runs; `sandbox.toolchain.Tools` is one."""

    @property
    def bin_dir(self) -> Path:
        """A folder with etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kwok,
        redis-server, argocd and its roles by their names, and all that Argo CD calls: git, helm,
        kustomize, git-verify-wrapper.sh."""

    @property
    def kwok_stages(self) -> Sequence[Path]:
        """kwok's stage files node/fast, node/heartbeat-with-lease and pod/fast."""

    def path(self, name: str) -> Path:
        """Where to call the program of that name."""
