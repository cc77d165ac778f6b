"""What a drill is, and what it may use."""

from __future__ import annotations

import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console

from sandbox.client import Daemon
from sandbox.engine import Engine
from sandbox.kubeconfig import write_kubeconfig
from sandbox.paths import REPOSITORY, Home
from sandbox.processes import dying_with_me

DEV = "dev"
"""The stack that the drills are about."""
NAMESPACE = f"microservices-demo-{DEV}"
"""Where its workloads are."""
_WATCH_EVERY = 0.25
PATIENCE = 300
"""Seconds until a wait is given up. It measures nothing: a busy machine may need most of them."""


class Failed(Exception):
    """What a drill promises does not hold; says what was found."""


@dataclass(frozen=True)
class Drill:
    """A rehearsed loss."""

    name: str
    promise: str
    run: Callable[[Context], None]
    limit: float | None = None
    """Seconds from the loss until all is well again, on a machine with nothing else to do; None: no
    limit is promised."""


@dataclass(frozen=True)
class Phase:
    """A part of a recovery; seconds since the loss."""

    name: str
    begin: float
    end: float


@dataclass
class Context:
    """One drill while it runs, in a sandbox of the drills' own."""

    home: Home
    daemon: Daemon
    pulumi: Engine
    console: Console
    options: Mapping[str, Any] = field(default_factory=dict)
    phases: list[Phase] = field(default_factory=list)
    seconds: float | None = None
    """How long it took from the loss until all was well again."""
    _lost: float | None = None

    def say(self, text: str) -> None:
        self.console.print(f"    {text}", markup=False, soft_wrap=True)

    def lose(self, what: str) -> None:
        """From here on the time counts."""
        self.say(f"lost: {what}")
        self._lost = time.monotonic()

    @property
    def elapsed(self) -> float:
        """Seconds since the loss."""
        assert self._lost is not None
        return time.monotonic() - self._lost

    def command(self, *words: str, fails: bool = False) -> str:
        """Run a command in the project's folder, as a person would; its output, which is kept in
        `drills.log` too. Raises `Failed` if it fails (or, with `fails`, if it does not)."""
        self.say(f"$ {' '.join(words)}")
        done = subprocess.run(
            dying_with_me(list(words), "INT"),
            cwd=self.pulumi.project,
            env=self.pulumi.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        log = self.home.folder("logs") / "drills.log"
        with log.open("a") as file:
            file.write(f"$ {' '.join(words)}\n{done.stdout}\n")
        if (done.returncode != 0) != fails:
            tail = "\n".join(done.stdout.strip().splitlines()[-12:])
            raise Failed(
                f"`{' '.join(words)}` ended with {done.returncode}; all of it is in {log}:\n{tail}"
            )
        return done.stdout

    def sandbox(self, *words: str) -> str:
        """`command` of the sandbox's own."""
        return self.command(str(REPOSITORY / "bin" / "sandbox"), *words)

    def recover(self, *words: str) -> None:
        """Run the command that is to bring the stack back, and wait until all is well; measures."""
        watch = _Watch(self)
        with watch.running():
            self.command(*words)
            self.until("every application is Synced and Healthy", self.is_well)
        self.seconds = self.elapsed
        self.phases += watch.phases(self.seconds)
        self.say(f"all well after {self.seconds:.1f} s")

    def cluster(self) -> dict[str, Any] | None:
        """The status of the stack's cluster; None if there is none that is to stay."""
        name = self.pulumi.cluster_name(DEV)
        found = [
            each
            for each in self.daemon.get("/sandbox/clusters")
            if each["name"] == name and each["state"] != "deleting"
        ]
        if len(found) > 1:
            raise Failed(f"there are {len(found)} clusters named {name}")
        cluster: dict[str, Any] | None = found[0] if found else None
        return cluster

    def the_cluster(self) -> dict[str, Any]:
        if (found := self.cluster()) is None:
            raise Failed(f"there is no cluster of {DEV}")
        return found

    def is_well(self) -> bool:
        """Whether cluster, Argo CD and applications are as they should be: the applications at the
        commit that Git is at, not still at the one before."""
        cluster = self.cluster()
        return _argocd_ready(cluster) and healthy(cluster, self.revision())

    def bring_up(self) -> None:
        """Deploy the stack if it is not deployed and well, whatever an earlier drill has left."""
        if not self.is_well():
            self.command("bin/platform", "recover", "--stack", DEV, "--yes")
            self.until("the stack is well", self.is_well)

    def until(self, what: str, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not holds():
            if time.monotonic() > deadline:
                raise Failed(f"after {PATIENCE} s it is not so that {what}")
            time.sleep(_WATCH_EVERY)

    def check(self, holds: bool, otherwise: str) -> None:
        if not holds:
            raise Failed(otherwise)

    def kubectl(self, *words: str) -> str:
        """kubectl on the stack's cluster, as its administrator."""
        file = self.home.root / "kubeconfig"
        cluster = self.the_cluster()
        write_kubeconfig(self.home, [cluster], self.daemon.token)
        done = subprocess.run(
            ["kubectl", "--kubeconfig", str(file), "--context", cluster["context"], *words],
            env=self.pulumi.env,
            text=True,
            capture_output=True,
            check=False,
        )
        if done.returncode:
            raise Failed(f"kubectl {' '.join(words)}: {done.stderr.strip()}")
        return done.stdout

    def api(self, method: str, path: str, body: object = None) -> httpx.Response:
        """A request to DigitalOcean's API, as someone in the control panel makes it."""
        answer = httpx.request(
            method,
            f"{self.daemon.url}{path}",
            json=body,
            headers={"Authorization": f"Bearer {self.daemon.token}"},
            timeout=60,
            trust_env=False,
        )
        if answer.is_error:
            raise Failed(f"{method} {path}: {answer.status_code} {answer.text}")
        return answer

    def unchanged(self) -> None:
        """Check that the stack is whole again: another run would change nothing."""
        self.command("pulumi", "preview", "--stack", DEV, "--expect-no-changes")

    def pods(self, *selector: str) -> set[str]:
        """The workloads' pods by name: a restarted one has another name."""
        return set(self.kubectl("-n", NAMESPACE, "get", "pods", "-o", "name", *selector).split())

    def revision(self) -> str:
        """The commit that Git is at."""
        repository = self.home.root / "git" / "monorepo.git"
        return subprocess.run(
            ["git", "-C", str(repository), "rev-parse", "HEAD"],
            check=True,
            text=True,
            capture_output=True,
        ).stdout.strip()

    @contextmanager
    def clone(self) -> Iterator[Path]:
        """A clone of the monorepo to commit in and push from."""
        with tempfile.TemporaryDirectory(prefix="drill-") as folder:
            clone = Path(folder) / "monorepo"
            self.sandbox("clone", str(clone))
            # In the clone itself, for the commands that commit there too.
            self.git(clone, "config", "user.name", "drill")
            self.git(clone, "config", "user.email", "drill@localhost")
            yield clone

    def git(self, folder: Path, *words: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(folder), *words], text=True, capture_output=True, check=False
        )
        if done.returncode:
            raise Failed(f"git {' '.join(words)}: {done.stderr.strip()}")
        return done.stdout


OURS = "Pulumi"
"""The part of a recovery that is neither a cluster's nor Argo CD's, but the engine's and ours."""
_SEEN: Mapping[str, Callable[[dict[str, Any] | None], bool]] = {
    "cluster": lambda cluster: cluster is not None,
    "cluster runs": lambda cluster: cluster is not None and cluster["state"] == "running",
    "Argo CD runs": lambda cluster: _argocd_ready(cluster),
    "applications": lambda cluster: bool(cluster and cluster["applications"]),
}
"""How one sees how far a recovery is."""


class _Watch:
    """Notes when the cluster, Argo CD and the applications have come back."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._begin = context.elapsed
        self._seen: dict[str, float] = {}
        self._stop = threading.Event()

    @contextmanager
    def running(self) -> Iterator[None]:
        thread = threading.Thread(target=self._watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(_WATCH_EVERY):
            cluster = self._context.cluster()
            now = self._context.elapsed
            for what, holds in _SEEN.items():
                if holds(cluster):
                    self._seen.setdefault(what, now)
                else:
                    self._seen.pop(what, None)

    def phases(self, end: float) -> Sequence[Phase]:
        phases, begin = [Phase("until the command", 0, self._begin)], self._begin
        for name, until in (
            (OURS, self._seen.get("cluster", end)),
            ("cluster", self._seen.get("cluster runs", end)),
            (OURS, self._argocd_began()),
            ("Argo CD", self._seen.get("Argo CD runs", end)),
            (OURS, self._seen.get("applications", end)),
            ("applications", end),
        ):
            ended = max(begin, min(until, end))
            phases.append(Phase(name, begin, ended))
            begin = ended
        return phases

    def _argocd_began(self) -> float:
        """When its namespace was made, which is the first of it, to the second."""
        made = datetime.fromisoformat(
            self._context.kubectl(
                "get", "namespace", "argocd", "-o", "jsonpath={.metadata.creationTimestamp}"
            )
        )
        return self._context.elapsed - (datetime.now(UTC) - made).total_seconds()


def _argocd_ready(cluster: dict[str, Any] | None) -> bool:
    workloads = cluster["argocd"] if cluster else []
    return bool(workloads) and all(each["ready"] for each in workloads)


def healthy(cluster: Mapping[str, Any] | None, revision: str) -> bool:
    """Whether every application of a cluster's status is Synced to that commit and Healthy."""
    applications = cluster["applications"] if cluster else []
    return bool(applications) and all(
        (each["sync"], each["health"], each["revision"]) == ("Synced", "Healthy", revision)
        for each in applications
    )
