"""Recovery never touches a record of Helm that has changed since it was observed."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable
from typing import Any

import pytest

from doks_gitops.kubernetes import Changed
from doks_gitops.recovery.kubernetes import OUTDATED, Cluster
from doks_gitops.recovery.observed import HelmRevision

SECRET = "/api/v1/namespaces/argocd/secrets/sh.helm.release.v1.argocd.v1"


class Api(Cluster):
    """A cluster with one record, whose API has the preconditions of the real one."""

    def __init__(self) -> None:
        release = json.dumps({"chart": {"metadata": {"version": "1.2.3"}}}).encode()
        packed = base64.b64encode(base64.b64encode(gzip.compress(release))).decode()
        self.version, self.uid, self.release, self.deleted = "7", "uid", packed, False

    @property
    def chart_version(self) -> str:
        release = gzip.decompress(base64.b64decode(base64.b64decode(self.release)))
        return str(json.loads(release)["chart"]["metadata"]["version"])

    def _call(self, method: str, path: str, body: Any = None, *, missing: bool = False) -> Any:
        assert path == SECRET
        if method == "GET":
            return {"data": {"release": self.release}}
        condition = body["preconditions"] if method == "DELETE" else body["metadata"]
        same = condition["resourceVersion"] == self.version
        if not same or condition.get("uid", self.uid) != self.uid:
            raise Changed(f"{method} {path}: 409 Conflict", status=409)
        if method == "DELETE":
            self.deleted = True
        else:
            self.release = body["data"]["release"]
        return {}


REVISION = HelmRevision("sh.helm.release.v1.argocd.v1", 1, "pending-upgrade", "7", "uid")


@pytest.mark.parametrize("act", [Cluster.delete_revision, Cluster.mark_outdated])
def test_a_record_is_changed_only_as_it_was_observed(
    act: Callable[[Cluster, str, HelmRevision], None],
) -> None:
    api = Api()
    # Another run completes it meanwhile.
    api.version = "8"
    with pytest.raises(Changed, match="409"):
        act(api, "argocd", REVISION)
    assert (api.deleted, api.chart_version) == (False, "1.2.3")
    api.version = "7"
    act(api, "argocd", REVISION)
    assert api.deleted or api.chart_version == OUTDATED


def test_a_record_of_the_same_name_in_a_new_namespace_is_kept() -> None:
    api = Api()
    api.uid = "another"
    with pytest.raises(Changed, match="409"):
        api.delete_revision("argocd", REVISION)
    assert not api.deleted


def test_the_record_of_sealed_secrets_is_read_without_argo_cd(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    labels = {"version": "1", "status": "deployed"}
    metadata = {
        "name": "sh.helm.release.v1.sealed-secrets.v1", "labels": labels, "resourceVersion": "7",
        "uid": "1",
    }  # fmt: skip

    def call(_: Cluster, method: str, path: str, body: Any = None, *, missing: bool = False) -> Any:
        if path.startswith("/api/v1/namespaces/keys/secrets?") and "sealed-secrets" in path:
            return {"items": [{"metadata": metadata}]}
        return None

    monkeypatch.setattr(Cluster, "_call", call)
    cluster = Cluster("https://cluster.test", "", "token")
    [revision] = cluster.state("argocd", "keys").sealed_secrets_history.revisions
    assert (revision.secret, revision.status) == (metadata["name"], "deployed")
    assert not cluster.state("argocd").sealed_secrets_history.revisions
