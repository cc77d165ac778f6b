"""The team's private charts: read by the real Helm, and by the OCI distribution specification."""

import hashlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import jsonschema
import pytest
from starlette.applications import Starlette

from sandbox.chart import PrivateCharts
from sandbox.toolchain.recipes import HELM
from tests.contract.built_tools import binary
from tests.contract.http_server import serving

DIGEST = {"type": "string", "pattern": "^sha256:[a-f0-9]{64}$"}
DESCRIPTOR = {
    "type": "object",
    "properties": {
        "mediaType": {"type": "string"},
        "digest": DIGEST,
        "size": {"type": "integer", "minimum": 0},
    },
    "required": ["mediaType", "digest", "size"],
}
MANIFEST = {
    "type": "object",
    "properties": {
        "schemaVersion": {"const": 2},
        "mediaType": {"const": "application/vnd.oci.image.manifest.v1+json"},
        "config": DESCRIPTOR,
        "layers": {"type": "array", "items": DESCRIPTOR, "minItems": 1},
    },
    "required": ["schemaVersion", "config", "layers"],
}
"""https://github.com/opencontainers/image-spec/blob/main/schema/image-manifest-schema.json"""
ERRORS = {
    "type": "object",
    "properties": {
        "errors": {
            "type": "array",
            "items": {"type": "object", "required": ["code", "message"]},
            "minItems": 1,
        }
    },
    "required": ["errors"],
}


def helm(*words: str | Path, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Run Helm with a home of its own."""
    environment = {f"HELM_{name}_HOME": str(folder / name) for name in ("CONFIG", "CACHE", "DATA")}
    return subprocess.run(
        [binary(HELM, "helm"), *words],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("chart")
    (folder / "shop" / "templates").mkdir(parents=True)
    chart = {"apiVersion": "v2", "name": "shop", "version": "1.2.3+4", "description": "A shop"}
    (folder / "shop" / "Chart.yaml").write_text(json.dumps(chart))
    assert helm("package", "shop", folder=folder).returncode == 0
    return (folder / "shop-1.2.3+4.tgz").read_bytes()


@pytest.fixture(scope="module")
def charts(tmp_path_factory: pytest.TempPathFactory, package: bytes) -> PrivateCharts:
    charts = PrivateCharts(tmp_path_factory.mktemp("charts"))
    assert charts.push(package) == "shop-1.2.3+4"
    return charts


@pytest.fixture(scope="module")
def url(charts: PrivateCharts) -> Iterator[str]:
    with serving(Starlette(routes=charts.routes)) as url:
        yield url


@pytest.fixture
def registry(url: str, charts: PrivateCharts) -> httpx.Client:
    return httpx.Client(base_url=f"{url}/v2", auth=("charts", charts.password))


def test_helm_pulls_a_chart_from_the_helm_repository(
    url: str, charts: PrivateCharts, package: bytes, tmp_path: Path
) -> None:
    source = ("--repo", f"{url}/helm", "shop", "--version", "1.2.3+4")
    user = ("--username", "charts", "--password")
    pulled = helm("pull", *source, *user, charts.password, folder=tmp_path)
    assert pulled.returncode == 0, pulled.stderr
    assert (tmp_path / "shop-1.2.3+4.tgz").read_bytes() == package
    refused = helm("pull", *source, *user, "wrong", folder=tmp_path)
    assert "401 Unauthorized" in refused.stderr


def test_helm_pulls_a_chart_from_the_registry(
    url: str, charts: PrivateCharts, package: bytes, tmp_path: Path
) -> None:
    host = url.removeprefix("http://")
    login = ("registry", "login", host, "--plain-http", "--username", "charts", "--password")
    assert "UNAUTHORIZED" in helm(*login, "wrong", folder=tmp_path).stderr.upper()
    assert helm(*login, charts.password, folder=tmp_path).returncode == 0
    pull = ("pull", f"oci://{host}/charts/shop", "--version", "1.2.3+4", "--plain-http")
    pulled = helm(*pull, folder=tmp_path)
    assert pulled.returncode == 0, pulled.stderr
    assert (tmp_path / "shop-1.2.3+4.tgz").read_bytes() == package


def test_manifest_and_blobs_have_their_digests(registry: httpx.Client, package: bytes) -> None:
    assert registry.get("/").status_code == 200
    assert registry.get("/charts/shop/tags/list").json() == {
        "name": "charts/shop",
        "tags": ["1.2.3_4"],
    }
    response = registry.get("/charts/shop/manifests/1.2.3_4")
    jsonschema.validate(response.json(), MANIFEST)
    assert response.headers["Content-Type"] == response.json()["mediaType"]
    digest = response.headers["Docker-Content-Digest"]
    assert digest == f"sha256:{hashlib.sha256(response.content).hexdigest()}"
    assert registry.get(f"/charts/shop/manifests/{digest}").content == response.content
    head = registry.head("/charts/shop/manifests/1.2.3_4")
    assert (head.headers["Docker-Content-Digest"], head.content) == (digest, b"")
    assert head.headers["Content-Length"] == str(len(response.content))
    for part in (response.json()["config"], *response.json()["layers"]):
        blob = registry.get(f"/charts/shop/blobs/{part['digest']}")
        assert len(blob.content) == part["size"]
        assert f"sha256:{hashlib.sha256(blob.content).hexdigest()}" == part["digest"]
    assert blob.content == package


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/charts/cart/tags/list", "NAME_UNKNOWN"),
        ("/charts/shop/manifests/9.9.9", "MANIFEST_UNKNOWN"),
        (f"/charts/shop/blobs/sha256:{'0' * 64}", "BLOB_UNKNOWN"),
    ],
)
def test_what_is_not_there_has_the_code_of_the_specification(
    registry: httpx.Client, path: str, code: str
) -> None:
    response = registry.get(path)
    assert response.status_code == 404
    jsonschema.validate(response.json(), ERRORS)
    assert response.json()["errors"][0]["code"] == code


@pytest.mark.parametrize("path", ["/v2/", "/v2/charts/shop/tags/list", "/helm/index.yaml"])
@pytest.mark.parametrize("auth", [None, ("charts", "wrong"), ("other", None)])
def test_nothing_is_read_without_the_password(
    url: str, charts: PrivateCharts, path: str, auth: tuple[str, str | None] | None
) -> None:
    user = auth and (auth[0], auth[1] or charts.password)
    response = httpx.get(f"{url}{path}", auth=user)
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Basic ")
    jsonschema.validate(response.json(), ERRORS)


def test_what_is_no_chart_is_refused(charts: PrivateCharts) -> None:
    with pytest.raises(Exception, match=r"not a gzip|could not be opened|not open"):
        charts.push(b"no archive")
