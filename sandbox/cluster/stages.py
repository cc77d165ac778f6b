"""What kwok makes of nodes and pods: its own stages, less the pods that run for real."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from sandbox.cluster.roles import NOT_OURS


def kwok_config(stage_files: Sequence[Path]) -> str:
    """Contents of kwok's `--config` file, from stages of kwok's own module
    (https://kwok.sigs.k8s.io/docs/user/stages-configuration/)."""
    stages = []
    for file in stage_files:
        stage: dict[str, Any] = yaml.safe_load(file.read_text())
        if stage["spec"]["resourceRef"]["kind"] == "Pod":
            stage["spec"]["selector"]["matchExpressions"].extend(NOT_OURS)
        stages.append(stage)
    return yaml.safe_dump_all(stages)
