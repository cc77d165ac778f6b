"""The cluster may pull from the registry, whoever has to allow it, and only that cluster."""

from typing import Any

import pulumi
import pytest

from doks_gitops import settings
from doks_gitops.account import (
    Account,
    AccountError,
    DigitalOceanClient,
    RunningCluster,
    Version,
    integration,
)
from tests.unit.mocked import OutputValue, run
from tests.unit.stackfiles import parsed

ENDPOINT = "registry.digitalocean.com/team"


@pytest.fixture
def stack() -> settings.Settings:
    return parsed()


def team(**fields: Any) -> Account:
    cluster: dict[str, Any] = {
        "id": "id-1",
        "name": "demo",
        "region": "nyc1",
        "version": Version.parse("1.34.1-do.0"),
        "ha": False,
        "state": "running",
        "registry_enabled": False,
        **fields,
    }
    return Account(
        regions=(), sizes=(), versions=(), clusters=(RunningCluster(**cluster),), registries=()
    )


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Every `allow_pulls`: token, API address, cluster and registry."""
    recorded: list[tuple[str, ...]] = []

    class Client(DigitalOceanClient):
        def __init__(self, token: str, api_url: str) -> None:
            super().__init__(token, api_url)
            self.account = (token, api_url)

        def allow_pulls(self, cluster_id: str, registry: str) -> None:
            recorded.append((*self.account, cluster_id, registry))

    monkeypatch.setattr(integration, "DigitalOceanClient", Client)
    return recorded


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    messages: list[str] = []
    monkeypatch.setattr("doks_gitops.account.messages.warn", messages.append)
    return messages


def restored(
    stack: settings.Settings,
    account: Account,
    *,
    known: bool = True,
    preview: bool = False,
    cluster_id: str = "id-1",
) -> OutputValue:
    """The registry's endpoint in a run; not `known`: the registry is yet to be created.

    `cluster_id`: the stack's cluster after the run.
    """

    def program() -> dict[str, Any]:
        value: Any = ENDPOINT if known else pulumi.UNKNOWN
        endpoint: pulumi.Output[str] = pulumi.Output.from_input(value)
        cluster = pulumi.Output.from_input(cluster_id)
        return {"endpoint": integration.allow_pulls(stack, account, endpoint, cluster)}

    return run(program, preview=preview).outputs["endpoint"]


def test_running_cluster_that_may_not_pull_is_allowed_to(
    stack: settings.Settings, calls: list[tuple[str, ...]], warnings: list[str]
) -> None:
    assert restored(stack, team()).value == ENDPOINT
    assert calls == [("dop_v1_token", "https://api.digitalocean.com", "id-1", "team")]
    assert "it has been allowed again" in warnings[0]


@pytest.mark.parametrize(
    "fields", [{"registry_enabled": True}, {"state": "provisioning"}, {"id": "id-2"}]
)
def test_any_other_cluster_is_left_alone(
    stack: settings.Settings, calls: list[tuple[str, ...]], fields: dict[str, Any]
) -> None:
    assert restored(stack, team(**fields)).value == ENDPOINT
    assert not calls


def test_cluster_that_the_run_replaces_is_left_alone(
    stack: settings.Settings, calls: list[tuple[str, ...]]
) -> None:
    assert restored(stack, team(region="fra1"), cluster_id="id-of-the-new-one").value == ENDPOINT
    assert not calls


@pytest.mark.parametrize(
    ("registries", "by_provider"),
    [((), True), (("team",), True), (("team", "other"), False), (("other",), False)],
)
def test_new_cluster_is_allowed_to_pull_by_the_provider_if_there_is_one_registry(
    stack: settings.Settings,
    calls: list[tuple[str, ...]],
    warnings: list[str],
    registries: tuple[str, ...],
    by_provider: bool,
) -> None:
    """The API refuses the provider's request if there are several."""
    account = Account((), (), (), (), registries)
    assert integration.provider_allows_pulls(stack, account) is by_provider
    assert restored(stack, account, cluster_id="id-new").value == ENDPOINT
    assert [call[2:] for call in calls] == ([] if by_provider else [("id-new", "team")])
    assert not warnings


def test_preview_changes_nothing_and_warns(
    stack: settings.Settings, calls: list[tuple[str, ...]], warnings: list[str]
) -> None:
    assert restored(stack, team(), preview=True).value == ENDPOINT
    assert not calls
    assert "`pulumi up` allows it again" in warnings[0]


def test_registry_that_does_not_exist_yet_is_waited_for(
    stack: settings.Settings, calls: list[tuple[str, ...]]
) -> None:
    assert not restored(stack, team(), known=False, preview=True).known
    assert not calls


def test_resources_that_need_the_endpoint_fail_if_the_integration_is_refused(
    stack: settings.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AccountError("lacks the scope")

    monkeypatch.setattr(DigitalOceanClient, "allow_pulls", refuse)
    with pytest.raises(AccountError, match="lacks the scope"):
        restored(stack, team())
