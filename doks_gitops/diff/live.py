"""What runs in a cluster, and what a sync would make of it, as Argo CD's own API server tells.

https://argo-cd.readthedocs.io/en/stable/developer-guide/api-docs/
"""

from __future__ import annotations

import email
import json
import struct
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import requests
from urllib3.exceptions import InsecureRequestWarning

from doks_gitops import http
from doks_gitops.diff import checks, messages
from doks_gitops.diff.environment import Declared
from doks_gitops.diff.objects import HIDDEN, Key, Object, key_of
from doks_gitops.diff.render import Rendered, Rendering
from doks_gitops.errors import PlatformError
from doks_gitops.settings.scalars import is_loopback

TOKEN = "ARGOCD_AUTH_TOKEN"  # noqa: S105
"""Environment variable with a token of Argo CD, as its own command line has it."""
_TRAILERS = 0x80
"""Flag of a frame that holds no message.

https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md
"""
_HEADER = ">BI"
"""A frame's flag and length."""
_ADDRESS = "Pass the address of Argo CD's server, which redirects http://: --argocd https://HOST"
_WRITTEN_BY_THE_CLUSTER = (
    "creationTimestamp", "generation", "managedFields", "resourceVersion", "selfLink", "uid",
)  # fmt: skip


class ArgoCdError(PlatformError):
    """Argo CD can't be reached, or refused a request."""


@dataclass(frozen=True)
class Live:
    """One object in the cluster."""

    key: Key
    state: Object
    """As Argo CD shows it: the values of Secrets are hidden."""


