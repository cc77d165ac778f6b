"""Runs the pods of Argo CD, of Sealed Secrets and of restic in one cluster as processes on this
machine."""

import asyncio
import hashlib
import ipaddress
import logging
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Sequence
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
from sandbox.tasks import BackgroundTask

_log = logging.getLogger(__name__)

_PODS = "/api/v1/pods"
_REMOVED_WITHIN = 12.0
"""Seconds; a little more than the longest time that a pod's process has to end."""

_SERVICES = (Role.REDIS, Role.REPO_SERVER, Role.SERVER)
"""The roles that other processes connect to, each at a port that stays the same."""


class Kubelet:
    """Runs the pods that have a role (`role_of`), in every namespace.

    A pod's process starts when the pod is scheduled, starts again when it ends, and is stopped when
    the pod is deleted. The pod is ready when its process is. `plane` must have been started.
    `volume` returns the folder of the volume with that ID.
    """

    def __init__(
        self,
        plane: ControlPlane,
        tools: ClusterTools,
        *,
        cluster_subnet: str,
        volume: Callable[[str], Path],
    ) -> None:
        self._volume = volume
        self._plane = plane
        self._tools = tools
        self._subnet = ipaddress.ip_network(cluster_subnet)
        self._runs: dict[str, PodRun] = {}
        self._relays: dict[tuple[str, Role], Relay] = {}
        self._removals: set[asyncio.Task[None]] = set()
        self._task = BackgroundTask()
        self._host: Host | None = None

    @property
    def runs(self) -> Sequence[PodRun]:
        """The pods whose processes are running."""
        return tuple(self._runs.values())

    def url_of(self, role: Role) -> str | None:
        """URL of a part of Argo CD: its API, or the webhooks of its ApplicationSet controller. It
        stays the same for the cluster's life; None while the part is not ready."""
        for run in self._runs.values():
            if run.role is role and run.ready:
                assert run.program is not None
                port = self._relays[run.namespace, role].port
                return f"{'https' if run.program.tls else 'http'}://127.0.0.1:{port}"
        return None

    async def start(self) -> None:
        """Run the existing pods, and every pod that is created from now on."""
        pods, logs = self._plane.folder / "pods", self._plane.folder / "logs"
        pods.mkdir(mode=0o700, exist_ok=True)
        present = {pod["metadata"]["uid"] for pod in await self._plane.api.items(_PODS)}
        for folder in pods.iterdir():
            if folder.name not in present:
                await asyncio.to_thread(remove_tree, folder)
        self._host = Host(
            api=self._plane.api,
            server=self._plane.server,
            ca_file=self._plane.certificates.ca_file,
            bin_dir=self._tools.bin_dir,
            path=self._tools.path,
            volume=self._volume,
            pods=pods,
            logs=logs,
            sockets=_short_folder(self._plane.folder),
        )
        self._task.start(self._follow(), name="kubelet")

    async def stop(self) -> None:
        """Stop all processes. The pods stay in the API and run again after the next `start`."""
        await self._task.stop()
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
                await self._reconcile(change)
            except (ApiError, httpx.HTTPError, OSError) as error:
                _log.error("pod %s: %s", change.object["metadata"]["name"], error)

    async def _reconcile(self, change: Change) -> None:
        pod = change.object
        uid = pod["metadata"]["uid"]
        run = self._runs.get(uid)
        if run is not None:
            run.pod = pod
        deleting = change.deleted or "deletionTimestamp" in pod["metadata"]
        if deleting and run is not None:
            del self._runs[uid]
            self._remove(run)
        elif run is None and not change.deleted and pod["spec"].get("nodeName"):
            role = role_of(pod)
            if role is None:
                return
            if deleting:
                # Deleted while the sandbox was down: no process runs, but the pod must be removed.
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
        elif role is Role.APPLICATIONSET_CONTROLLER:
            await self._relay(namespace, role)
        services = None
        if role not in (Role.SEALED_SECRETS, Role.RESTIC):
            ports = {service: (await self._relay(namespace, service)).port for service in _SERVICES}
            services = Services(redis=ports[Role.REDIS], repo_server=ports[Role.REPO_SERVER])
        return PodRun(
            pod,
            role,
            self._host,
            services,
            ip=self._address(pod["metadata"]["uid"]),
        )

    async def _forward(self, pod: Object) -> None:
        """Make `kubectl port-forward` to Argo CD's API reach its relay."""
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
        """A relay on the role's port. If another program takes the port meanwhile, the retry
        chooses another one."""

        def target() -> int | None:
            for run in self._runs.values():
                if (run.namespace, run.role) == (namespace, role) and run.ready:
                    assert run.program is not None
                    return run.program.port
            return None

        port = await asyncio.to_thread(self._plane.ports.choose, f"{namespace}/{role}")
        relay = Relay(port, target)
        await relay.start()
        return relay

    def _address(self, uid: str) -> str:
        """An address in the pods' network, for EndpointSlices. Nothing listens there."""
        number = int.from_bytes(hashlib.sha256(uid.encode()).digest()[:4])
        return str(self._subnet[-2 - number % 250])


def _short_folder(folder: Path) -> Path:
    """A private folder with a short path, for sockets; always the same one for `folder`.

    Raises PermissionError if it is not a private folder of this user.
    """
    name = hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]
    short = Path(tempfile.gettempdir()) / f"doks-gitops-{os.getuid()}-{name}"
    short.mkdir(mode=0o700, exist_ok=True)
    info = short.lstat()
    if info.st_uid != os.getuid() or stat.S_IMODE(info.st_mode) != 0o700 or short.is_symlink():
        raise PermissionError(f"{short} is not a private folder of this user; remove it")
    return short
