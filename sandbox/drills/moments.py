"""Everything that happens during a `pulumi up`, and a run that is killed at one of these moments.

Happenings come from three sides: the engine's events (`pulumi up --json`), the requests that the
account answers, and what Helm makes of the cluster. Each is told once, by a name that is the same
in every run, so that the moments of one run can be found again in the next.
"""

import asyncio
import base64
import contextlib
import json
import re
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import psutil

from sandbox.client import Daemon
from sandbox.drills.drill import Failed
from sandbox.engine import Engine
from sandbox.plugins import loaded
from sandbox.processes import dying_with_me

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_LONGEST_EVENT = 2**24
_ARGOCD = "argocd"
"""The namespace that the stacks install Argo CD in."""
_HELM_RECORDS = f"/api/v1/namespaces/{_ARGOCD}/secrets"
_DEPLOYMENTS = f"/apis/apps/v1/namespaces/{_ARGOCD}/deployments"


@dataclass(frozen=True)
class Run:
    """A `pulumi up` that ended: what happened in it, in order, and how it ended."""

    happenings: tuple[str, ...]
    killed: bool
    exit_code: int
    errors: str
    """What the engine said that is wrong; empty if nothing is."""


def spread(happenings: Sequence[str], count: int, including: Sequence[str]) -> list[str]:
    """`count` moments of a run, evenly spread from its first happening to its last, with those of
    `including` in the places of the nearest.

    Raises Failed if the run has fewer happenings, or if one to be included was not in it or finds
    no place.
    """
    if count < len(including):
        raise Failed(f"of {len(including)} moments none is left out: {', '.join(including)}")
    if count > len(happenings):
        raise Failed(f"only {len(happenings)} things happen in a run, fewer than {count} moments")
    if missing := set(including) - set(happenings):
        raise Failed(f"it never happened in a run: {', '.join(sorted(missing))}")
    last = len(happenings) - 1
    chosen = [round(number * last / max(count - 1, 1)) for number in range(count)]
    fixed: set[int] = set()
    for wanted in map(happenings.index, including):
        if wanted not in chosen:
            free = [place for place, index in enumerate(chosen) if index not in fixed]
            nearest = min(free, key=lambda place: abs(chosen[place] - wanted))
            chosen[nearest] = wanted
        fixed.add(wanted)
    return [happenings[index] for index in sorted(chosen)]


async def up(pulumi: Engine, daemon: Daemon, stack: str, *, kill_at: str | None = None) -> Run:
    """Run `pulumi up` on the stack; with `kill_at`, until that happens, and no further.

    Killed is all of the run at once, as when its machine is switched off: the engine, its plugins,
    and what they run. Returns when no process of it is left.
    """
    command = ["pulumi", "up", "--stack", stack, "--yes", "--skip-preview", "--json"]
    seen: dict[str, None] = {}
    killed = False
    async with _watching(daemon) as watch:
        process = await asyncio.create_subprocess_exec(
            *dying_with_me(command, "INT"),
            cwd=pulumi.project,
            env=pulumi.env,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=_LONGEST_EVENT,
        )
        assert process.stdout
        assert process.stderr
        errors = asyncio.create_task(process.stderr.read())
        engine = asyncio.create_task(watch.engine(process.stdout))
        try:
            while (happening := await watch.happenings.get()) is not None:
                seen.setdefault(happening)
                if happening == kill_at:
                    await _kill(process.pid, daemon.pid)
                    killed = True
                    break
        finally:
            engine.cancel()
    said = (await errors).decode(errors="replace")
    return Run(tuple(seen), killed, await process.wait(), "\n".join([*watch.errors, said]).strip())


async def _kill(pid: int, daemon: int) -> None:
    engine = psutil.Process(pid)
    family = [engine, *engine.children(recursive=True)]
    for each in psutil.Process(daemon).children():
        if loaded.MODULE in each.cmdline():
            family += each.children(recursive=True)
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    # The engine itself stays a zombie until this process has waited for it.
    await asyncio.to_thread(psutil.wait_procs, family[1:], 30)


@contextlib.asynccontextmanager
async def _watching(daemon: Daemon) -> AsyncIterator["_Watch"]:
    """Watch account and cluster; nothing is missed that begins inside."""
    watch = _Watch(daemon)
    following = asyncio.Event()
    tasks = [
        asyncio.create_task(watch.account(following)),
        asyncio.create_task(watch.cluster()),
    ]
    waiting = asyncio.create_task(following.wait())
    await asyncio.wait([*tasks, waiting], return_when=asyncio.FIRST_COMPLETED)
    try:
        yield watch
    finally:
        for task in [*tasks, waiting]:
            task.cancel()
        for ended in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended


