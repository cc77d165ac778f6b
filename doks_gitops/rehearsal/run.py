"""Runs a rehearsal, limited in time, and removes it whatever happens.

The steps run in a process of their own, with a process group of its own. This process waits. After
a failure, a signal or the end of the time it stops them, Pulumi included, and deletes what they
have made by the account's API. That needs neither the state nor the cluster.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import secrets
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from decimal import ROUND_UP, Decimal
from multiprocessing.process import BaseProcess
from pathlib import Path

from doks_gitops.account import DigitalOceanClient
from doks_gitops.errors import PlatformError
from doks_gitops.git import GitError
from doks_gitops.policy.preview import PACK
from doks_gitops.promotion.cluster import ClusterUnreachable, applications
from doks_gitops.promotion.repository import WorkingTree
from doks_gitops.recovery.run import Recovery
from doks_gitops.rehearsal.account import Rehearsed, report
from doks_gitops.rehearsal.stack import Plan
from doks_gitops.stack import Stack

HOURS_OF_A_MONTH = 672
"""After so many hours, DigitalOcean bills the price of a month.
https://docs.digitalocean.com/products/kubernetes/details/pricing/"""
_POLL_SECONDS = 2
_CLEAN_UP_MINUTES = 30
_GRACE_SECONDS = 120
"""How long Pulumi may take to end after it was interrupted."""
SANDBOX = Path(__file__).with_name("sandbox.json")
"""The steps of a rehearsal in the sandbox, on two cores. Written by `bin/benchmark`."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class Step:
    """One step, and the seconds that it took."""

    name: str
    seconds: float


def new_name() -> str:
    """The name of a rehearsal that no other one has."""
    return f"rehearsal-{secrets.token_hex(4)}"


def most_expensive(plan: Plan, minutes: int, client: DigitalOceanClient) -> Decimal:
    """US dollars that the nodes cost, by full hours, if the rehearsal takes all of its time and is
    then removed.

    Raises `PlatformError` if the account does not have the size of the nodes.
    """
    prices = client.size_prices()
    hours = -(-(minutes + _CLEAN_UP_MINUTES) // 60)
    total = Decimal()
    for pool in plan.cluster.node_pools:
        if pool.size not in prices:
            raise PlatformError(f"The account has no nodes of the size {pool.size}.")
        total += pool.most * prices[pool.size] * hours / HOURS_OF_A_MONTH
    return total.quantize(Decimal("0.01"), ROUND_UP)


@dataclass(frozen=True)
class Rehearsal:
    """A rehearsal of the stack that `plan` describes, in the account of the environment."""

    plan: Plan
    project: Path
    """The folder of the program."""
    tree: WorkingTree
    """A clone of the applications' repository, to whose remote a branch is pushed."""
    minutes: int
    """After that, the rehearsal is given up and removed."""

    def run(self) -> list[Step]:
        """Returns the steps, all of which have succeeded. Raises `PlatformError`, after everything
        that the rehearsal has made is deleted."""
        with (
            tempfile.TemporaryDirectory() as temporary,
            DigitalOceanClient.from_environment() as client,
        ):
            rehearsed = Rehearsed(client, self.plan.name)
            rehearsed.refuse_existing()
            journal = _Journal(Path(temporary, "journal"))
            with _signals() as received:
                reason: str | None = "an error of this program, see above"
                try:
                    reason = self._wait_for_steps(journal, Path(temporary), received)
                finally:
                    if reason is not None:
                        report(f"The rehearsal has failed: {reason}. It is deleted.")
                        with suppress(PlatformError):
                            self._delete_branch()
                        rehearsed.delete(journal.clusters)
            if reason is None:
                report("Nothing of the rehearsal is left in the account.")
                return journal.steps
        raise PlatformError(
            f"The rehearsal {self.plan.name} failed: {reason}. Nothing of it is left in the"
            " account.",
            "see the output above, then run the command again",
        )

    def _wait_for_steps(
        self, journal: _Journal, folder: Path, received: Sequence[int]
    ) -> str | None:
        """Run the steps. Returns why they have failed, after they and Pulumi have ended; else None.

        `received`: the signals that this process has got so far.
        """
        steps = multiprocessing.get_context("fork").Process(
            target=self._steps, args=(journal, folder)
        )
        deadline = time.monotonic() + self.minutes * 60
        steps.start()
        assert steps.pid is not None
        with suppress(OSError):  # it has done so itself
            os.setpgid(steps.pid, steps.pid)
        while steps.is_alive() and not received and time.monotonic() < deadline:
            steps.join(_POLL_SECONDS)
        if steps.exitcode == 0 and journal.ended:
            return None
        is_late = steps.is_alive() and not received
        _stop(steps)
        if received:
            return f"it got the signal {signal.Signals(received[0]).name}"
        if is_late:
            return f"it has not ended within {self.minutes} minutes"
        return journal.error or "a step has failed"

    def _steps(self, journal: _Journal, folder: Path) -> None:
        """The process of the steps. Ends with exit code 1 after an error."""
        os.setpgid(0, 0)
        for number in _SIGNALS:
            signal.signal(number, signal.default_int_handler)
        sys.stdout = sys.stderr  # standard output is for the result alone
        try:
            os.environ.update(self.plan.environment(folder))
            self._rehearse(journal, self.plan.create(self.project, folder))
        except PlatformError as error:
            report(f"error: {error}")
            journal.write(error=error.problem)
            sys.exit(1)
        except KeyboardInterrupt:
            sys.exit(1)

    def _rehearse(self, journal: _Journal, stack: Stack) -> None:
        with DigitalOceanClient.from_environment() as client:
            rehearsed = Rehearsed(client, self.plan.name)
            first = self._push(self._commit(self.plan.revision))
            with journal.step("deploy until Healthy"):
                stack.up(policy_pack=PACK)
                self._wait(stack, first)
            [cluster] = rehearsed.clusters()
            journal.write(cluster=cluster.id)
            with journal.step("a commit until Synced and Healthy"):
                second = self._push(first)
                self._wait(stack, second)
            with journal.step("lose the cluster"):
                client.delete_cluster(cluster.id)
                _until(lambda: not rehearsed.clusters())
            with journal.step("recover until Healthy"):
                Recovery(stack, approve=report).run()
                journal.write(cluster=rehearsed.clusters()[0].id)
                self._wait(stack, second)
            with journal.step("destroy"):
                stack.destroy()
            self._delete_branch()
            _until(lambda: not rehearsed.left(journal.clusters))
            journal.write(ended=True)

    def _commit(self, revision: str) -> str:
        """The commit of a branch of the remote, or of another revision."""
        try:
            return self.tree.git("rev-parse", "--verify", f"origin/{revision}^{{commit}}").strip()
        except GitError:
            return self.tree.git("rev-parse", "--verify", f"{revision}^{{commit}}").strip()

    def _push(self, parent: str) -> str:
        """Push a commit without a change on top of `parent` to the rehearsal's branch. The clone
        stays as it is."""
        identity = ["-c", "user.name=rehearsal", "-c", "user.email=rehearsal@localhost"]
        commit = self.tree.git(
            *identity, "commit-tree", f"{parent}^{{tree}}", "-p", parent, "-m", "Rehearse a change"
        ).strip()
        self.tree.git("push", "--quiet", "origin", f"{commit}:refs/heads/{self.plan.name}")
        return commit

    def _delete_branch(self) -> None:
        self.tree.git("push", "--quiet", "origin", "--delete", self.plan.name)

    def _wait(self, stack: Stack, revision: str) -> None:
        """Wait until all applications are Synced and Healthy at `revision`."""

        def is_healthy() -> bool:
            try:
                deployed = applications(stack.name, stack.folder)
            except ClusterUnreachable:
                return False
            return bool(deployed) and all(
                application.is_synced_and_healthy and application.revision == revision
                for application in deployed
            )

        _until(is_healthy)


