"""A sandbox as the world of a year: what its events do, and what must hold after each of them."""

import asyncio
import copy
import json
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import yaml
from rich.console import Console

from sandbox import session
from sandbox.drills import (
    expired_credentials,
    lost_argocd,
    lost_cluster,
    lost_registry,
    lost_secrets,
    lost_state,
    lost_volumes,
    moments,
)
from sandbox.drills.drill import Context, Failed
from sandbox.engine import PROJECT
from sandbox.paths import Home
from tests.e2e import year
from tests.e2e.box import Sandbox
from tests.e2e.leaks import leaks, plain_texts
from tests.e2e.year import LOSSES, ByHand, Event, Forbidden, Loss

VERSIONS = ("1.34.9-do.2", "1.34", "1.35", "1.36")
"""The versions that a stack file has in turn; the second one is the newest patch of the first."""
KEPT_SNAPSHOTS = 2
_CLUSTERS = "/v2/kubernetes/clusters"
_LEDGER = "ledger"
"""The StatefulSet whose volume has the data of a stack."""
_CLAIM = f"data-{_LEDGER}-0"
_Section = dict[str, Any]


@dataclass
class Life:
    """A stack, and what it should be like."""

    context: Context
    cluster: str = ""
    """ID of its cluster, which only a loss may change."""
    data: str = ""
    """Checksum of its volume."""
    secrets: dict[str, str] = field(default_factory=dict)
    """The values of its sealed secrets by their names."""
    changes: int = 0
    """Number of its commits and of the changes of its stack file, of which each has another
    content."""

    @property
    def stack(self) -> str:
        return self.context.stack

    @property
    def file(self) -> Path:
        return self.context.pulumi.project / f"Pulumi.{self.stack}.yaml"

    @property
    def overlay(self) -> Path:
        return Path("kustomize") / self.stack

    def section(self, name: str) -> _Section:
        section: _Section = yaml.safe_load(self.file.read_text())["config"][f"{PROJECT}:{name}"]
        return section

    def change(self, name: str, edit: Callable[[_Section], object]) -> None:
        """Change a section of the stack file."""
        content = yaml.safe_load(self.file.read_text())
        edit(content["config"].setdefault(f"{PROJECT}:{name}", {}))
        self.file.write_text(yaml.safe_dump(content, sort_keys=False))

    def platform(self, *words: str, fails: bool = False) -> str:
        words = ("bin/platform", *words, "--stack", self.stack)
        return self.context.command(*words, fails=fails)

    def recover(self, *options: str, fails: bool = False) -> str:
        return self.platform("recover", "--yes", *options, fails=fails)

    def up(self, *options: str, fails: bool = False) -> str:
        options = ("--yes", "--skip-preview", *options)
        return self.context.command("pulumi", "up", "--stack", self.stack, *options, fails=fails)

    @property
    def volume(self) -> str:
        """ID of its volume."""
        return lost_volumes.bound(self.context)[_LEDGER]

    def locks(self) -> list[Path]:
        """The locks of runs on its state."""
        folder = self.context.home.root / "state" / ".pulumi" / "locks"
        return [*folder.glob(f"**/{self.stack}/*.json")]

    def checksum(self) -> str:
        return lost_volumes.checksum(lost_volumes.folder(self.context, self.volume))

    def take_token(self) -> None:
        """Give the stack a new token of the account, and revoke the one that it has, if any."""
        env, daemon = self.context.pulumi.env, self.context.daemon
        if (former := env["DIGITALOCEAN_TOKEN"]) != daemon.token:
            daemon.post("/sandbox/tokens/revoke", {"token": former})
        env["DIGITALOCEAN_TOKEN"] = daemon.post("/sandbox/tokens", {"scopes": ["full"]})["token"]


