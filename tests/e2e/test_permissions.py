"""With exactly the scopes of docs/permissions.md the commands work; without any one of them they
fail, and what they print names it. One stack, from nothing to nothing."""

import json
import re
import threading
from collections.abc import Iterator

import httpx
import pytest

from tests import permissions
from tests.e2e.box import PATIENCE, Sandbox, until

PREVIEW = permissions.scopes("preview")
UP = permissions.scopes("preview", "up")
COMMANDS = {
    "preview": "pulumi preview --non-interactive --color never --stack dev",
    "up": "pulumi up --non-interactive --color never --skip-preview --yes --stack dev",
    "destroy": "pulumi destroy --non-interactive --color never --skip-preview --yes --stack dev",
}


@pytest.fixture(scope="module", autouse=True)
def _running(sandbox: Sandbox) -> None:
    sandbox("start")


@pytest.fixture(scope="module")
def requests(sandbox: Sandbox) -> Iterator[set[tuple[str, str, int]]]:
    """The requests that the account has answered: method, path and status."""
    answered: set[tuple[str, str, int]] = set()
    following = threading.Event()
    with (
        sandbox.api() as api,
        api.stream("GET", "/sandbox/requests", timeout=None) as response,
    ):

        def follow() -> None:
            try:
                for line in response.iter_lines():
                    following.set()
                    if line:
                        record = json.loads(line)
                        answered.add((record["method"], record["path"], record["status"]))
            except (httpx.HTTPError, httpx.StreamError):
                return

        threading.Thread(target=follow, daemon=True).start()
        assert following.wait(PATIENCE)
        yield answered


def with_scopes(
    sandbox: Sandbox, command: str, scopes: frozenset[str], *, fails: bool = False, **env: str
) -> str:
    """The output of a command whose token has these scopes and no other."""
    token = sandbox("token", *sorted(scopes)).split()[-1]
    script = f'export DIGITALOCEAN_TOKEN="$SCOPED"\n{COMMANDS[command]} 2>&1'
    if fails:
        script = f"if {script}; then echo It did not fail.; exit 1; fi"
    output = sandbox.shell(script, SCOPED=token, **env)
    print(output)
    return output


def named_scopes(output: str) -> frozenset[str]:
    """The scopes that a failed command names, itself or by the requests that were refused."""
    named = re.findall(r"lacks the scope ([^(]+) \(", output)
    scopes = {scope for names in named for scope in names.split(", ")}
    for method, path in re.findall(
        r"(GET|POST|PUT|DELETE) http://[^/]+(/v2/[^\s?]+)\S*: 403", output
    ):
        scopes |= permissions.scopes_of(method, path)
    return frozenset(scopes)


@pytest.mark.parametrize("missing", sorted(PREVIEW))
def test_a_preview_fails_without_any_one_of_its_scopes(sandbox: Sandbox, missing: str) -> None:
    assert named_scopes(with_scopes(sandbox, "preview", PREVIEW - {missing}, fails=True)) == {
        missing
    }


def test_a_preview_of_a_new_stack_works_with_its_scopes(sandbox: Sandbox) -> None:
    assert "+ 18 to create" in with_scopes(sandbox, "preview", PREVIEW)


@pytest.mark.parametrize("missing", ["create", "update", "access_cluster"])
def test_up_fails_without_any_one_of_its_scopes(
    sandbox: Sandbox, requests: set[tuple[str, str, int]], missing: str
) -> None:
    scope = f"kubernetes:{missing}"
    output = with_scopes(sandbox, "up", UP - {scope}, fails=True)
    assert scope in named_scopes(output)
    assert any(status == 403 for _, _, status in requests)


def test_destroy_uses_the_token_of_the_last_up_and_fails_without_its_scope(
    sandbox: Sandbox,
) -> None:
    """While there is nothing but the cluster, so that nothing else has to be destroyed before."""
    with_scopes(sandbox, "up", UP - {"kubernetes:access_cluster", "kubernetes:delete"}, fails=True)
    output = with_scopes(sandbox, "destroy", UP, fails=True)
    assert named_scopes(output) == {"kubernetes:delete"}


def test_up_goes_on_and_completes_with_its_scopes(sandbox: Sandbox) -> None:
    with_scopes(sandbox, "up", UP)
    sandbox.wait_for("dev-microservices-demo")


def test_kubeconfig_gets_a_token_that_opens_the_clusters_and_nothing_else(
    sandbox: Sandbox,
) -> None:
    token = sandbox("token", "kubernetes:access_cluster").split()[-1]
    output = with_scopes(sandbox, "up", UP, DIGITALOCEAN_CLUSTER_TOKEN=token)
    # The two providers: the test before has deployed with another token of the account.
    assert re.search(r"~ 2 updated\n +16 unchanged", output)
    outputs = json.loads(sandbox.shell("pulumi stack output --stack dev --json --show-secrets"))
    assert token in outputs["kubeconfig"]
    assert sandbox.daemon["token"] not in outputs["kubeconfig"]
    headers = {"Authorization": f"Bearer {token}"}
    namespaces = f"{outputs['clusterEndpoint']}/api/v1/namespaces"
    assert httpx.get(namespaces, headers=headers, verify=False).status_code == 200
    with sandbox.api() as api:
        account = f"/v2/kubernetes/clusters/{outputs['clusterId']}"
        assert api.put(account, json={}, headers=headers).status_code == 403
        assert api.get(account, headers=headers).status_code == 403


def test_a_preview_of_a_running_stack_works_with_its_scopes(sandbox: Sandbox) -> None:
    sandbox("pulumi", "config", "set", "--stack", "dev", "--path",
        "doks-gitops:applications.microservices-demo.revision", "HEAD")  # fmt: skip
    output = with_scopes(sandbox, "preview", PREVIEW)
    sandbox("pulumi", "config", "set", "--stack", "dev", "--path",
        "doks-gitops:applications.microservices-demo.revision", "main")  # fmt: skip
    # The two providers, whose token is another one, and the application.
    assert "~ 3 to update" in output


def test_destroy_completes_with_its_scopes(sandbox: Sandbox) -> None:
    with_scopes(sandbox, "destroy", UP)
    until("the cluster is gone", lambda: not sandbox.status()["clusters"])


def test_every_request_that_was_made_is_documented_and_no_scope_is_idle(
    sandbox: Sandbox, requests: set[tuple[str, str, int]]
) -> None:
    used_scopes = [permissions.scopes_of(method, path) for method, path, _ in requests]
    assert frozenset().union(*used_scopes) == UP
