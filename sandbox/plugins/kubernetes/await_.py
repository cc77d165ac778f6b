"""When an object counts as ready, and waiting for that and for its end.

The conditions are those of `kubectl rollout status` and of Pulumi's own plugin:
https://www.pulumi.com/registry/packages/kubernetes/how-to-guides/pulumi-kubernetes-await-logic/
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import httpx

from sandbox.plugins.kubernetes.client import ApiError, Cluster
from sandbox.plugins.kubernetes.objects import (
    SKIP_AWAIT,
    TIMEOUT_SECONDS,
    Gvk,
    Object,
    annotation,
    is_true,
    metadata,
    name_of,
    namespace_of,
    object_id,
)

_DEFAULT_SECONDS: Final = 600
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 1.0


class NotReady(Exception):
    """An object that exists and did not become ready; `reasons` say what is missing and where to
    look on. `live` is the object as it was last seen."""

    def __init__(self, message: str, live: Object, reasons: list[str]) -> None:
        super().__init__(message)
        self.live = live
        self.reasons = reasons


class _Failed(Exception):
    """It can't become ready any more."""


class Cancelled(Exception):
    """The engine asked the plugin to stop."""


def timeout_of(inputs: Mapping[str, Any], seconds: float) -> float:
    """How long to wait: the resource's customTimeouts (`seconds`, 0 if none), its annotation
    pulumi.com/timeoutSeconds, or 10 minutes."""
    if seconds:
        return seconds
    text = annotation(inputs, TIMEOUT_SECONDS)
    return int(text) if text.isdigit() else _DEFAULT_SECONDS


def _status(live: Object) -> Mapping[str, Any]:
    found = live.get("status")
    return found if isinstance(found, Mapping) else {}


def _spec(live: Object) -> Mapping[str, Any]:
    found = live.get("spec")
    return found if isinstance(found, Mapping) else {}


def _condition(live: Object, kind: str) -> Mapping[str, Any]:
    for item in _status(live).get("conditions") or ():
        if item.get("type") == kind:
            return dict(item)
    return {}


def _said(condition: Mapping[str, Any]) -> str:
    words = [str(condition[key]) for key in ("reason", "message") if condition.get(key)]
    return ": ".join(words)


def _unobserved(live: Object) -> str | None:
    if _status(live).get("observedGeneration", 0) < metadata(live).get("generation", 0):
        return "its controller has not seen the change yet"
    return None


async def _deployment(cluster: Cluster, live: Object) -> str | None:
    if waiting := _unobserved(live):
        return waiting
    wanted, status = _spec(live).get("replicas", 1), _status(live)
    updated, available = status.get("updatedReplicas", 0), status.get("availableReplicas", 0)
    if updated < wanted or available < updated or status.get("replicas", 0) > updated:
        progress = _condition(live, "Progressing")
        stuck = f" ({_said(progress)})" if progress.get("status") == "False" else ""
        return f"{available} of {wanted} replicas are available, {updated} are updated{stuck}"
    return None


async def _stateful_set(cluster: Cluster, live: Object) -> str | None:
    if waiting := _unobserved(live):
        return waiting
    spec, status = _spec(live), _status(live)
    wanted = spec.get("replicas", 1)
    ready, updated = status.get("readyReplicas", 0), status.get("updatedReplicas", 0)
    rolls = (spec.get("updateStrategy") or {}).get("type") != "OnDelete"
    if ready < wanted or (rolls and status.get("currentRevision") != status.get("updateRevision")):
        return f"{ready} of {wanted} replicas are ready, {updated} are updated"
    return None


async def _daemon_set(cluster: Cluster, live: Object) -> str | None:
    if waiting := _unobserved(live):
        return waiting
    status = _status(live)
    wanted = status.get("desiredNumberScheduled", 0)
    updated, available = status.get("updatedNumberScheduled", 0), status.get("numberAvailable", 0)
    rolls = (_spec(live).get("updateStrategy") or {}).get("type") != "OnDelete"
    if available < wanted or (rolls and updated < wanted):
        return f"{available} of {wanted} pods are available, {updated} are updated"
    return None


async def _job(cluster: Cluster, live: Object) -> str | None:
    failed = _condition(live, "Failed")
    if failed.get("status") == "True":
        raise _Failed(f"the Job failed: {_said(failed)}")
    if _condition(live, "Complete").get("status") == "True":
        return None
    return f"{_status(live).get('succeeded', 0)} pods have succeeded, the Job is not complete"


async def _pod(cluster: Cluster, live: Object) -> str | None:
    phase = _status(live).get("phase")
    if phase == "Failed":
        raise _Failed(f"the Pod failed: {_said(_status(live))}")
    ready = _condition(live, "Ready")
    if phase == "Succeeded" or ready.get("status") == "True":
        return None
    return f"the Pod is {phase or 'not scheduled'}: {_said(ready) or 'it is not ready'}"


