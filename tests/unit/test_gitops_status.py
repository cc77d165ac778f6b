"""Where each application stands, and how far behind the environment before it."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from doks_gitops.promotion import status
from doks_gitops.promotion.cluster import Application, ClusterUnreachable, Delivery, delivery
from doks_gitops.promotion.status import Behind, Status, as_json, read, rows, table

COMMITS = {("b", "a"): 2, ("a", "a"): 0}


def between(old: str, new: str) -> int | None:
    return COMMITS.get((old, new))


def application(environment: str, revision: str | None, *images: str) -> Application:
    return Application(
        f"{environment}-shop", "argocd", environment, revision, images, "Synced", "Healthy"
    )


DEV = application("dev", "a", "reg/team/cart:v2", "reg/team/web:v1")
STAGING = application("staging", "b", "reg/team/cart:v1", "reg/team/web:v1", "redis")


def test_environment_is_compared_with_the_one_before_it() -> None:
    dev, staging = rows({"dev": [DEV], "staging": [STAGING]}, between)
    assert dev.behind is None
    assert staging.behind == Behind("dev", 2, {"cart": ("v1", "v2")})


def test_environment_without_the_application_is_passed_over() -> None:
    prod = application("prod", "a", "reg/team/cart:v2", "reg/team/web:v1")
    compared = rows({"dev": [DEV], "staging": [], "prod": [prod]}, between)
    assert [row.behind for row in compared] == [None, Behind("dev", 0, {})]


def test_commits_that_can_t_be_counted_are_not_called_none() -> None:
    for revision in ("elsewhere", None):
        staging = application("staging", revision, *DEV.images)
        [_, row] = rows({"dev": [DEV], "staging": [staging]}, between)
        assert row.behind == Behind("dev", None, {})
        assert "dev: unknown commits" in table(Status([row]))


def test_charts_of_one_version_are_level() -> None:
    there, here = (application(environment, "1.2.3") for environment in ("dev", "staging"))
    [_, row] = rows({"dev": [there], "staging": [here]}, between)
    assert row.behind == Behind("dev", 0, {})


def test_refused_password_is_told_in_words() -> None:
    failure = "failed to fetch chart: GET /v2/:\n  response status code 401: Unauthorized"
    refused = replace(DEV, sync="Unknown", errors=(failure, "no such path"))
    lines = table(Status(rows({"dev": [refused]}, between))).splitlines()
    assert lines[2:] == [
        "shop in dev: the repository refuses Argo CD's user or password (failed to fetch chart: GET"
        " /v2/: response status code 401: Unauthorized)",
        "next: set the credentials of the repository (doks-gitops:repositories, or"
        " credentialTemplates), then pulumi up",
        "shop in dev: no such path",
    ]


def test_port_of_a_registry_is_no_tag() -> None:
    there = application("dev", "a", "localhost:5000/cart:v2")
    here = application("staging", "a", "localhost:5000/cart")
    [_, row] = rows({"dev": [there], "staging": [here]}, between)
    assert row.behind == Behind("dev", 0, {"cart": ("latest", "v2")})


def test_digest_is_shown_in_place_of_a_tag() -> None:
    digest = f"sha256:{'0' * 64}"
    there = application("dev", "a", "reg/team/cart:v2")
    here = application("staging", "a", f"reg/team/cart:v2@{digest}")
    [_, row] = rows({"dev": [there], "staging": [here]}, between)
    assert row.behind == Behind("dev", 0, {"cart": (digest, "v2")})


def test_table_has_a_line_for_each_application_and_environment() -> None:
    status_of_all = Status(
        rows({"dev": [DEV], "staging": [STAGING]}, between),
        {"prod": "The stack prod is not deployed."},
        {"dev": {"dev": "config.json: no JSON"}},
    )
    assert [re.split("  +", line) for line in table(status_of_all).splitlines()] == [
        ["APPLICATION", "ENVIRONMENT", "REVISION", "IMAGES", "SYNC", "HEALTH", "BEHIND"],
        ["shop", "dev", "a", "v2 (1), web:v1", "Synced", "Healthy", "-"],
        [
            *("shop", "staging", "b", "v1 (2), redis:latest", "Synced", "Healthy"),
            "dev: 2 commits, cart v1 → v2",
        ],
        ["dev: the ApplicationSet dev creates no new application: config.json: no JSON"],
        ["prod can't be read: The stack prod is not deployed."],
    ]
    assert len({line.index("  Synced") for line in table(status_of_all).splitlines()[1:3]}) == 1
    assert json.loads(json.dumps(as_json(status_of_all)))["applications"][1]["behind"] == {
        "environment": "dev",
        "commits": 2,
        "tags": {"cart": ["v1", "v2"]},
    }


def test_environment_that_can_t_be_read_hides_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def read_delivery(environment: str, folder: Path) -> Delivery:
        if environment == "staging":
            raise ClusterUnreachable("no route")
        return Delivery([application(environment, "a")])

    monkeypatch.setattr(status, "delivery", read_delivery)
    result = read(["dev", "staging", "prod"], Path(), between)
    assert [row.environment for row in result.rows] == ["dev", "prod"]
    assert result.unreachable == {"staging": "no route"}


MANIFEST = {
    "kind": "Application",
    "metadata": {"name": "dev-shop", "namespace": "argocd"},
    "spec": {"project": "dev"},
    "status": {
        "sync": {"status": "Synced", "revision": "a"},
        "health": {"status": "Healthy"},
        "summary": {"images": ["reg/team/cart:v2", "reg/team/web:v1"]},
        "conditions": [
            {"type": "ComparisonError", "message": "no such path"},
            {"type": "OrphanedResourceWarning", "message": "1 orphaned resource"},
        ],
    },
}
NEW_MANIFEST = {
    "kind": "Application",
    "metadata": {"name": "dev-new", "namespace": "argocd"},
    "spec": {"project": "dev"},
}
SET = {
    "kind": "ApplicationSet",
    "metadata": {"name": "dev"},
    "status": {
        "conditions": [
            {"type": "ErrorOccurred", "status": "True", "message": "config.json:\n no JSON"},
            {"type": "ResourcesUpToDate", "status": "False", "message": "config.json: no JSON"},
        ]
    },
}
HEALTHY_SET = {
    "kind": "ApplicationSet",
    "metadata": {"name": "cluster-resources"},
    "status": {"conditions": [{"type": "ErrorOccurred", "status": "False", "message": "fine"}]},
}

Command = Callable[[str, str], None]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Puts a script of that name before all others on PATH."""

    def put(name: str, script: str) -> None:
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)

    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return put


