"""A team: a clone of its monorepo, `bin/platform`, and GitHub as its workflows see it."""

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox import client
from tests.e2e.box import Sandbox

APP = "microservices-demo"
STACKS = ("dev", "staging", "prod")


@dataclass(frozen=True)
class Team:
    """A team that works in a running sandbox."""

    sandbox: Sandbox
    clone: Path

    @classmethod
    def start(cls, sandbox: Sandbox, clone: Path, repo: Path) -> "Team":
        """Start a sandbox of that repository, which tells Argo CD of commits by webhook."""
        sandbox("start", "--repo", str(repo))
        with sandbox.api() as api:
            api.post("/sandbox/webhooks", json={"on": True}).raise_for_status()
        # Writes the stack files again, with the webhook.
        sandbox("start")
        sandbox("clone", str(clone))
        team = cls(sandbox, clone)
        team.git("config", "user.name", "test")
        team.git("config", "user.email", "test@localhost")
        return team

    def git(self, *words: str, fails: bool = False) -> str:
        done = subprocess.run(
            ["git", "-C", str(self.clone), *words], text=True, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert (done.returncode != 0) == fails, done.stdout
        return done.stdout.strip()

    def platform(self, *words: str, fails: bool = False) -> str:
        """Run `bin/platform WORDS --repo CLONE`; returns its output."""
        repo = ("--repo", str(self.clone))
        return self.sandbox("run", "bin/platform", *words, *repo, fails=fails)

    def commit(self, message: str) -> str:
        """Commit all changes; returns the revision."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)
        return self.git("rev-parse", "HEAD")

    def push(self, message: str) -> str:
        """Commit all changes and push them; returns the revision."""
        revision = self.commit(message)
        self.git("push", "--quiet")
        return revision

    def github(self, method: str, path: str, body: object = None, token: str | None = None) -> Any:
        """The answer of GitHub's API about the monorepo. `token`: by default that of a workflow."""
        return client.github(self.sandbox.daemon["github"], method, path, body, token)

    def merge(self) -> None:
        """Merge the one open pull request and pull it."""
        [pull] = self.github("GET", "/pulls")
        self.github("PUT", f"/pulls/{pull['number']}/merge", {"merge_method": "squash"})
        self.git("pull", "--quiet", "--ff-only")

    def follow_git(self, stack: str) -> None:
        """Let the stack take its projects and applications from Git, from its next `up` on."""
        config = ("pulumi", "config", "--stack", stack)
        for key in ("project", "applications"):
            self.sandbox(*config, "rm", f"doks-gitops:{key}")
        self.sandbox(*config, "set", "--path", "doks-gitops:appOfApps.revision", "main")
