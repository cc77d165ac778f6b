"""The Applications of an environment, as kubectl sees them in the cluster that its stack made."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from doks_gitops.stack import PulumiError, Stack

SECONDS = "20s"
"""How long the cluster may take to answer."""


class Unseen(Exception):
    """A stack or its cluster can't be looked at; says why."""


@dataclass(frozen=True)
class Application:
    """An Application. https://argo-cd.readthedocs.io/en/stable/operator-manual/application.yaml"""

    name: str
    namespace: str
    project: str
    revision: str | None
    """The commit that it was compared with; None: it was with none yet."""
    images: tuple[str, ...]
    """All that run, as `reference:tag`."""
    sync: str
    health: str

    @property
    def short_name(self) -> str:
        """Without the project, by which the environments differ."""
        return self.name.removeprefix(f"{self.project}-")

    @property
    def is_well(self) -> bool:
        return (self.sync, self.health) == ("Synced", "Healthy")


def applications(stack: str, folder: Path) -> list[Application]:
    """All Applications in the stack's cluster, by name. Raises `Unseen`.

    `folder`: where `pulumi stack output --stack STACK` works, which knows how to reach the cluster.
    """
    try:
        outputs = Stack(stack, folder).outputs()
    except PulumiError as error:
        raise Unseen(error.message) from None
    if not {"kubeconfig", "argocdNamespace"} <= outputs.keys():
        raise Unseen(f"the stack {stack} is not deployed: pulumi up --stack {stack}")
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as kubeconfig:
        kubeconfig.write(outputs["kubeconfig"])
        kubeconfig.flush()
        reach = ["--kubeconfig", kubeconfig.name, "--namespace", outputs["argocdNamespace"]]
        get = ["get", "applications.argoproj.io", "--output", "json", "--request-timeout", SECONDS]
        found = json.loads(_said(["kubectl", *reach, *get], folder))
    return sorted(map(_application, found["items"]), key=lambda each: each.name)


def _said(command: Sequence[str], folder: Path) -> str:
    try:
        done = subprocess.run(command, cwd=folder, check=False, text=True, capture_output=True)
    except OSError as error:
        raise Unseen(f"{command[0]} can't be run: {error.strerror}") from None
    if done.returncode:
        raise Unseen(done.stderr.strip().removeprefix("error: "))
    return done.stdout


def _application(found: Mapping[str, Any]) -> Application:
    status = found.get("status") or {}
    sync = status.get("sync") or {}
    return Application(
        name=found["metadata"]["name"],
        namespace=found["metadata"]["namespace"],
        project=found["spec"]["project"],
        revision=sync.get("revision") or next(iter(sync.get("revisions") or []), None),
        images=tuple((status.get("summary") or {}).get("images") or ()),
        sync=sync.get("status", "Unknown"),
        health=(status.get("health") or {}).get("status", "Unknown"),
    )
