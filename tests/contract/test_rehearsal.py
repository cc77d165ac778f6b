"""What a rehearsal deletes from an account, and what it never touches."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from semver import Version
from typer.testing import CliRunner

from doks_gitops.account import DigitalOceanClient, RunningCluster
from doks_gitops.cli.rehearsal import app
from doks_gitops.errors import PlatformError
from doks_gitops.promotion.cluster import Application
from doks_gitops.promotion.repository import WorkingTree
from doks_gitops.recovery.run import Recovery
from doks_gitops.rehearsal import account, run
from doks_gitops.rehearsal.account import LeftOver, Rehearsed
from doks_gitops.rehearsal.run import Rehearsal
from doks_gitops.rehearsal.stack import Plan
from doks_gitops.stack import Stack
from tests.contract.digitalocean_api import Emulator, until
from tests.unit.stackfiles import own_files

NAME = "rehearsal-0123abcd"
MARK = f"doks-gitops-owner:doks-gitops:{NAME}:1f2e3d4c5b6a7988"


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch, do: Emulator) -> None:
    monkeypatch.setattr(account, "_PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(account, "_SETTLED_SECONDS", 0.3)
    monkeypatch.setenv("DIGITALOCEAN_TOKEN", do.token)
    monkeypatch.setenv("DIGITALOCEAN_API_URL", do.url)


@pytest.fixture
def client(do: Emulator) -> Iterator[DigitalOceanClient]:
    with DigitalOceanClient(do.token, do.url) as client:
        yield client


def names(do: Emulator) -> list[str]:
    return sorted(cluster.name for cluster in do.account.data.clusters.values())


def test_only_what_has_the_name_and_the_mark_of_the_rehearsal_is_deleted(
    do: Emulator, client: DigitalOceanClient
) -> None:
    others = {
        "production": ["environment:prod"],
        "marked-for-it": [MARK],
        "rehearsal-ffffffff": [],
        "rehearsal-eeeeeeee": [MARK],
        "rehearsal-dddddddd": [MARK.replace(NAME, "rehearsal-dddddddd")],
    }
    for name, tags in others.items():
        other = do.running_cluster(name=name, tags=tags)
        do.in_server(partial(do.account.provide_volume, other["id"], f"kept-{name}", 1))
    own = do.running_cluster(name=NAME, tags=[MARK])
    do.in_server(lambda: do.account.add_load_balancer(own["id"], "lb", "192.0.2.1"))
    rehearsed = Rehearsed(client, [NAME])
    assert len(rehearsed.left(())) == 2
    rehearsed.delete(())
    assert names(do) == sorted(others)
    assert rehearsed.left([own["id"]]) == []
    assert len(do.account.data.volumes) == len(others)


@pytest.fixture
def left_behind(do: Emulator) -> dict[str, str]:
    """The IDs of the clusters of two rehearsals that began five hours ago, of one that began an
    hour ago, and of another old one, by their names."""
    ages = {"rehearsal-00000001": 5, "rehearsal-00000002": 5, "rehearsal-00000003": 1, "other": 5}
    ids = {}
    for name, hours in ages.items():
        ids[name] = do.running_cluster(name=name, tags=[MARK.replace(NAME, name)])["id"]
        do.account.data.clusters[ids[name]].created_at -= timedelta(hours=hours)
    return ids


def rehearse(*words: str) -> tuple[int, str]:
    """The exit code and the output of the command without a terminal."""
    result = CliRunner().invoke(app, words, env={"COLUMNS": "200"})
    return result.exit_code, result.output


def test_clean_up_shows_and_deletes_every_rehearsal_but_one_that_may_still_run(
    do: Emulator, left_behind: dict[str, str]
) -> None:
    code, output = rehearse("--clean-up")
    assert (code, "--yes" in output) == (2, True)
    assert names(do) == sorted(left_behind)
    code, output = rehearse("--clean-up", "--yes")
    assert code == 0
    for name in ("rehearsal-00000001", "rehearsal-00000002"):
        assert f"{name} ({left_behind[name]}, 5.0 h old) is to be deleted" in output
    assert f"rehearsal-00000003 ({left_behind['rehearsal-00000003']}, 1.0 h old) stays" in output
    assert names(do) == ["other", "rehearsal-00000003"]


def test_clean_up_of_a_name_deletes_that_rehearsal_alone_however_young_it_is(
    do: Emulator, left_behind: dict[str, str]
) -> None:
    code, _ = rehearse("--clean-up", "--name", "rehearsal-00000003", "--yes")
    assert code == 0
    assert names(do) == sorted({*left_behind} - {"rehearsal-00000003"})
    code, output = rehearse("--clean-up", "--name", "other", "--yes")
    assert (code, "--name" in output) == (2, True)
    assert "other" in names(do)


def test_rehearsal_of_unknown_age_is_left() -> None:
    cluster = RunningCluster("id", NAME, "nyc1", Version(1), False, "running", False)
    assert run.split_by_age([cluster], timedelta(0)) == ([], [cluster])


def test_what_the_lost_cluster_has_made_is_left_and_told(
    do: Emulator, client: DigitalOceanClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(account, "_PATIENCE_SECONDS", 0.5)
    own = do.running_cluster(name=NAME, tags=[MARK])
    volume = do.in_server(lambda: do.account.provide_volume(own["id"], "data", 1))
    do.pydo().kubernetes.delete_cluster(own["id"])
    until(lambda: names(do), lambda left: not left)
    with pytest.raises(LeftOver, match=rf"the volume data \({volume.id}\)"):
        Rehearsed(client, [NAME]).delete([own["id"]])


def test_name_that_the_account_has_already_is_refused(
    do: Emulator, client: DigitalOceanClient
) -> None:
    do.pydo().vpcs.create(body={"name": NAME, "region": "nyc1"})
    with pytest.raises(PlatformError, match=f"has a cluster or VPC {NAME} already"):
        Rehearsed(client, [NAME]).refuse_existing()


@pytest.fixture
def rehearsal(tmp_path: Path) -> Rehearsal:
    """A rehearsal of dev with a clone of a repository that has one commit."""
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@localhost", "-C"]
    for words in (
        ["init", "-q", "--bare", "-b", "main", "origin"],
        ["clone", "-q", "origin", "clone"],
    ):
        subprocess.run([*git, str(tmp_path), *words], check=True)
    clone = tmp_path / "clone"
    for words in (
        ["commit", "-q", "--allow-empty", "-m", "a"],
        ["push", "-q", "origin", "HEAD:main"],
    ):
        subprocess.run([*git, str(clone), *words], check=True)
    text = own_files()["Pulumi.dev.yaml"].replace(
        "monorepo: {}", "monorepo: {url: https://git.example.com/team/shop}"
    )
    return Rehearsal(Plan.like("dev", NAME, text), tmp_path, WorkingTree(clone), minutes=5)


def branches(rehearsal: Rehearsal) -> str:
    return rehearsal.tree.git("ls-remote", "origin")


def test_rehearsal_times_each_step_and_ends_when_nothing_is_left(
    do: Emulator,
    rehearsal: Rehearsal,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Pulumi, the recovery and the cluster's Applications are played; the account is not."""
    do.running_cluster(name="production", tags=["environment:prod"])

    def deploy(*_: object, **__: object) -> None:
        print("Updating (dev)", flush=True)
        do.running_cluster(name=NAME, tags=[MARK])

    def destroy(_: object) -> None:
        [own] = (
            c
            for c in do.pydo().kubernetes.list_clusters()["kubernetes_clusters"]
            if c["name"] == NAME
        )
        do.pydo().kubernetes.delete_cluster(own["id"])

    def deployed(*_: object) -> list[Application]:
        commit = branches(rehearsal).split(NAME)[0].split()[-2]
        return [Application("dev-shop", "argocd", "dev", commit, (), "Synced", "Healthy")]

    monkeypatch.setattr(Plan, "create", lambda plan, *_: Stack(plan.name))
    monkeypatch.setattr(Stack, "up", deploy)
    monkeypatch.setattr(Stack, "destroy", destroy)
    monkeypatch.setattr(Recovery, "run", deploy)
    monkeypatch.setattr(run, "applications", deployed)
    before = rehearsal.tree.git("log", "--format=%H")
    assert [step.name for step in rehearsal.run()] == [
        "deploy until Healthy",
        "a commit until Synced and Healthy",
        "lose the cluster",
        "recover until Healthy",
        "destroy",
    ]
    assert names(do) == ["production"]
    assert NAME not in branches(rehearsal)
    assert rehearsal.tree.git("log", "--format=%H") == before
    assert not capfd.readouterr().out, "standard output is for the result alone"


