"""A small asynchronous client of the Kubernetes API, with watches that resume by themselves."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from ssl import SSLContext
from typing import Any, TypeAlias

import httpx
import yaml

from sandbox.paths import write_private

Object: TypeAlias = dict[str, Any]
"""A Kubernetes object as JSON."""


class ApiError(Exception):
    """The API server answered a request with an error; `code` is the HTTP status."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Change:
    """An event of a watch: the object exists (added, modified or listed), or it is deleted."""

    object: Object
    deleted: bool


class Api:
    """The API of the cluster at `server`, as the user whose certificate is in `ssl_context`."""

    def __init__(self, server: str, ssl_context: SSLContext) -> None:
        # Requests must not go through a proxy of the user's environment.
        self._http = httpx.AsyncClient(
            base_url=server, verify=ssl_context, timeout=30, trust_env=False
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def is_ready(self) -> bool:
        """Whether the server reports that it is ready; false if it does not answer."""
        try:
            return (await self._http.get("/readyz", timeout=5)).status_code == 200
        except httpx.TransportError:
            return False

    async def call(
        self,
        method: str,
        path: str,
        body: Object | None = None,
        *,
        params: Mapping[str, str] | None = None,
        content_type: str = "application/json",
    ) -> Object:
        """Send a request and return the JSON of the response.

        Raises ApiError for an error status, httpx.TransportError if the server can't be reached.
        """
        response = await self._http.request(
            method,
            path,
            params=params,
            content=None if body is None else json.dumps(body),
            headers={"Content-Type": content_type},
        )
        if response.is_error:
            raise ApiError(response.status_code, f"{method} {path}: {_message(response)}")
        content: Object = response.json() if response.content else {}
        return content

    async def get(self, path: str) -> Object | None:
        """The object at that path; None if it does not exist."""
        try:
            return await self.call("GET", path)
        except ApiError as error:
            if error.code == 404:
                return None
            raise

    async def items(self, path: str) -> list[Object]:
        """All objects of a collection."""
        items: list[Object] = (await self.call("GET", path)).get("items") or []
        return items

    async def apply(self, path: str, body: Object, *, manager: str) -> Object:
        """Server-side apply; also sets fields that other managers own (`force`)."""
        return await self.call(
            "PATCH",
            path,
            body,
            params={"fieldManager": manager, "force": "true"},
            content_type="application/apply-patch+yaml",
        )

    async def merge(self, path: str, body: Object) -> Object:
        """JSON merge patch (RFC 7386)."""
        return await self.call("PATCH", path, body, content_type="application/merge-patch+json")

    async def delete(
        self, path: str, *, grace_seconds: int | None = None, uid: str | None = None
    ) -> None:
        """Delete the object; does nothing if it does not exist.

        With `uid`, raises ApiError 409 if the object of that name has another UID.
        """
        options: Object = {"apiVersion": "v1", "kind": "DeleteOptions"}
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        try:
            await self.call("DELETE", path, options)
        except ApiError as error:
            if error.code != 404:
                raise

    async def watch(self, path: str) -> AsyncIterator[Change]:
        """The objects of the collection, and then every change to it, without end.

        When the connection is lost or the resource version is too old (410 Gone), the collection is
        listed again: objects that are missing then are reported as deleted, the others as existing.
        """
        known: dict[str, Object] = {}
        while True:
            try:
                listed = await self.call("GET", path)
                present = {item["metadata"]["uid"]: item for item in listed.get("items") or []}
                for uid in known.keys() - present.keys():
                    yield Change(known.pop(uid), deleted=True)
                for uid, item in present.items():
                    known[uid] = item
                    yield Change(item, deleted=False)
                async for change in self._changes(path, listed["metadata"]["resourceVersion"]):
                    uid = change.object["metadata"]["uid"]
                    if change.deleted:
                        known.pop(uid, None)
                    else:
                        known[uid] = change.object
                    yield change
            except (httpx.HTTPError, ApiError, json.JSONDecodeError):
                await asyncio.sleep(0.5)

    async def _changes(self, path: str, version: str) -> AsyncIterator[Change]:
        """Changes since that version, until the server ends the watch with an error."""
        while True:
            params = {
                "watch": "true",
                "allowWatchBookmarks": "true",
                "resourceVersion": version,
                "timeoutSeconds": "300",
            }
            timeout = httpx.Timeout(30, read=360)
            async with self._http.stream("GET", path, params=params, timeout=timeout) as response:
                if response.is_error:
                    raise ApiError(response.status_code, f"watch {path}")
                async for line in _lines(response):
                    event = json.loads(line)
                    item = event["object"]
                    if event["type"] == "ERROR":
                        raise ApiError(item.get("code", 500), f"watch {path}: {item}")
                    version = item["metadata"]["resourceVersion"]
                    if event["type"] != "BOOKMARK":
                        yield Change(item, deleted=event["type"] == "DELETED")


async def _lines(response: httpx.Response) -> AsyncIterator[bytes]:
    """The response's lines, ended by \\n. `Response.aiter_lines` also splits at other Unicode line
    ends, which may occur within a JSON string."""
    rest = b""
    async for chunk in response.aiter_bytes():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line


def write_kubeconfig(
    path: Path,
    *,
    server: str,
    ca_file: Path,
    user: Mapping[str, str],
    namespace: str = "default",
) -> None:
    """Write a kubeconfig (mode 0600) with one context; `user` is the user entry."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": "cluster",
                "cluster": {"server": server, "certificate-authority": str(ca_file)},
            }
        ],
        "users": [{"name": "user", "user": dict(user)}],
        "contexts": [
            {
                "name": "cluster",
                "context": {"cluster": "cluster", "user": "user", "namespace": namespace},
            }
        ],
        "current-context": "cluster",
    }
    write_private(path, yaml.safe_dump(config).encode())


def _message(response: httpx.Response) -> str:
    """The message of the response's Status object; for an unknown path it is plain text."""
    try:
        return str(response.json()["message"])
    except (ValueError, KeyError, TypeError):
        return response.text.strip()
