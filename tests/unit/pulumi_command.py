"""A `pulumi` for tests of what runs it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest


class PulumiCommand:
    """A shell script in the place of `pulumi` on PATH."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self._log = folder / "pulumi.log"
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        self.prints("")

    def script(self, text: str) -> None:
        """Run this shell script in pulumi's place."""
        file = self.folder / "pulumi"
        file.write_text(f"#!/bin/sh\necho \"$*\" >>'{self._log}'\n{text}\n")
        file.chmod(0o755)

    def prints(self, output: object, *, exit_code: int = 0) -> None:
        """Print a text, or an object as JSON, and end. The stack has no history."""
        (self.folder / "output").write_text(
            output if isinstance(output, str) else json.dumps(output)
        )
        self.script(
            f"""[ "$2 $3" = 'stack history' ] && {{ echo '[]'; exit; }}
            cat '{self.folder}/output'; exit {exit_code}"""
        )

    @property
    def calls(self) -> list[str]:
        """The arguments of each call so far."""
        return self._log.read_text().splitlines() if self._log.exists() else []
