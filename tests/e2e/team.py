"""What a team has: a clone of its monorepo, `bin/platform`, and GitHub as its workflows see it."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.box import Sandbox, until

APP = "microservices-demo"
STACKS = ("dev", "staging", "prod")


@dataclass(frozen=True)
class Team:
    """A team at work in a sandbox that runs."""

    sandbox: Sandbox
    clone: Path

    @classmethod
    def begins(cls, sandbox: Sandbox, folder: Path, repo: Path) -> "Team":
        """A sandbox of that repository, told of commits by webhook, and a clone in `folder`."""
        sandbox("start", "--repo", str(repo))
        team = cls(sandbox, folder)
        httpx.post(
            f"{team.daemon['url']}/sandbox/webhooks", json={"on": True}, headers=team._auth
        ).raise_for_status()
        # Its stack files are made anew, with the webhook.
        sandbox("start")
        sandbox("clone", str(folder))
        team.git("config", "user.name", "test")
        team.git("config", "user.email", "test@localhost")
        return team

    @property
    def daemon(self) -> dict[str, Any]:
        said: dict[str, Any] = json.loads((self.sandbox.home / "daemon.json").read_text())
        return said

    @property
    def _auth(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.daemon['token']}"}

    def git(self, *words: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(self.clone), *words], text=True, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
        return done.stdout.strip()

    def gitops(self, *words: str, fails: bool = False) -> str:
        repo = ("--repo", str(self.clone))
        return self.sandbox("run", "bin/platform", *words, *repo, fails=fails)

    def push(self, message: str) -> str:
        """Commit all that was changed, and push it; the commit."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)
        self.git("push", "--quiet")
        return self.git("rev-parse", "HEAD")

    def github(self, method: str, path: str, body: object = None) -> Any:
        """What GitHub's API answers about the monorepo."""
        github = self.daemon["github"]
        answer = httpx.request(
            method,
            f"{github['api']}/repos/{github['repository']}{path}",
            json=body,
            headers={"Authorization": f"Bearer {github['token']}"},
            timeout=60,
        )
        assert answer.is_success, answer.text
        return answer.json()

    def merge(self) -> None:
        """Merge the one pull request that is open, and pull it."""
        [pull] = self.github("GET", "/pulls")
        self.github("PUT", f"/pulls/{pull['number']}/merge", {"merge_method": "squash"})
        self.git("pull", "--quiet", "--ff-only")

    def follow_git(self, stack: str) -> None:
        """Have the stack's projects and applications come from Git, from its next `up` on."""
        settings = ("pulumi", "config", "--stack", stack)
        for key in ("project", "applications"):
            self.sandbox(*settings, "rm", f"doks-gitops:{key}")
        self.sandbox(*settings, "set", "--path", "doks-gitops:appOfApps.revision", "main")

    def applications(self) -> dict[tuple[str, str], dict[str, Any]]:
        """All of them, by cluster and name."""
        url = f"{self.daemon['url']}/sandbox/clusters"
        clusters = httpx.get(url, headers=self._auth, timeout=60).json()
        return {
            (cluster["name"], each["name"]): each
            for cluster in clusters
            for each in cluster["applications"]
        }

    def application(self, name: str) -> dict[str, Any] | None:
        """The one of that name, which only one cluster has."""
        return next((it for (_, each), it in self.applications().items() if each == name), None)

    def is_well(self, name: str, **wanted: str) -> bool:
        """Whether it is Synced and Healthy; `revision`: at that commit, `image`: that it runs."""
        found = self.application(name) or {}
        return (
            (found.get("sync"), found.get("health")) == ("Synced", "Healthy")
            and found["revision"] == wanted.get("revision", found["revision"])
            and any(each.endswith(wanted.get("image", "")) for each in found["images"] or [""])
        )

    def wait_for(self, name: str, **wanted: str) -> None:
        """Until it is well, as `is_well` has it."""
        until(120, f"{name} is well {wanted}", lambda: self.is_well(name, **wanted))
