"""What kwok makes of nodes and pods: its own stages, less the pods that run for real."""

from pathlib import Path
from typing import Any

import yaml

from sandbox.cluster.roles import NOT_OURS

_FOLDERS = ("node/fast", "node/heartbeat-with-lease", "pod/fast")


def kwok_config(kwok_stages: Path) -> str:
    """Contents of kwok's `--config` file.

    `kwok_stages` is the folder `kustomize/stage` of kwok's module
    (https://kwok.sigs.k8s.io/docs/user/stages-configuration/).
    """
    stages = []
    for folder in _FOLDERS:
        for file in sorted((kwok_stages / folder).glob("*.yaml")):
            stage: dict[str, Any] = yaml.safe_load(file.read_text())
            if stage["kind"] != "Stage":
                continue
            if stage["spec"]["resourceRef"]["kind"] == "Pod":
                stage["spec"]["selector"]["matchExpressions"].extend(NOT_OURS)
            stages.append(stage)
    return yaml.safe_dump_all(stages)