class SandboxWorld:
    """The stacks in a sandbox, each with data on a volume and with sealed secrets."""

    def __init__(self, sandbox: Sandbox, stacks: Sequence[str], clone: Path) -> None:
        """`clone`: a new folder for a clone of the monorepo."""
        sandbox("start")
        home, console = Home(sandbox.home), Console(highlight=False)
        self._daemon, engine = session.start(home, None, console, webhooks=True)
        self._home, self._clone = home, clone
        self._lives: dict[str, Life] = {}
        for stack in stacks:
            # Each with an environment of its own, in which it has its own token.
            own = copy.copy(engine)
            own.env = {**engine.env, "SANDBOX_HOME": str(home.root)}
            self._lives[stack] = Life(Context(home, self._daemon, own, console, stack=stack))
        self._any = next(iter(self._lives.values())).context
        self._any.sandbox("clone", str(clone))
        for name, value in (("name", "team"), ("email", "team@localhost")):
            self._git("config", f"user.{name}", value)
        for life in self._lives.values():
            self._prepare(life)
        # Builds the controller of the sealed secrets.
        self._any.sandbox("run", "true")
        self._beginning = self._push("The applications of the year")
        self._files = {life.file: life.file.read_text() for life in self._lives.values()}
        self._sealed = {stack: {**life.secrets} for stack, life in self._lives.items()}
        self._known = {
            "passphrase": (home.root / "passphrase").read_text(),
            "Git token": self._daemon.get("/sandbox/repository")["password"],
        }
        self._looked = 0.0
        self._is_new = False
        self._touched: Life | None = None

    def _prepare(self, life: Life) -> None:
        """Add the volume and the sealed secrets to the stack file and to the overlay."""

        def cluster(section: _Section) -> None:
            section["version"] = VERSIONS[0]
            # It would delete the volumes with the cluster.
            section.pop("destroyAssociatedResources", None)

        life.change("cluster", cluster)
        life.change("volumes", lambda section: section.update(snapshots={"keep": KEPT_SNAPSHOTS}))
        life.platform("sealing-keys", "new")
        manifest = lost_volumes.MANIFEST % {"name": _LEDGER}
        (self._clone / life.overlay / f"{_LEDGER}.yaml").write_text(manifest)
        self._add(life, _LEDGER)
        self._seal(life)

    def _seal(self, life: Life) -> None:
        """Add a sealed secret to the overlay."""
        name = f"secret-{len(life.secrets)}"
        life.secrets[name] = lost_secrets.seal(life.context, self._clone / life.overlay, name)
        self._add(life, name)

    def _add(self, life: Life, name: str) -> None:
        self._edit(life, lambda overlay: overlay["resources"].append(f"{name}.yaml"))

    def _edit(self, life: Life, edit: Callable[[_Section], object]) -> None:
        """Change the overlay of the stack."""
        file = self._clone / life.overlay / "kustomization.yaml"
        overlay = yaml.safe_load(file.read_text())
        edit(overlay)
        file.write_text(yaml.safe_dump(overlay, sort_keys=False))

    def _git(self, *words: str) -> str:
        return self._any.git(self._clone, *words)

    def _push(self, message: str) -> str:
        self._git("add", "--all")
        self._git("commit", "--quiet", "--allow-empty", "--message", message)
        self._git("push", "--quiet")
        return self._git("rev-parse", "HEAD").strip()

    def begin(self) -> None:
        if self._is_new:
            return
        self._clear()
        self._git("checkout", "--quiet", self._beginning, "--", ".")
        self._push("Another year begins")
        for life in self._lives.values():
            life.file.write_text(self._files[life.file])
            life.secrets = {**self._sealed[life.stack]}
            life.take_token()
            life.recover("--new-state")
            life.context.until("the stack is well", life.context.is_well)
            life.cluster = life.context.the_cluster()["id"]
            self._write(life)
            self._save(life)
            self._touched = life
        self._is_new = True
        if broken := self.broken():
            raise Failed("\n".join(broken))

    def _clear(self) -> None:
        """Remove everything of an earlier year but the stack files and the monorepo."""
        self._daemon.post("/sandbox/faults/clear", {"which": None}, seconds=120)
        for cluster in self._account()["clusters"]:
            self._any.api("DELETE", f"{_CLUSTERS}/{cluster}")
        self._any.until("the clusters are deleted", lambda: not self._account()["clusters"])
        account = self._account()
        for snapshot in account["volume_snapshots"]:
            self._any.api("DELETE", f"/v2/volumes/snapshots/{snapshot}")
        for volume in account["volumes"]:
            self._any.api("DELETE", f"/v2/volumes/{volume}")
        for life in self._lives.values():
            life.context.pulumi.release_stale_lock(life.stack)
            lost_state.lose(life.context)
            self._delete_webhook(life)

    def happen(self, event: Event) -> None:
        started = time.monotonic()
        if isinstance(event, year.Pass):
            self._daemon.post("/sandbox/clock", {"seconds": event.days * 86400})
        else:
            self._is_new = False
            self._touched = self._lives[event.stack]
            self._happen(event, self._touched)
            for life in self._lives.values():
                life.context.until(f"{life.stack} is well", life.context.is_well)
        self._any.say(f"{event}: {time.monotonic() - started:.1f} s")

    def _happen(self, event: Event, life: Life) -> None:
        match event:
            case year.Commit(replicas=replicas):
                self._commit(life, replicas)
            case year.BadCommit():
                self._revert(life)
            case year.Write():
                self._write(life)
            case year.Snapshot():
                self._save(life)
            case year.Deploy():
                life.platform("deploy")
            case year.Scale(nodes=nodes):
                life.change("cluster", lambda cluster: _scale(cluster["nodePools"][0], nodes))
                life.up()
            case year.Upgrade():
                self._upgrade(life)
            case year.RenewKey():
                life.platform("sealing-keys", "renew")
                self._seal(life)
                life.up()
                self._push("A secret that is sealed with the new key")
            case year.Drift(what=what):
                self._drift(life, what)
            case year.Forbid(what=forbidden):
                self._forbid(life, forbidden)
            case year.Lose(what=what, moment=moment):
                self._lose(life, what, moment)
            case year.Move():
                self._move(life)

    def _commit(self, life: Life, replicas: int) -> None:
        life.changes += 1
        tag = f"v2.{life.changes}"

        def edit(overlay: _Section) -> None:
            image = overlay["images"][0]
            repository = image["newName"].rpartition("/")[2]
            self._daemon.post("/sandbox/images", {"repository": repository, "tag": tag})
            image["newTag"] = tag
            overlay["replicas"] = [{"name": image["name"], "count": replicas}]

        self._edit(life, edit)
        self._push(f"{life.stack}: {tag}, {replicas} replicas")

    def _revert(self, life: Life) -> None:
        self._edit(life, lambda overlay: overlay["images"][0].update(newTag="not-there"))
        self._push("A tag that does not exist")
        context = life.context
        context.until("an application is not well", lambda: not context.is_well())
        context.until("the pull fails", lambda: "ImagePullBackOff" in _waiting(life))
        self._git("revert", "--no-edit", "HEAD")
        self._git("push", "--quiet")

    def _write(self, life: Life) -> None:
        lost_volumes.write(lost_volumes.folder(life.context, life.volume))
        life.data = life.checksum()

    def _save(self, life: Life) -> None:
        """What the workflow of the volumes does each hour."""
        life.platform("volumes", "record")
        life.platform("volumes", "snapshot")
        taken = datetime.fromisoformat(self._snapshots(life)[0]["created_at"])
        context = life.context
        context.check(datetime.now(UTC) - taken <= timedelta(days=1), "no snapshot was taken")

    def _snapshots(self, life: Life) -> list[dict[str, Any]]:
        """Those of the stack's claim, the newest one first."""
        claim = f":{life.context.namespace}:{_CLAIM}"
        snapshots: list[dict[str, Any]] = [
            snapshot
            for snapshot in self._account()["volume_snapshots"].values()
            if any(tag.endswith(claim) for tag in snapshot["tags"])
        ]
        return sorted(snapshots, key=lambda snapshot: str(snapshot["created_at"]), reverse=True)

    def _upgrade(self, life: Life) -> None:
        place = VERSIONS.index(life.section("cluster")["version"])
        version = VERSIONS[min(place + 1, len(VERSIONS) - 1)]
        life.change("cluster", lambda cluster: cluster.update(version=version, upgrade=True))
        life.platform("deploy")

    def _drift(self, life: Life, what: ByHand) -> None:
        context = life.context
        if what == "workload":
            pods = context.pods()
            context.kubectl("-n", context.namespace, "delete", "deployment", "cart")
            context.until("Argo CD has deployed it again", lambda: len(context.pods() - pods) > 0)
            return
        if what == "project":
            patch = json.dumps({"spec": {"sourceRepos": ["*"]}})
            project = ("appproject", life.stack, "--type", "merge", "--patch", patch)
            context.kubectl("-n", "argocd", "patch", *project)
        else:
            name = context.the_cluster()["name"]
            context.api("PUT", f"{_CLUSTERS}/{life.cluster}", {"name": name, "tags": []})
        context.check("No drift" not in life.platform("drift"), f"the drift of {what} is not told")
        life.up("--refresh")

    def _forbid(self, life: Life, what: Forbidden) -> None:
        if what == "destroy":
            destroy = ("destroy", "--stack", life.stack, "--yes", "--skip-preview")
            refusals = [life.context.command("pulumi", *destroy, fails=True)]
        else:
            before = life.file.read_text()
            life.change("cluster", lambda cluster: cluster.update(region="fra1"))
            refusals = [life.up(fails=True), life.recover(fails=True)]
            life.file.write_text(before)
        for refusal in refusals:
            life.context.check(" protected" in refusal, f"the refusal is another one:\n{refusal}")

    def _lose(self, life: Life, what: Sequence[Loss], moment: int) -> None:
        context, volume = life.context, life.volume
        options = []
        for loss in LOSSES:
            if loss not in what:
                continue
            match loss:
                case "run":
                    if self._kill(life, moment):
                        options.append("--cancel")
                case "registry":
                    lost_registry.lose(context)
                case "Argo CD":
                    lost_argocd.lose(context)
                case "token":
                    life.take_token()
                case "credentials":
                    expired_credentials.lose(context)
                case "state":
                    lost_state.lose(context)
                    self._delete_webhook(life)
                case "cluster":
                    lost_cluster.lose(context)
                    self._until_detached(volume)
                case "volume":
                    self._lose_volume(volume)
        if "volume" in what:
            snapshot = self._snapshots(life)[0]["id"]
            life.data = lost_volumes.checksum(self._home.root / "volume-snapshots" / snapshot)
            if "cluster" not in what:
                life.platform("volumes", "restore", snapshot, "--yes")
        if "--cancel" in options and "state" in what:
            refusal = life.recover("--new-state", *options, fails=True)
            context.check("delete the lock's file" in refusal, f"no way out in:\n{refusal}")
            for lock in life.locks():
                lock.unlink()
        for option in _consents(what):
            refusal = life.recover(*options, fails=True)
            context.check(option in refusal, f"the refusal lacks {option}:\n{refusal}")
            options.append(option)
        life.recover(*options)
        if "cluster" in what:
            life.cluster = context.the_cluster()["id"]
        if "volume" in what:
            context.until("the stack is well", context.is_well)
            self._save(life)

    def _kill(self, life: Life, moment: int) -> bool:
        """Kill an update of many resources; returns whether it was killed before its end."""
        life.changes += 1
        number = life.changes

        def cluster(section: _Section) -> None:
            section["maintenance"] = {"day": "sunday", "startTime": f"{number % 24:02}:00"}
            pools = [pool for pool in section["nodePools"] if pool["name"] != "extra"]
            if len(pools) == len(section["nodePools"]):
                # As many as prod's policies demand.
                pools.append({"name": "extra", "size": "s-2vcpu-4gb", "count": 3})
            section["nodePools"] = pools

        def argocd(section: _Section) -> None:
            configs = section.setdefault("values", {}).setdefault("configs", {})
            configs.setdefault("cm", {})["timeout.hard.reconciliation"] = f"{number}h"

        life.change("cluster", cluster)
        life.change("argocd", argocd)
        life.change("project", lambda project: project.update(description=f"Change {number}"))
        pulumi = life.context.pulumi
        run = asyncio.run(moments.up(pulumi, self._daemon, life.stack, kill_at=moment))
        life.context.check(run.killed or run.exit_code == 0, run.errors)
        return run.killed

    def _delete_webhook(self, life: Life) -> None:
        """What a new state can't adopt is deleted by hand: docs/github.md."""
        github = self._daemon.github
        with httpx.Client(
            base_url=f"{github['api']}/repos/{github['repository']}/",
            headers={"Authorization": f"Bearer {github['token']}"},
        ) as client:
            for hook in client.get("hooks").raise_for_status().json():
                if f"/{life.context.pulumi.cluster_name(life.stack)}/" in hook["config"]["url"]:
                    client.delete(f"hooks/{hook['id']}").raise_for_status()

    def _lose_volume(self, volume: str) -> None:
        """Delete the volume in the account, also if it is attached."""
        for droplet in self._account()["volumes"][volume]["droplet_ids"]:
            detach = {"type": "detach", "droplet_id": droplet}
            self._any.api("POST", f"/v2/volumes/{volume}/actions", detach)
        self._any.api("DELETE", f"/v2/volumes/{volume}")
        self._any.say(f"lost: the volume {volume}")

    def _until_detached(self, volume: str) -> None:
        def is_detached() -> bool:
            volumes = self._account()["volumes"]
            return volume not in volumes or not volumes[volume]["droplet_ids"]

        self._any.until("the volume is detached", is_detached)

    def _move(self, life: Life) -> None:
        context, volume = life.context, life.volume
        former = life.section("cluster")["region"]
        region = {"kind": "region-down", "target": former}
        fault = self._daemon.post("/sandbox/faults", region, seconds=120)
        other = "fra1" if former != "fra1" else "nyc1"
        context.check("is not lost" in life.recover(fails=True), "the refusal does not tell why")
        life.change("cluster", lambda cluster: cluster.update(region=other))
        snapshots = self._snapshots(life)
        left = sorted({volume, *(snapshot["resource_id"] for snapshot in snapshots)})
        leave = [word for id in left for word in ("--leave-volume", id)]
        refusal = life.recover(*leave, fails=True)
        context.check("--abandon-cluster" in refusal, f"the refusal lacks it:\n{refusal}")
        life.recover(*leave, "--abandon-cluster")
        self._daemon.post("/sandbox/faults/clear", {"which": str(fault["id"])}, seconds=120)
        life.cluster = context.the_cluster()["id"]
        context.until("the stack is well", context.is_well)
        # What is left in the former region, the team deletes.
        self._until_detached(volume)
        for snapshot in snapshots:
            context.api("DELETE", f"/v2/volumes/snapshots/{snapshot['id']}")
        context.api("DELETE", f"/v2/volumes/{volume}")
        self._write(life)
        self._save(life)

    def _account(self) -> dict[str, Any]:
        """The account, as the emulator keeps it."""
        account: dict[str, Any] = json.loads((self._home.root / "account.json").read_text())
        return account

    def broken(self) -> list[str]:
        account, lives = self._account(), self._lives.values()
        volumes = {life.volume for life in lives}
        problems = [
            *(problem for life in lives for problem in _broken(life, account)),
            *_unknown(account, {life.cluster for life in lives}, volumes),
        ]
        if self._touched is None:
            # Time has passed: no command has written anything, and tokens may have expired.
            return problems
        problems += leaks(self._secrets(self._touched), self._places())
        try:
            self._touched.context.unchanged()
        except Failed as changes:
            problems.append(str(changes))
        self._touched = None
        return problems

    def _secrets(self, life: Life) -> dict[str, str]:
        """All secrets until now by what they are: those that have become known with the stack."""
        pulumi = life.context.pulumi
        state = json.loads(pulumi.run("stack", "export", "--stack", life.stack, "--show-secrets"))
        section = pulumi.run("config", "get", "--stack", life.stack, f"{PROJECT}:sealedSecrets")
        keys = [key["privateKey"].splitlines()[5] for key in json.loads(section)["keys"]]
        named_secrets = [
            ("token", pulumi.env["DIGITALOCEAN_TOKEN"]),
            *(("sealing key", key) for key in keys),
            *life.secrets.items(),
            *plain_texts(state),
        ]
        for name, value in named_secrets:
            if value not in self._known.values():
                self._known[f"{life.stack}: {name} ({len(self._known)})"] = value
        return self._known

    def _places(self) -> dict[str, bytes]:
        """What others may see and has been written since the last look."""
        root, since = self._home.root, self._looked
        self._looked = time.time()
        files = [
            *(root / "state").rglob("*"),
            *(root / "project").glob("Pulumi.*.yaml"),
            *root.rglob("*.log"),
            root / "account.json",
        ]
        places = {
            str(file.relative_to(root)): file.read_bytes()
            for file in files
            if file.is_file() and file.stat().st_mtime >= since
        }
        git = ["git", "-C", str(self._clone), "log", "--patch", "--all"]
        history = subprocess.run(git, check=True, capture_output=True)
        return {**places, "history of the monorepo": history.stdout}


