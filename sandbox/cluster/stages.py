"""kwok's configuration: its own stages, except for the pods that run as processes."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from sandbox.cluster.images import PULLED_OR_PUBLIC
from sandbox.cluster.roles import NOT_A_PROCESS

_EXISTS_NOT = "DoesNotExist"
_AUTOSCALER_STATUS = """\
currentReplicas: {{ or .spec.minReplicas 1 }}
desiredReplicas: {{ or .spec.minReplicas 1 }}
conditions:
- type: AbleToScale
  status: "True"
  reason: ReadyForNewScale
  message: the sandbox measures nothing and scales nothing
  lastTransitionTime: {{ Now | Quote }}
"""
AUTOSCALER: dict[str, Any] = {
    "apiVersion": "kwok.x-k8s.io/v1alpha1",
    "kind": "Stage",
    "metadata": {"name": "horizontal-pod-autoscaler-ready"},
    "spec": {
        "resourceRef": {"apiGroup": "autoscaling/v2", "kind": "HorizontalPodAutoscaler"},
        "selector": {
            "matchExpressions": [
                {"key": ".metadata.deletionTimestamp", "operator": _EXISTS_NOT},
                {"key": ".status.conditions", "operator": _EXISTS_NOT},
            ]
        },
        "next": {"statusTemplate": _AUTOSCALER_STATUS},
    },
}
"""An autoscaler is ready from its creation on. Pods that are simulated use nothing, so there are no
metrics by which Kubernetes's own controller could scale."""


@dataclass(frozen=True)
class Forward:
    """Where `kubectl port-forward` to that port of any pod in the namespace is sent."""

    namespace: str
    port: int
    target: int
    """A port on loopback."""

    as_json = asdict


def kwok_config(stage_files: Sequence[Path], forwards: Sequence[Forward]) -> str:
    """kwok's configuration file with the stages
    (https://kwok.sigs.k8s.io/docs/user/stages-configuration/) and port-forwards
    (https://kwok.sigs.k8s.io/docs/user/port-forward-configuration/)."""
    documents: list[dict[str, Any]] = [AUTOSCALER]
    for file in stage_files:
        stage: dict[str, Any] = yaml.safe_load(file.read_text())
        if stage["spec"]["resourceRef"]["kind"] == "Pod":
            stage["spec"]["selector"]["matchExpressions"].append(NOT_A_PROCESS)
            if stage["metadata"]["name"] == "pod-ready":
                stage["spec"]["selector"]["matchExpressions"].append(PULLED_OR_PUBLIC)
        documents.append(stage)
    for forward in forwards:
        target = {"address": "127.0.0.1", "port": forward.target}
        documents.append(
            {
                "apiVersion": "kwok.x-k8s.io/v1alpha1",
                "kind": "ClusterPortForward",
                "metadata": {"name": f"{forward.namespace}-{forward.port}"},
                "spec": {
                    "selector": {"matchNamespaces": [forward.namespace]},
                    "forwards": [{"ports": [forward.port], "target": target}],
                },
            }
        )
    return yaml.safe_dump_all(documents)
