"""`bin/platform recover --stack STACK`: run it in the project's folder, where `pulumi up --stack STACK` works."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from doks_gitops import account
from doks_gitops.recovery import api
from doks_gitops.recovery.facts import Facts, Inside, Known, clusters_of
from doks_gitops.recovery.plan import (
    DropRevisions,
    Forget,
    FreeNamespace,
    Refused,
    Step,
    TakeTurn,
    Up,
    Wait,
    plan,
)
from doks_gitops.settings import Settings, SettingsError, parse
from doks_gitops.settings.load import ADOPT, decoded

PROVISIONING_SECONDS = 30 * 60
"""How long DigitalOcean may take to make a cluster; its provider waits as long."""


class Failed(Exception):
    """A step failed; says which, and what to do."""


class Recovery:
    """The recovery of one stack."""

    def __init__(self, stack: str) -> None:
        self.stack = stack
        self._name = stack.rpartition("/")[2]
        """Without the organization that it may be in."""

    def run(self, *, cancel: bool) -> int:
        try:
            settings, known = self._backend(cancel=cancel)
        except Failed:
            if self._name in self._stacks():
                raise
            self._say(f"The backend has no stack {self.stack}; it is made anew.")
            self._pulumi("stack", "init", named=False)
            settings, known = self._backend(cancel=False)
        facts = self._facts(settings, known)
        steps = plan(facts)
        for number, step in enumerate(steps, 1):
            self._say(f"{number}/{len(steps)} {self._meaning(step)}")
            code = self._do(step, settings, facts)
            if code:
                return code
        return 0

    def _backend(self, *, cancel: bool) -> tuple[Settings, Known]:
        """What Pulumi's backend and the stack file hold."""
        with ThreadPoolExecutor() as threads:
            reading = threads.submit(self._settings)
            if cancel:
                self._pulumi("cancel", "--yes")
            known = self._known()
        return reading.result(), known

    def _facts(self, settings: Settings, known: Known) -> Facts:
        self._say(f"Asking the state, the account and the cluster {settings.cluster.name}.")
        token = settings.digitalocean.token.get_secret_value()
        team = account.read(token, settings.digitalocean.api_endpoint)
        running = clusters_of(team, settings.cluster.name, known)
        facts = Facts(
            settings,
            known,
            running,
            region_up=settings.cluster.region in team.regions,
            registry=settings.registry.name in team.registries,
            vpc=api.vpc_id(settings),
        )
        if len(running) != 1:
            return facts
        return replace(facts, inside=self._inside(settings, running[0]))

    def _inside(self, settings: Settings, running: account.RunningCluster) -> Inside | None:
        if running.state == "provisioning":
            return None
        try:
            with self._cluster(settings, running) as inside:
                return inside.inside(settings.argocd.namespace)
        except api.Unanswered as why:
            self._say(f"The cluster does not answer: {why}")
            return None

    @staticmethod
    def _cluster(
        settings: Settings, running: account.RunningCluster
    ) -> AbstractContextManager[api.Cluster]:
        authority = api.DigitalOcean(settings, running.id).authority()
        token = settings.digitalocean.token.get_secret_value()
        return api.cluster(running.endpoint, authority, token)

    def _meaning(self, step: Step) -> str:
        match step:
            case TakeTurn(_, interrupted):
                names = ", ".join(urn.rpartition("::")[2] for urn in interrupted)
                cleared = f", and that a killed run was creating {names}" if names else ""
                return f"See that no other run is at it{cleared}."
            case Wait(cluster):
                return f"Wait for DigitalOcean to finish the cluster {cluster.id}."
            case Forget(urn, why):
                return f"Forget what depends on {urn.rpartition('::')[2]}: {why}."
            case FreeNamespace(namespace):
                return (
                    f"Take the finalizers off what keeps the namespace {namespace} from going;"
                    " what Argo CD deployed stays."
                )
            case DropRevisions(_, revisions, outdated):
                names = ", ".join(f"{each.secret} ({each.status})" for each in revisions)
                over = f"upgrades from {outdated.secret}" if outdated else "installs"
                return f"Remove Helm's records {names}, so that it {over} over what is there."
            case Up(adopt):
                return f"Deploy, and take over {_listed(adopt)}." if adopt else "Deploy."

    def _do(self, step: Step, settings: Settings, facts: Facts) -> int:
        match step:
            case TakeTurn(urn):
                self._take_turn(urn)
            case Wait(cluster):
                self._wait(api.DigitalOcean(settings, cluster.id))
            case Forget(urn):
                # The account says that it is gone: protection has nothing left to protect.
                self._pulumi("state", "delete", "--yes", "--force", "--target-dependents", urn)
            case FreeNamespace(namespace):
                with self._inside_of(settings, facts) as inside:
                    inside.free(namespace)
            case DropRevisions(namespace, revisions, outdated):
                with self._inside_of(settings, facts) as inside:
                    if outdated:
                        inside.outdate(namespace, outdated)
                    for revision in revisions:
                        inside.drop(namespace, revision)
            case Up(adopt):
                more = {ADOPT: json.dumps(adopt)} if adopt else {}
                return self._run(
                    ["up", "--refresh", "--yes", "--skip-preview", "--stack", self.stack], more
                )
        return 0

    def _take_turn(self, urn: str | None) -> None:
        """A refresh of nothing but the stack itself: it takes the lock as any run does."""
        target = ["--target", urn] if urn else []
        try:
            self._pulumi(
                "refresh", "--yes", "--skip-preview", "--suppress-outputs",
                "--clear-pending-creates", *target,
            )  # fmt: skip
        except Failed as failed:
            raise Failed(
                f"{failed}\nIf it says that a run has locked the stack, and that run is not there"
                f" any more: bin/platform recover --stack {self.stack} --cancel"
            ) from None

    def _inside_of(self, settings: Settings, facts: Facts) -> AbstractContextManager[api.Cluster]:
        [running] = facts.running
        return self._cluster(settings, running)

    def _wait(self, cluster: api.DigitalOcean) -> None:
        deadline = time.monotonic() + PROVISIONING_SECONDS
        while (state := cluster.state()) == "provisioning":
            if time.monotonic() > deadline:
                raise Failed(
                    "DigitalOcean has not finished the cluster in 30 minutes."
                    " See https://status.digitalocean.com, then run this again."
                )
            time.sleep(1)
        self._say(f"    It is {state}.")

    def _known(self) -> Known:
        return Known.of(json.loads(self._read("stack", "export")))

    def _settings(self) -> Settings:
        said = json.loads(self._read("config", "--show-secrets", "--json"))
        return parse(
            self._name,
            {key: decoded(key, value.get("value", "")) for key, value in said.items()},
            {path.name: path.read_text() for path in Path.cwd().glob("Pulumi.*.yaml")},
            environ=os.environ,
        )

    def _stacks(self) -> set[str]:
        said = json.loads(self._read("stack", "ls", "--json", named=False))
        return {each["name"].rpartition("/")[2] for each in said}

    def _read(self, *words: str, named: bool = True) -> str:
        """What a pulumi command says; it is shown only if it fails."""
        done = subprocess.run(
            ["pulumi", "--non-interactive", *words, *(["--stack", self.stack] if named else [])],
            check=False,
            text=True,
            capture_output=True,
        )
        if done.returncode:
            raise Failed(f"`pulumi {shlex.join(words)}` failed:\n{done.stderr.strip()}")
        return done.stdout

    def _pulumi(self, *words: str, named: bool = True) -> None:
        last = ["--stack", self.stack] if named else [self.stack]
        if self._run([*words, *last]):
            raise Failed(f"`pulumi {shlex.join(words)}` failed; its message is above.")

    def _run(self, words: Sequence[str], environment: Mapping[str, str] | None = None) -> int:
        variables = dict(environment or {})
        shown = [*(f"{key}={shlex.quote(value)}" for key, value in variables.items()), "pulumi"]
        self._say(f"    $ {' '.join(shown)} {shlex.join(words)}")
        return subprocess.run(
            ["pulumi", "--non-interactive", *words], check=False, env={**os.environ, **variables}
        ).returncode

    @staticmethod
    def _say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)


def _listed(adopt: Mapping[str, object]) -> str:
    """What is taken over, as a person would say it."""
    named = {
        "cluster": f"the cluster {adopt.get('cluster')}",
        "vpc": f"the VPC {adopt.get('vpc')}",
        "nodePools": "node pools",
        "adminPassword": "the admin's password",
        "registry": "the registry",
    }
    return ", ".join(words for key, words in named.items() if key in adopt)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="bin/platform recover",
        description="Bring a stack back, whatever was lost of it: cluster, Argo CD, state, or the"
        " end of a run that was killed. Forgets nothing that the account still has, and can be"
        " run again at any time.",
    )
    parser.add_argument("stack")
    parser.add_argument(
        "--cancel",
        action="store_true",
        help="first take away the lock of a run that was killed (pulumi cancel)",
    )
    given = parser.parse_args(arguments)
    try:
        return Recovery(given.stack).run(cancel=given.cancel)
    except (Refused, Failed, api.Unanswered, SettingsError, account.AccountError) as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
