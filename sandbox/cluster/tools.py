"""The programs that a cluster consists of."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ClusterTools:
    """Where the programs are that a cluster runs.

    `kwok_stages` is the folder `kustomize/stage` of kwok's module. `argocd` is the one binary that
    plays each of Argo CD's roles, by the name that it is called by; `git_verify_wrapper` is
    `hack/git-verify-wrapper.sh` of Argo CD's module, which its repo-server calls.
    """

    etcd: Path
    kube_apiserver: Path
    kube_controller_manager: Path
    kube_scheduler: Path
    kwok: Path
    kwok_stages: Path
    argocd: Path
    git_verify_wrapper: Path
    helm: Path
    kustomize: Path
    redis_server: Path
    git: Path
