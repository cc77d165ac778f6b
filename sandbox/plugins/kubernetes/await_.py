"""Waits until an object is ready, or until it is deleted.

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
    section,
)

_DEFAULT_SECONDS: Final = 600
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 1.0


class NotReady(Exception):
    """An object that exists and did not become ready.

    `reasons` say what is missing and name a command that shows more. `live` is its last known form.
    """

    def __init__(self, message: str, live: Object, reasons: list[str]) -> None:
        super().__init__(message)
        self.live = live
        self.reasons = reasons


class _Failed(Exception):
    """The object can't become ready any more."""


class Cancelled(Exception):
    """The engine asked the plugin to stop."""


def timeout_of(inputs: Mapping[str, Any], seconds: float) -> float:
    """Seconds to wait: the resource's customTimeouts (`seconds`, 0 for none), its annotation
    pulumi.com/timeoutSeconds, or 10 minutes."""
    if seconds:
        return seconds
    text = annotation(inputs, TIMEOUT_SECONDS)
    return int(text) if text.isdigit() else _DEFAULT_SECONDS


def _status(live: Object) -> Mapping[str, Any]:
    return section(live, "status")


def _spec(live: Object) -> Mapping[str, Any]:
    return section(live, "spec")


def _condition(live: Object, kind: str) -> Mapping[str, Any]:
    for condition in _status(live).get("conditions") or ():
        if condition.get("type") == kind:
            return dict(condition)
    return {}


def _reason(record: Mapping[str, Any]) -> str:
    """The reason and message of a condition, an event or a status."""
    return ": ".join(str(record[key]) for key in ("reason", "message") if record.get(key))


def _unobserved(live: Object) -> str | None:
    if _status(live).get("observedGeneration", 0) < metadata(live).get("generation", 0):
        return "its controller has not seen the change yet"
    return None


async def _deployment(cluster: Cluster, live: Object) -> str | None:
    if waiting := _unobserved(live):
        return waiting
    desired, status = _spec(live).get("replicas", 1), _status(live)
    updated, available = status.get("updatedReplicas", 0), status.get("availableReplicas", 0)
    if updated < desired or available < updated or status.get("replicas", 0) > updated:
        progress = _condition(live, "Progressing")
        stuck = f" ({_reason(progress)})" if progress.get("status") == "False" else ""
        return f"{available} of {desired} replicas are available, {updated} are updated{stuck}"
    return None


async def _stateful_set(cluster: Cluster, live: Object) -> str | None:
    if waiting := _unobserved(live):
        return waiting
    spec, status = _spec(live), _status(live)
    desired = spec.get("replicas", 1)
    ready, updated = status.get("readyReplicas", 0), status.get("updatedReplicas", 0)
    rolls = (spec.get("updateStrategy") or {}).get("type") != "OnDelete"
    if ready < desired or (rolls and status.get("currentRevision") != status.get("updateRevision")):
        return f"{ready} of {desired} replicas are ready, {updated} are updated"
    return None


async def _daemon_set(cluster: Cluster, live: Object) -> str | None:
    if waiting := _unobserved(live):
        return waiting
    status = _status(live)
    desired = status.get("desiredNumberScheduled", 0)
    updated, available = status.get("updatedNumberScheduled", 0), status.get("numberAvailable", 0)
    rolls = (_spec(live).get("updateStrategy") or {}).get("type") != "OnDelete"
    if available < desired or (rolls and updated < desired):
        return f"{available} of {desired} pods are available, {updated} are updated"
    return None


async def _job(cluster: Cluster, live: Object) -> str | None:
    failed = _condition(live, "Failed")
    if failed.get("status") == "True":
        raise _Failed(f"the Job failed: {_reason(failed)}")
    if _condition(live, "Complete").get("status") == "True":
        return None
    return f"{_status(live).get('succeeded', 0)} pods have succeeded, the Job is not complete"


async def _pod(cluster: Cluster, live: Object) -> str | None:
    phase = _status(live).get("phase")
    if phase == "Failed":
        raise _Failed(f"the Pod failed: {_reason(_status(live))}")
    ready = _condition(live, "Ready")
    if phase == "Succeeded" or ready.get("status") == "True":
        return None
    return f"the Pod is {phase or 'not scheduled'}: {_reason(ready) or 'it is not ready'}"


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
    desired, available = _spec(live).get("replicas", 1), _status(live).get("availableReplicas", 0)
    return None if desired == available else f"{available} of {desired} replicas are available"


async def _token_secret(cluster: Cluster, live: Object) -> str | None:
    if live.get("type") != "kubernetes.io/service-account-token" or live.get("data"):
        return None
    return "no controller has put a token into it"