def breaks_after_the_cluster(
    monkeypatch: pytest.MonkeyPatch, do: Emulator, folder: Path, end: str
) -> None:
    """The steps push the branch, make a cluster and start a program that takes long, as Pulumi;
    then they wait for it, or fail."""

    def steps(self: Rehearsal, journal: object, stack: object) -> None:
        self._push(self.tree.git("rev-parse", "HEAD").strip())
        do.create_cluster(name=NAME, tags=[MARK])
        program = subprocess.Popen(["sleep", "600"])
        (folder / "program").write_text(str(program.pid))
        if end == "fails":
            raise PlatformError("The cluster is not Healthy.")
        program.wait()

    monkeypatch.setattr(Rehearsal, "_rehearse", steps)
    monkeypatch.setattr(Plan, "create", lambda *_: None)
    monkeypatch.setattr(run, "_GRACE_SECONDS", 2)


def is_running(folder: Path) -> bool:
    pid = (folder / "program").read_text()
    return bool(pid) and Path("/proc", pid).exists()


@pytest.mark.parametrize(
    "end", ["fails", "is late", "is killed", "SIGTERM", "SIGHUP", "loses its terminal"]
)
def test_nothing_is_left_however_a_rehearsal_ends(
    do: Emulator,
    rehearsal: Rehearsal,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    end: str,
) -> None:
    breaks_after_the_cluster(monkeypatch, do, tmp_path, end)
    do.running_cluster(name="production", tags=["environment:prod"])
    commands = {
        "is killed": "kill -KILL $(ps -o ppid= -p $(cat program))",
        "SIGTERM": f"kill -TERM {os.getpid()}",
        "SIGHUP": f"kill -HUP {os.getpid()}",
        "loses its terminal": f"kill -HUP {os.getpid()}",
    }
    if end == "loses its terminal":
        reader, writer = os.pipe()
        os.close(reader)
        monkeypatch.setattr(sys, "stderr", os.fdopen(writer, "w", buffering=1))
    if end == "is late":
        object.__setattr__(rehearsal, "minutes", 0.05)
    elif end in commands:
        script = f"until [ -s program ]; do sleep 0.05; done; {commands[end]}"
        subprocess.Popen(["sh", "-c", script], cwd=tmp_path)
    reasons = {
        "fails": "The cluster is not Healthy",
        "is late": "it has not ended within",
        "is killed": "a step has failed",
        "loses its terminal": "it got the signal SIGHUP",
    }
    with pytest.raises(PlatformError, match=reasons.get(end, f"it got the signal {end}")):
        rehearsal.run()
    assert names(do) == ["production"]
    assert NAME not in branches(rehearsal)
    assert not is_running(tmp_path)
    for ending in (signal.SIGTERM, signal.SIGHUP):
        assert signal.getsignal(ending) is signal.SIG_DFL, "the next signal ends the process"


