"""One pod of Argo CD as a process: started, watched, restarted, and reported to the API."""

import asyncio
import contextlib
import time
from dataclasses import dataclass
from pathlib import Path

import httpx

from sandbox.cluster import containers
from sandbox.cluster.api import Api, ApiError, Object, write_kubeconfig
from sandbox.cluster.containers import NotConfigured, Sources, Volumes
from sandbox.cluster.podstatus import ContainerState, now, status
from sandbox.cluster.programs import Program, Services, Surroundings, program
from sandbox.cluster.roles import Role, runs_redis_password
from sandbox.cluster.supervise import Backoff
from sandbox.paths import remove_tree, write_private
from sandbox.processes import Process
from sandbox.tasks import end

_RETRY = 0.5
_PROBE_UNTIL_READY = 0.1
_PROBE_WHEN_READY = 5.0
_REFRESH = 60.0
_TOKEN_SECONDS = 365 * 24 * 3600
"""A pod's token ends with the pod, to which it is bound, not with time."""
_LOG_LIMIT = 8 * 2**20


@dataclass(frozen=True)
class Host:
    """What all pods of a cluster have in common."""

    api: Api
    server: str
    ca_file: Path
    bin_dir: Path
    pods: Path
    """Folder of the pods' folders."""
    logs: Path
    sockets: Path
    """Folder whose path is short."""


