"""A platform that was made by hand as DigitalOcean's guide describes it: a cluster, Argo CD's own
manifests in it, and a repository laid out by argocd-autopilot, from which that Argo CD also manages
itself."""

import json
import shlex
import subprocess
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from sandbox import toolchain
from tests.e2e.box import Sandbox, until

CONTEXT = "do-nyc1-microservices-demo-dev"
CLUSTER = {
    "name": "microservices-demo-dev",
    "region": "nyc1",
    "version": "1.34.11-do.0",
    "node_pools": [{"name": "pool-1", "size": "s-2vcpu-4gb", "count": 1}],
}
SERVER = "https://kubernetes.default.svc"
FINALIZER = "resources-finalizer.argocd.argoproj.io"
ROOT = "argocd/dev"
APP = f"{ROOT}/apps/microservices-demo"


def set_up(sandbox: Sandbox, folder: Path) -> None:
    """Set up the platform in a sandbox in which nothing is deployed; waits until dev is Healthy.

    `folder`: for the clone of the monorepo.
    """
    with sandbox.api() as api:
        response = api.post("/v2/kubernetes/clusters", json=CLUSTER)
        cluster = response.raise_for_status().json()["kubernetes_cluster"]["id"]
        api.post("/v2/kubernetes/registry", json={"cluster_uuids": [cluster]}).raise_for_status()
        until("the cluster runs", lambda: sandbox.status()["clusters"][0]["state"] == "running")
        repository = api.get("/sandbox/repository").raise_for_status().json()
    sandbox("clone", str(folder))
    manifests = toolchain.ensure(Console()).argocd_manifests / "install.yaml"
    (bootstrap := folder / ROOT / "bootstrap" / "argo-cd").mkdir(parents=True)
    name = "  name: argocd-cm\n"
    before, _, after = manifests.read_text().partition(name)
    assert after
    # Argo CD tries again every ten seconds, not every three minutes.
    settings = 'data: {timeout.reconciliation: "10s", timeout.reconciliation.jitter: "0s"}\n'
    (install := bootstrap / "install.yaml").write_text(f"{before}{name}{settings}{after}")
    files = layout(repository["url"])
    for path, content in files.items():
        (file := folder / path).parent.mkdir(parents=True, exist_ok=True)
        # Every JSON text is YAML, too.
        file.write_text("\n---\n".join(json.dumps(document) for document in content))
    git = ["git", "-C", str(folder), "-c", "user.name=test", "-c", "user.email=test@localhost"]
    for words in (["add", "."], ["commit", "-qm", "Autopilot Bootstrap"], ["push", "-q"]):
        subprocess.run([*git, *words], check=True)
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": "autopilot-repo",
            "labels": {"argocd.argoproj.io/secret-type": "repository"},
        },
        "stringData": {"type": "git", **repository},
    }
    (private := sandbox.home / "by-hand.yaml").write_text(yaml.safe_dump(secret))
    kubectl = f"kubectl --context {CONTEXT}"
    sandbox.shell(
        f"""
        {kubectl} create namespace argocd
        {kubectl} apply -n argocd --server-side -f {shlex.quote(str(install))}
        {kubectl} apply -n argocd -f {shlex.quote(str(private))}
        # An ApplicationSet that can't read its repository tries again after three minutes.
        {kubectl} -n argocd rollout status deployment/argocd-repo-server --timeout 2m
        {kubectl} apply -f {shlex.quote(str(folder / ROOT / "bootstrap"))}
        """
    )
    private.unlink()
    for application in ("argo-cd", "root", "dev-microservices-demo"):
        sandbox.wait_for(application)


def layout(url: str) -> dict[str, list[dict[str, Any]]]:
    """The files of the repository by path, without Argo CD's own manifests."""
    return {
        f"{ROOT}/bootstrap/argo-cd.yaml": [
            _application("argo-cd", url, f"{ROOT}/bootstrap/argo-cd", ["ServerSideApply=true"])
        ],
        f"{ROOT}/bootstrap/root.yaml": [_application("root", url, f"{ROOT}/projects", [])],
        f"{ROOT}/projects/dev.yaml": [_project(), _application_set(url)],
        f"{APP}/base/kustomization.yaml": [{"resources": ["../../../../../kustomize/dev"]}],
        f"{APP}/overlays/dev/kustomization.yaml": [{"resources": ["../../base"]}],
        f"{APP}/overlays/dev/config.json": [
            {
                "userGivenName": "microservices-demo",
                "destNamespace": "microservices-demo-dev",
                "destServer": SERVER,
                "srcPath": f"{APP}/overlays/dev",
                "srcRepoURL": url,
                "srcTargetRevision": "",
            }
        ],
    }


def _application(name: str, url: str, path: str, options: list[str]) -> dict[str, Any]:
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Application",
        "metadata": {"name": name, "namespace": "argocd", "finalizers": [FINALIZER]},
        "spec": {
            "project": "default",
            "source": {"repoURL": url, "path": path},
            "destination": {"server": SERVER, "namespace": "argocd"},
            "syncPolicy": {
                "automated": {"prune": True, "selfHeal": True},
                "syncOptions": options,
            },
        },
    }


def _project() -> dict[str, Any]:
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "AppProject",
        "metadata": {"name": "dev", "namespace": "argocd"},
        "spec": {
            "sourceRepos": ["*"],
            "destinations": [{"server": "*", "namespace": "*"}],
            "clusterResourceWhitelist": [{"group": "*", "kind": "*"}],
        },
    }


def _application_set(url: str) -> dict[str, Any]:
    file = f"{ROOT}/apps/**/dev/config.json"
    template = {
        "metadata": {"name": "dev-{{ userGivenName }}", "finalizers": [FINALIZER]},
        "spec": {
            "project": "dev",
            "source": {
                "repoURL": "{{ srcRepoURL }}",
                "targetRevision": "{{ srcTargetRevision }}",
                "path": "{{ srcPath }}",
            },
            "destination": {"server": "{{ destServer }}", "namespace": "{{ destNamespace }}"},
            "syncPolicy": {"automated": {"prune": True, "selfHeal": True, "allowEmpty": True}},
        },
    }
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "ApplicationSet",
        "metadata": {"name": "dev", "namespace": "argocd"},
        "spec": {
            "generators": [
                {
                    "git": {
                        "repoURL": url,
                        "revision": "",
                        "requeueAfterSeconds": 20,
                        "files": [{"path": file}],
                    }
                }
            ],
            "template": template,
        },
    }