async def _service(cluster: Cluster, live: Object) -> str | None:
    spec = _spec(live)
    kind = spec.get("type", "ClusterIP")
    if kind == "LoadBalancer" and not (_status(live).get("loadBalancer") or {}).get("ingress"):
        return "no load balancer has given it an address"
    if kind == "ExternalName" or spec.get("clusterIP") == "None" or not spec.get("selector"):
        return None
    slices = await cluster.find(
        Gvk("discovery.k8s.io", "v1", "EndpointSlice"),
        namespace_of(live),
        labels=f"kubernetes.io/service-name={name_of(live)}",
    )
    ready = any(
        (endpoint.get("conditions") or {}).get("ready", True)
        for item in slices
        for endpoint in item.get("endpoints") or ()
    )
    return None if ready else "its selector finds no pod that is ready"


async def _ingress(cluster: Cluster, live: Object) -> str | None:
    if (_status(live).get("loadBalancer") or {}).get("ingress"):
        return None
    return "no ingress controller has given it an address"


async def _volume(cluster: Cluster, live: Object) -> str | None:
    phase = _status(live).get("phase")
    return None if phase in ("Available", "Bound") else f"it is {phase}"


async def _claim(cluster: Cluster, live: Object) -> str | None:
    phase = _status(live).get("phase")
    if phase == "Bound":
        return None
    if phase == "Pending" and (name := _spec(live).get("storageClassName")):
        storage = await cluster.get(Gvk("storage.k8s.io", "v1", "StorageClass"), "", str(name))
        if storage.get("volumeBindingMode") == "WaitForFirstConsumer":
            return None
    return f"it is {phase}, bound to no volume"


async def _quota(cluster: Cluster, live: Object) -> str | None:
    if _spec(live).get("hard") == _status(live).get("hard"):
        return None
    return "its limits are not in force"


async def _replication_controller(cluster: Cluster, live: Object) -> str | None:
    wanted, available = _spec(live).get("replicas", 1), _status(live).get("availableReplicas", 0)
    return None if wanted == available else f"{available} of {wanted} replicas are available"


async def _token_secret(cluster: Cluster, live: Object) -> str | None:
    if live.get("type") != "kubernetes.io/service-account-token" or live.get("data"):
        return None
    return "no controller has put a token into it"


async def _definition(cluster: Cluster, live: Object) -> str | None:
    established = _condition(live, "Established")
    if established.get("status") == "True":
        return None
    return f"it is not established {_said(established)}".strip()


_Condition = Callable[[Cluster, Object], Awaitable[str | None]]
_CONDITIONS: Final[dict[Gvk, _Condition]] = {
    Gvk("apps", "v1", "Deployment"): _deployment,
    Gvk("apps", "v1", "StatefulSet"): _stateful_set,
    Gvk("apps", "v1", "DaemonSet"): _daemon_set,
    Gvk("batch", "v1", "Job"): _job,
    Gvk("", "v1", "Pod"): _pod,
    Gvk("", "v1", "Service"): _service,
    Gvk("networking.k8s.io", "v1", "Ingress"): _ingress,
    Gvk("", "v1", "PersistentVolume"): _volume,
    Gvk("", "v1", "PersistentVolumeClaim"): _claim,
    Gvk("", "v1", "ResourceQuota"): _quota,
    Gvk("", "v1", "ReplicationController"): _replication_controller,
    Gvk("", "v1", "Secret"): _token_secret,
    Gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition"): _definition,
}
_READ_CONDITIONS: Final = {
    gvk: _CONDITIONS[gvk]
    for gvk in (
        Gvk("apps", "v1", "Deployment"),
        Gvk("apps", "v1", "StatefulSet"),
        Gvk("apps", "v1", "DaemonSet"),
        Gvk("batch", "v1", "Job"),
        Gvk("", "v1", "Pod"),
        Gvk("", "v1", "Service"),
        Gvk("networking.k8s.io", "v1", "Ingress"),
    )
}
"""What a refresh looks at: these kinds can cease to be ready."""

Report = Callable[[str], Awaitable[None]]