class PodRun:
    """Runs the process of `pod`, whose role is `role`, from `start` until `stop` or `remove`."""

    def __init__(
        self,
        pod: Object,
        role: Role,
        host: Host,
        services: Services,
        *,
        ip: str,
    ) -> None:
        self.pod = pod
        self.role = role
        self.namespace: str = pod["metadata"]["namespace"]
        self.name: str = pod["metadata"]["name"]
        self.uid: str = pod["metadata"]["uid"]
        self.program: Program | None = None
        self.process: Process | None = None
        self._host = host
        self._services = services
        self._ip = ip
        self._folder = host.pods / self.uid
        self._volumes = Volumes(self._folder / "volumes", pod)
        self._state = _taken_over(pod)
        self._initialized = self._state.restarts > 0
        self._task: asyncio.Task[None] | None = None

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
        self._task = asyncio.create_task(self._live(), name=f"pod {self.namespace}/{self.name}")

    async def stop(self, *, seconds: float = 5) -> None:
        """End its process; the pod stays as it is in the API."""
        await end(self._task)
        self._task = None
        if self.process is not None:
            await self.process.stop(seconds=seconds)
            self.process = None
        self._state.ready = False

    async def remove(self) -> None:
        """End its process, take the pod out of the API, and remove its folder and its log."""
        grace = self.pod["metadata"].get("deletionGracePeriodSeconds") or 0
        await self.stop(seconds=min(grace, 10))
        path = f"/api/v1/namespaces/{self.namespace}/pods/{self.name}"
        with contextlib.suppress(ApiError):
            # 409: a pod of the same name has taken its place, as StatefulSets do.
            await self._host.api.delete(path, grace_seconds=0, uid=self.uid)
        await asyncio.to_thread(remove_tree, self._folder)
        self.log.unlink(missing_ok=True)

    async def _live(self) -> None:
        backoff = Backoff()
        await self._report()
        while not self._state.finished:
            began = time.monotonic()
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
                await asyncio.sleep(backoff.after(time.monotonic() - began))

    async def _initialize(self) -> None:
        """Run those init containers that matter here: the one that makes Redis' password."""
        if self._initialized:
            return
        for container in self.pod["spec"].get("initContainers") or []:
            if runs_redis_password(container):
                made = await self._prepare(Role.REDIS_PASSWORD, container)
                process = await self._start(made)
                if code := await process.wait():
                    raise NotConfigured(
                        f"init container {container['name']} ended with exit code {code}"
                    )
        self._initialized = True

    async def _run_once(self) -> int:
        """Start the process, keep the pod's readiness up to date, and return its exit code."""
        self.program = await self._prepare(self.role, self.pod["spec"]["containers"][0])
        process = await self._start(self.program)
        self._state.started_at = now()
        await self._report()
        ended = asyncio.create_task(process.wait())
        refreshed = time.monotonic()
        try:
            while not ended.done():
                healthy = self.role is not Role.REDIS_PASSWORD and await self.program.healthy()
                if healthy != self._state.ready and not ended.done():
                    self._state.ready = healthy
                    await self._report()
                if time.monotonic() - refreshed > _REFRESH:
                    refreshed = time.monotonic()
                    with contextlib.suppress(ApiError, httpx.HTTPError, NotConfigured):
                        await self._volumes.write(Sources(self._host.api, self.namespace))
                pause = _PROBE_WHEN_READY if self._state.ready else _PROBE_UNTIL_READY
                await asyncio.wait([ended], timeout=pause)
            return ended.result()
        finally:
            ended.cancel()

    async def _prepare(self, role: Role, container: Object) -> Program:
        sources = Sources(self._host.api, self.namespace)
        await self._volumes.write(sources)
        mounted = self._volumes.mounted(container)
        env = {
            name: containers.relocate(value, mounted)
            for name, value in (await containers.environment(self.pod, container, sources)).items()
        }
        if role is Role.APPLICATION_CONTROLLER:
            # It takes its shard's number from the end of its host's name, here the machine's.
            ordinal = self.name.rpartition("-")[2]
            if ordinal.isdecimal():
                env.setdefault("ARGOCD_CONTROLLER_SHARD", ordinal)
        args = [containers.relocate(word, mounted) for word in containers.arguments(container, env)]
        around = Surroundings(
            bin_dir=self._host.bin_dir,
            folder=self._folder,
            socket=self._host.sockets / self.uid,
            kubeconfig=await self._kubeconfig(),
            mounted=mounted,
            services=self._services,
        )
        return program(role, args, env, around)

    async def _start(self, made: Program) -> Process:
        if self.log.exists() and self.log.stat().st_size > _LOG_LIMIT:
            self.log.replace(self.log.with_suffix(".log.1"))
        self.process = await Process.start(
            f"{self.namespace}/{self.name}",
            made.argv,
            log=self.log,
            env=made.env,
            cwd=self._folder,
        )
        return self.process

    async def _kubeconfig(self) -> Path | None:
        """A kubeconfig with the rights of the pod's service account, and none if it has no token.

        The pod may have asked for no token (`automountServiceAccountToken`), or its account may
        have: https://kubernetes.io/docs/tasks/configure-pod-container/configure-service-account/
        """
        account = self.pod["spec"].get("serviceAccountName") or "default"
        path = f"/api/v1/namespaces/{self.namespace}/serviceaccounts/{account}"
        wanted = self.pod["spec"].get("automountServiceAccountToken")
        if wanted is None:
            wanted = (await self._host.api.get(path) or {}).get("automountServiceAccountToken")
        if wanted is False:
            return None
        pod = {"apiVersion": "v1", "kind": "Pod", "name": self.name, "uid": self.uid}
        asked = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": _TOKEN_SECONDS, "boundObjectRef": pod},
        }
        given = await self._host.api.call("POST", f"{path}/token", asked)
        token = self._folder / "token"
        write_private(token, given["status"]["token"].encode())
        kubeconfig: Path = self._folder / "kubeconfig"
        write_kubeconfig(
            kubeconfig,
            server=self._host.server,
            ca_file=self._host.ca_file,
            user={"tokenFile": str(token)},
            namespace=self.namespace,
        )
        return kubeconfig

    async def _ended(self, code: int) -> None:
        policy = self.pod["spec"].get("restartPolicy", "Always")
        self._state.started_at = None
        self._state.ready = False
        self._state.exit_code = code
        self._state.finished_at = now()
        self._state.finished = policy == "Never" or (policy == "OnFailure" and code == 0)
        if not self._state.finished:
            self._state.restarts += 1
        message = f"exit code {code}; see {self.log}"
        await self._wait("CrashLoopBackOff", message)

    async def _wait(self, reason: str, message: str) -> None:
        before = (self._state.waiting, self._state.message)
        self._state.waiting, self._state.message = reason, message
        if before != (reason, message) or self._state.exit_code is not None:
            await self._report()

    async def _report(self) -> None:
        """Put the state into the pod's status; a pod that is gone, or a server, is no matter."""
        body = {
            "metadata": {"uid": self.uid},
            "status": status(self.pod, self._state, initialized=self._initialized, ip=self._ip),
        }
        path = f"/api/v1/namespaces/{self.namespace}/pods/{self.name}/status"
        with contextlib.suppress(ApiError, httpx.HTTPError):
            self.pod = await self._host.api.call(
                "PATCH", path, body, content_type="application/strategic-merge-patch+json"
            )


def _taken_over(pod: Object) -> ContainerState:
    """The state of a pod whose process died with the sandbox: that is one more restart."""
    statuses = pod.get("status", {}).get("containerStatuses") or []
    if not statuses:
        return ContainerState()
    ran = "running" in statuses[0]["state"] or statuses[0]["restartCount"] > 0
    return ContainerState(restarts=statuses[0]["restartCount"] + int(ran))
