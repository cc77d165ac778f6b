"""A stack of a small program, deployed by the real engine with the sandbox's plugins."""

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sandbox.engine import environment
from sandbox.paths import REPOSITORY, Home
from sandbox.plugins.install import install
from sandbox.toolchain.recipes import PULUMI, PULUMI_GITHUB
from tests.contract.built_tools import binary


@dataclass
class Run:
    """A finished command of the engine."""

    code: int
    output: str
    changes: dict[str, int]
    """The number of created, updated, ... resources; empty for a failed run."""


@dataclass
class Stack:
    """One stack, `dev`, of a program whose text can be changed between runs."""

    folder: Path
    env: dict[str, str]

    @classmethod
    def new(
        cls,
        folder: Path,
        *,
        api_url: str = "http://127.0.0.1:1",
        token: str = "none",
        has_github: bool = False,
        backend: Mapping[str, str] = MappingProxyType({}),
    ) -> "Stack":
        """A stack in `folder`, whose default digitalocean provider calls `api_url`. `backend`:
        variables of another backend than a folder."""
        pulumi = binary(PULUMI, "pulumi")
        home = Home(folder / "home")
        github = binary(PULUMI_GITHUB, "pulumi-resource-github") if has_github else None
        install(home, github=github)
        env = environment(home, bin_dir=pulumi.parent, api_url=api_url, token=token)
        project = folder / "project"
        project.mkdir()
        (project / ".venv").symlink_to(REPOSITORY / ".venv")
        options = {"name": "python", "options": {"virtualenv": ".venv"}}
        # JSON is YAML, too.
        (project / "Pulumi.yaml").write_text(json.dumps({"name": "tests", "runtime": options}))
        stack = cls(project, {**os.environ, **env, **backend})
        assert stack.run("stack", "init", "dev").code == 0
        return stack

    def program(self, text: str) -> None:
        # As `components.sdk` does: a failed deployment interrupts its program.
        head = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_DFL)\n"
        (self.folder / "__main__.py").write_text(head + text)

    def start(self, *args: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            ["pulumi", "--non-interactive", "--color=never", *args],
            cwd=self.folder,
            env=self.env,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def run(self, *args: str) -> Run:
        process = self.start(*args)
        output, _ = process.communicate(timeout=120)
        return Run(process.returncode, output, {})

    def up(self, *args: str) -> Run:
        return self._changing("up", "--skip-preview", *args)

    def refresh(self) -> Run:
        return self._changing("refresh", "--skip-preview")

    def destroy(self) -> Run:
        return self._changing("destroy", "--skip-preview")

    def _changing(self, command: str, *args: str) -> Run:
        run = self.run(command, "--yes", "--stack=dev", *args)
        if run.code == 0:
            last = json.loads(self.run("stack", "history", "--json", "--page-size=1").output)[0]
            run.changes = last["resourceChanges"]
        return run

    def outputs(self) -> dict[str, Any]:
        run = self.run("stack", "output", "--json", "--show-secrets")
        outputs: dict[str, Any] = json.loads(run.output)
        return outputs

    def resources(self) -> list[dict[str, Any]]:
        """All resources in the state."""
        deployment = json.loads(self.run("stack", "export").output)["deployment"]
        return list(deployment.get("resources", []))