def test_cluster_is_reached_as_the_stack_says(command: Command, tmp_path: Path) -> None:
    outputs = json.dumps({"kubeconfig": "the kubeconfig", "argocdNamespace": "gitops"})
    command(
        "pulumi", f"test \"$5 $6 $7\" = '--show-secrets --stack dev' || exit 1\necho '{outputs}'"
    )
    (tmp_path / "items").write_text(
        json.dumps({"items": [MANIFEST, NEW_MANIFEST, SET, HEALTHY_SET]})
    )
    command("kubectl", 'cat "$2" >kubeconfig; echo "$4" >namespace; cat items')
    result = delivery("dev", tmp_path)
    new, deployed = result.applications
    assert deployed == replace(DEV, errors=("no such path",))
    assert result.errors == {"dev": "config.json: no JSON"}
    assert (new.revision, new.sync, new.is_synced_and_healthy) == (None, "Unknown", False)
    assert (tmp_path / "kubeconfig").read_text() == "the kubeconfig"
    assert (tmp_path / "namespace").read_text() == "gitops\n"


def test_error_for_a_stack_that_is_not_deployed_names_the_command(
    command: Command, tmp_path: Path
) -> None:
    command("pulumi", "echo '{}'")
    with pytest.raises(
        ClusterUnreachable, match=r"dev is not deployed\.\nnext: pulumi up --stack dev"
    ):
        delivery("dev", tmp_path)
    command("pulumi", "echo 'error: no stack named dev found' >&2; exit 1")
    with pytest.raises(ClusterUnreachable, match=r"^no stack named dev found"):
        delivery("dev", tmp_path)
