"""kwok's configuration: its own stages, except for the pods that run as processes."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from sandbox.cluster.images import PULLED_OR_PUBLIC
from sandbox.cluster.roles import NOT_A_PROCESS


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
    documents: list[dict[str, Any]] = []
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
