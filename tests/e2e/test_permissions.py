"""With exactly the scopes of docs/permissions.md the commands work; without any one of them they
fail, and what they print names it. One stack, from nothing to nothing."""

import json
import re
import threading
from collections.abc import Iterator

import httpx
import pytest

from tests import permissions
from tests.e2e.box import Sandbox, until

PREVIEW = permissions.scopes("preview")
UP = permissions.scopes("preview", "up")
COMMANDS = {
    "preview": "pulumi preview --non-interactive --color never --stack dev",
    "up": "pulumi up --non-interactive --color never --skip-preview --yes --stack dev",
    "destroy": "pulumi destroy --non-interactive --color never --skip-preview --yes --stack dev",
}


@pytest.fixture(scope="module")
def answered(box: Sandbox) -> Iterator[set[tuple[str, str, int]]]:
    """Method, path and status of every request that the account has answered."""
    daemon = json.loads((box.home / "daemon.json").read_text())
    seen: set[tuple[str, str, int]] = set()
    followed = threading.Event()
    with httpx.stream(
        "GET",
        f"{daemon['url']}/sandbox/requests",
        headers={"Authorization": f"Bearer {daemon['token']}"},
        timeout=None,
    ) as answer:

        def follow() -> None:
            try:
                for line in answer.iter_lines():
                    followed.set()
                    if line:
                        record = json.loads(line)
                        seen.add((record["method"], record["path"], record["status"]))
            except (httpx.HTTPError, httpx.StreamError):
                return

        threading.Thread(target=follow, daemon=True).start()
        assert followed.wait(10)
        yield seen


def with_scopes(box: Sandbox, command: str, scopes: frozenset[str], *, fails: bool = False) -> str:
    """What a command prints when the token may do this and nothing else."""
    token = box("token", *sorted(scopes)).split()[-1]
    script = f'export DIGITALOCEAN_TOKEN="$SCOPED"\n{COMMANDS[command]} 2>&1'
    if fails:
        script = f"if {script}; then echo It did not fail.; exit 1; fi"
    output = box.shell(script, SCOPED=token)
    print(output)
    return output


def named(output: str) -> frozenset[str]:
    """The scopes that a failed command names, itself or by the requests that were refused."""
    found = set(re.findall(r"lacks the scope (\S+)", output))
    for method, path in re.findall(
        r"(GET|POST|PUT|DELETE) http://[^/]+(/v2/[^\s?]+)\S*: 403", output
    ):
        found |= permissions.refused(method, path)
    return frozenset(found)


@pytest.mark.parametrize("missing", sorted(PREVIEW))
def test_a_preview_fails_without_any_one_of_its_scopes(box: Sandbox, missing: str) -> None:
    assert named(with_scopes(box, "preview", PREVIEW - {missing}, fails=True)) == {missing}


def test_a_preview_of_a_new_stack_works_with_its_scopes(box: Sandbox) -> None:
    assert "+ 17 to create" in with_scopes(box, "preview", PREVIEW)


@pytest.mark.parametrize("missing", ["create", "update", "access_cluster"])
def test_up_fails_without_any_one_of_its_scopes(
    box: Sandbox, answered: set[tuple[str, str, int]], missing: str
) -> None:
    scope = f"kubernetes:{missing}"
    output = with_scopes(box, "up", UP - {scope}, fails=True)
    assert scope in named(output)
    assert any(status == 403 for _, _, status in answered)


def test_destroy_uses_the_token_of_the_last_up_and_fails_without_its_scope(box: Sandbox) -> None:
    """While there is nothing but the cluster, so that nothing else has to be destroyed before."""
    with_scopes(box, "up", UP - {"kubernetes:access_cluster", "kubernetes:delete"}, fails=True)
    output = with_scopes(box, "destroy", UP, fails=True)
    assert named(output) == {"kubernetes:delete"}


def test_up_goes_on_and_completes_with_its_scopes(box: Sandbox) -> None:
    with_scopes(box, "up", UP)
    until(120, "the application is healthy", lambda: box.is_healthy("dev-microservices-demo"))


def test_a_preview_of_a_running_stack_works_with_its_scopes(box: Sandbox) -> None:
    box("pulumi", "config", "set", "--stack", "dev", "--path",
        "doks-gitops:applications.microservices-demo.revision", "HEAD")  # fmt: skip
    output = with_scopes(box, "preview", PREVIEW)
    box("pulumi", "config", "set", "--stack", "dev", "--path",
        "doks-gitops:applications.microservices-demo.revision", "main")  # fmt: skip
    # The two providers, whose token is another one, and the application.
    assert "~ 3 to update" in output


def test_destroy_completes_with_its_scopes(box: Sandbox) -> None:
    with_scopes(box, "destroy", UP)
    until(30, "the cluster is gone", lambda: not box.status()["clusters"])


def test_every_request_that_was_made_is_documented_and_no_scope_is_idle(
    box: Sandbox, answered: set[tuple[str, str, int]]
) -> None:
    used = [permissions.refused(method, path) for method, path, _ in answered]
    assert frozenset().union(*used) == UP
