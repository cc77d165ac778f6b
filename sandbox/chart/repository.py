"""A Helm repository over HTTP. See https://helm.sh/docs/topics/chart_repository/."""

import hashlib
import tarfile
from pathlib import Path
from typing import IO, Any

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
    with package.open("rb") as content:
        chart = chart_of(content)
    digest = hashlib.sha256(package.read_bytes()).hexdigest()
    return {**chart, "urls": [package.name], "digest": digest}


def chart_of(package: IO[bytes]) -> dict[str, Any]:
    """The Chart.yaml of a packaged chart. Raises tarfile.TarError, KeyError or ValueError for what
    is no chart."""
    with tarfile.open(fileobj=package) as archive:
        paths = [path for path in archive.getnames() if path.endswith("/Chart.yaml")]
        file = archive.extractfile(min(paths, key=len))
        assert file is not None
        chart: dict[str, Any] = yaml.safe_load(file)
    return {"name": chart.pop("name"), "version": str(chart.pop("version")), **chart}
