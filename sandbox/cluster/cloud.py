"""What DigitalOcean's cloud controller does in a cluster: load balancers for Services
(https://docs.digitalocean.com/products/kubernetes/how-to/add-load-balancers/)."""

import asyncio
import logging
from typing import Protocol

import httpx

from sandbox.cluster.api import Api, ApiError, Change, Object
from sandbox.tasks import end

ADDRESS = "127.0.0.1"
"""The address of every load balancer. Nothing listens behind it: pods have no network here."""

_ID = "kubernetes.digitalocean.com/load-balancer-id"
_NAME = "service.beta.kubernetes.io/do-loadbalancer-name"
_FINALIZER = "service.kubernetes.io/load-balancer-cleanup"

_log = logging.getLogger(__name__)


class _HasId(Protocol):
    @property
    def id(self) -> str: ...


class Account(Protocol):
    """The account that load balancers are made in."""

    def add_load_balancer(self, cluster_id: str, name: str, ip: str) -> _HasId:
        """Make one for the cluster."""

    def remove_load_balancer(self, load_balancer_id: str) -> None:
        """Remove it; does nothing if there is none of that ID."""


class CloudController:
    """Gives every Service of type LoadBalancer one, in `account`, until the Service goes.

    Which one a Service has is written on it, so nothing is made twice after a restart.
    """

    def __init__(self, cluster_id: str, account: Account) -> None:
        self._cluster_id = cluster_id
        self._account = account
        self._task: asyncio.Task[None] | None = None

    def start(self, api: Api) -> None:
        self._task = asyncio.create_task(self._follow(api), name="cloud controller")

    async def stop(self) -> None:
        await end(self._task)
        self._task = None

    async def _follow(self, api: Api) -> None:
        async for change in api.watch("/api/v1/services"):
            try:
                await self._consider(api, change)
            except (ApiError, httpx.HTTPError) as error:
                # Somebody else changed the Service meanwhile, of which we'll hear too.
                _log.warning("load balancer: %s", error)

    async def _consider(self, api: Api, change: Change) -> None:
        service = change.object
        metadata = service["metadata"]
        held = (metadata.get("annotations") or {}).get(_ID)
        if change.gone:
            return
        wanted = service["spec"]["type"] == "LoadBalancer" and "deletionTimestamp" not in metadata
        path = f"/api/v1/namespaces/{metadata['namespace']}/services/{metadata['name']}"
        if wanted and held is None:
            await self._give(api, path, service)
        elif wanted and not service["status"].get("loadBalancer"):
            await _publish(api, path, [{"ip": ADDRESS, "ipMode": "VIP"}])
        elif not wanted and held is not None:
            await _publish(api, path, [])
            finalizers = [each for each in metadata.get("finalizers") or [] if each != _FINALIZER]
            await _mark(api, path, service, held=None, finalizers=finalizers)
            self._account.remove_load_balancer(held)

    async def _give(self, api: Api, path: str, service: Object) -> None:
        metadata = service["metadata"]
        named = (metadata.get("annotations") or {}).get(_NAME)
        name = named or f"a{metadata['uid'].replace('-', '')[:31]}"
        made = self._account.add_load_balancer(self._cluster_id, name, ADDRESS)
        finalizers = [*(metadata.get("finalizers") or []), _FINALIZER]
        try:
            await _mark(api, path, service, held=made.id, finalizers=finalizers)
        except (ApiError, httpx.HTTPError):
            self._account.remove_load_balancer(made.id)
            raise
        await _publish(api, path, [{"ip": ADDRESS, "ipMode": "VIP"}])


async def _mark(
    api: Api, path: str, service: Object, *, held: str | None, finalizers: list[str]
) -> None:
    """Write on the Service which load balancer it has; refused (409) if it is a newer one."""
    metadata = {
        "resourceVersion": service["metadata"]["resourceVersion"],
        "annotations": {_ID: held},
        "finalizers": finalizers,
    }
    await api.merge(path, {"metadata": metadata})


async def _publish(api: Api, path: str, ingress: list[Object]) -> None:
    await api.merge(f"{path}/status", {"status": {"loadBalancer": {"ingress": ingress}}})
