"""Reading the account over HTTP: what is asked, what is understood, and what failures say."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pulumi
import pytest

from doks_gitops import account
from doks_gitops.account import AccountError, Version

TOKEN = "dop_v1_0123456789"
OPTIONS = {
    "options": {
        "regions": [{"name": "New York 1", "slug": "nyc1"}],
        "sizes": [{"name": "s-2vcpu-4gb", "slug": "s-2vcpu-4gb"}],
        "versions": [
            {"slug": f"{version}-do.0", "kubernetes_version": version, "supported_features": []}
            for version in ("1.34.9", "1.34.10", "1.33.2")
        ],
    }
}


def cluster(name: str, state: str = "running") -> dict[str, Any]:
    return {
        "id": f"id-of-{name}",
        "name": name,
        "region": "nyc1",
        "version": "1.34.9-do.0",
        "ha": True,
        "registry_enabled": True,
        "status": {"state": state},
        "vpc_uuid": f"vpc-of-{name}",
        "node_pools": [
            {"id": "b", "name": "burst", "size": "s-4vcpu-8gb", "tags": ["k8s"]},
            {
                "id": "d",
                "name": "default",
                "size": "s-2vcpu-4gb",
                "tags": ["terraform:default-node-pool"],
            },
        ],
    }


@dataclass
class Api:
    """A stand-in that answers what it is told to: (status, body, headers) by path, in turn."""

    url: str = ""
    answers: dict[str, list[tuple[int, Any, dict[str, str]]]] = field(default_factory=dict)
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    sent: list[Any] = field(default_factory=list)
    """The bodies of POSTs."""

    def answer(self, path: str, *answers: tuple[int, Any], **headers: str) -> None:
        """The last of `answers` is repeated."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answers[path] = [(status, body, named) for status, body in answers]

    def take(self, target: str) -> tuple[int, Any, dict[str, str]]:
        parts = urlsplit(target)
        page = parse_qs(parts.query).get("page", ["1"])[0]
        left = self.answers.get(f"{parts.path}#{page}") or self.answers[parts.path]
        return left.pop(0) if len(left) > 1 else left[0]


@pytest.fixture(autouse=True)
def _no_waiting_between_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(account.api, "RETRIES", account.api.RETRIES.new(backoff_factor=0))


@pytest.fixture
def api() -> Iterator[Api]:
    stand_in = Api()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            stand_in.asked.append((self.path, self.headers["Authorization"]))
            status, body, headers = stand_in.take(self.path)
            content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            stand_in.sent.append(json.loads(self.rfile.read(length)))
            self.do_GET()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    stand_in.url = f"http://127.0.0.1:{server.server_port}"
    stand_in.answer("/v2/kubernetes/options", (200, OPTIONS))
    stand_in.answer("/v2/kubernetes/clusters", (200, {"kubernetes_clusters": [], "links": {}}))
    stand_in.answer("/v2/registry", (200, {"registry": {"name": "shop"}}))
    yield stand_in
    server.shutdown()
    server.server_close()
    thread.join()


def test_account_is_what_the_api_says(api: Api) -> None:
    api.answer(
        "/v2/kubernetes/clusters",
        (200, {"kubernetes_clusters": [cluster("shop"), cluster("old", "deleting")]}),
    )
    read = account.read(TOKEN, api.url)
    assert read.regions == ("nyc1",)
    assert read.sizes == ("s-2vcpu-4gb",)
    assert [str(version) for version in read.versions] == [
        "1.34.10-do.0",
        "1.34.9-do.0",
        "1.33.2-do.0",
    ], "newest first, as versions go"
    assert read.registries == ("shop",)
    (only,) = read.clusters
    assert (only.id, only.name, only.ha) == ("id-of-shop", "shop", True)
    assert only.version == Version.of("1.34.9-do.0")
    assert only.registry_enabled
    assert (only.vpc, only.default_pool_size) == ("vpc-of-shop", "s-2vcpu-4gb")
    assert only.node_pools == {"burst": "b", "default": "d"}
    assert read.clusters_named("shop") == (only,)
    assert {sent for _, sent in api.asked} == {f"Bearer {TOKEN}"}


