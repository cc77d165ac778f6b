"""docs/permissions.md is in line with the scopes that the emulated API requires, and with the
requests of the program."""

import inspect
import re
from contextlib import suppress

import pytest
import requests
import yaml

from doks_gitops.account import AccountError, DigitalOceanClient
from sandbox.digitalocean.app import OPERATIONS
from tests import permissions

WORKFLOWS = permissions.DOCUMENT.parents[1] / ".github" / "workflows"
EMULATED = {
    (
        operation.method,
        "/v2" + re.sub(r"\{(registry|repository)_name(:path)?\}", "NAME", operation.path),
    ): operation.scopes
    for operation in OPERATIONS
}


def test_every_request_is_documented_with_the_scopes_that_it_needs() -> None:
    emulated = {
        (method, re.sub(r"\{\w+\}", "ID", path)): frozenset(scopes)
        for (method, path), scopes in EMULATED.items()
    }
    documented = permissions.requests()
    assert documented == {request: emulated.get(request) for request in documented}


class Argument(str):
    """Stands for an ID or a name, and for a cluster or a snapshot that has them."""

    @property
    def id(self) -> str:
        return self

    name = tags = id


ANSWERS = {
    "/v2/registry": (412, b""),
    "/v2/tags/ID/resources": (404, b""),
    "/v2/load_balancers": (200, b'{"load_balancers": []}'),
}
"""The answers after which the client sends another request; it gets no other answers."""


def test_every_request_of_the_client_is_documented_and_its_refusal_names_its_scopes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent: dict[tuple[str, str], frozenset[str]] = {}

    def request(
        _: DigitalOceanClient, method: str, path: str, scope: str, body: object = None
    ) -> requests.Response:
        path = path.partition("?")[0]
        sent[method, path] = frozenset(scope.split(", "))
        if path not in ANSWERS:
            raise AccountError("no answer")
        response = requests.Response()
        response.status_code, response._content = ANSWERS[path]
        return response

    monkeypatch.setattr(DigitalOceanClient, "_request", request)
    client = DigitalOceanClient("token", "https://api.example.com")
    for name, method in inspect.getmembers(DigitalOceanClient, inspect.isfunction):
        if not name.startswith("_"):
            parameters = len(inspect.signature(method).parameters) - 1
            with suppress(AccountError):
                method(client, *[Argument("ID")] * parameters)
    assert sent == {known: permissions.scopes_of(*known) for known in sent}


def test_the_scopes_of_each_use_are_those_of_its_requests() -> None:
    all_scopes = frozenset().union(*permissions.requests().values())
    assert all_scopes == frozenset().union(*permissions.uses().values())


def test_a_preview_needs_only_read_scopes() -> None:
    assert {scope.partition(":")[2] for scope in permissions.scopes("preview")} == {"read"}


def test_each_workflow_requests_exactly_the_documented_permissions() -> None:
    requested = {}
    for file in WORKFLOWS.glob("*.yml"):
        workflow = yaml.safe_load(file.read_text())
        assert workflow["permissions"] == {}, file.name
        requested[file.stem] = frozenset(
            f"{name}: {level}"
            for job in workflow["jobs"].values()
            for name, level in job["permissions"].items()
        )
    assert permissions.workflows() == requested


def test_each_workflow_gets_exactly_the_documented_secrets() -> None:
    used = {
        file.name: frozenset(re.findall(r"\$\{\{.*?secrets\.(\w+)", file.read_text()))
        for file in WORKFLOWS.glob("*.yml")
    }
    # deploy.yml calls it for each environment.
    used["deploy.yml"] |= used.pop("deploy-stack.yml")
    documented = permissions.secrets()
    for files, names in documented.items():
        assert names == frozenset().union(*(used[file] for file in files)), sorted(files)
    assert {file for file in used if used[file]} == frozenset().union(*documented)