class _Watch:
    """Puts what happens into `happenings`; None when the engine has nothing more to say."""

    def __init__(self, daemon: Daemon) -> None:
        self.happenings: asyncio.Queue[str | None] = asyncio.Queue()
        self.errors: list[str] = []
        self._daemon = daemon
        self._has_cluster = asyncio.Event()

    async def engine(self, output: asyncio.StreamReader) -> None:
        async for line in output:
            event = json.loads(line)
            if (diagnostic := event.get("diagnosticEvent")) and diagnostic["severity"] == "error":
                self.errors.append(diagnostic["message"].strip())
            if happening := engine_happening(event):
                self.happenings.put_nowait(happening)
                if "providers:kubernetes" in happening:
                    self._has_cluster.set()
        self.happenings.put_nowait(None)

    async def account(self, following: asyncio.Event) -> None:
        headers = {"Authorization": f"Bearer {self._daemon.token}"}
        async with (
            httpx.AsyncClient(
                base_url=self._daemon.url, headers=headers, timeout=None, trust_env=False
            ) as http,
            http.stream("GET", "/sandbox/requests") as answer,
        ):
            answer.raise_for_status()
            async for line in answer.aiter_lines():
                if line:
                    self.happenings.put_nowait(account_happening(json.loads(line)))
                else:
                    following.set()

    async def cluster(self) -> None:
        """Once there is a cluster: at once, or when the engine goes on to what is in it."""
        if not await self._endpoints():
            await self._has_cluster.wait()
        for cluster in await self._endpoints():
            authority = base64.b64decode(cluster["ca_certificate"]).decode()
            async with httpx.AsyncClient(
                base_url=cluster["endpoint"],
                headers={"Authorization": f"Bearer {self._daemon.token}"},
                verify=ssl.create_default_context(cadata=authority),
                timeout=httpx.Timeout(30, read=None),
                trust_env=False,
            ) as http:
                await asyncio.gather(
                    self._follow(http, _HELM_RECORDS, "owner=helm"),
                    self._follow(http, _DEPLOYMENTS, ""),
                )

    async def _endpoints(self) -> list[Mapping[str, Any]]:
        clusters = await asyncio.to_thread(self._daemon.get, "/sandbox/clusters")
        return [each for each in clusters if each["endpoint"]]

    async def _follow(self, http: httpx.AsyncClient, path: str, selector: str) -> None:
        parameters = {"labelSelector": selector}
        listed = (await http.get(path, params=parameters)).raise_for_status().json()
        known = {
            item["metadata"]["name"]: item["metadata"].get("generation") for item in listed["items"]
        }
        parameters |= {"watch": "true", "resourceVersion": listed["metadata"]["resourceVersion"]}
        # The API server ends a watch that has lasted long (or the cluster ends): then no more
        # happens that a run would be killed at.
        with contextlib.suppress(httpx.TransportError):
            async with http.stream("GET", path, params=parameters) as answer:
                async for line in answer.aiter_lines():
                    for happening in cluster_happenings(json.loads(line), known):
                        self.happenings.put_nowait(happening)


def engine_happening(event: Mapping[str, Any]) -> str | None:
    """The name of a step of the engine that begins or has ended; None if nothing is changed by it.

    https://www.pulumi.com/docs/iac/automation-api/concepts-terminology/ (engine events)
    """
    for kind, phase in (("resourcePreEvent", "begins"), ("resOutputsEvent", "is done")):
        if (step := event.get(kind)) and (metadata := step["metadata"])["op"] != "same":
            _, _, name = metadata["urn"].rpartition("::")
            return f"engine: {metadata['op']} {metadata['type']} {name} {phase}"
    return None


def account_happening(record: Mapping[str, Any]) -> str:
    """The name of an answered request, whatever it is about."""
    return f"account: {record['method']} {_ID.sub('ID', record['path'])} {record['status']}"


def cluster_happenings(change: Mapping[str, Any], known: dict[str, int | None]) -> Iterator[str]:
    """The names of what a change of a watch tells: the states of Helm's records, and Deployments
    that are made or changed. `known` has the generation of each object, and is kept up.

    https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
    """
    metadata = change["object"].get("metadata", {})
    if change["type"] not in ("ADDED", "MODIFIED"):
        return
    if status := metadata.get("labels", {}).get("status"):
        yield f"helm: the release is {status}"
    generation = metadata.get("generation")
    if generation is not None and known.get(metadata["name"]) != generation:
        doing = "changed" if metadata["name"] in known else "made"
        yield f"helm: Deployment {metadata['name']} is {doing}"
        known[metadata["name"]] = generation
