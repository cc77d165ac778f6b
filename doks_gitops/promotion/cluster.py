"""The Argo CD Applications and ApplicationSets in the cluster of a stack, read with kubectl."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from doks_gitops.errors import PlatformError
from doks_gitops.stack import PulumiError, Stack
from doks_gitops.variables import of_kubectl

REQUEST_TIMEOUT = "20s"
"""How long the cluster may take to answer."""
_REFRESH = "argocd.argoproj.io/application-set-refresh"


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
    urls: tuple[str, ...] = ()
    """Addresses of its Ingresses and load balancers, and what annotations call links."""
    phase: str = ""
    """Of its last sync, such as Running or Failed. Running until the last retry has ended."""
    message: str = ""
    """What Argo CD says about its last sync."""

    @property
    def short_name(self) -> str:
        """The name without the project, which differs between environments."""
        return self.name.removeprefix(f"{self.project}-")

    @property
    def is_synced_and_healthy(self) -> bool:
        return (self.sync, self.health) == ("Synced", "Healthy")


@dataclass(frozen=True)
class Delivery:
    """What Argo CD has in a cluster."""

    applications: Sequence[Application]
    """By name."""
    errors: Mapping[str, str] = field(default_factory=dict)
    """Why an ApplicationSet creates no new Application, by its name: a file in Git that it can't
    read, say. The Applications that exist are synced as usual.
    https://argo-cd.readthedocs.io/en/stable/operator-manual/applicationset/"""
    pull_request_sets: Sequence[str] = ()
    """Names of the ApplicationSets that create one for each pull request."""


def applications(stack: str, folder: Path) -> Sequence[Application]:
    """All Applications in the stack's cluster, see `delivery`."""
    return delivery(stack, folder).applications


def delivery(stack: str, folder: Path) -> Delivery:
    """What Argo CD has in the stack's cluster. Raises `ClusterUnreachable`.

    `folder`: the project's folder.
    """
    with connected(stack, folder) as cluster:
        return cluster.delivery()


@dataclass(frozen=True)
class Cluster:
    """The cluster of a stack, as long as it is `connected`."""

    folder: Path
    kubeconfig: Path
    argocd_namespace: str
    context: str
    """The context of the cluster in a person's kubeconfig."""

    def delivery(self) -> Delivery:
        """What Argo CD has in it now. Raises `ClusterUnreachable`."""
        applications, sets = self._objects(
            self.argocd_namespace, "Application.argoproj.io", "ApplicationSet.argoproj.io"
        )
        return Delivery(
            sorted(map(_application, applications), key=lambda application: application.name),
            {
                manifest["metadata"]["name"]: " ".join(message.split())
                for manifest in sets
                for message in _messages(manifest, "ErrorOccurred")
            },
            [
                manifest["metadata"]["name"]
                for manifest in sets
                if any(
                    "pullRequest" in x for x in (manifest.get("spec") or {}).get("generators", ())
                )
            ],
        )

    def refresh(self, application_sets: Sequence[str]) -> None:
        """Let ApplicationSets read their generators again, as a webhook does. Raises
        `ClusterUnreachable`.

        https://argo-cd.readthedocs.io/en/stable/operator-manual/applicationset/Application-Set-Refresh/
        """
        self._kubectl(
            self.argocd_namespace,
            *("annotate", "--overwrite", "applicationsets.argoproj.io", *application_sets),
            f"{_REFRESH}=true",
        )

    def refused_pods(self, namespace: str) -> list[str]:
        """Why Kubernetes creates no more pods in a namespace, such as its quota, in its own words.
        Raises `ClusterUnreachable`.

        Controllers tell it in events. A ReplicaSet also has a condition, which ends with the
        refusal, but keeps the words of the first one.
        """
        events, replica_sets, *others = self._objects(
            namespace, "Event", "ReplicaSet.apps", "StatefulSet.apps", "DaemonSet.apps", "Job.batch"
        )
        newest = {
            event["involvedObject"].get("uid"): event
            for event in sorted(events, key=_moment)
            if event.get("reason") in ("FailedCreate", "SuccessfulCreate")
        }
        refused = [item for item in replica_sets if _messages(item, "ReplicaFailure")]
        last = [newest.get(x["metadata"]["uid"], {}) for x in itertools.chain(refused, *others)]
        messages = (x.get("message") for x in last if x.get("reason") == "FailedCreate")
        return [message for message in messages if message]

    def _objects(self, namespace: str, *kinds: str) -> list[list[Mapping[str, Any]]]:
        """The objects of a namespace, for each kind, which is KIND or KIND.GROUP."""
        answer = json.loads(self._kubectl(namespace, "get", ",".join(kinds), "--output", "json"))
        return [
            [item for item in answer["items"] if item["kind"] == kind.partition(".")[0]]
            for kind in kinds
        ]

    def _kubectl(self, namespace: str, *words: str) -> str:
        context = ("--kubeconfig", str(self.kubeconfig), "--namespace", namespace)
        return _kubectl(self.folder, *context, *words, "--request-timeout", REQUEST_TIMEOUT)


@contextmanager
def connected(stack: str, folder: Path) -> Iterator[Cluster]:
    """The stack's cluster. Raises `ClusterUnreachable`. `folder`: the project's folder."""
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
        yield Cluster(
            folder,
            Path(kubeconfig.name),
            outputs["argocdNamespace"],
            outputs.get("kubeContext", ""),
        )


def _kubectl(folder: Path, *words: str) -> str:
    try:
        done = subprocess.run(
            ["kubectl", *words], cwd=folder, env=of_kubectl(os.environ),
            check=False, text=True, capture_output=True,
        )  # fmt: skip
    except OSError as error:
        raise ClusterUnreachable(
            f"kubectl can't be run: {error.strerror}.",
            "Install kubectl: https://kubernetes.io/docs/tasks/tools/",
        ) from None
    if done.returncode:
        raise ClusterUnreachable(done.stderr.strip().removeprefix("error: "))
    return done.stdout


def _messages(manifest: Mapping[str, Any], condition_type: str) -> list[str]:
    """What the object's conditions of that type say, if they hold."""
    return [
        condition.get("message", "")
        for condition in (manifest.get("status") or {}).get("conditions") or ()
        if (condition["type"], condition["status"]) == (condition_type, "True")
    ]


def _moment(event: Mapping[str, Any]) -> tuple[str, int]:
    """When the event happened last. Within a second, events are in the order of their versions."""
    times = ("lastTimestamp", "eventTime", "firstTimestamp")
    time = next((event[name] for name in times if event.get(name)), "")
    return time, int(event["metadata"]["resourceVersion"])


def _application(manifest: Mapping[str, Any]) -> Application:
    status = manifest.get("status") or {}
    sync = status.get("sync") or {}
    operation = status.get("operationState") or {}
    return Application(
        name=manifest["metadata"]["name"],
        namespace=manifest["metadata"]["namespace"],
        project=manifest["spec"]["project"],
        revision=sync.get("revision") or next(iter(sync.get("revisions") or []), None),
        urls=tuple((status.get("summary") or {}).get("externalURLs") or ()),
        images=tuple((status.get("summary") or {}).get("images") or ()),
        sync=sync.get("status", "Unknown"),
        phase=operation.get("phase", ""),
        message=operation.get("message", ""),
        health=(status.get("health") or {}).get("status", "Unknown"),
        errors=tuple(
            condition["message"]
            for condition in status.get("conditions") or ()
            # The others are warnings.
            if condition["type"].endswith("Error")
        ),
    )
