"""Before an upgrade, DigitalOcean's cluster linter is asked, and an error stops the upgrade."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pulumi
import pytest

from doks_gitops import account
from doks_gitops.account import Account, AccountError, linter
from doks_gitops.account import messages as messages_of_program
from doks_gitops.settings import DigitalOcean, Settings
from tests.unit.fake_api import FakeApi, serve
from tests.unit.stackfiles import CLUSTER, parsed
from tests.unit.test_cluster_network import NATIVE, TEAM

PATH = f"/v2/kubernetes/clusters/{NATIVE.id}/clusterlint"
ERROR = {
    "check_name": "admission-controller-webhook",
    "severity": "error",
    "message": "A webhook may be problematic during upgrades.",
    "object": {"kind": "validating webhook configuration", "name": "policy"},
}
WARNING = {
    "check_name": "bare-pods",
    "severity": "warning",
    "message": "Avoid using bare pods in clusters.",
    "object": {"kind": "pod", "name": "debug", "namespace": "default"},
}
RUNNING: Account = replace(TEAM, clusters=(NATIVE,))


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    monkeypatch.setattr(linter, "PAUSE_SECONDS", 0)
    with serve() as served:
        yield served


@pytest.fixture
def messages(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    texts: list[str] = []
    monkeypatch.setattr(messages_of_program, "warn", texts.append)
    monkeypatch.setattr(messages_of_program, "info", texts.append)
    return texts


def stack(api: FakeApi, **cluster: Any) -> Settings:
    settings = parsed(cluster={**CLUSTER, "upgrade": True, **cluster})
    endpoint = DigitalOcean(token=settings.digitalocean.token, api_endpoint=api.url)
    return settings.model_copy(update={"digitalocean": endpoint})


def answer(
    api: FakeApi, *diagnostics: dict[str, Any], before: tuple[int, Any] | None = None
) -> None:
    started, done = (202, {"run_id": "run-1"}), {"completed_at": "2026-01-31T12:00:00Z"}
    results = (200, {**done, "diagnostics": [*diagnostics]})
    api.answer(PATH, started, *((before,) if before else ()), results)


@pytest.mark.parametrize("before", [None, (404, {}), (200, {"run_id": "run-1"})])
def test_findings_are_shown_when_the_linter_has_ended(
    api: FakeApi, messages: list[str], before: tuple[int, Any] | None
) -> None:
    answer(api, WARNING, before=before)
    account.lint(stack(api), RUNNING)
    [text] = messages
    assert "before the upgrade of demo (id-1) from 1.34.1-do.0 to 1.34.2-do.0" in text
    assert "warning (bare-pods): Avoid using bare pods in clusters.: pod default/debug" in text
    assert [path for path, _ in api.requests[:2]] == [PATH, f"{PATH}?run_id=run-1"]


def test_an_error_stops_the_upgrade_unless_its_check_is_ignored(
    api: FakeApi, messages: list[str]
) -> None:
    answer(api, ERROR)
    with pytest.raises(AccountError) as error:
        account.lint(stack(api), RUNNING)
    assert "error (admission-controller-webhook)" in error.value.problem
    assert error.value.fix is not None
    assert "'doks-gitops:cluster.ignoredChecks[0]' admission-controller-webhook" in error.value.fix
    answer(api, ERROR)
    account.lint(stack(api, ignoredChecks=["admission-controller-webhook"]), RUNNING)
    assert "error (admission-controller-webhook)" in messages[-1]


def test_a_linter_that_does_not_end_stops_the_upgrade(
    api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linter, "ATTEMPTS", 2)
    api.answer(PATH, (202, {"run_id": "run-1"}), (404, {}))
    with pytest.raises(AccountError, match="it has not ended yet") as error:
        account.lint(stack(api), RUNNING)
    assert error.value.fix is not None
    assert "'doks-gitops:cluster.ignoredChecks[0]' '*'" in error.value.fix


def test_a_preview_only_reads_the_last_run(
    api: FakeApi, messages: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulumi.runtime, "is_dry_run", lambda: True)
    api.answer(PATH, (404, {}))
    account.lint(stack(api), RUNNING)
    results = {"completed_at": "2026-01-31T12:00:00Z", "diagnostics": [ERROR]}
    api.answer(PATH, (200, results))
    account.lint(stack(api), RUNNING)
    never, stops = messages
    assert "`pulumi up` runs the cluster linter before the upgrade" in never
    assert "The last run of the cluster linter stops the upgrade" in stops
    assert not api.bodies


def test_without_an_upgrade_nothing_is_asked(api: FakeApi) -> None:
    account.lint(stack(api, upgrade=False), RUNNING)
    account.lint(stack(api), TEAM)
    account.lint(stack(api, region="fra1"), RUNNING)
    account.lint(stack(api, ignoredChecks=["*"]), RUNNING)
    assert not api.requests
