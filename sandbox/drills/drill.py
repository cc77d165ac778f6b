"""Drills, and the context in which they run."""

from __future__ import annotations

import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
from sandbox.processes import with_parent_death_signal

DEV = "dev"
"""The stack that the drills break and restore."""
NAMESPACE = f"microservices-demo-{DEV}"
"""The namespace of the stack's workloads."""
_WATCH_EVERY = 0.25
PATIENCE = 300
"""Seconds after which a wait fails. Generous, because a busy machine may need most of them."""


class Failed(Exception):
    """The drill's promise does not hold; the text has the reason."""


@dataclass(frozen=True)
class Drill:
    """A loss and its recovery."""

    name: str
    promise: str
    run: Callable[[Context], None]
    limit: float | None = None
    """Seconds from the loss to a healthy stack, on an idle machine; None: no limit."""


@dataclass(frozen=True)
class Phase:
    """A part of a recovery; seconds since the loss."""

    name: str
    begin: float
    end: float


@dataclass
class Context:
    """What a running drill uses."""

    home: Home
    daemon: Daemon
    pulumi: Engine
    console: Console
    options: Mapping[str, Any] = field(default_factory=dict)
    stack: str = DEV
    phases: list[Phase] = field(default_factory=list)
    seconds: float | None = None
    """Seconds from the loss until the stack was healthy again."""
    _lost: float | None = None

    @property
    def namespace(self) -> str:
        """The namespace of the stack's workloads."""
        return f"microservices-demo-{self.stack}"

    def say(self, text: str) -> None:
        self.console.print(f"    {text}", markup=False, soft_wrap=True)

    def lose(self, what: str) -> None:
        """Report the loss, and start to measure the time."""
        self.say(f"lost: {what}")
        self._lost = time.monotonic()

    @property
    def elapsed(self) -> float:
        """Seconds since the loss."""
        assert self._lost is not None
        return time.monotonic() - self._lost

    def command(self, *words: str, fails: bool = False, **variables: str) -> str:
        """Run a command in the project's folder and return its output, which is logged in
        `drills.log`. `variables`: values of environment variables other than the sandbox's.

        Raises `Failed` if the command fails (with `fails`: if it succeeds).
        """
        self.say(f"$ {' '.join(words)}")
        result = subprocess.run(
            with_parent_death_signal(list(words), "INT"),
            cwd=self.pulumi.project,
            env={**self.pulumi.env, **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        log = self.home.folder("logs") / "drills.log"
        with log.open("a") as file:
            file.write(f"$ {' '.join(words)}\n{result.stdout}\n")
        if (result.returncode != 0) != fails:
            tail = "\n".join(result.stdout.strip().splitlines()[-12:])
            raise Failed(
                f"`{' '.join(words)}` ended with exit code {result.returncode}; its whole output is"
                f" in {log}:\n{tail}"
            )
        return result.stdout

    def sandbox(self, *words: str) -> str:
        """Run a command of bin/sandbox."""
        return self.command(str(REPOSITORY / "bin" / "sandbox"), *words)

    def platform_recover(self, *options: str, fails: bool = False, **variables: str) -> str:
        """Run the recovery command, as `command` does."""
        return self.command(*self._recovery(options), fails=fails, **variables)

    def _recovery(self, options: Iterable[str]) -> Sequence[str]:
        return ("bin/platform", "recover", "--stack", self.stack, "--yes", *options)

    def recover(self, *options: str) -> None:
        """Recover the stack with the recovery command, as `recover_by` does."""
        self.recover_by(*self._recovery(options))

    def recover_by(self, *words: str) -> None:
        """Run a command, wait until the stack is healthy, and measure the phases."""
        watch = _Watch(self)
        with watch.running():
            self.command(*words)
            self.until("every application is Synced and Healthy", self.is_well)
        self.seconds = self.elapsed
        self.phases += watch.phases(self.seconds)
        self.say(f"healthy after {self.seconds:.1f} s")

    def cluster(self) -> dict[str, Any] | None:
        """The status of the stack's cluster; None if it does not exist or is being deleted."""
        name = self.pulumi.cluster_name(self.stack)
        clusters: list[dict[str, Any]] = [
            cluster
            for cluster in self.daemon.get("/sandbox/clusters")
            if cluster["name"] == name and cluster["state"] != "deleting"
        ]
        if len(clusters) > 1:
            raise Failed(f"there are {len(clusters)} clusters named {name}")
        return clusters[0] if clusters else None

    def the_cluster(self) -> dict[str, Any]:
        if (cluster := self.cluster()) is None:
            raise Failed(f"stack {self.stack} has no cluster")
        return cluster

    def is_well(self) -> bool:
        """Whether cluster, Argo CD and applications are healthy, and the applications are synced to
        the monorepo's latest commit."""
        cluster = self.cluster()
        return _argocd_ready(cluster) and healthy(cluster, self.revision())

    def bring_up(self) -> None:
        """Deploy the stack unless it is healthy, whatever state an earlier drill has left."""
        if not self.is_well():
            self.platform_recover()
            self.until("the stack is well", self.is_well)

    def until(self, what: str, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not holds():
            if time.monotonic() > deadline:
                raise Failed(f"not within {PATIENCE} s: {what}")
            time.sleep(_WATCH_EVERY)

    def check(self, holds: bool, otherwise: str) -> None:
        if not holds:
            raise Failed(otherwise)

    def kubectl(self, *words: str) -> str:
        """Run kubectl on the stack's cluster as administrator, and return its output."""
        file = self.home.root / "kubeconfig"
        cluster = self.the_cluster()
        write_kubeconfig(self.home, [cluster], self.daemon.token)
        result = subprocess.run(
            ["kubectl", "--kubeconfig", str(file), "--context", cluster["context"], *words],
            env=self.pulumi.env,
            text=True,
            capture_output=True,
            check=False,
        )
        if result.returncode:
            raise Failed(f"kubectl {' '.join(words)}: {result.stderr.strip()}")
        return result.stdout

    def api(self, method: str, path: str, body: object = None) -> httpx.Response:
        """Send a request to DigitalOcean's API, behind Pulumi's back."""
        response = httpx.request(
            method,
            f"{self.daemon.url}{path}",
            json=body,
            headers={"Authorization": f"Bearer {self.daemon.token}"},
            timeout=60,
            trust_env=False,
        )
        if response.is_error:
            raise Failed(f"{method} {path}: {response.status_code} {response.text}")
        return response

    @contextmanager
    def region_down(self, region: str) -> Iterator[None]:
        """The region is down inside the block."""
        fault = self.daemon.post(
            "/sandbox/faults", {"kind": "region-down", "target": region}, seconds=120
        )
        try:
            yield
        finally:
            self.daemon.post("/sandbox/faults/clear", {"which": str(fault["id"])}, seconds=120)

    def unchanged(self) -> None:
        """Check that another run would change nothing."""
        self.command("pulumi", "preview", "--stack", self.stack, "--expect-no-changes")

    def pods(self, *selector: str) -> set[str]:
        """The names of the workloads' pods; a pod that was replaced has another name."""
        get_pods = ("-n", self.namespace, "get", "pods", "-o", "name")
        return set(self.kubectl(*get_pods, *selector).split())

    def revision(self) -> str:
        """The monorepo's latest commit."""
        repository = self.home.root / "git" / "monorepo.git"
        return subprocess.run(
            ["git", "-C", str(repository), "rev-parse", "HEAD"],
            check=True,
            text=True,
            capture_output=True,
        ).stdout.strip()

    @contextmanager
    def clone(self) -> Iterator[Path]:
        """Clone the monorepo, ready to commit and push; removed at the end of the block."""
        with tempfile.TemporaryDirectory(prefix="drill-") as folder:
            clone = Path(folder) / "monorepo"
            self.sandbox("clone", str(clone))
            # In the clone's configuration, for the commands that commit there too.
            self.git(clone, "config", "user.name", "drill")
            self.git(clone, "config", "user.email", "drill@localhost")
            yield clone

    def git(self, folder: Path, *words: str) -> str:
        result = subprocess.run(
            ["git", "-C", str(folder), *words], text=True, capture_output=True, check=False
        )
        if result.returncode:
            raise Failed(f"git {' '.join(words)}: {result.stderr.strip()}")
        return result.stdout

    def push(self, clone: Path, message: str) -> None:
        """Commit everything in the clone, also if nothing has changed, and push it to main."""
        self.git(clone, "add", "--all")
        self.git(clone, "commit", "--quiet", "--allow-empty", "--message", message)
        self.git(clone, "push", "--quiet", "origin", "HEAD:main")


PULUMI = "Pulumi"
"""The phases in which neither the cluster nor Argo CD starts, but Pulumi works."""
_MILESTONES: Mapping[str, Callable[[dict[str, Any] | None], bool]] = {
    "cluster": lambda cluster: cluster is not None,
    "cluster runs": lambda cluster: cluster is not None and cluster["state"] == "running",
    "Argo CD runs": lambda cluster: _argocd_ready(cluster),
    "applications": lambda cluster: bool(cluster and cluster["applications"]),
}
"""The milestones of a recovery, and their conditions on the cluster's status."""


class _Watch:
    """Records when a recovery reaches its milestones."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._begin = context.elapsed
        self._reached: dict[str, float] = {}
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
            for milestone, holds in _MILESTONES.items():
                if holds(cluster):
                    self._reached.setdefault(milestone, now)
                else:
                    self._reached.pop(milestone, None)

    def phases(self, end: float) -> Sequence[Phase]:
        phases, begin = [Phase("until the command", 0, self._begin)], self._begin
        for name, until in (
            (PULUMI, self._reached.get("cluster", end)),
            ("cluster", self._reached.get("cluster runs", end)),
            (PULUMI, self._argocd_began()),
            ("Argo CD", self._reached.get("Argo CD runs", end)),
            (PULUMI, self._reached.get("applications", end)),
            ("applications", end),
        ):
            ended = max(begin, min(until, end))
            phases.append(Phase(name, begin, ended))
            begin = ended
        return phases

    def _argocd_began(self) -> float:
        """When Argo CD's namespace, its first object, was created; with a precision of a second."""
        created = datetime.fromisoformat(
            self._context.kubectl(
                "get", "namespace", "argocd", "-o", "jsonpath={.metadata.creationTimestamp}"
            )
        )
        return self._context.elapsed - (datetime.now(UTC) - created).total_seconds()


def _argocd_ready(cluster: dict[str, Any] | None) -> bool:
    workloads = cluster["argocd"] if cluster else []
    return bool(workloads) and all(workload["ready"] for workload in workloads)


def healthy(cluster: Mapping[str, Any] | None, revision: str) -> bool:
    """Whether the cluster has applications and all are Healthy and Synced to that commit."""
    applications = cluster["applications"] if cluster else []
    return bool(applications) and all(
        (application["sync"], application["health"], application["revision"])
        == ("Synced", "Healthy", revision)
        for application in applications
    )
