"""The stack of `doks_gitops.stack`, with the real engine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from doks_gitops import variables
from doks_gitops.errors import PlatformError
from doks_gitops.policy.preview import PACK
from doks_gitops.policy.rules import KUBERNETES
from doks_gitops.recovery.observed import revision, without_resources
from doks_gitops.stack import PulumiError, Stack, StackLocked, StackNotFound
from sandbox.digitalocean import spaces
from tests.contract import pulumi_stack
from tests.contract.http_server import serving

PROGRAM = """
import pulumi, pulumi_kubernetes
pulumi_kubernetes.Provider(
    "kubernetes", kubeconfig=pulumi.Output.secret('{"current-context": "hush"}'), namespace="%s",
    delete_unreachable=False,
    opts=pulumi.ResourceOptions(protect=True),
)
pulumi.export("password", pulumi.Output.secret("hush"))
"""


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pulumi_stack.Stack]:
    """The project with a deployed stack `dev`, and its environment."""
    real = pulumi_stack.Stack.new(tmp_path_factory.mktemp("stack"))
    real.program(PROGRAM % "one")
    with pytest.MonkeyPatch.context() as monkeypatch:
        for key, value in real.env.items():
            monkeypatch.setenv(key, value)
        Stack("dev", real.folder).up(policy_pack=PACK)
        yield real


@pytest.fixture
def stack(real: pulumi_stack.Stack) -> Stack:
    return Stack("dev", real.folder)


def test_a_preview_lists_unchanged_and_changed_resources_without_secrets(
    real: pulumi_stack.Stack, stack: Stack
) -> None:
    for namespace, operation in (("one", "same"), ("two", "update")):
        real.program(PROGRAM % namespace)
        preview = stack.preview()
        [step] = [entry for entry in preview["steps"] if entry["urn"].split("::")[2] == KUBERNETES]
        assert step["op"] == operation
        assert step["oldState"]["inputs"]["namespace"] == "one"
        assert step["newState"]["inputs"]["namespace"] == namespace
        assert step["newState"]["inputs"]["kubeconfig"] == "[secret]"
        assert step["newState"]["protect"] is True
        assert preview["changeSummary"][operation] >= 1
        assert "hush" not in json.dumps(preview)


def test_a_preview_of_a_program_that_fails_has_its_words(
    real: pulumi_stack.Stack, stack: Stack
) -> None:
    real.program("raise ValueError('no such region')")
    with pytest.raises(PulumiError, match="no such region"):
        stack.preview()


def test_a_deployment_that_breaks_a_mandatory_policy_is_over_before_it_begins(
    real: pulumi_stack.Stack, stack: Stack, capfd: pytest.CaptureFixture[str]
) -> None:
    before = stack.export()["deployment"]
    forbidden = 'pulumi_kubernetes.Provider("other", delete_unreachable=True)'
    real.program(f"{PROGRAM % 'two'}\n{forbidden}")
    with pytest.raises(PulumiError):
        stack.up(policy_pack=PACK, preview=True)
    assert "kubernetes-forgets-nothing" in capfd.readouterr().out
    assert stack.export()["deployment"]["resources"] == before["resources"]


def test_secrets_are_read_in_clear_only_where_they_are_needed(stack: Stack) -> None:
    assert stack.outputs() == {"password": "hush"}
    assert "hush" not in json.dumps(stack.export())


def test_a_stack_is_created_without_becoming_the_current_one(
    real: pulumi_stack.Stack,
) -> None:
    other = Stack("other", real.folder)
    for read in (other.config, other.export, other.preview, other.cancel):
        with pytest.raises(StackNotFound):
            read()
    other.create()
    assert other.config() == {}
    stacks = json.loads(real.run("stack", "ls", "--json").output)
    assert {entry["name"]: entry["current"] for entry in stacks} == {"dev": True, "other": False}


CONDITION = """
import pulumi
from doks_gitops import condition
condition.wait(dry_run=pulumi.runtime.is_dry_run())
"""


@pytest.mark.parametrize(("name", "deployed"), [("dev", ["one"]), ("empty", [])])
def test_a_condition_is_checked_under_the_lock_before_anything_is_written(
    real: pulumi_stack.Stack, name: str, deployed: list[str]
) -> None:
    stack = Stack(name, real.folder)
    if not deployed:
        stack.create()
    else:
        real.program(PROGRAM % "one")
        stack.up(policy_pack=PACK)
    before, history = stack.export(), stack.last_run()
    checked = []

    def check() -> None:
        checked.append(revision(stack.export()))
        with pytest.raises(StackLocked):
            stack.import_state(before)
        raise PlatformError("another run has changed it")

    real.program(CONDITION + PROGRAM % "two")
    with pytest.raises(PlatformError, match="another run has changed it"):
        stack.up(policy_pack=PACK, preview=True, refresh=True, check=check)
    assert checked == [revision(before)]
    resources = stack.export()["deployment"].get("resources") or []
    namespaces = [
        entry["inputs"]["namespace"]
        for entry in resources
        if entry["type"] == "pulumi:providers:kubernetes"
    ]
    assert namespaces == deployed
    assert stack.last_run() != history
    stack.up(policy_pack=PACK, preview=True, refresh=True, check=lambda: None)
    assert stack.outputs() == {"password": "hush"}


def test_the_revision_of_a_state_is_kept_by_an_import_and_changed_by_a_run(
    real: pulumi_stack.Stack, stack: Stack
) -> None:
    real.program(PROGRAM % "one")
    stack.up(policy_pack=PACK)
    export, last = stack.export(), stack.last_run()
    [provider] = [
        entry["urn"] for entry in export["deployment"]["resources"] if KUBERNETES in entry["urn"]
    ]
    edited = without_resources(export, (provider,))
    stack.import_state(edited)
    assert revision(stack.export()) == revision(edited) != revision(export)
    assert stack.last_run() == last
    stack.up(policy_pack=PACK)
    assert revision(stack.export()) not in (revision(edited), revision(export))
    assert stack.last_run() != last


class _Unauthorized(BaseHTTPRequestHandler):
    """Pulumi Cloud's answer to a token that has expired or was revoked.

    https://www.pulumi.com/docs/reference/cloud-rest-api/
    """

    def do_GET(self) -> None:
        self.send_error(401)

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_an_expired_access_token_is_told_with_where_to_look(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    with HTTPServer(("127.0.0.1", 0), _Unauthorized) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("PULUMI_BACKEND_URL", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("PULUMI_ACCESS_TOKEN", "pul-expired")
        with pytest.raises(PulumiError, match="are invalid") as failure:
            stack.export()
        server.shutdown()
    assert 'docs/real-account.md, "State"' in str(failure.value.fix)
    assert "pul-expired" not in str(failure.value)


def test_a_state_in_a_bucket_is_locked_compared_and_kept_as_one_in_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("team-state", "other-state"):
        (tmp_path / "spaces" / name).mkdir(parents=True)
    key, team = (
        spaces.Key(id="DO00KEY", secret="secret", password=""),
        tmp_path / "spaces" / "team-state",
    )
    with serving(spaces.create_app(tmp_path / "spaces", key)) as url:
        options = (
            f"endpoint={url}&s3ForcePathStyle=true&region=nyc3"
            "&response_checksum_validation=when_required"
        )
        backend = {
            "PULUMI_BACKEND_URL": f"s3://team-state?{options}",
            "AWS_ACCESS_KEY_ID": key.id,
            "AWS_SECRET_ACCESS_KEY": key.secret,
        }
        real = pulumi_stack.Stack.new(tmp_path, backend=backend)
        for name, value in variables.restricted(real.env, deployment=True).items():
            monkeypatch.setenv(name, value)
        stack = Stack("organization/tests/dev", real.folder)
        locks = team / ".pulumi" / "locks" / "organization" / "tests" / "dev"

        def check() -> None:
            [lock] = locks.iterdir()
            left.append(lock.read_bytes())
            with pytest.raises(StackLocked):
                stack.import_state(before)

        left: list[bytes] = []
        before = stack.export()
        assert stack.last_run() is None
        real.program(CONDITION + PROGRAM % "one")
        stack.up(policy_pack=PACK, refresh=True, check=check)
        assert (stack.outputs(), stack.last_run()) == ({"password": "hush"}, stack.history()[0])
        assert list(locks.iterdir()) == []

        (locks / "killed.json").write_bytes(left[0])
        with pytest.raises(StackLocked, match=r"recover --stack \S+/dev --cancel"):
            stack.up(policy_pack=PACK)
        stack.cancel()
        export, last = stack.export(), stack.last_run()
        stack.import_state(export)
        assert (revision(stack.export()), stack.last_run()) == (revision(export), last)
        backups = team / ".pulumi" / "backups" / "tests" / "dev"
        assert list(backups.iterdir()), "where the runbook looks for a former state"
        assert b"hush" not in (team / ".pulumi" / "stacks" / "tests" / "dev.json").read_bytes()

        monkeypatch.setenv("PULUMI_BACKEND_URL", f"s3://other-state?{options}")
        with pytest.raises(StackNotFound):
            stack.export()
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "that of yesterday")
        with pytest.raises(PulumiError, match="SignatureDoesNotMatch"):
            stack.export()
