"""Runs `pulumi up`, records what happens in it, and kills it at one of these moments.

Happenings come from three sources: the engine's events (`pulumi up --json`), the requests that the
account answers, and the objects that Helm creates in the cluster. Each is recorded once, by a name
that is the same in every run, so that a moment of one run can be found in the next.
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
from sandbox.processes import with_parent_death_signal

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_LONGEST_EVENT = 2**24
_ARGOCD = "argocd"
"""The namespace of Argo CD."""
_HELM_RECORDS = f"/api/v1/namespaces/{_ARGOCD}/secrets"
_DEPLOYMENTS = f"/apis/apps/v1/namespaces/{_ARGOCD}/deployments"


@dataclass(frozen=True)
class Run:
    """A `pulumi up` that has ended: what happened in it, in order, and the result."""

    happenings: tuple[str, ...]
    killed: bool
    exit_code: int
    errors: str
    """The engine's error messages; empty if there are none."""


def spread(happenings: Sequence[str], count: int, including: Sequence[str]) -> list[str]:
    """`count` moments of a run, spread evenly from its first happening to its last. Each one of
    `including` replaces the nearest moment.

    Raises Failed if the run has fewer happenings, one of `including` did not happen, or there are
    more of them than `count`.
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
    for required in map(happenings.index, including):
        if required not in chosen:
            free = [place for place, index in enumerate(chosen) if index not in fixed]
            nearest = min(free, key=lambda place: abs(chosen[place] - required))
            chosen[nearest] = required
        fixed.add(required)
    return [happenings[index] for index in sorted(chosen)]


async def up(
    pulumi: Engine, daemon: Daemon, stack: str, *, kill_at: str | int | None = None
) -> Run:
    """Run `pulumi up` on the stack; with `kill_at`, kill it when that happens, or when so many
    things have happened.

    All processes of the run are killed at once, as when its machine is switched off: the engine,
    its plugins, and what they run. Returns when they have ended.
    """
    command = ["pulumi", "up", "--stack", stack, "--yes", "--skip-preview", "--json"]
    seen: dict[str, None] = {}
    killed = False
    async with _watching(daemon, pulumi.cluster_name(stack)) as watch:
        process = await asyncio.create_subprocess_exec(
            *with_parent_death_signal(command, "INT"),
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
                if kill_at in (happening, len(seen)):
                    await _kill(process.pid, daemon.pid)
                    killed = True
                    break
        finally:
            engine.cancel()
    output = (await errors).decode(errors="replace")
    messages = "\n".join([*watch.errors, output]).strip()
    return Run(tuple(seen), killed, await process.wait(), messages)


async def _kill(pid: int, daemon: int) -> None:
    engine = psutil.Process(pid)
    processes = [engine, *engine.children(recursive=True)]
    for child in psutil.Process(daemon).children():
        # The processes of a cluster that is being deleted end meanwhile.
        with contextlib.suppress(psutil.NoSuchProcess):
            if loaded.MODULE in child.cmdline():
                processes += child.children(recursive=True)
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    # The engine itself stays a zombie until asyncio has waited for it.
    await asyncio.to_thread(psutil.wait_procs, processes[1:], 30)


@contextlib.asynccontextmanager
async def _watching(daemon: Daemon, cluster: str) -> AsyncIterator["_Watch"]:
    """Watch the account and the cluster of that name inside the block, from its beginning."""
    watch = _Watch(daemon, cluster)
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
    """Puts what happens into `happenings`, and None when the engine's events end."""

    def __init__(self, daemon: Daemon, cluster: str) -> None:
        self.happenings: asyncio.Queue[str | None] = asyncio.Queue()
        self.errors: list[str] = []
        self._daemon = daemon
        self._cluster = cluster
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
            http.stream("GET", "/sandbox/requests") as response,
        ):
            response.raise_for_status()
            async for line in response.aiter_lines():
                if line:
                    self.happenings.put_nowait(account_happening(json.loads(line)))
                else:
                    following.set()

    async def cluster(self) -> None:
        """Watch the cluster, as soon as the engine has created it if it does not exist yet."""
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
        return [c for c in clusters if c["endpoint"] and c["name"] == self._cluster]

    async def _follow(self, http: httpx.AsyncClient, path: str, selector: str) -> None:
        parameters = {"labelSelector": selector}
        listed = (await http.get(path, params=parameters)).raise_for_status().json()
        known = {
            item["metadata"]["name"]: item["metadata"].get("generation") for item in listed["items"]
        }
        parameters |= {"watch": "true", "resourceVersion": listed["metadata"]["resourceVersion"]}
        # The API server ends a long watch, and a stopped cluster ends it too; the run has passed
        # the moments of interest by then.
        with contextlib.suppress(httpx.TransportError):
            async with http.stream("GET", path, params=parameters) as response:
                async for line in response.aiter_lines():
                    for happening in cluster_happenings(json.loads(line), known):
                        self.happenings.put_nowait(happening)


def engine_happening(event: Mapping[str, Any]) -> str | None:
    """The name of a step of the engine that begins or has ended; None if it changes nothing.

    https://www.pulumi.com/docs/iac/automation-api/concepts-terminology/ (engine events)
    """
    for kind, phase in (("resourcePreEvent", "begins"), ("resOutputsEvent", "is done")):
        if (step := event.get(kind)) and (metadata := step["metadata"])["op"] != "same":
            _, _, name = metadata["urn"].rpartition("::")
            return f"engine: {metadata['op']} {metadata['type']} {name} {phase}"
    return None


def account_happening(record: Mapping[str, Any]) -> str:
    """The name of an answered request, with IDs replaced."""
    return f"account: {record['method']} {_ID.sub('ID', record['path'])} {record['status']}"


def cluster_happenings(change: Mapping[str, Any], known: dict[str, int | None]) -> Iterator[str]:
    """The names for an event of a watch: the state of Helm's release, and a Deployment that was
    created or changed. `known` has the generation of each object, and is updated.

    https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
    """
    metadata = change["object"].get("metadata", {})
    if change["type"] not in ("ADDED", "MODIFIED"):
        return
    if status := metadata.get("labels", {}).get("status"):
        yield f"helm: the release is {status}"
    generation = metadata.get("generation")
    if generation is not None and known.get(metadata["name"]) != generation:
        action = "changed" if metadata["name"] in known else "created"
        yield f"helm: Deployment {metadata['name']} is {action}"
        known[metadata["name"]] = generation
