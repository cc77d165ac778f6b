"""A small asynchronous client of the Kubernetes API, and watches that never end."""

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
    """The API server refused a request; `code` is its HTTP status."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Change:
    """An object that is there (new, changed, or just seen), or that is gone."""

    object: Object
    gone: bool


class Api:
    """The API of one cluster at `server`, as the user that `ssl_context` has a certificate of."""

    def __init__(self, server: str, ssl_context: SSLContext) -> None:
        # A proxy of the user's environment must never see the cluster.
        self._http = httpx.AsyncClient(
            base_url=server, verify=ssl_context, timeout=30, trust_env=False
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def is_ready(self) -> bool:
        """Whether the server says of itself that it is ready; false if nothing answers."""
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
        """Raises ApiError if the server refuses, httpx.TransportError if it can't be reached."""
        answer = await self._http.request(
            method,
            path,
            params=params,
            content=None if body is None else json.dumps(body),
            headers={"Content-Type": content_type},
        )
        if answer.is_error:
            raise ApiError(answer.status_code, f"{method} {path}: {_message(answer)}")
        content: Object = answer.json() if answer.content else {}
        return content

    async def get(self, path: str) -> Object | None:
        """The object at that path; None if there is none."""
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
        """Server-side apply; fields that others have set as well become `manager`'s."""
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
        """Delete the object; does nothing if there is none.

        With `uid` only the object of that identity: ApiError 409 if another one has its name.
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
        """What there is in the collection, and then every change to it, for ever.

        Whenever the connection is lost or the server has forgotten where we were (410 Gone), the
        collection is listed anew: what vanished meanwhile is reported as gone, the rest as there.
        """
        known: dict[str, Object] = {}
        while True:
            try:
                listed = await self.call("GET", path)
                present = {item["metadata"]["uid"]: item for item in listed.get("items") or []}
                for uid in known.keys() - present.keys():
                    yield Change(known.pop(uid), gone=True)
                for uid, item in present.items():
                    known[uid] = item
                    yield Change(item, gone=False)
                async for change in self._changes(path, listed["metadata"]["resourceVersion"]):
                    uid = change.object["metadata"]["uid"]
                    if change.gone:
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
            async with self._http.stream("GET", path, params=params, timeout=timeout) as answer:
                if answer.is_error:
                    raise ApiError(answer.status_code, f"watch {path}")
                async for line in _lines(answer):
                    event = json.loads(line)
                    item = event["object"]
                    if event["type"] == "ERROR":
                        raise ApiError(item.get("code", 500), f"watch {path}: {item}")
                    version = item["metadata"]["resourceVersion"]
                    if event["type"] != "BOOKMARK":
                        yield Change(item, gone=event["type"] == "DELETED")


async def _lines(answer: httpx.Response) -> AsyncIterator[bytes]:
    """The answer's lines. httpx would end one at any Unicode line end, also within a string."""
    rest = b""
    async for chunk in answer.aiter_bytes():
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
    """Write a kubeconfig (0600) with one context; `user` holds the entry's credentials."""
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


def _message(answer: httpx.Response) -> str:
    """The server's own words; a path that it does not know it answers in plain text."""
    try:
        return str(answer.json()["message"])
    except (ValueError, KeyError, TypeError):
        return answer.text.strip()
