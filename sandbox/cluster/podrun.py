"""Runs one pod as a process, restarts it, and reports its status to the API."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx

from sandbox.cluster import containers
from sandbox.cluster.api import Api, ApiError, Object, write_kubeconfig
from sandbox.cluster.containers import NotConfigured, Sources
from sandbox.cluster.podstatus import ContainerState, now, status
from sandbox.cluster.programs import MOUNTED, PodContext, Program, Services, program_of
from sandbox.cluster.roles import Role, runs_redis_password
from sandbox.cluster.supervise import Backoff, ProcessOwner
from sandbox.cluster.volumes import bound_volume
from sandbox.paths import remove_tree, write_private
from sandbox.processes import Process

_RETRY = 0.5
_PROBE_UNTIL_READY = 0.1
_PROBE_WHEN_READY = 5.0
_REFRESH = 60.0
_TOKEN_SECONDS = 365 * 24 * 3600
"""Long, because the token is bound to the pod and becomes invalid when the pod is deleted."""


@dataclass(frozen=True)
class Host:
    """What the pods of a cluster share."""

    api: Api
    server: str
    ca_file: Path
    bin_dir: Path
    path: Callable[[str], Path]
    """Finds a program of the sandbox that is not in `bin_dir`, or raises KeyError."""
    volume: Callable[[str], Path]
    """The folder of the volume with that ID."""
    pods: Path
    """Folder that contains the pods' folders."""
    logs: Path
    sockets: Path
    """Folder with a short path."""