def test_all_pages_are_read_from_the_same_host(api: Api) -> None:
    elsewhere = {"pages": {"next": "https://attacker.example.com/v2/kubernetes/clusters?page=2"}}
    api.answer(
        "/v2/kubernetes/clusters#1",
        (200, {"kubernetes_clusters": [cluster("one")], "links": elsewhere}),
    )
    api.answer(
        "/v2/kubernetes/clusters#2",
        (200, {"kubernetes_clusters": [cluster("two")], "links": {"pages": {}}}),
    )
    assert [each.name for each in account.read(TOKEN, api.url).clusters] == ["one", "two"]


def test_account_without_a_registry_has_none(api: Api) -> None:
    api.answer("/v2/registry", (404, {"id": "not_found", "message": "registry does not exist"}))
    assert account.read(TOKEN, api.url).registries == ()


def test_all_registries_of_an_account_with_several_are_known(api: Api) -> None:
    api.answer("/v2/registry", (412, {"id": "precondition_failed", "message": "several"}))
    api.answer("/v2/registries", (200, {"registries": [{"name": "shop"}, {"name": "lab"}]}))
    assert account.read(TOKEN, api.url).registries == ("shop", "lab")


@pytest.mark.parametrize("status", [429, 500, 503])
def test_passing_trouble_is_waited_out(api: Api, status: int) -> None:
    trouble = (status, {"id": "trouble", "message": "later"})
    api.answer("/v2/kubernetes/options", trouble, trouble, (200, OPTIONS), Retry_After="0")
    assert account.read(TOKEN, api.url).regions == ("nyc1",)
    assert sum("options" in path for path, _ in api.asked) == 3


def test_refused_token_is_told_with_the_command_that_sets_another(api: Api) -> None:
    for path in tuple(api.answers):
        api.answer(path, (401, {"id": "Unauthorized", "message": "Unable to authenticate you"}))
    with pytest.raises(AccountError, match="refused the API token") as refusal:
        account.read(TOKEN, api.url)
    assert "pulumi config set --secret digitalocean:token" in str(refusal.value)
    assert str(refusal.value).count("refused") == 1, "once, whichever calls failed"
    assert TOKEN not in str(refusal.value)
    assert isinstance(refusal.value, pulumi.RunError)


def test_every_scope_that_the_token_lacks_is_named(api: Api) -> None:
    for path in tuple(api.answers):
        api.answer(path, (403, {"id": "Forbidden", "message": "not authorized"}))
    with pytest.raises(AccountError, match="lacks the scope kubernetes:read") as refusal:
        account.read(TOKEN, api.url)
    assert "registry:read" in str(refusal.value)
    assert str(refusal.value).count("kubernetes:read") == 1, "once, whichever calls failed"


def test_unreachable_api_is_told_with_its_address() -> None:
    with pytest.raises(AccountError, match=r"can't be reached at http://127\.0\.0\.1:1: .*refused"):
        account.read(TOKEN, "http://127.0.0.1:1")


def test_used_up_limit_is_told_with_the_time_when_it_ends(api: Api) -> None:
    api.answer("/v2/registry", (429, {"id": "too_many_requests"}), Retry_After="0")
    with pytest.raises(AccountError, match=r"Run the command again in 0 s\."):
        account.read(TOKEN, api.url)
    api.answer("/v2/registry", (429, {"id": "too_many_requests"}))
    with pytest.raises(AccountError, match="again later; the limit is by the hour"):
        account.read(TOKEN, api.url)


