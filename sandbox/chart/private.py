"""The team's private charts: a Helm repository and a registry of the same charts.

Both want the team's user and password. The registry serves what a client pulls
(https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pull), with the media types
of Helm (https://helm.sh/docs/topics/registries/).
"""

import hashlib
import hmac
import io
import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from sandbox.chart.repository import chart_of, repository
from sandbox.emulator import basic_credentials
from sandbox.paths import write_private

USERNAME = "charts"
HELM_PATH = "/helm"
"""Path of the Helm repository."""
REGISTRY_PATH = "charts"
"""Path of the charts in the registry, whose API is at the root of its host."""

_MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
_CONFIG_TYPE = "application/vnd.cncf.helm.config.v1+json"
_LAYER_TYPE = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"


@dataclass(frozen=True)
class _Artifact:
    """A chart as the registry has it."""

    name: str
    tag: str
    config: bytes
    layer: bytes

    @classmethod
    def of(cls, package: bytes) -> "_Artifact":
        chart = chart_of(io.BytesIO(package))
        # A tag has no '+'.
        tag = str(chart["version"]).replace("+", "_")
        return cls(chart["name"], tag, json.dumps(chart, default=str).encode(), package)

    @cached_property
    def manifest(self) -> bytes:
        return json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": _MANIFEST_TYPE,
                "config": _descriptor(_CONFIG_TYPE, self.config),
                "layers": [_descriptor(_LAYER_TYPE, self.layer)],
            }
        ).encode()


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _descriptor(media_type: str, content: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": _digest(content), "size": len(content)}


class PrivateCharts:
    """The charts in `folder`, and the password for them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        password = folder / "password"
        if not password.exists():
            write_private(password, secrets.token_urlsafe(24).encode())
        self.password = password.read_text()

    def push(self, package: bytes) -> str:
        """Add a packaged chart, or replace that of the same version; returns `name-version`.

        Raises tarfile.TarError, KeyError or ValueError for what is no chart.
        """
        chart = chart_of(io.BytesIO(package))
        full_name = f"{chart['name']}-{chart['version']}"
        if "/" in full_name:
            raise ValueError(full_name)
        write_private(self._folder / f"{full_name}.tgz", package)
        return full_name

    @property
    def routes(self) -> list[BaseRoute]:
        """The Helm repository at `HELM_PATH`, and the registry at /v2, each with the password."""
        registry = [
            Route("/v2/", lambda _: JSONResponse({})),
            Route(f"/v2/{REGISTRY_PATH}/{{name}}/tags/list", self._tags),
            Route(f"/v2/{REGISTRY_PATH}/{{name}}/manifests/{{reference}}", self._manifest),
            Route(f"/v2/{REGISTRY_PATH}/{{name}}/blobs/{{digest}}", self._blob),
        ]
        for route in registry:
            route.app = _WithPassword(route.app, self.password)
        helm = _WithPassword(repository(self._folder), self.password)
        return [Mount(HELM_PATH, helm), *registry]

    def _artifacts(self, name: str) -> Iterator[_Artifact]:
        for package in sorted(self._folder.glob("*.tgz")):
            artifact = _Artifact.of(package.read_bytes())
            if artifact.name == name:
                yield artifact

    def _tags(self, request: Request) -> Response:
        name = request.path_params["name"]
        tags = [artifact.tag for artifact in self._artifacts(name)]
        if not tags:
            return _error(404, "NAME_UNKNOWN", f"there is no chart {name} here")
        return JSONResponse({"name": f"{REGISTRY_PATH}/{name}", "tags": tags})

    def _manifest(self, request: Request) -> Response:
        name, reference = request.path_params["name"], request.path_params["reference"]
        for artifact in self._artifacts(name):
            if reference in (artifact.tag, _digest(artifact.manifest)):
                return _content(artifact.manifest, _MANIFEST_TYPE)
        return _error(404, "MANIFEST_UNKNOWN", f"{name} has no version {reference}")

    def _blob(self, request: Request) -> Response:
        name, digest = request.path_params["name"], request.path_params["digest"]
        for artifact in self._artifacts(name):
            for content in (artifact.config, artifact.layer):
                if _digest(content) == digest:
                    return _content(content, "application/octet-stream")
        return _error(404, "BLOB_UNKNOWN", f"{name} has no blob {digest}")


def _content(content: bytes, media_type: str) -> Response:
    return Response(
        content, media_type=media_type, headers={"Docker-Content-Digest": _digest(content)}
    )


def _error(status: int, code: str, message: str) -> Response:
    return JSONResponse({"errors": [{"code": code, "message": message}]}, status)


class _WithPassword:
    """Lets only the team read `app`."""

    def __init__(self, app: ASGIApp, password: str) -> None:
        self._app = app
        self._expected = f"{USERNAME}:{password}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        user, password = basic_credentials(Request(scope).headers.get("authorization"))
        if hmac.compare_digest(f"{user}:{password}".encode(), self._expected):
            await self._app(scope, receive, send)
            return
        refusal = _error(401, "UNAUTHORIZED", "the charts want the team's user and password")
        refusal.headers["WWW-Authenticate"] = 'Basic realm="charts", charset="UTF-8"'
        await refusal(scope, receive, send)