class Waiter:
    """Waits on one cluster's objects until the engine says to stop."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._stopped = asyncio.Event()

    def stop(self) -> None:
        """Let everything that waits end with Cancelled."""
        self._stopped.set()

    async def pause(self, seconds: float) -> None:
        """Let `seconds` pass. Raises Cancelled as soon as the engine says to stop."""
        try:
            await asyncio.wait_for(self._stopped.wait(), seconds)
        except TimeoutError:
            return
        raise Cancelled("the operation was cancelled")

    async def until_ready(
        self, inputs: Object, live: Object, *, seconds: float, report: Report
    ) -> Object:
        """The live object once it is ready; at once for kinds without a condition, or when the
        inputs say pulumi.com/skipAwait.

        `report` is told what it waits on, each time that changes. Raises NotReady when `seconds`
        have passed, when it can't become ready any more, or when the engine says to stop.
        """
        condition = _CONDITIONS.get(Gvk.of(live))
        if condition is None or is_true(inputs, SKIP_AWAIT):
            return live
        deadline, pause, told = time.monotonic() + seconds, _FIRST_PAUSE, ""
        while True:
            live, waiting, final = await self._look(condition, live)
            if waiting is None:
                return live
            if final is not None:
                raise NotReady(final, live, await self._reasons(live, waiting))
            if waiting != told:
                await report(waiting)
                told = waiting
            if time.monotonic() + pause > deadline:
                raise NotReady(
                    f"'{name_of(live)}' timed out waiting to be Ready",
                    live,
                    await self._reasons(live, waiting),
                )
            try:
                await self.pause(pause)
            except Cancelled:
                raise NotReady(
                    f'Resource operation was cancelled for "{name_of(live)}"',
                    live,
                    await self._reasons(live, waiting),
                ) from None
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def check(self, inputs: Object, live: Object) -> None:
        """Look once, as a refresh does. Raises NotReady."""
        condition = _READ_CONDITIONS.get(Gvk.of(live))
        if condition is None or is_true(inputs, SKIP_AWAIT):
            return
        live, waiting, _ = await self._look(condition, live, again=False)
        if waiting is not None:
            raise NotReady(
                f"Resource '{name_of(live)}' was created but failed to initialize",
                live,
                await self._reasons(live, waiting),
            )

    async def _look(
        self, condition: _Condition, live: Object, *, again: bool = True
    ) -> tuple[Object, str | None, str | None]:
        """The object now, what it waits on, and why it never will be ready, if so."""
        try:
            if again:
                live = await self._cluster.get(Gvk.of(live), namespace_of(live), name_of(live))
            return live, await condition(self._cluster, live), None
        except _Failed as error:
            return live, str(error), f"'{name_of(live)}' failed: {error}"
        except ApiError as error:
            if error.not_found and again:
                return live, str(error), f"'{name_of(live)}' was deleted while it was awaited"
            return live, str(error), None
        except httpx.HTTPError as error:
            return live, f"the API server did not answer: {error}", None

    async def _reasons(self, live: Object, waiting: str) -> list[str]:
        kind, namespace = Gvk.of(live).kind, namespace_of(live)
        where = f" -n {namespace}" if namespace else ""
        warnings = []
        try:
            events = await self._cluster.find(
                Gvk("", "v1", "Event"),
                namespace,
                fields=f"involvedObject.uid={metadata(live).get('uid')},type=Warning",
            )
            warnings = [_said(event) for event in events[-3:]]
        except (ApiError, httpx.HTTPError):
            pass  # The events only add to what is known already.
        return [
            f"{kind} {object_id(live)}: {waiting}",
            *warnings,
            f"look on with: kubectl describe {kind.lower()}/{name_of(live)}{where}",
        ]

    async def until_gone(
        self, gvk: Gvk, namespace: str, name: str, *, uid: str, seconds: float, report: Report
    ) -> None:
        """Return once the object with that uid is gone.

        Raises TimeoutError after `seconds`, which says what holds it.
        """
        deadline, pause, told = time.monotonic() + seconds, _FIRST_PAUSE, ""
        holding = ""
        while True:
            try:
                live = await self._cluster.get(gvk, namespace, name)
                if uid and metadata(live).get("uid") != uid:
                    return
                holding = _holding(live)
            except ApiError as error:
                if error.not_found:
                    return
                holding = str(error)
            except httpx.HTTPError as error:
                holding = f"the API server did not answer: {error}"
            if holding != told:
                await report(f"waiting for deletion: {holding}")
                told = holding
            if time.monotonic() + pause > deadline:
                where = f" -n {namespace}" if namespace else ""
                raise TimeoutError(
                    f"timed out waiting for {gvk.kind} {namespace + '/' if namespace else ''}{name}"
                    f" to be deleted: {holding}; look on with: kubectl get"
                    f" {gvk.kind.lower()}/{name}{where} -o yaml"
                )
            await self.pause(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)


def _holding(live: Object) -> str:
    parts = []
    finalizers = [*(metadata(live).get("finalizers") or ()), *(_spec(live).get("finalizers") or ())]
    if finalizers:
        parts.append(f"finalizers might be preventing deletion ({', '.join(finalizers)})")
    parts += [
        _said(item)
        for item in _status(live).get("conditions") or ()
        if item.get("status") == "True" and str(item.get("type", "")).startswith("Namespace")
    ]
    return "; ".join(parts) or "the API server still has it"
