"""A namespace is finalized although its own controller writes to it at the same time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from doks_gitops import http
from doks_gitops.kubernetes import Unreachable
from doks_gitops.recovery.kubernetes import Cluster

NAMESPACE = "/api/v1/namespaces/argocd"
APPLICATIONS = "/apis/argoproj.io/v1alpha1/namespaces/argocd/applications"


class Api:
    """A cluster whose namespace is being deleted, and waits for one Application's finalizer."""

    def __init__(self) -> None:
        self.finalizers: list[str] | None = ["resources-finalizer.argocd.argoproj.io"]
        self.namespace = True
        self.version = 1
        self.refused = False
        self.server_down = False
        self.uid = "id"

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        match method, path.split("?")[0]:
            case "GET", path if path == NAMESPACE and self.namespace:
                metadata = {"resourceVersion": str(self.version), "uid": self.uid}
                # Just after it was read, its controller writes to it.
                self.version += 1
                return 200, {"metadata": metadata, "spec": {"finalizers": ["kubernetes"]}}
            case "PUT", path if path == f"{NAMESPACE}/finalize":
                if body["metadata"].get("resourceVersion", str(self.version)) != str(self.version):
                    return 409, {}
                if body["metadata"]["uid"] != self.uid:
                    return 409, {}
                assert body["spec"]["finalizers"] == []
                self.namespace = False
                return 200, {}
            case "GET", path if path == APPLICATIONS:
                own = f"demo-{self.uid}"
                metadata = {"name": "demo", "uid": own, "resourceVersion": own}
                item = {"metadata": metadata | {"finalizers": self.finalizers}}
                return 200, {"items": [] if self.finalizers is None else [item]}
            case "PATCH", path if path == f"{APPLICATIONS}/demo" and not self.refused:
                assert body["metadata"].keys() == {"resourceVersion", "finalizers"}
                if body["metadata"]["resourceVersion"] != f"demo-{self.uid}":
                    return 409, {}
                self.finalizers = body["metadata"]["finalizers"]
                return 200, {}
            case "GET", "/apis":
                version = {"groupVersion": "argoproj.io/v1alpha1"}
                down = {"groupVersion": "metrics.k8s.io/v1beta1"}
                versions = [version, *([down] if self.server_down else [])]
                return 200, {"groups": [{"preferredVersion": version} for version in versions]}
            case "GET", "/apis/metrics.k8s.io/v1beta1":
                return 503, {}
            case "GET", "/api/v1":
                return 200, {"resources": []}
            case "GET", "/apis/argoproj.io/v1alpha1":
                verbs = ["list", "delete", "deletecollection"]
                kind = {"name": "applications", "namespaced": True, "verbs": verbs}
                return 200, {"resources": [kind]}
            case "DELETE", path if path == f"{APPLICATIONS}/demo":
                matches = body["preconditions"] == {"uid": f"demo-{self.uid}"}
                return (200, {}) if matches else (409, {})
        return 404, {}


@pytest.fixture(autouse=True)
def _retry_without_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "RETRIES", http.RETRIES.new(backoff_factor=0))


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def cluster(api: Api) -> Iterator[Cluster]:
    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            request = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, response = api.answer(self.command, self.path, json.loads(request or b"null"))
            body = json.dumps(response).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_PUT = do_PATCH = do_DELETE = _answer

        def log_message(self, format: str, *args: object) -> None:
            """Logs nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield Cluster(f"http://127.0.0.1:{server.server_port}", "", "token")
    finally:
        server.shutdown()
        server.server_close()


def test_a_namespace_is_finalized_while_its_controller_writes_to_it(
    api: Api, cluster: Cluster
) -> None:
    cluster.finalize_namespace("argocd", "id", seconds=5)
    assert api.finalizers is None
    assert not api.namespace


def test_a_namespace_that_can_not_be_finalized_is_named_with_how_to_see_why(
    api: Api, cluster: Cluster
) -> None:
    api.refused = True
    with pytest.raises(Unreachable, match="kubectl describe namespace argocd"):
        cluster.finalize_namespace("argocd", "id", seconds=0.5)
    assert api.namespace


def test_a_namespace_is_finalized_while_the_server_of_an_api_group_is_down(
    api: Api, cluster: Cluster
) -> None:
    api.server_down = True
    cluster.finalize_namespace("argocd", "id", seconds=10)
    assert not api.namespace


@pytest.mark.parametrize("answered", range(11))
def test_what_another_run_creates_in_the_next_namespace_of_that_name_stays(
    api: Api, cluster: Cluster, monkeypatch: pytest.MonkeyPatch, answered: int
) -> None:
    """Another recovery completes the deletion and creates the namespace again, at any moment."""
    answer, requests = api.answer, 0

    def answer_after_another_run(method: str, path: str, body: Any) -> tuple[int, Any]:
        nonlocal requests
        requests += 1
        if requests == answered + 1:
            api.namespace, api.uid = True, "next"
            api.finalizers = ["resources-finalizer.argocd.argoproj.io"]
        status, response = answer(method, path, body)
        assert api.uid == "id" or method == "GET" or status in (404, 409)
        return status, response

    monkeypatch.setattr(api, "answer", answer_after_another_run)
    cluster.finalize_namespace("argocd", "id", seconds=5)
    assert requests > answered
    assert api.namespace
    assert api.finalizers
