"""A Helm repository over HTTP. See https://helm.sh/docs/topics/chart_repository/."""

import hashlib
import tarfile
from pathlib import Path
from typing import Any

import yaml
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles


def repository(folder: Path) -> Starlette:
    """Serves the charts that `folder` contains at each request (`<name>-<version>.tgz`)."""

    async def index(_: Request) -> Response:
        entries: dict[str, list[dict[str, Any]]] = {}
        for package in sorted(folder.glob("*.tgz")):
            chart = _entry(package)
            entries.setdefault(chart["name"], []).append(chart)
        text = yaml.safe_dump({"apiVersion": "v1", "entries": entries})
        return Response(text, media_type="application/yaml")

    return Starlette(
        routes=[
            Route("/index.yaml", index),
            Mount("/", StaticFiles(directory=folder)),
        ]
    )


def _entry(package: Path) -> dict[str, Any]:
    """The index entry of a chart: its Chart.yaml, with the address and digest of its package."""
    with tarfile.open(package) as archive:
        name = min((n for n in archive.getnames() if n.endswith("/Chart.yaml")), key=len)
        file = archive.extractfile(name)
        assert file is not None
        chart: dict[str, Any] = yaml.safe_load(file)
    digest = hashlib.sha256(package.read_bytes()).hexdigest()
    return {**chart, "urls": [package.name], "digest": digest}
