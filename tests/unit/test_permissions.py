"""docs/permissions.md against what the emulated API asks for."""

import re

import yaml

from sandbox.digitalocean.app import OPERATIONS
from tests import permissions

EMULATED = {
    (each.method, "/v2" + re.sub(r"\{\w*registry_name\}", "NAME", each.path)): each.scopes
    for each in OPERATIONS
}


def test_every_request_is_documented_with_the_scopes_that_it_needs() -> None:
    emulated = {
        (method, re.sub(r"\{\w+\}", "ID", path)): frozenset(scopes)
        for (method, path), scopes in EMULATED.items()
    }
    documented = permissions.requests()
    assert documented == {request: emulated.get(request) for request in documented}


def test_the_scopes_of_each_use_are_those_of_its_requests() -> None:
    everything = frozenset().union(*permissions.requests().values())
    uses = ("preview", "up", "a registry", "a VPC", "costs")
    assert everything == permissions.scopes(*uses)


def test_a_preview_may_only_read() -> None:
    assert {scope.partition(":")[2] for scope in permissions.scopes("preview")} == {"read"}


def test_each_workflow_asks_for_the_documented_permissions_and_no_more() -> None:
    asked = {}
    for file in (permissions.DOCUMENT.parents[1] / ".github" / "workflows").glob("*.yml"):
        workflow = yaml.safe_load(file.read_text())
        assert workflow["permissions"] == {}, file.name
        asked[file.stem] = frozenset(
            f"{what}: {how}"
            for job in workflow["jobs"].values()
            for what, how in job["permissions"].items()
        )
    assert permissions.workflows() == asked
