"""A cluster's API over HTTP, for objects of any kind.

https://kubernetes.io/docs/reference/using-api/api-concepts/
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx

from sandbox.plugins.common import Failure
from sandbox.plugins.kubernetes.kubeconfig import Access, Credentials, KubeconfigError
from sandbox.plugins.kubernetes.objects import Gvk, Object, name_of, namespace_of

PROVIDER_MANAGER: Final = "pulumi-kubernetes"
"""The field manager of creates; the first update transfers its fields to the resource's own."""

_CONNECT_SECONDS: Final = 30
_REQUEST_SECONDS: Final = 60


class Unreachable(Exception):
    """The API server can't be reached, or does not authenticate this user."""


class ApiError(Exception):
    """The API server refused a request; the message is the server's own.

    https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/
    """

    def __init__(self, code: int, status: Mapping[str, Any]) -> None:
        super().__init__(str(status.get("message") or f"the API server answered {code}"))
        self.code = code
        self.reason = str(status.get("reason") or "")
        self._details = status.get("details") or {}

    @property
    def not_found(self) -> bool:
        return self.code == 404

    @property
    def forbidden(self) -> bool:
        return self.code == 403

    @property
    def namespace_not_found(self) -> bool:
        return self.not_found and self._details.get("kind") == "namespaces"


class NoMatch(Exception):
    """The API server does not know the kind; often its CustomResourceDefinition is missing."""

    def __init__(self, gvk: Gvk) -> None:
        super().__init__(f'no matches for kind "{gvk.kind}" in version "{gvk.api_version}"')


@dataclass(frozen=True)
class ApiResource:
    """The API path of a kind: its plural name and its scope."""

    plural: str
    namespaced: bool