async def _definition(cluster: Cluster, live: Object) -> str | None:
    established = _condition(live, "Established")
    if established.get("status") == "True":
        return None
    return f"it is not established {_reason(established)}".strip()


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
"""The kinds that a refresh checks, because they can cease to be ready."""

Report = Callable[[str], Awaitable[None]]


class Waiter:
    """Waits for the objects of one cluster, until the engine cancels the run."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._stopped = asyncio.Event()

    def stop(self) -> None:
        """Make every wait raise Cancelled."""
        self._stopped.set()

    async def pause(self, seconds: float) -> None:
        """Wait `seconds`. Raises Cancelled as soon as `stop` is called."""
        try:
            await asyncio.wait_for(self._stopped.wait(), seconds)
        except TimeoutError:
            return
        raise Cancelled("the operation was cancelled")

    async def until_ready(
        self, inputs: Object, live: Object, *, seconds: float, report: Report
    ) -> Object:
        """The live object once it is ready. Kinds without a condition, and objects with the
        annotation pulumi.com/skipAwait, are ready at once.

        `report` is called with what is missing, each time that changes. Raises NotReady when
        `seconds` have passed, when the object can't become ready any more, or after `stop`.
        """
        condition = _CONDITIONS.get(Gvk.of(live))
        if condition is None or is_true(inputs, SKIP_AWAIT):
            return live
        deadline, pause, reported = time.monotonic() + seconds, _FIRST_PAUSE, ""
        while True:
            live, waiting, final = await self._look(condition, live)
            if waiting is None:
                return live
            if final is not None:
                raise NotReady(final, live, await self._reasons(live, waiting))
            if waiting != reported:
                await report(waiting)
                reported = waiting
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
        """Check readiness once, as a refresh does. Raises NotReady."""
        condition = _READ_CONDITIONS.get(Gvk.of(live))
        if condition is None or is_true(inputs, SKIP_AWAIT):
            return
        live, waiting, _ = await self._look(condition, live, reload=False)
        if waiting is not None:
            raise NotReady(
                f"Resource '{name_of(live)}' was created but failed to initialize",
                live,
                await self._reasons(live, waiting),
            )

    async def _look(
        self, condition: _Condition, live: Object, *, reload: bool = True
    ) -> tuple[Object, str | None, str | None]:
        """The current object, what it waits for, and why it can never become ready, if so."""
        try:
            if reload:
                live = await self._cluster.get(Gvk.of(live), namespace_of(live), name_of(live))
            return live, await condition(self._cluster, live), None
        except _Failed as error:
            return live, str(error), f"'{name_of(live)}' failed: {error}"
        except ApiError as error:
            if error.not_found and reload:
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
            warnings = [_reason(event) for event in events[-3:]]
        except (ApiError, httpx.HTTPError):
            pass  # Events are only additional information.
        return [
            f"{kind} {object_id(live)}: {waiting}",
            *warnings,
            f"look on with: kubectl describe {kind.lower()}/{name_of(live)}{where}",
        ]

    async def until_gone(
        self, gvk: Gvk, namespace: str, name: str, *, uid: str, seconds: float, report: Report
    ) -> None:
        """Return once the object with that uid is gone.

        Raises TimeoutError after `seconds`, with what prevents the deletion.
        """
        deadline, pause, reported = time.monotonic() + seconds, _FIRST_PAUSE, ""
        blocker = ""
        while True:
            try:
                live = await self._cluster.get(gvk, namespace, name)
                if uid and metadata(live).get("uid") != uid:
                    return
                blocker = _blocker(live)
            except ApiError as error:
                if error.not_found:
                    return
                blocker = str(error)
            except httpx.HTTPError as error:
                blocker = f"the API server did not answer: {error}"
            if blocker != reported:
                await report(f"waiting for deletion: {blocker}")
                reported = blocker
            if time.monotonic() + pause > deadline:
                where = f" -n {namespace}" if namespace else ""
                raise TimeoutError(
                    f"timed out waiting for {gvk.kind} {namespace + '/' if namespace else ''}{name}"
                    f" to be deleted: {blocker}; look on with: kubectl get"
                    f" {gvk.kind.lower()}/{name}{where} -o yaml"
                )
            await self.pause(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)


def _blocker(live: Object) -> str:
    parts = []
    finalizers = [*(metadata(live).get("finalizers") or ()), *(_spec(live).get("finalizers") or ())]
    if finalizers:
        parts.append(f"finalizers might be preventing deletion ({', '.join(finalizers)})")
    parts += [
        _reason(condition)
        for condition in _status(live).get("conditions") or ()
        if condition.get("status") == "True"
        and str(condition.get("type", "")).startswith("Namespace")
    ]
    return "; ".join(parts) or "the API server still has it"
