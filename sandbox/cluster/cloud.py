"""DigitalOcean's cloud controller manager: load balancers for Services
(https://docs.digitalocean.com/products/kubernetes/how-to/add-load-balancers/)."""

import logging
from typing import Protocol

import httpx

from sandbox.cluster.api import Api, ApiError, Change, Object
from sandbox.tasks import BackgroundTask

ADDRESS = "127.0.0.1"
"""The address of every load balancer. Nothing listens there: pods have no network here."""

_ID = "kubernetes.digitalocean.com/load-balancer-id"
_NAME = "service.beta.kubernetes.io/do-loadbalancer-name"
_FINALIZER = "service.kubernetes.io/load-balancer-cleanup"

_log = logging.getLogger(__name__)


class _HasId(Protocol):
    @property
    def id(self) -> str: ...


class Account(Protocol):
    """The account that has the load balancers."""

    def add_load_balancer(self, cluster_id: str, name: str, ip: str) -> _HasId:
        """Create a load balancer for the cluster."""

    def remove_load_balancer(self, load_balancer_id: str) -> None:
        """Remove the load balancer; does nothing if it does not exist."""


class CloudController:
    """Keeps a load balancer in `account` for every Service of type LoadBalancer.

    The load balancer's ID is in an annotation of the Service, so a restart creates no second one.
    """

    def __init__(self, cluster_id: str, account: Account) -> None:
        self._cluster_id = cluster_id
        self._account = account
        self._task = BackgroundTask()

    def start(self, api: Api) -> None:
        self._task.start(self._follow(api), name="cloud controller")

    async def stop(self) -> None:
        await self._task.stop()

    async def _follow(self, api: Api) -> None:
        async for change in api.watch("/api/v1/services"):
            try:
                await self._reconcile(api, change)
            except (ApiError, httpx.HTTPError) as error:
                # The Service was changed meanwhile, and the watch reports that change too.
                _log.warning("load balancer: %s", error)

    async def _reconcile(self, api: Api, change: Change) -> None:
        service = change.object
        metadata = service["metadata"]
        current_id = (metadata.get("annotations") or {}).get(_ID)
        if change.deleted:
            return
        needed = service["spec"]["type"] == "LoadBalancer" and "deletionTimestamp" not in metadata
        path = f"/api/v1/namespaces/{metadata['namespace']}/services/{metadata['name']}"
        if needed and current_id is None:
            await self._create(api, path, service)
        elif needed and not service["status"].get("loadBalancer"):
            await _publish(api, path, [{"ip": ADDRESS, "ipMode": "VIP"}])
        elif not needed and current_id is not None:
            await _publish(api, path, [])
            finalizers = [name for name in metadata.get("finalizers") or [] if name != _FINALIZER]
            await _annotate(api, path, service, load_balancer_id=None, finalizers=finalizers)
            self._account.remove_load_balancer(current_id)

    async def _create(self, api: Api, path: str, service: Object) -> None:
        metadata = service["metadata"]
        default_name = f"a{metadata['uid'].replace('-', '')[:31]}"
        name = (metadata.get("annotations") or {}).get(_NAME) or default_name
        new_id = self._account.add_load_balancer(self._cluster_id, name, ADDRESS).id
        finalizers = [*(metadata.get("finalizers") or []), _FINALIZER]
        try:
            await _annotate(api, path, service, load_balancer_id=new_id, finalizers=finalizers)
        except (ApiError, httpx.HTTPError):
            self._account.remove_load_balancer(new_id)
            raise
        await _publish(api, path, [{"ip": ADDRESS, "ipMode": "VIP"}])


async def _annotate(
    api: Api, path: str, service: Object, *, load_balancer_id: str | None, finalizers: list[str]
) -> None:
    """Set the Service's load balancer ID and finalizers. Raises ApiError 409 if the Service has
    changed since it was read."""
    metadata = {
        "resourceVersion": service["metadata"]["resourceVersion"],
        "annotations": {_ID: load_balancer_id},
        "finalizers": finalizers,
    }
    await api.merge(path, {"metadata": metadata})


async def _publish(api: Api, path: str, ingress: list[Object]) -> None:
    await api.merge(f"{path}/status", {"status": {"loadBalancer": {"ingress": ingress}}})