class Cluster:
    """One cluster's API, made by `connect`."""

    def __init__(self, access: Access, credentials: Credentials) -> None:
        self.access = access
        self._credentials = credentials
        self._http = self._client()
        self._kinds: dict[Gvk, ApiResource] = {}

    @classmethod
    async def connect(cls, access: Access) -> "Cluster":
        """Raises Unreachable unless the server responds and authenticates this user, and Failure if
        the kubeconfig's certificates can't be parsed.

        A wrong or expired token counts as unreachable, too, as in Pulumi's own plugin, which
        requests a schema here that only authenticated users may read.
        """
        try:
            credentials = await access.credentials()
        except KubeconfigError as error:
            raise Unreachable(str(error)) from None
        try:
            cluster = cls(access, credentials)
        except KubeconfigError as error:
            raise Failure(f"failed to initialize discovery client: {error}") from None
        try:
            await cluster._discover("v1")
        except (ApiError, httpx.HTTPError) as error:
            await cluster.close()
            raise Unreachable(
                f"unable to load schema information from the API server: {_cause(error)}"
            ) from None
        return cluster

    def _client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=self.access.server,
            verify=self.access.ssl_context(self._credentials),
            headers={"Authorization": self._credentials.authorization}
            if self._credentials.authorization
            else {},
            timeout=httpx.Timeout(_REQUEST_SECONDS, connect=_CONNECT_SECONDS),
            limits=httpx.Limits(max_connections=50),
            proxy=self.access.cluster.get("proxy-url"),
            # As kubectl, use the proxy of the kubeconfig instead of those of the environment.
            trust_env=False,
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def kind(self, gvk: Gvk) -> ApiResource:
        """The API path of a kind. An unknown kind is requested again each time.

        Raises NoMatch if the server does not know the kind.
        """
        if gvk not in self._kinds:
            try:
                await self._discover(gvk.api_version)
            except ApiError as error:
                if not error.not_found:
                    raise
        if gvk not in self._kinds:
            raise NoMatch(gvk)
        return self._kinds[gvk]

    async def _discover(self, api_version: str) -> None:
        discovered = await self._request("GET", _root(api_version))
        group, _, version = api_version.rpartition("/")
        for resource in discovered.get("resources", ()):
            # Names with a slash are subresources, such as deployments/scale.
            if "/" not in resource["name"]:
                gvk = Gvk(group, version, resource["kind"])
                self._kinds[gvk] = ApiResource(resource["name"], bool(resource["namespaced"]))

    async def get(self, gvk: Gvk, namespace: str, name: str) -> Object:
        """Raises ApiError (`not_found`) or NoMatch if there is no such object."""
        return await self._request("GET", await self._path(gvk, namespace, name))

    async def find(
        self, gvk: Gvk, namespace: str, *, labels: str = "", fields: str = ""
    ) -> list[Object]:
        """The objects of a kind in a namespace that match a label and a field selector."""
        selectors = {"labelSelector": labels, "fieldSelector": fields}
        response = await self._request(
            "GET",
            await self._path(gvk, namespace),
            params={key: value for key, value in selectors.items() if value},
        )
        return list(response.get("items", ()))

    async def create(self, item: Object, *, dry_run: bool = False) -> Object:
        """The object that the server created. Raises ApiError (409) if it exists already."""
        return await self._request(
            "POST",
            await self._path(Gvk.of(item), namespace_of(item)),
            params=_params(PROVIDER_MANAGER, dry_run),
            body=item,
        )

    async def apply(
        self, item: Object, *, manager: str, force: bool = False, dry_run: bool = False
    ) -> Object:
        """Server-side apply. Raises ApiError (409) if other managers own fields that it changes.

        https://kubernetes.io/docs/reference/using-api/server-side-apply/
        """
        return await self._request(
            "PATCH",
            await self._path(Gvk.of(item), namespace_of(item), name_of(item)),
            params=_params(manager, dry_run) | {"force": "true" if force else "false"},
            body=item,
            content_type="application/apply-patch+yaml",
        )

    async def replace(self, item: Object, *, manager: str, dry_run: bool = False) -> Object:
        """Replace the object with the same name by `item`."""
        return await self._request(
            "PUT",
            await self._path(Gvk.of(item), namespace_of(item), name_of(item)),
            params=_params(manager, dry_run),
            body=item,
        )

    async def patch(self, item: Object, operations: list[dict[str, Any]]) -> Object:
        """Apply a JSON patch (RFC 6902) to the object with the name of `item`."""
        return await self._request(
            "PATCH",
            await self._path(Gvk.of(item), namespace_of(item), name_of(item)),
            body=operations,
            content_type="application/json-patch+json",
        )

    async def delete(self, gvk: Gvk, namespace: str, name: str, *, propagation: str) -> None:
        """Request a deletion. `propagation` is Foreground, Background or Orphan.

        Raises ApiError (`not_found`) or NoMatch if there is no such object.
        """
        await self._request(
            "DELETE",
            await self._path(gvk, namespace, name),
            body={
                "kind": "DeleteOptions",
                "apiVersion": "v1",
                "propagationPolicy": propagation,
            },
        )

    async def _path(self, gvk: Gvk, namespace: str, name: str = "") -> str:
        kind = await self.kind(gvk)
        inside = f"/namespaces/{namespace or 'default'}" if kind.namespaced else ""
        return f"{_root(gvk.api_version)}{inside}/{kind.plural}" + (f"/{name}" if name else "")

    async def _request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: object = None,
        content_type: str = "application/json",
    ) -> Object:
        if self._credentials.expired:
            await self._renew()
        content = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": content_type, "Accept": "application/json"}
        response = await self._http.request(
            method, path, params=params, content=content, headers=headers
        )
        if response.status_code >= 400:
            raise ApiError(response.status_code, _status(response))
        result: Object = response.json()
        return result

    async def _renew(self) -> None:
        old = self._http
        self._credentials = await self.access.credentials()
        self._http = self._client()
        await old.aclose()


def _root(api_version: str) -> str:
    return f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"


def _params(manager: str, dry_run: bool) -> dict[str, str]:
    return {"fieldManager": manager} | ({"dryRun": "All"} if dry_run else {})


def _status(response: httpx.Response) -> Mapping[str, Any]:
    try:
        status = response.json()
    except ValueError:
        return {"message": response.text.strip()}
    return status if isinstance(status, Mapping) else {}


def _cause(error: Exception) -> str:
    if isinstance(error, ApiError) and error.code == 401:
        return "the server has asked for the client to provide credentials"
    return str(error) or type(error).__name__
