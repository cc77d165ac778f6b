"""What kwok makes of nodes and pods: its own stages, less the pods that run for real."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from sandbox.cluster.images import PULLED_OR_PUBLIC
from sandbox.cluster.roles import NOT_OURS


@dataclass(frozen=True)
class Forward:
    """Where `kubectl port-forward` ends up that asks any pod of the namespace for the port."""

    namespace: str
    port: int
    target: int
    """A port on loopback."""

    as_json = asdict


def kwok_config(stage_files: Sequence[Path], forwards: Sequence[Forward]) -> str:
    """Contents of kwok's `--config` file: stages of kwok's own module
    (https://kwok.sigs.k8s.io/docs/user/stages-configuration/), and ports
    (https://kwok.sigs.k8s.io/docs/user/port-forward-configuration/)."""
    documents: list[dict[str, Any]] = []
    for file in stage_files:
        stage: dict[str, Any] = yaml.safe_load(file.read_text())
        if stage["spec"]["resourceRef"]["kind"] == "Pod":
            stage["spec"]["selector"]["matchExpressions"].extend(NOT_OURS)
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
