"""Where the commands for workflows write their results."""

from __future__ import annotations

import json
import os
from pathlib import Path


def publish(text: str, file: Path | None = None, results: object = None) -> None:
    """Print the text (or `results` as JSON), and add it to `file` and to the summary of the
    workflow run: https://docs.github.com/en/actions/reference/workflow-commands"""
    print(json.dumps(results, indent=2) if results is not None else text, flush=True)
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    for path in filter(None, [file, Path(summary) if summary else None]):
        with path.open("a") as stream:
            stream.write(text + "\n")