def test_deletion_goes_on_while_the_api_refuses(do: Emulator, client: DigitalOceanClient) -> None:
    do.running_cluster(name=NAME, tags=[MARK])
    do.add_fault("server-error", method="DELETE", path="*/dangerous", status=409, times=2)
    Rehearsed(client, [NAME]).delete(())
    assert names(do) == []


def test_billed_resources_are_deleted_although_the_repository_cannot_be_reached(
    do: Emulator, rehearsal: Rehearsal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then the command that deletes the branch is told, and not that nothing is left."""
    breaks_after_the_cluster(monkeypatch, do, tmp_path, "fails")
    deleting = Rehearsed.delete

    def delete(rehearsed: Rehearsed, clusters: list[str]) -> None:
        deleting(rehearsed, clusters)
        monkeypatch.setattr(run, "_GIT_SECONDS", 1)
        # From now on, the remote never answers.
        silent = f'echo "$GIT_TERMINAL_PROMPT" >{tmp_path / "asks"}; cat #'
        rehearsal.tree.git("config", "remote.origin.uploadpack", silent)

    monkeypatch.setattr(Rehearsed, "delete", delete)
    with pytest.raises(PlatformError, match="but its branch is left in the repository") as failure:
        rehearsal.run()
    assert "The cluster is not Healthy" in str(failure.value)
    assert names(do) == []
    assert (tmp_path / "asks").read_text() == "0\n"
    rehearsal.tree.git("config", "--unset", "remote.origin.uploadpack")
    assert NAME in branches(rehearsal)
    command = ["git", "push", str(tmp_path / "origin"), "--delete", f"refs/heads/{NAME}"]
    assert failure.value.fix == " ".join(command)
    subprocess.run(command, cwd=rehearsal.tree.folder, check=True)
    assert NAME not in branches(rehearsal)


def test_clusters_are_deleted_although_the_journal_was_cut_off(
    do: Emulator, rehearsal: Rehearsal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def steps(_: Rehearsal, journal: Any, __: object) -> None:
        do.running_cluster(name=NAME, tags=[MARK])
        with journal._file.open("a") as stream:
            stream.write('{"cluster": "0123')
        journal.write(error="No space left on device")
        sys.exit(1)

    monkeypatch.setattr(Rehearsal, "_rehearse", steps)
    monkeypatch.setattr(Plan, "create", lambda *_: None)
    with pytest.raises(PlatformError, match=r"No space left on device\. Nothing of it is left"):
        rehearsal.run()
    assert names(do) == []


def test_price_is_that_of_all_nodes_for_the_whole_time(
    client: DigitalOceanClient, rehearsal: Rehearsal
) -> None:
    """24 USD per month for the one node, two hours of 672."""
    assert str(run.most_expensive(rehearsal.plan, 90, client)) == "0.08"