class ArgoCd:
    """The API of one Argo CD. The token may be read-only. Every method raises `ArgoCdError`."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url.rstrip("/")
        # A call computes what a sync would do, so it may be sent again.
        self._session = http.Session(token, methods=("POST",))
        # Argo CD's own certificate is self-signed; a port-forward checks that of the cluster.
        self._verifies = not is_loopback(urlsplit(url).hostname or "")

    def applications(self) -> frozenset[str]:
        """Names of all Applications that the token may see."""
        answer = self._json("/api/v1/applications?fields=items.metadata.name")
        return frozenset(item["metadata"]["name"] for item in answer.get("items") or ())

    def resources(self, name: str) -> list[Live]:
        """The objects of an Application that exist in the cluster."""
        answer = self._json(f"/api/v1/applications/{quote(name)}/managed-resources")
        return [
            Live(_key(item), self._object(item["liveState"]))
            for item in answer.get("items") or ()
            if item.get("liveState") not in (None, "", "null")
        ]

    def predicted(
        self, name: str, pairs: Sequence[tuple[Live, Object]]
    ) -> list[tuple[Object, Object]]:
        """Each object as it is, and as the API server would have it after a sync of the manifest
        that it comes with. What Argo CD ignores in a comparison is equal in both.

        https://argo-cd.readthedocs.io/en/stable/user-guide/diff-strategies/#server-side-diff
        """
        query = {
            "appName": name,
            "liveResources": [
                {**live.key._asdict(), "liveState": json.dumps(live.state)} for live, _ in pairs
            ],
            "targetManifests": [json.dumps(manifest) for _, manifest in pairs],
        }
        message = messages.message("ApplicationServerSideDiffQuery", query).SerializeToString()
        answer = messages.parsed(
            "ApplicationServerSideDiffResponse",
            self._call("application.ApplicationService/ServerSideDiff", message),
        )
        if len(answer.items) != len(pairs):
            raise ArgoCdError(f"Argo CD compared {len(answer.items)} of {len(pairs)} objects.")
        return [
            (self._object(item.liveState), self._object(state))
            for item in answer.items
            for state in [item.targetState if item.modified else item.liveState]
        ]

    def _json(self, path: str) -> dict[str, Any]:
        return self._object(self._request("GET", path).content)

    def _object(self, text: str | bytes) -> dict[str, Any]:
        try:
            content = json.loads(text)
        except ValueError:
            content = None
        if not isinstance(content, dict):
            raise ArgoCdError(f"What answers at {self._url} is not Argo CD's API.", _ADDRESS)
        return content

    def _call(self, method: str, message: bytes) -> bytes:
        """One call of gRPC-Web, which passes every proxy."""
        response = self._request(
            "POST",
            f"/{method}",
            data=struct.pack(_HEADER, 0, len(message)) + message,
            headers={"Content-Type": "application/grpc-web+proto", "X-Grpc-Web": "1"},
        )
        frames = dict(_frames(response.content))
        trailers = email.message_from_bytes(frames.get(_TRAILERS, b""))
        status = trailers["grpc-status"] or response.headers.get("grpc-status") or "none"
        if status != "0" or 0 not in frames:
            reason = trailers["grpc-message"] or response.headers.get("grpc-message") or status
            raise ArgoCdError(f"Argo CD at {self._url} can't compare: {unquote(reason)}")
        return frames[0]

    def _request(self, method: str, path: str, **options: Any) -> requests.Response:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", InsecureRequestWarning)
                response = self._session.request(
                    method, f"{self._url}{path}", verify=self._verifies, **options
                )
        except requests.RequestException as error:
            raise ArgoCdError(
                f"Argo CD can't be reached at {self._url}: {http.reason(error)}",
                "Open a port-forward (pulumi stack output argocdPortForward) and pass its address:"
                " --argocd https://localhost:8080",
            ) from None
        if response.status_code in (401, 403):
            raise ArgoCdError(
                f"Argo CD at {self._url} refuses the token in {TOKEN}: {response.status_code}.",
                "Make one of an account with role:readonly: argocd account generate-token",
            )
        if not 200 <= response.status_code < 300:
            raise ArgoCdError(
                f"{method} {self._url}{path}: {response.status_code} {response.reason}", _ADDRESS
            )
        return response


def connect(url: str, token: str | None) -> ArgoCd:
    """The API at that address. Raises `ArgoCdError` without a token, or if others could read it."""
    parts = urlsplit(url)
    if not token:
        raise ArgoCdError(
            f"The environment has no {TOKEN}.",
            f"export {TOKEN}=$(argocd account generate-token --account NAME)",
        )
    if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
        raise ArgoCdError(f"Argo CD's address {url} is not https://: others could read the token.")
    return ArgoCd(url, token)


def compared(argocd: ArgoCd, head: Rendering) -> tuple[Rendering, Rendering]:
    """What runs, and what would run after a sync of `head`."""
    running = argocd.applications()
    new = replace(head, applications={}, notes=[])
    old = replace(new, applications={}, notes=[], sets={})
    new.notes += head.notes
    undeclared = sorted(running - head.declared.keys())
    new.notes += [f"The Application {name} runs, and nothing declares it." for name in undeclared]
    for name, rendered in head.applications.items():
        if name not in running:
            new.notes.append(
                f"The Application {name} is not visible to the token, or not deployed, so all that"
                " it has is shown as new."
            )
        if rendered.error and rendered.foreign:
            # Nothing tells that the commit is to blame.
            old.applications[name] = rendered
        if rendered.error or name not in running:
            new.applications[name] = rendered
            continue
        try:
            pair = list(_application(argocd, rendered))
        except ArgoCdError as error:
            new.applications[name] = Rendered(rendered.declared, error=error.problem)
            continue
        for rendering, objects in zip((old, new), zip(*pair, strict=True), strict=True):
            present = tuple(item for item in objects if item is not None)
            rendering.applications[name] = Rendered(rendered.declared, present)
    return old, new


def _application(
    argocd: ArgoCd, rendered: Rendered
) -> Iterator[tuple[Object | None, Object | None]]:
    """Each object as it is and as it would be; None: it does not exist."""
    live = {item.key: item for item in argocd.resources(rendered.declared.name)}
    pairs: list[tuple[Live, Object]] = []
    for item in rendered.objects:
        if checks.is_hook(item):
            continue
        key, placed = _placed(item, rendered.declared, live)
        existing = live.pop(key, None)
        if existing is None:
            yield None, placed
        elif key.kind == "Secret" and not key.group:
            # Argo CD shows no value of a Secret, so there is nothing to compare one with.
            yield _names_alone(existing.state), _names_alone(placed)
        else:
            pairs.append((existing, placed))
    if pairs:
        for before, after in argocd.predicted(rendered.declared.name, pairs):
            yield _written_by_people(before), _written_by_people(after)
    for extraneous in live.values():
        yield _written_by_people(extraneous.state), None


def _placed(
    item: Object, application: Declared, live: Mapping[Key, Live]
) -> tuple[Key, dict[str, Any]]:
    """The key of a manifest in the cluster, and the manifest with the namespace that it gets."""
    key = key_of(item, application.namespace)
    cluster_scoped = key._replace(namespace="")
    if key not in live and cluster_scoped in live:
        # A kind that only the cluster knows.
        key = cluster_scoped
    metadata = {name: value for name, value in item["metadata"].items() if name != "namespace"}
    if key.namespace:
        metadata["namespace"] = key.namespace
    return key, {**item, "metadata": metadata}


def _names_alone(secret: Object) -> dict[str, Any]:
    metadata = secret.get("metadata") or {}
    names = {*(secret.get("data") or {}), *(secret.get("stringData") or {})}
    return {
        "apiVersion": secret.get("apiVersion"),
        "kind": secret.get("kind"),
        "metadata": {key: metadata[key] for key in ("name", "namespace") if key in metadata},
        "type": secret.get("type") or "Opaque",
        "data": dict.fromkeys(sorted(names), HIDDEN),
    }


def _written_by_people(item: Object) -> dict[str, Any]:
    """The object without what only the cluster writes."""
    metadata = {
        key: value
        for key, value in (item.get("metadata") or {}).items()
        if key not in _WRITTEN_BY_THE_CLUSTER
    }
    kept = {key: value for key, value in item.items() if key != "status"}
    return {**kept, "metadata": metadata}


def _key(item: Mapping[str, Any]) -> Key:
    return Key(*(str(item.get(name) or "") for name in Key._fields))


def _frames(content: bytes) -> Iterator[tuple[int, bytes]]:
    size = struct.calcsize(_HEADER)
    while len(content) > size:
        flag, length = struct.unpack(_HEADER, content[:size])
        yield flag, content[size : size + length]
        content = content[size + length :]
