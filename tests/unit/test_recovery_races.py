"""Another run at any moment of a recovery: none of what it writes is deleted or overwritten."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from doks_gitops import account
from doks_gitops.account import RunningCluster
from doks_gitops.errors import PlatformError
from doks_gitops.kubernetes import Changed
from doks_gitops.recovery import run
from doks_gitops.recovery.observed import ClusterState, Consent, HelmHistory, HelmRevision
from doks_gitops.recovery.run import Recovery
from doks_gitops.stack import Stack
from tests.unit.stackfiles import CLUSTER, parsed
from tests.unit.test_recovery import ID, OWNER, PROVIDER, TEAM, running

NAMESPACE = "urn:pulumi:dev::doks-gitops::kubernetes:core/v1:Namespace::argocd"
RELEASE = "urn:pulumi:dev::doks-gitops::kubernetes:helm.sh/v3:Release::argocd"


def resource(kind: str, urn: str, id: str, **fields: Any) -> dict[str, Any]:
    return {"type": kind, "urn": urn, "id": id, **fields}


def in_cluster(provider: str) -> list[dict[str, Any]]:
    """The Kubernetes provider with this ID, and what it has created."""
    reference = f"{PROVIDER}::{provider}"
    return [
        resource("pulumi:providers:kubernetes", PROVIDER, provider),
        resource("kubernetes:core/v1:Namespace", NAMESPACE, "argocd", provider=reference),
        resource("kubernetes:helm.sh/v3:Release", RELEASE, "argocd/argocd", provider=reference),
    ]


BASE = [
    resource("pulumi:pulumi:Stack", "urn:pulumi:dev::doks-gitops::pulumi:pulumi:Stack::s", ""),
    resource("pulumi:index:Stash", "urn::stash", "stash", outputs={"output": asdict(OWNER)}),
]
KNOWN = resource("digitalocean:index/kubernetesCluster:KubernetesCluster", "urn::cluster", ID)
GOOD = HelmRevision("sh.helm.release.v1.argocd.v1", 1, "deployed", "7", "a")
INTERRUPTED = HelmRevision("sh.helm.release.v1.argocd.v2", 2, "pending-upgrade", "8", "b")


@dataclass
class World:
    """A stack's state, and a cluster with a Helm release. `interfere` is called before each command
    and each request, with its number."""

    resources: list[dict[str, Any]]
    revisions: dict[str, HelmRevision]
    cluster: RunningCluster | None = field(default_factory=running)
    """The account's cluster."""
    interfere: Callable[[int], None] = lambda _: None
    steps: list[str] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)
    written: int = 0
    deployments: int = 0

    def step(self, name: str) -> None:
        self.steps.append(name)
        self.interfere(len(self.steps) - 1)

    def write(self, kind: str, resources: list[dict[str, Any]]) -> None:
        """What a run of the engine does to the state."""
        self.written += 1
        self.resources = resources
        self.history.insert(0, {"kind": kind, "result": "succeeded", "startTime": self.written})


class Backend(Stack):
    """The commands of Pulumi."""

    def __init__(self, world: World) -> None:
        super().__init__("dev", Path())
        self._world = world

    def config(self) -> dict[str, str]:
        return {}

    def export(self, *, secrets: bool = False) -> dict[str, Any]:
        self._world.step("export")
        return self._export()

    def _export(self) -> dict[str, Any]:
        manifest = {"time": str(self._world.written)}
        return {"deployment": {"manifest": manifest, "resources": [*self._world.resources]}}

    def history(self, size: int = 0) -> list[dict[str, Any]]:
        self._world.step("history")
        return [*self._world.history]

    def clear_pending_creates(self, target: str | None) -> None:
        self._world.step("refresh")
        self._world.write("refresh", self._world.resources)

    def import_state(self, export: Mapping[str, Any], *, live: bool = True) -> None:
        self._world.step("import")
        # An import keeps the time of the last write.
        self._world.written = int(export["deployment"]["manifest"]["time"])
        self._world.resources = export["deployment"]["resources"]

    def up(self, *, check: Callable[[], None] | None = None, **_: Any) -> None:
        self._world.step("up")
        # The engine has the lock now: no other run.
        self._world.interfere = lambda _: None
        if check:
            check()
        self._world.deployments += 1


class AccountApi:
    """The API of the account."""

    def __init__(self, world: World) -> None:
        self._world = world

    def __enter__(self) -> AccountApi:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def clusters(self) -> tuple[RunningCluster, ...]:
        self._world.step("tags")
        return (self._world.cluster,) if self._world.cluster else ()

    def tag_cluster(self, cluster: RunningCluster, tags: tuple[str, ...]) -> None:
        self._world.step("tag")
        self._world.cluster = replace(cluster, tags=tags)


class Api:
    """The API of the cluster."""

    def __init__(self, world: World) -> None:
        self._world = world

    def state(self, _: str, sealed_secrets: str | None = None) -> ClusterState:
        self._world.step("list")
        return ClusterState(helm_history=HelmHistory(tuple(self._world.revisions.values())))

    def mark_outdated(self, _: str, revision: HelmRevision) -> None:
        self._world.step("patch")
        self._compare(revision)
        self._world.revisions[revision.secret] = replace(revision, version="outdated")

    def delete_revision(self, _: str, revision: HelmRevision) -> None:
        self._world.step("delete")
        if revision.secret in self._world.revisions:
            self._compare(revision)
            del self._world.revisions[revision.secret]

    def _compare(self, revision: HelmRevision) -> None:
        if self._world.revisions.get(revision.secret) != revision:
            raise Changed(f"409 {revision.secret}", status=409)


