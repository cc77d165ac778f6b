"""What runs is compared with what a sync would make of it."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from doks_gitops.diff import live
from doks_gitops.diff.compare import Comparison
from doks_gitops.diff.environment import Declared
from doks_gitops.diff.live import ArgoCd, ArgoCdError, Live
from doks_gitops.diff.objects import Change, Object, compare, key_of
from doks_gitops.diff.render import Rendered, Rendering
from doks_gitops.diff.revisions import Revisions, Side
from doks_gitops.diff.sources import Tree
from tests.unit.fake_api import serve

APP = Declared("dev-shop", {"destination": {"namespace": "shop"}}, "Pulumi.dev.yaml")
CLUSTERS_OWN = {"uid": "1", "resourceVersion": "7", "managedFields": [{}], "generation": 2}


def item(kind: str, name: str, api_version: str = "v1", **fields: Any) -> dict[str, Any]:
    metadata = {"name": name, **fields.pop("metadata", {})}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **fields}


class FakeArgoCd(ArgoCd):
    """Runs `objects` as `dev-shop`; a sync changes nothing but what a manifest says."""

    def __init__(self, *objects: dict[str, Any], names: Sequence[str] = ("dev-shop",)) -> None:
        self._objects, self._names = objects, frozenset(names)

    def applications(self) -> frozenset[str]:
        return self._names

    def resources(self, name: str) -> list[Live]:
        return [Live(key_of(state), state) for state in self._objects]

    def predicted(
        self, name: str, pairs: Sequence[tuple[Live, Object]]
    ) -> list[tuple[Object, Object]]:
        return [
            (existing.state, {**existing.state, **manifest, "status": {"after": True}})
            for existing, manifest in pairs
        ]


def rendering(*objects: dict[str, Any], error: str | None = None) -> Rendering:
    side = Side("0" * 40, Path(), Path())
    head = Rendering(None, side, Tree(Path(), frozenset(), lambda _: False))
    head.declared["dev-shop"] = APP
    head.applications["dev-shop"] = Rendered(APP, objects, error)
    return head


def changes(argocd: ArgoCd, head: Rendering) -> list[Change]:
    old, new = live.compared(argocd, head)
    before, after = (side.applications["dev-shop"].objects for side in (old, new))
    return list(compare(before, after, "", ""))


def test_object_that_runs_as_git_has_it_is_no_change_whatever_the_cluster_adds() -> None:
    running = item(
        "Service", "web", metadata={"namespace": "shop", **CLUSTERS_OWN},
        spec={"a": 1, "clusterIP": "10.0.0.1"}, status={"loadBalancer": {}},
    )  # fmt: skip
    git = item("Service", "web", spec={"a": 1, "clusterIP": "10.0.0.1"})
    hook = item("Job", "seed", metadata={"annotations": {"helm.sh/hook": "pre-install"}})
    assert changes(FakeArgoCd(running), rendering(git, hook)) == []


def test_what_was_changed_removed_and_added_by_hand_is_told() -> None:
    running = [
        item("ConfigMap", "changed", metadata={"namespace": "shop"}, data={"a": "by hand"}),
        item("ConfigMap", "extra", metadata={"namespace": "shop"}, data={"b": "1"}),
        item("Shop", "cluster-wide", "example.com/v1", spec={"size": 1}),
    ]
    git = [
        item("ConfigMap", "changed", data={"a": "in Git"}),
        item("Service", "missing", spec={"ports": []}),
        item("Shop", "cluster-wide", "example.com/v1", spec={"size": 1}),
    ]
    compared = changes(FakeArgoCd(*running), rendering(*git))
    assert [(change.operation, str(change.key)) for change in compared] == [
        ("create", "Service shop/missing"),
        ("update", "ConfigMap shop/changed"),
        ("delete", "ConfigMap shop/extra"),
    ]
    assert "-  a: by hand" in compared[1].diff
    assert "+  a: in Git" in compared[1].diff


def test_secrets_are_compared_by_the_names_of_their_values() -> None:
    masked = item("Secret", "a", metadata={"namespace": "shop"}, data={"k": "++++++++"})
    assert changes(FakeArgoCd(masked), rendering(item("Secret", "a", data={"k": "eA=="}))) == []
    [added] = changes(FakeArgoCd(masked), rendering(item("Secret", "a", stringData={"l": "x"})))
    assert "+  l: '[secret]'" in added.diff
    assert "-  k: '[secret]'" in added.diff


def test_application_that_does_not_run_yet_is_new_and_one_that_nobody_declares_is_noted() -> None:
    old, new = live.compared(FakeArgoCd(names=["by-hand"]), rendering(item("Service", "web")))
    assert list(old.applications) == []
    assert list(new.applications) == ["dev-shop"]
    assert new.notes == [
        "The Application by-hand runs, and nothing declares it.",
        "The Application dev-shop is not visible to the token, or not deployed, so all that it has"
        " is shown as new.",
    ]


def test_application_that_can_not_be_rendered_stays_an_error() -> None:
    _, new = live.compared(FakeArgoCd(), rendering(error="broken"))
    assert new.applications["dev-shop"].error == "broken"


def test_application_of_another_repository_that_can_not_be_read_is_no_failure() -> None:
    head = rendering(error="no access")
    head.applications["dev-shop"] = replace(head.applications["dev-shop"], foreign=True)
    old, new = live.compared(FakeArgoCd(), head)
    diff = Comparison(Revisions(Path(), head.side, head.side, None), None, Path()).result(
        "dev", old, new
    )
    assert diff.notes == ("dev-shop was not rendered, nor what it may declare: no access",)
    assert not diff.failed


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (307, "Temporary Redirect", "307"),
        (404, "page not found", "404"),
        (200, "<!doctype html>", "not Argo CD's API"),
        (200, [], "not Argo CD's API"),
    ],
)
def test_answer_that_is_not_argo_cds_is_an_error_that_names_the_address(
    status: int, body: Any, message: str
) -> None:
    with serve() as api:
        api.answer("/api/v1/applications", (status, body), Location="https://127.0.0.1/")
        with pytest.raises(ArgoCdError, match=message) as error:
            live.connect(api.url, "token").applications()
    assert "--argocd https://HOST" in str(error.value)


def test_refused_token_is_told_without_the_token() -> None:
    with serve() as api:
        api.answer("/api/v1/applications", (401, {}))
        with pytest.raises(ArgoCdError, match="refuses the token") as error:
            live.connect(api.url, "hunter2").applications()
    assert "hunter2" not in str(error.value)
    assert api.requests[0][1] == "Bearer hunter2"


@pytest.mark.parametrize(
    ("url", "token", "message"),
    [
        ("https://argocd.example.com", None, "ARGOCD_AUTH_TOKEN"),
        ("http://argocd.example.com", "token", "not https"),
    ],
)
def test_token_is_needed_and_never_sent_in_clear(url: str, token: str | None, message: str) -> None:
    with pytest.raises(ArgoCdError, match=message):
        live.connect(url, token)


def test_refusal_of_a_comparison_is_told_in_argo_cds_words() -> None:
    existing = Live(key_of(item("Service", "web")), item("Service", "web"))
    trailer = b"grpc-status: 7\r\nGrpc-Message: Not%20allowed\r\n"
    frame = b"\x80" + len(trailer).to_bytes(4, "big") + trailer
    with serve() as api:
        api.answer("/application.ApplicationService/ServerSideDiff", (200, frame))
        with pytest.raises(ArgoCdError, match="Not allowed"):
            live.connect(api.url, "token").predicted("dev-shop", [(existing, existing.state)])


def test_failed_comparison_of_one_application_is_its_error() -> None:
    class Refusing(FakeArgoCd):
        def resources(self, name: str) -> list[Live]:
            raise ArgoCdError("not now")

    _, new = live.compared(Refusing(), rendering(item("Service", "web")))
    assert new.applications["dev-shop"].error == "not now"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--against", "live"], "compares one stack"),
        (["--argocd", "https://localhost:8080", "--stack", "dev"], "needs --against live"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    bin_platform: Callable[..., tuple[int, str, str]], words: list[str], message: str
) -> None:
    code, _, errors = bin_platform("diff", *words)
    assert code == 1
    assert message in errors