class _Journal:
    """What the process of the steps tells the one that waits for it, as lines of JSON in a file."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def write(self, **entry: object) -> None:
        with self._file.open("a") as stream:
            stream.write(json.dumps(entry) + "\n")

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        report(f"{name} ...")
        start = time.monotonic()
        yield
        self.write(step=asdict(Step(name, round(time.monotonic() - start, 1))))

    def _entries(self, key: str) -> list[object]:
        if not self._file.exists():
            return []
        entries = map(json.loads, self._file.read_text().splitlines())
        return [entry[key] for entry in entries if key in entry]

    @property
    def steps(self) -> list[Step]:
        return [Step(**step) for step in self._entries("step") if isinstance(step, dict)]

    @property
    def clusters(self) -> list[str]:
        return [str(cluster) for cluster in self._entries("cluster")]

    @property
    def error(self) -> str | None:
        return next(map(str, self._entries("error")), None)

    @property
    def ended(self) -> bool:
        return bool(self._entries("ended"))


def table(steps: Sequence[Step], other: Sequence[Step]) -> str:
    """The seconds of each step in Markdown, beside those of another rehearsal in the sandbox."""
    seconds = {step.name: f"{step.seconds:.0f} s" for step in other}
    lines = ["| step | here | sandbox |", "| --- | --- | --- |"]
    lines += [
        f"| {step.name} | {step.seconds:.0f} s | {seconds.get(step.name, '')} |" for step in steps
    ]
    return "\n".join(lines)


def clean_up() -> None:
    """Delete what earlier rehearsals, which were killed, have left in the account. Raises
    `PlatformError`."""
    with DigitalOceanClient.from_environment() as client:
        Rehearsed(client).delete(())


def _until(condition: Callable[[], bool]) -> None:
    """Wait for the condition. The process that waits for this one limits the time."""
    while not condition():
        time.sleep(_POLL_SECONDS)


def _stop(steps: BaseProcess) -> None:
    """End the process and its children, which are a process group: first as Ctrl-C does."""
    assert steps.pid is not None
    for number, seconds in ((signal.SIGINT, _GRACE_SECONDS), (signal.SIGKILL, 5)):
        deadline = time.monotonic() + seconds
        try:
            os.killpg(steps.pid, number)
            while time.monotonic() < deadline:
                steps.join(0.1)
                os.killpg(steps.pid, 0)
        except ProcessLookupError:
            return


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Collect the signals that would end this process, in place of ending it."""
    received: list[int] = []
    before = {
        number: signal.signal(number, lambda got, _: received.append(got)) for number in _SIGNALS
    }
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
