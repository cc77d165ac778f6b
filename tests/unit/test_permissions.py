"""docs/permissions.md is in line with the scopes that the emulated API requires."""

import re

import yaml

from sandbox.digitalocean.app import OPERATIONS
from tests import permissions

EMULATED = {
    (operation.method, "/v2" + re.sub(r"\{\w*registry_name\}", "NAME", operation.path)): (
        operation.scopes
    )
    for operation in OPERATIONS
}


def test_every_request_is_documented_with_the_scopes_that_it_needs() -> None:
    emulated = {
        (method, re.sub(r"\{\w+\}", "ID", path)): frozenset(scopes)
        for (method, path), scopes in EMULATED.items()
    }
    documented = permissions.requests()
    assert documented == {request: emulated.get(request) for request in documented}


def test_the_scopes_of_each_use_are_those_of_its_requests() -> None:
    all_scopes = frozenset().union(*permissions.requests().values())
    clusters = (
        "preview",
        "up",
        "a registry",
        "a VPC",
        "isolated nodes",
        "costs",
        "costs of volumes",
    )
    uses = (
        *clusters,
        "volumes",
        "snapshots",
        "copies",
        "record",
        "snapshot",
        "copy",
        "restore",
        "rehearse",
    )
    assert all_scopes == permissions.scopes(*uses)


def test_a_preview_needs_only_read_scopes() -> None:
    assert {scope.partition(":")[2] for scope in permissions.scopes("preview")} == {"read"}


def test_each_workflow_requests_exactly_the_documented_permissions() -> None:
    requested = {}
    for file in (permissions.DOCUMENT.parents[1] / ".github" / "workflows").glob("*.yml"):
        workflow = yaml.safe_load(file.read_text())
        assert workflow["permissions"] == {}, file.name
        requested[file.stem] = frozenset(
            f"{name}: {level}"
            for job in workflow["jobs"].values()
            for name, level in job["permissions"].items()
        )
    assert permissions.workflows() == requested
