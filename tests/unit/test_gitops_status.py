"""Where each application stands, and how far behind the environment before it."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from doks_gitops.promotion import status
from doks_gitops.promotion.cluster import Application, Unseen, applications
from doks_gitops.promotion.status import Behind, Status, as_json, look, rows, table

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
    found = rows({"dev": [DEV], "staging": [], "prod": [prod]}, between)
    assert [row.behind for row in found] == [None, Behind("dev", 0, {})]


def test_commits_that_can_t_be_counted_are_not_called_none() -> None:
    for revision in ("elsewhere", None):
        staging = application("staging", revision, *DEV.images)
        [_, row] = rows({"dev": [DEV], "staging": [staging]}, between)
        assert row.behind == Behind("dev", None, {})
        assert "dev: unknown commits" in table(Status([row]))


def test_port_of_a_registry_is_no_tag() -> None:
    there = application("dev", "a", "localhost:5000/cart:v2")
    here = application("staging", "a", "localhost:5000/cart")
    [_, row] = rows({"dev": [there], "staging": [here]}, between)
    assert row.behind == Behind("dev", 0, {"cart": ("latest", "v2")})


def test_table_says_it_at_a_glance() -> None:
    found = Status(
        rows({"dev": [DEV], "staging": [STAGING]}, between), {"prod": "the stack is not deployed"}
    )
    assert [re.split("  +", line) for line in table(found).splitlines()] == [
        ["APPLICATION", "ENVIRONMENT", "REVISION", "IMAGES", "SYNC", "HEALTH", "BEHIND"],
        ["shop", "dev", "a", "v2 (1), web:v1", "Synced", "Healthy", "-"],
        [
            *("shop", "staging", "b", "v1 (2), redis:latest", "Synced", "Healthy"),
            "dev: 2 commits, cart v1 → v2",
        ],
        ["prod could not be looked at: the stack is not deployed"],
    ]
    assert len({line.index("  Synced") for line in table(found).splitlines()[1:3]}) == 1
    assert json.loads(json.dumps(as_json(found)))["applications"][1]["behind"] == {
        "environment": "dev",
        "commits": 2,
        "tags": {"cart": ["v1", "v2"]},
    }


def test_environment_that_can_t_be_looked_at_hides_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def asked(environment: str, folder: Path) -> list[Application]:
        if environment == "staging":
            raise Unseen("no route")
        return [application(environment, "a")]

    monkeypatch.setattr(status, "applications", asked)
    found = look(["dev", "staging", "prod"], Path(), between)
    assert [row.environment for row in found.rows] == ["dev", "prod"]
    assert found.unseen == {"staging": "no route"}


FOUND = {
    "metadata": {"name": "dev-shop", "namespace": "argocd"},
    "spec": {"project": "dev"},
    "status": {
        "sync": {"status": "Synced", "revision": "a"},
        "health": {"status": "Healthy"},
        "summary": {"images": ["reg/team/cart:v2", "reg/team/web:v1"]},
    },
}
FRESH = {"metadata": {"name": "dev-new", "namespace": "argocd"}, "spec": {"project": "dev"}}

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
    items = json.dumps({"items": [FOUND, FRESH]})
    command("kubectl", f'cat "$2" >kubeconfig; echo "$4" >namespace\necho \'{items}\'')
    fresh, found = applications("dev", tmp_path)
    assert found == DEV
    assert (fresh.revision, fresh.sync, fresh.is_well) == (None, "Unknown", False)
    assert (tmp_path / "kubeconfig").read_text() == "the kubeconfig"
    assert (tmp_path / "namespace").read_text() == "gitops\n"


def test_stack_that_is_not_deployed_is_told_so(command: Command, tmp_path: Path) -> None:
    command("pulumi", "echo '{}'")
    with pytest.raises(Unseen, match="dev is not deployed: pulumi up --stack dev"):
        applications("dev", tmp_path)
    command("pulumi", "echo 'error: no stack named dev found' >&2; exit 1")
    with pytest.raises(Unseen, match=r"^no stack named dev found"):
        applications("dev", tmp_path)
