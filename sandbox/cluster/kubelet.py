"""Runs the pods of Argo CD in one cluster as processes of this machine."""

import asyncio
import hashlib
import ipaddress
import logging
import os
import shutil
import stat
import tempfile
from collections.abc import Sequence
from pathlib import Path

import httpx
import tenacity

from sandbox.cluster.api import ApiError, Change, Object
from sandbox.cluster.controlplane import ControlPlane
from sandbox.cluster.podrun import Host, PodRun
from sandbox.cluster.programs import Services
from sandbox.cluster.relay import Relay
from sandbox.cluster.roles import Role, role_of
from sandbox.cluster.stages import Forward
from sandbox.cluster.tools import ClusterTools
from sandbox.paths import remove_tree
from sandbox.tasks import end

_log = logging.getLogger(__name__)

_PODS = "/api/v1/pods"
_REMOVED_WITHIN = 12.0
"""Seconds: a little longer than any pod's process is given to end."""

_CALLED = (Role.REDIS, Role.REPO_SERVER, Role.SERVER)
"""The roles that others call, each at a port of its own that stays the same."""


class Kubelet:
    """Runs what `role_of` says is Argo CD's, in whatever namespace, as soon as it is scheduled.

    A pod is ready when its process is; a process that ends is started again; a pod that is deleted
    takes its process with it. `plane` must have been started.
    """

    def __init__(
        self, plane: ControlPlane, tools: ClusterTools, *, cluster_subnet: str = "10.244.0.0/16"
    ) -> None:
        self._plane = plane
        self._tools = tools
        self._subnet = ipaddress.ip_network(cluster_subnet)
        self._runs: dict[str, PodRun] = {}
        self._relays: dict[tuple[str, Role], Relay] = {}
        self._removals: set[asyncio.Task[None]] = set()
        self._task: asyncio.Task[None] | None = None
        self._host: Host | None = None

    @property
    def runs(self) -> Sequence[PodRun]:
        """The pods that are run at this moment."""
        return tuple(self._runs.values())

    def server_url(self, namespace: str | None = None) -> str | None:
        """Where the API of Argo CD listens, in that namespace or the first one that has it.

        None while no argocd-server is ready. The port stays the same for the cluster's life.
        """
        for run in self._runs.values():
            if run.role is Role.SERVER and run.ready and namespace in (None, run.namespace):
                assert run.program is not None
                port = self._relays[run.namespace, Role.SERVER].port
                return f"{'https' if run.program.tls else 'http'}://127.0.0.1:{port}"
        return None

    async def start(self) -> None:
        """Run the pods that there are, and from now on each that comes."""
        pods, logs = self._plane.folder / "pods", self._plane.folder / "logs"
        pods.mkdir(mode=0o700, exist_ok=True)
        present = {pod["metadata"]["uid"] for pod in await self._plane.api.items(_PODS)}
        for left in pods.iterdir():
            if left.name not in present:
                await asyncio.to_thread(remove_tree, left)
        self._host = Host(
            api=self._plane.api,
            server=self._plane.server,
            ca_file=self._plane.certificates.ca_file,
            bin_dir=self._tools.bin_dir,
            pods=pods,
            logs=logs,
            sockets=_short_folder(self._plane.folder),
        )
        self._task = asyncio.create_task(self._follow(), name="kubelet")

    async def stop(self) -> None:
        """End all processes; the pods stay in the API, and run again after the next `start`."""
        await end(self._task)
        self._task = None
        if self._removals:
            _, late = await asyncio.wait(self._removals, timeout=_REMOVED_WITHIN)
            for removal in late:
                removal.cancel()
        await asyncio.gather(*(run.stop() for run in self._runs.values()))
        self._runs.clear()
        await asyncio.gather(*(relay.stop() for relay in self._relays.values()))
        self._relays.clear()
        if self._host is not None:
            shutil.rmtree(self._host.sockets, ignore_errors=True)
            self._host = None

    async def _follow(self) -> None:
        async for change in self._plane.api.watch(_PODS):
            try:
                await self._consider(change)
            except (ApiError, httpx.HTTPError, OSError) as error:
                _log.error("pod %s: %s", change.object["metadata"]["name"], error)

    async def _consider(self, change: Change) -> None:
        pod = change.object
        uid = pod["metadata"]["uid"]
        run = self._runs.get(uid)
        if run is not None:
            run.pod = pod
        going = change.gone or "deletionTimestamp" in pod["metadata"]
        if going and run is not None:
            del self._runs[uid]
            self._remove(run)
        elif run is None and not change.gone and pod["spec"].get("nodeName"):
            role = role_of(pod)
            if role is None:
                return
            if going:
                # It was deleted while the sandbox was down: nothing runs, and kwok leaves it to us.
                self._remove(await self._new_run(pod, role))
            elif pod["status"].get("phase") not in ("Succeeded", "Failed"):
                self._runs[uid] = run = await self._new_run(pod, role)
                run.start()

    def _remove(self, run: PodRun) -> None:
        removal = asyncio.create_task(run.remove(), name=f"remove pod {run.name}")
        self._removals.add(removal)
        removal.add_done_callback(self._removals.discard)

    async def _new_run(self, pod: Object, role: Role) -> PodRun:
        assert self._host is not None
        namespace = pod["metadata"]["namespace"]
        if role is Role.SERVER:
            await self._forward(pod)
        ports = {each: (await self._relay(namespace, each)).port for each in _CALLED}
        return PodRun(
            pod,
            role,
            self._host,
            Services(redis=ports[Role.REDIS], repo_server=ports[Role.REPO_SERVER]),
            ip=self._address(pod["metadata"]["uid"]),
        )

    async def _forward(self, pod: Object) -> None:
        """Let `kubectl port-forward` to Argo CD's API end at its relay."""
        namespace = pod["metadata"]["namespace"]
        relay = await self._relay(namespace, Role.SERVER)
        for port in pod["spec"]["containers"][0].get("ports") or []:
            if port.get("name") in (None, "server"):
                forward = Forward(namespace, port["containerPort"], relay.port)
                await self._plane.forward(forward)
                return

    async def _relay(self, namespace: str, role: Role) -> Relay:
        relay = self._relays.get((namespace, role))
        if relay is None:
            relay = await self._new_relay(namespace, role)
            self._relays[namespace, role] = relay
        return relay

    @tenacity.retry(
        retry=tenacity.retry_if_exception_type(OSError),
        stop=tenacity.stop_after_attempt(5),
        reraise=True,
    )
    async def _new_relay(self, namespace: str, role: Role) -> Relay:
        """At the port that was free a moment ago; the next attempt finds another one."""

        def target() -> int | None:
            for run in self._runs.values():
                if (run.namespace, run.role) == (namespace, role) and run.ready:
                    assert run.program is not None
                    return run.program.port
            return None

        port = await asyncio.to_thread(self._plane.ports.settle, f"{namespace}/{role}")
        relay = Relay(port, target)
        await relay.start()
        return relay

    def _address(self, uid: str) -> str:
        """An address in the pods' network. Nothing listens there; Services want to know one."""
        spread = int.from_bytes(hashlib.sha256(uid.encode()).digest()[:4])
        return str(self._subnet[-2 - spread % 250])


def _short_folder(folder: Path) -> Path:
    """A private folder with a short path, for sockets; the same one each time for `folder`.

    Raises PermissionError if somebody else has made it.
    """
    name = hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]
    short = Path(tempfile.gettempdir()) / f"doks-gitops-{os.getuid()}-{name}"
    short.mkdir(mode=0o700, exist_ok=True)
    found = short.lstat()
    if found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) != 0o700 or short.is_symlink():
        raise PermissionError(f"{short} is not a private folder of ours; remove it")
    return short