def _consents(what: Sequence[Loss]) -> Iterator[str]:
    """The options that a recovery asks for after these losses, in this order."""
    if "state" in what:
        yield "--new-state"
    if {"cluster", "volume"} <= {*what}:
        yield "--from-snapshots"


def _scale(pool: _Section, nodes: int) -> None:
    if "autoscale" in pool:
        # As many as there must be for a highly available Argo CD, and more.
        pool["autoscale"]["min"] = 2 + nodes
    else:
        pool["count"] = nodes


def _waiting(life: Life) -> str:
    """Why containers of the stack wait."""
    reasons = "jsonpath={.items[*].status.containerStatuses[*].state.waiting.reason}"
    return life.context.kubectl("-n", life.context.namespace, "get", "pods", "-o", reasons)


def _broken(life: Life, account: dict[str, Any]) -> Iterator[str]:
    """What does not hold for the stack."""
    context, section = life.context, life.section("cluster")
    stack, cluster = life.stack, account["clusters"].get(life.cluster)
    home = context.home.root / "state" / ".pulumi"
    latest = json.loads((home / "stacks" / PROJECT / f"{stack}.json").read_text())["checkpoint"]
    latest = latest["latest"]
    owned = [
        resource["id"]
        for resource in latest["resources"]
        if resource["type"].endswith(":KubernetesCluster")
    ]
    if owned != [life.cluster]:
        yield f"{stack}: the state has the cluster {owned}, but it should be {life.cluster}"
    if latest.get("pending_operations"):
        yield f"{stack}: the state has pending operations"
    if life.locks():
        yield f"{stack}: the state is locked"
    if cluster is None:
        yield f"{stack}: the account does not have the cluster {life.cluster}"
        return
    if not cluster["version"].startswith(section["version"]):
        yield f"{stack}: its version is {cluster['version']}, but it should be {section['version']}"
    pools = {pool["name"]: pool["count"] for pool in cluster["node_pools"]}
    expected = {pool["name"]: _nodes(pool) for pool in section["nodePools"]}
    if pools.keys() != expected.keys() or any(pools[name] not in expected[name] for name in pools):
        yield f"{stack}: its nodes are {pools}, but they should be {expected}"
    if life.checksum() != life.data:
        yield f"{stack}: the data on its volume is not what it should be"
    if lost_secrets.read(context) != life.secrets:
        yield f"{stack}: not every sealed secret is readable"
    if not context.is_well():
        yield f"{stack}: not every application is Synced and Healthy at the latest commit"


def _nodes(pool: _Section) -> range:
    """How many nodes the pool may have."""
    limits = pool.get("autoscale") or {"min": pool["count"], "max": pool["count"]}
    return range(limits["min"], limits["max"] + 1)


def _unknown(account: dict[str, Any], clusters: set[str], volumes: set[str]) -> Iterator[str]:
    """What the account has and no state or record knows."""
    for kind, known in (("clusters", clusters), ("volumes", volumes), ("load_balancers", set())):
        if unknown := account[kind].keys() - known:
            yield f"the account has {kind} that nobody knows: {', '.join(sorted(unknown))}"
    if own := [vpc["name"] for vpc in account["vpcs"].values() if not vpc["default"]]:
        yield f"the account has VPCs that nobody knows: {', '.join(own)}"
    for volume in volumes:
        snapshots = [
            snapshot["name"]
            for snapshot in account["volume_snapshots"].values()
            if snapshot["resource_id"] == volume
        ]
        if len(snapshots) > KEPT_SNAPSHOTS:
            yield f"the volume {volume} has too many snapshots: {', '.join(snapshots)}"