@pytest.mark.parametrize(
    "answer", [(200, "<html>hello</html>"), (200, {"message": "hello"}), (302, ""), (418, {})]
)
def test_something_else_at_the_address_is_not_taken_for_the_api(
    api: Api, answer: tuple[int, Any]
) -> None:
    api.answer("/v2/kubernetes/options", answer, Location="/v2/registry")
    with pytest.raises(AccountError, match=r"is not DigitalOcean's API \(/v2/kubernetes/options: "):
        account.read(TOKEN, api.url)


def test_lasting_trouble_ends_with_where_to_look(api: Api) -> None:
    api.answer("/v2/registry", (503, {}), Retry_After="0")
    with pytest.raises(AccountError, match="answers 503") as refusal:
        account.read(TOKEN, api.url)
    assert "https://status.digitalocean.com" in str(refusal.value)


@pytest.mark.parametrize("url", ["http://api.example.com", "http://10.0.0.1:80", "ftp://x"])
def test_token_never_travels_unprotected(url: str) -> None:
    with pytest.raises(AccountError, match="token would travel"):
        account.read(TOKEN, url)


INTEGRATION = "/v2/kubernetes/registries"


def test_pulls_are_allowed_for_one_cluster_from_one_registry_whatever_trouble_passes(
    api: Api,
) -> None:
    trouble = (503, {"id": "trouble", "message": "later"})
    api.answer(INTEGRATION, trouble, (204, ""), Retry_After="0")
    account.api.allow_pulls(TOKEN, api.url, "id-1", "shop")
    assert api.sent == [{"cluster_uuids": ["id-1"], "registries": ["shop"]}] * 2
    assert api.asked == [(INTEGRATION, f"Bearer {TOKEN}")] * 2


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (401, "refused the API token"),
        (403, "lacks the scope kubernetes:create or kubernetes:update"),
        (404, r"does not let the cluster id-1 pull from the registry shop \(404 "),
        (302, r"does not let the cluster id-1 pull from the registry shop \(302 "),
    ],
)
def test_refused_integration_is_told_with_its_reason(api: Api, status: int, reason: str) -> None:
    api.answer(INTEGRATION, (status, {"id": "no", "message": "no"}), Location="/v2/registry")
    with pytest.raises(AccountError, match=reason):
        account.api.allow_pulls(TOKEN, api.url, "id-1", "shop")


def sell(api: Api) -> None:
    tiers = [{"slug": "starter", "monthly_price_in_cents": 0}]
    tiers += [{"slug": "basic", "monthly_price_in_cents": 550}]
    more = {"pages": {"next": "https://attacker.example.com/v2/sizes?page=2"}}
    small, large = ({"slug": slug, "price_monthly": cost} for slug, cost in (("s", 4.8), ("l", 96)))
    api.answer("/v2/sizes#1", (200, {"sizes": [small], "links": more}))
    api.answer("/v2/sizes#2", (200, {"sizes": [large], "links": {}}))
    api.answer("/v2/registries/options", (200, {"options": {"subscription_tiers": tiers}}))
    api.answer("/v2/registries/subscription", (200, {"subscription": {"tier": tiers[1]}}))


def test_prices_are_what_the_api_says_to_the_cent(api: Api) -> None:
    sell(api)
    prices = account.read_prices(TOKEN, api.url)
    assert prices.sizes == {"s": Decimal("4.8"), "l": Decimal(96)}
    assert prices.tiers == {"starter": Decimal(0), "basic": Decimal("5.5")}
    assert prices.tier == "basic"


def test_account_without_a_registry_subscribes_to_no_tier(api: Api) -> None:
    sell(api)
    api.answer("/v2/registries/subscription", (404, {"id": "not_found", "message": "none"}))
    assert account.read_prices(TOKEN, api.url).tier is None


def test_prices_need_the_scope_that_is_named(api: Api) -> None:
    sell(api)
    api.answer("/v2/sizes#1", (403, {"id": "Forbidden", "message": "not authorized"}))
    with pytest.raises(AccountError, match="lacks the scope sizes:read"):
        account.read_prices(TOKEN, api.url)