def interrupted_upgrade() -> World:
    revisions = {revision.secret: revision for revision in (GOOD, INTERRUPTED)}
    return World([*BASE, KNOWN, *in_cluster("provider")], revisions)


def lost_cluster() -> World:
    return World([*BASE, *in_cluster("lost")], {}, cluster=None)


def lost_state() -> World:
    return World([], {GOOD.secret: GOOD})


def take_over(world: World) -> None:
    """Another recovery, of another state, which takes the cluster over."""
    world.cluster = running(tags=("shop", "another"), mark="another")
    world.revisions[GOOD.secret] = replace(GOOD, version="70", uid="new")


def upgrade(world: World) -> None:
    """Another run, which completes the upgrade."""
    world.write("update", [*BASE, KNOWN, *in_cluster("provider"), OTHERS])
    for revision in (replace(GOOD, status="superseded"), replace(INTERRUPTED, status="deployed")):
        world.revisions[revision.secret] = replace(revision, version=f"{revision.version}0")


def redeploy(world: World) -> None:
    """Another recovery, which creates the cluster again."""
    world.cluster = running()
    world.write("update", [*BASE, KNOWN, *in_cluster("new"), OTHERS])


OTHERS = resource("kubernetes:core/v1:Secret", "urn::others", "argocd/others")


@pytest.fixture
def recover(monkeypatch: pytest.MonkeyPatch) -> Callable[[World], None]:
    def recover(world: World) -> None:
        @contextmanager
        def connect(_: object) -> Iterator[Api]:
            yield Api(world)

        def read(*_: object, **__: object) -> account.Account:
            clusters = (world.cluster,) if world.cluster else ()
            return account.Account(("nyc1",), (), (), clusters, (), team=TEAM)

        monkeypatch.setattr(run, "_connect", connect)
        monkeypatch.setattr(run, "_account", lambda _: AccountApi(world))
        monkeypatch.setattr(account, "read", read)
        monkeypatch.setattr(account, "replacing_changes", lambda *_: ())
        monkeypatch.setattr(Stack, "settings", lambda _: parsed(cluster=CLUSTER))
        Recovery(Backend(world), lambda _: None, Consent(new_state=True)).run()

    return recover


@pytest.mark.parametrize(
    ("lost", "steps", "resources", "revisions"),
    [
        (
            interrupted_upgrade,
            "export list refresh export list patch delete up export",
            [*BASE, KNOWN, *in_cluster("provider")],
            {GOOD.secret: replace(GOOD, version="outdated")},
        ),
        (
            lost_cluster,
            "export refresh export history export import history up export",
            BASE,
            {},
        ),
    ],
)
def test_without_another_run_a_recovery_deploys(
    recover: Callable[[World], None],
    lost: Callable[[], World],
    steps: str,
    resources: list[dict[str, Any]],
    revisions: dict[str, HelmRevision],
) -> None:
    world = lost()
    recover(world)
    assert world.steps == steps.split()
    assert (world.resources, world.revisions) == (resources, revisions)
    assert world.deployments == 1


@pytest.mark.parametrize(
    ("lost", "another_run", "moment"),
    [
        *((interrupted_upgrade, upgrade, moment) for moment in range(8)),
        *((lost_cluster, redeploy, moment) for moment in range(8)),
    ],
)
def test_what_another_run_has_written_is_kept_and_the_recovery_is_to_be_run_again(
    recover: Callable[[World], None],
    lost: Callable[[], World],
    another_run: Callable[[World], None],
    moment: int,
) -> None:
    world, kept = lost(), lost()
    another_run(kept)

    def interfere(number: int) -> None:
        if number == moment:
            another_run(world)

    world.interfere = interfere
    refused = None
    try:
        recover(world)
    except PlatformError as error:
        refused = error
    assert world.deployments == (0 if refused else 1)
    if refused is None:
        # The deployment was planned for what the other run has left.
        assert "export" in world.steps[moment : world.steps.index("up")]
    else:
        assert "dev was changed by another run" in refused.problem
    if refused and "backups" in str(refused.fix):
        # The one moment that no lock of Pulumi covers is told.
        assert world.steps[moment] == "import"
    else:
        assert not refused or "run it again" in str(refused.fix)
        assert (world.resources, world.revisions) == (kept.resources, kept.revisions)


@pytest.mark.parametrize("moment", ["tags", "delete"])
def test_a_cluster_that_another_state_has_just_taken_over_is_left_to_it(
    recover: Callable[[World], None], moment: str
) -> None:
    world, kept = lost_state(), lost_state()
    take_over(kept)

    def interfere(number: int) -> None:
        if world.steps[number] == moment:
            take_over(world)

    world.interfere = interfere
    with pytest.raises(PlatformError, match="dev was changed by another run"):
        recover(world)
    assert (world.cluster, world.revisions) == (kept.cluster, kept.revisions)
    assert world.deployments == 0