class PodRun(ProcessOwner):
    """Runs the process of `pod`, from `start` until `stop` or `remove`."""

    def __init__(
        self,
        pod: Object,
        role: Role,
        host: Host,
        services: Services | None,
        *,
        ip: str,
    ) -> None:
        super().__init__()
        self.pod = pod
        self.role = role
        self.namespace: str = pod["metadata"]["namespace"]
        self.name: str = pod["metadata"]["name"]
        self.uid: str = pod["metadata"]["uid"]
        self.program: Program | None = None
        self._host = host
        self._services = services
        self._ip = ip
        self._folder = host.pods / self.uid
        self._state = _initial_state(pod)
        self._initialized = self._state.restarts > 0

    @property
    def ready(self) -> bool:
        return self._state.ready

    @property
    def restarts(self) -> int:
        return self._state.restarts

    @property
    def log(self) -> Path:
        return self._host.logs / f"{self.namespace}.{self.name}.log"

    def start(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._task.start(self._run(), name=f"pod {self.namespace}/{self.name}")

    async def stop(self, *, seconds: float = 5) -> None:
        """Stop the process; the pod stays unchanged in the API."""
        await super().stop(seconds=seconds)
        self._state.ready = False

    async def remove(self) -> None:
        """Stop the process, delete the pod in the API, and remove its folder and its log."""
        grace = self.pod["metadata"].get("deletionGracePeriodSeconds") or 0
        await self.stop(seconds=min(grace, 10))
        path = f"/api/v1/namespaces/{self.namespace}/pods/{self.name}"
        with contextlib.suppress(ApiError):
            # 409: a new pod has the same name already, as in a StatefulSet.
            await self._host.api.delete(path, grace_seconds=0, uid=self.uid)
        await asyncio.to_thread(remove_tree, self._folder)
        self.log.unlink(missing_ok=True)

    async def _run(self) -> None:
        backoff = Backoff()
        await self._report()
        while not self._state.finished:
            started = time.monotonic()
            try:
                await self._initialize()
                code = await self._run_once()
            except NotConfigured as error:
                await self._wait("CreateContainerConfigError", str(error))
                await asyncio.sleep(_RETRY)
                continue
            except (ApiError, httpx.HTTPError, OSError) as error:
                await self._wait("CreateContainerError", str(error))
                await asyncio.sleep(_RETRY)
                continue
            await self._ended(code)
            if not self._state.finished:
                await asyncio.sleep(backoff.after(time.monotonic() - started))

    async def _initialize(self) -> None:
        """Run the init container that creates Redis' password; the others have no effect here."""
        if self._initialized:
            return
        for container in self.pod["spec"].get("initContainers") or []:
            if runs_redis_password(container):
                program = await self._prepare(Role.REDIS_PASSWORD, container)
                process = await self._start(program)
                if code := await process.wait():
                    raise NotConfigured(
                        f"init container {container['name']} ended with exit code {code}"
                    )
        self._initialized = True

    async def _run_once(self) -> int:
        """Start the process, report its readiness while it runs, and return its exit code."""
        container = self.pod["spec"]["containers"][0]
        self.program = await self._prepare(self.role, container)
        process = await self._start(self.program)
        self._state.started_at = now()
        await self._report()
        ended = asyncio.create_task(process.wait())
        refreshed = time.monotonic()
        try:
            while not ended.done():
                healthy = not self.role.is_command and await self.program.healthy()
                if healthy != self._state.ready and not ended.done():
                    self._state.ready = healthy
                    await self._report()
                if time.monotonic() - refreshed > _REFRESH:
                    refreshed = time.monotonic()
                    with contextlib.suppress(ApiError, httpx.HTTPError, NotConfigured):
                        await self._write_files(container)
                pause = _PROBE_WHEN_READY if self._state.ready else _PROBE_UNTIL_READY
                await asyncio.wait([ended], timeout=pause)
            return ended.result()
        finally:
            ended.cancel()

    async def _prepare(self, role: Role, container: Object) -> Program:
        await self._write_files(container)
        sources = Sources(self._host.api, self.namespace)
        env = await containers.environment(self.pod, container, sources)
        if role is Role.APPLICATION_CONTROLLER:
            # Argo CD takes the shard's number from the hostname, which is the machine's here.
            ordinal = self.name.rpartition("-")[2]
            if ordinal.isdecimal():
                env.setdefault("ARGOCD_CONTROLLER_SHARD", ordinal)
        context = PodContext(
            bin_dir=self._host.bin_dir,
            folder=self._folder,
            socket=self._host.sockets / self.uid,
            kubeconfig=await self._kubeconfig(),
            services=self._services,
            namespace=self.namespace,
            path=self._host.path,
            working_dir=await self._working_dir(container),
        )
        return program_of(role, containers.arguments(container, env), env, context)

    async def _working_dir(self, container: Object) -> Path | None:
        """The folder with the volume that is mounted at `volume` where the container works; None if
        nothing is mounted there. Raises NotConfigured if its claim is not bound to a volume of
        DigitalOcean."""
        mounted = [
            mount["name"]
            for mount in container.get("volumeMounts") or []
            if mount["mountPath"] == f"{container.get('workingDir', '').rstrip('/')}/volume"
        ]
        for volume in self.pod["spec"].get("volumes") or []:
            if volume["name"] in mounted and (claim := volume.get("persistentVolumeClaim")):
                handle = await bound_volume(self._host.api, self.namespace, claim["claimName"])
                if handle is None:
                    raise NotConfigured(f'persistentvolumeclaim "{claim["claimName"]}" not bound')
                return self._host.volume(handle).parent
        return None

    async def _write_files(self, container: Object) -> None:
        """Write the current files of the mount paths that Argo CD reads."""
        sources = Sources(self._host.api, self.namespace)
        for mount_path in MOUNTED.values():
            folder = self._folder / mount_path.lstrip("/")
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            files = await containers.files_at(mount_path, self.pod, container, sources)
            for name, text in files.items():
                write_private(folder / name, text.encode())

    async def _start(self, program: Program) -> Process:
        self.process = await Process.start(
            f"{self.namespace}/{self.name}",
            program.argv,
            log=self.log,
            env=program.env,
            cwd=program.cwd or self._folder,
        )
        return self.process

    async def _kubeconfig(self) -> Path | None:
        """A kubeconfig with a token of the pod's service account.

        None if the pod or its service account sets `automountServiceAccountToken: false`
        (https://kubernetes.io/docs/tasks/configure-pod-container/configure-service-account/).
        """
        account = self.pod["spec"].get("serviceAccountName") or "default"
        path = f"/api/v1/namespaces/{self.namespace}/serviceaccounts/{account}"
        automount = self.pod["spec"].get("automountServiceAccountToken")
        if automount is None:
            automount = (await self._host.api.get(path) or {}).get("automountServiceAccountToken")
        if automount is False:
            return None
        pod = {"apiVersion": "v1", "kind": "Pod", "name": self.name, "uid": self.uid}
        token_request = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": _TOKEN_SECONDS, "boundObjectRef": pod},
        }
        response = await self._host.api.call("POST", f"{path}/token", token_request)
        token_file = self._folder / "token"
        write_private(token_file, response["status"]["token"].encode())
        kubeconfig: Path = self._folder / "kubeconfig"
        write_kubeconfig(
            kubeconfig,
            server=self._host.server,
            ca_file=self._host.ca_file,
            user={"tokenFile": str(token_file)},
            namespace=self.namespace,
        )
        return kubeconfig

    async def _ended(self, code: int) -> None:
        policy = self.pod["spec"].get("restartPolicy", "Always")
        self._state.started_at = None
        self._state.ready = False
        self._state.exit_code = code
        self._state.finished_at = now()
        self._state.output = await asyncio.to_thread(self._last_lines)
        self._state.finished = policy == "Never" or (policy == "OnFailure" and code == 0)
        if not self._state.finished:
            self._state.restarts += 1
        message = f"exit code {code}; see {self.log}"
        await self._wait("CrashLoopBackOff", message)

    def _last_lines(self) -> str:
        """What a failed container's message is by `FallbackToLogsOnError`
        (https://kubernetes.io/docs/tasks/debug/debug-application/determine-reason-pod-failure/)."""
        container = self.pod["spec"]["containers"][0]
        if container.get("terminationMessagePolicy") != "FallbackToLogsOnError":
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-80:])[-2048:]

    async def _wait(self, reason: str, message: str) -> None:
        before = (self._state.waiting, self._state.message)
        self._state.waiting, self._state.message = reason, message
        if before != (reason, message) or self._state.exit_code is not None:
            await self._report()

    async def _report(self) -> None:
        """Write the state into the pod's status; ignores a deleted pod and a stopped server."""
        body = {
            "metadata": {"uid": self.uid},
            "status": status(self.pod, self._state, initialized=self._initialized, ip=self._ip),
        }
        path = f"/api/v1/namespaces/{self.namespace}/pods/{self.name}/status"
        with contextlib.suppress(ApiError, httpx.HTTPError):
            self.pod = await self._host.api.call(
                "PATCH", path, body, content_type="application/strategic-merge-patch+json"
            )


def _initial_state(pod: Object) -> ContainerState:
    """A new state, or that of a pod whose process ended with the sandbox, with one more restart."""
    statuses = pod.get("status", {}).get("containerStatuses") or []
    if not statuses:
        return ContainerState()
    ran = "running" in statuses[0]["state"] or statuses[0]["restartCount"] > 0
    return ContainerState(restarts=statuses[0]["restartCount"] + int(ran))
