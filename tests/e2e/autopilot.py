"""A platform that was made by hand, as the guide has it: a cluster of the account, Argo CD's own
manifests in it, and a repository laid out by argocd-autopilot, by which that Argo CD also manages
itself."""

import json
import shlex
import subprocess
from pathlib import Path
from typing import Any

import httpx
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


def asking(box: Sandbox) -> httpx.Client:
    """A client of the sandbox's account, with its token."""
    daemon = json.loads((box.home / "daemon.json").read_text())
    auth = {"Authorization": f"Bearer {daemon['token']}"}
    return httpx.Client(base_url=daemon["url"], headers=auth, timeout=60)


def set_up(box: Sandbox, folder: Path) -> None:
    """Make it in a sandbox in which nothing is deployed, until dev's application is Healthy.

    `folder`: where the clone of the monorepo is made.
    """
    with asking(box) as api:
        answer = api.post("/v2/kubernetes/clusters", json=CLUSTER)
        cluster = answer.raise_for_status().json()["kubernetes_cluster"]["id"]
        api.post("/v2/kubernetes/registry", json={"cluster_uuids": [cluster]}).raise_for_status()
        until(60, "the cluster runs", lambda: box.status()["clusters"][0]["state"] == "running")
        repository = api.get("/sandbox/repository").raise_for_status().json()
    box("clone", str(folder))
    manifests = toolchain.ensure(Console()).argocd_manifests / "install.yaml"
    (bootstrap := folder / ROOT / "bootstrap" / "argo-cd").mkdir(parents=True)
    before, found, after = manifests.read_text().partition("  name: argocd-cm\n")
    assert found
    # It looks again in seconds where it could not look at first, not in three minutes.
    settings = 'data: {timeout.reconciliation: "10s", timeout.reconciliation.jitter: "0s"}\n'
    (own := bootstrap / "install.yaml").write_text(f"{before}{found}{settings}{after}")
    files = layout(repository["url"])
    for path, content in files.items():
        (file := folder / path).parent.mkdir(parents=True, exist_ok=True)
        # Every JSON text is YAML, too.
        file.write_text("\n---\n".join(json.dumps(each) for each in content))
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
    (private := box.home / "by-hand.yaml").write_text(yaml.safe_dump(secret))
    kubectl = f"kubectl --context {CONTEXT}"
    box.shell(
        f"""
        {kubectl} create namespace argocd
        {kubectl} apply -n argocd --server-side -f {shlex.quote(str(own))}
        {kubectl} apply -n argocd -f {shlex.quote(str(private))}
        # An ApplicationSet that can't read its repository at once looks again in three minutes.
        {kubectl} -n argocd rollout status deployment/argocd-repo-server --timeout 2m
        {kubectl} apply -f {shlex.quote(str(folder / ROOT / "bootstrap"))}
        """
    )
    private.unlink()
    until(300, "what was made by hand is Healthy", lambda: _is_healthy(box))


def _is_healthy(box: Sandbox) -> bool:
    applications = {each["name"]: each for each in box.status()["clusters"][0]["applications"]}
    wanted = ("argo-cd", "root", "dev-microservices-demo")
    return all(
        name in applications
        and (applications[name]["sync"], applications[name]["health"]) == ("Synced", "Healthy")
        for name in wanted
    )


def layout(url: str) -> dict[str, list[dict[str, Any]]]:
    """The files of such a repository, by path, but for Argo CD's own manifests."""
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
