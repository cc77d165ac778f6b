"""The Argo CD Applications in the cluster of a stack, read with kubectl."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from doks_gitops.errors import PlatformError
from doks_gitops.stack import PulumiError, Stack

REQUEST_TIMEOUT = "20s"
"""How long the cluster may take to answer."""


class ClusterUnreachable(PlatformError):
    """A stack's cluster can't be read."""


@dataclass(frozen=True)
class Application:
    """An Application. https://argo-cd.readthedocs.io/en/stable/operator-manual/application.yaml"""

    name: str
    namespace: str
    project: str
    revision: str | None
    """The commit that Argo CD compared it with last; None if it never has."""
    images: tuple[str, ...]
    """References of the images that its Pods run, as their manifests have them."""
    sync: str
    health: str
    errors: tuple[str, ...] = ()
    """What Argo CD can't do, in its own words, such as reading a repository."""

    @property
    def short_name(self) -> str:
        """The name without the project, which differs between environments."""
        return self.name.removeprefix(f"{self.project}-")

    @property
    def is_synced_and_healthy(self) -> bool:
        return (self.sync, self.health) == ("Synced", "Healthy")


def applications(stack: str, folder: Path) -> list[Application]:
    """All Applications in the stack's cluster, by name. Raises `ClusterUnreachable`.

    `folder`: the project's folder.
    """
    try:
        outputs = Stack(stack, folder).outputs()
    except PulumiError as error:
        raise ClusterUnreachable(error.message, error.fix) from None
    if not {"kubeconfig", "argocdNamespace"} <= outputs.keys():
        raise ClusterUnreachable(
            f"The stack {stack} is not deployed.", f"pulumi up --stack {stack}"
        )
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as kubeconfig:
        kubeconfig.write(outputs["kubeconfig"])
        kubeconfig.flush()
        context = ["--kubeconfig", kubeconfig.name, "--namespace", outputs["argocdNamespace"]]
        query = ["get", "applications.argoproj.io", "--output", "json"]
        timeout = ["--request-timeout", REQUEST_TIMEOUT]
        answer = json.loads(_kubectl(folder, *context, *query, *timeout))
    return sorted(map(_application, answer["items"]), key=lambda application: application.name)


def _kubectl(folder: Path, *words: str) -> str:
    try:
        done = subprocess.run(
            ["kubectl", *words], cwd=folder, check=False, text=True, capture_output=True
        )
    except OSError as error:
        raise ClusterUnreachable(
            f"kubectl can't be run: {error.strerror}.",
            "Install kubectl: https://kubernetes.io/docs/tasks/tools/",
        ) from None
    if done.returncode:
        raise ClusterUnreachable(done.stderr.strip().removeprefix("error: "))
    return done.stdout


def _application(manifest: Mapping[str, Any]) -> Application:
    status = manifest.get("status") or {}
    sync = status.get("sync") or {}
    return Application(
        name=manifest["metadata"]["name"],
        namespace=manifest["metadata"]["namespace"],
        project=manifest["spec"]["project"],
        revision=sync.get("revision") or next(iter(sync.get("revisions") or []), None),
        images=tuple((status.get("summary") or {}).get("images") or ()),
        sync=sync.get("status", "Unknown"),
        health=(status.get("health") or {}).get("status", "Unknown"),
        errors=tuple(
            condition["message"]
            for condition in status.get("conditions") or ()
            # The others are warnings.
            if condition["type"].endswith("Error")
        ),
    )
