"""A rehearsal of a loss, with a token of exactly the scopes of docs/permissions.md: it deploys,
changes, loses, recovers and destroys a stack of its own, and leaves nothing."""

import json
from pathlib import Path

import pytest

from tests import permissions
from tests.e2e.box import REPOSITORY, Sandbox

SCOPES = permissions.scopes("preview", "up", "rehearse")


@pytest.mark.weekly
def test_rehearsal_loses_and_recovers_a_stack_of_its_own_and_leaves_nothing(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    sandbox("start")
    sandbox("clone", str(tmp_path / "clone"))
    access = json.loads((sandbox.home / "git" / "monorepo.access.json").read_text())
    token = sandbox("token", *sorted(SCOPES)).split()[-1]
    sandbox.shell(
        'export DIGITALOCEAN_TOKEN="$SCOPED"\n'
        f"{REPOSITORY}/bin/platform rehearse --repo {tmp_path / 'clone'} --yes --json"
        f" >{tmp_path / 'steps.json'}",
        SCOPED=token,
        DOKS_GITOPS_GIT_PASSWORD=access["token"],
    )
    steps = json.loads((tmp_path / "steps.json").read_text())
    assert [step["name"] for step in steps] == [
        "deploy until Healthy",
        "a commit until Synced and Healthy",
        "lose the cluster",
        "recover until Healthy",
        "destroy",
    ]
    with sandbox.api() as api:
        lists = {
            "kubernetes/clusters": "kubernetes_clusters",
            "load_balancers": "load_balancers",
            "volumes": "volumes",
        }
        for path, key in lists.items():
            assert not api.get(f"/v2/{path}").json()[key]
    branches = sandbox.shell(f"git -C {tmp_path / 'clone'} ls-remote --heads origin")
    assert "rehearsal" not in branches
