"""The DigitalOcean client: its requests, what it reads, and its errors."""

from base64 import b64encode
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pulumi
import pytest

from doks_gitops import account, http
from doks_gitops.account import AccountError, DigitalOceanClient, Version, Vpc
from doks_gitops.account.model import RunningPool
from tests.unit.fake_api import FakeApi, serve

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
        "auto_upgrade": True,
        "surge_upgrade": True,
        "tags": ["k8s", f"k8s:id-of-{name}", "Team"],
        "node_pools": [
            {
                "id": "b",
                "name": "burst",
                "size": "s-4vcpu-8gb",
                "tags": ["k8s", "k8s:worker", "burst"],
                "count": 2,
                "auto_scale": True,
                "min_nodes": 1,
                "max_nodes": 5,
                "labels": {"kind": "burst"},
                "taints": [{"key": "burst", "value": "yes", "effect": "NoSchedule"}],
            },
            {
                "id": "d",
                "name": "default",
                "size": "s-2vcpu-4gb",
                "tags": ["terraform:default-node-pool"],
                "count": 3,
                "auto_scale": False,
                "min_nodes": None,
                "max_nodes": None,
                "labels": None,
                "taints": None,
            },
        ],
    }


@pytest.fixture(autouse=True)
def _retry_without_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "RETRIES", http.RETRIES.new(backoff_factor=0))


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with serve() as fake:
        fake.answer("/v2/account", (200, {"account": {"team": {"uuid": "uuid-of-team"}}}))
        fake.answer("/v2/kubernetes/options", (200, OPTIONS))
        fake.answer("/v2/kubernetes/clusters", (200, {"kubernetes_clusters": [], "links": {}}))
        fake.answer("/v2/registry", (200, {"registry": {"name": "shop"}}))
        yield fake


def test_account_is_read_from_the_api(api: FakeApi) -> None:
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
    assert only.version == Version.parse("1.34.9-do.0")
    assert only.registry_enabled
    assert (only.vpc, only.default_pool) == ("vpc-of-shop", "default")
    assert {pool.id for pool in only.pools.values()} == {"b", "d"}
    assert only.pools == {
        "default": RunningPool("d", "s-2vcpu-4gb", 3),
        "burst": RunningPool(
            "b",
            "s-4vcpu-8gb",
            2,
            autoscale=(1, 5),
            labels={"kind": "burst"},
            taints=frozenset({("burst", "yes", "NoSchedule")}),
            tags=frozenset({"burst"}),
        ),
    }
    assert (only.auto_upgrade, only.surge_upgrade, only.tags) == (
        True,
        True,
        ("Team",),
    )
    assert read.clusters_named("shop") == (only,)
    assert {sent for _, sent in api.requests} == {f"Bearer {TOKEN}"}


def test_all_pages_are_read_from_the_same_host(api: FakeApi) -> None:
    elsewhere = {"pages": {"next": "https://attacker.example.com/v2/kubernetes/clusters?page=2"}}
    api.answer(
        "/v2/kubernetes/clusters#1",
        (200, {"kubernetes_clusters": [cluster("one")], "links": elsewhere}),
    )
    api.answer(
        "/v2/kubernetes/clusters#2",
        (200, {"kubernetes_clusters": [cluster("two")], "links": {"pages": {}}}),
    )
    assert [running.name for running in account.read(TOKEN, api.url).clusters] == ["one", "two"]


def test_account_without_a_registry_has_none(api: FakeApi) -> None:
    api.answer("/v2/registry", (404, {"id": "not_found", "message": "registry does not exist"}))
    assert account.read(TOKEN, api.url).registries == ()


def test_all_registries_of_an_account_with_several_are_read(api: FakeApi) -> None:
    api.answer("/v2/registry", (412, {"id": "precondition_failed", "message": "several"}))
    api.answer("/v2/registries", (200, {"registries": [{"name": "shop"}, {"name": "lab"}]}))
    assert account.read(TOKEN, api.url).registries == ("shop", "lab")


@pytest.mark.parametrize("status", [429, 500, 503])
def test_temporary_error_is_retried(api: FakeApi, status: int) -> None:
    error = (status, {"id": "trouble", "message": "later"})
    api.answer("/v2/kubernetes/options", error, error, (200, OPTIONS), Retry_After="0")
    assert account.read(TOKEN, api.url).regions == ("nyc1",)
    assert sum("options" in path for path, _ in api.requests) == 3


def test_error_for_a_refused_token_names_the_command_that_sets_another(api: FakeApi) -> None:
    for path in tuple(api.answers):
        api.answer(path, (401, {"id": "Unauthorized", "message": "Unable to authenticate you"}))
    with pytest.raises(AccountError, match="refused the API token") as refusal:
        account.read(TOKEN, api.url)
    assert "pulumi config set --secret digitalocean:token" in str(refusal.value)
    assert str(refusal.value).count("refused") == 1, "once, whichever calls failed"
    assert TOKEN not in str(refusal.value)
    assert isinstance(refusal.value, pulumi.RunError)


def test_every_scope_that_the_token_lacks_is_named(api: FakeApi) -> None:
    for path in tuple(api.answers):
        api.answer(path, (403, {"id": "Forbidden", "message": "not authorized"}))
    with pytest.raises(AccountError, match="lacks the scope kubernetes:read") as refusal:
        account.read(TOKEN, api.url)
    assert "registry:read" in str(refusal.value)
    assert str(refusal.value).count("kubernetes:read") == 1, "once, whichever calls failed"


def test_error_for_an_unreachable_api_names_its_address() -> None:
    with pytest.raises(AccountError, match=r"can't be reached at http://127\.0\.0\.1:1: .*refused"):
        account.read(TOKEN, "http://127.0.0.1:1")


def test_error_for_a_rate_limit_says_when_it_ends(api: FakeApi) -> None:
    api.answer("/v2/registry", (429, {"id": "too_many_requests"}), Retry_After="0")
    with pytest.raises(AccountError, match=r"Run the command again in 0 s\."):
        account.read(TOKEN, api.url)
    api.answer("/v2/registry", (429, {"id": "too_many_requests"}))
    with pytest.raises(AccountError, match="again later; the limit is by the hour"):
        account.read(TOKEN, api.url)


@pytest.mark.parametrize(
    "answer", [(200, "<html>hello</html>"), (200, {"message": "hello"}), (302, ""), (418, {})]
)
def test_another_server_at_the_address_is_not_taken_for_the_api(
    api: FakeApi, answer: tuple[int, Any]
) -> None:
    api.answer("/v2/kubernetes/options", answer, Location="/v2/registry")
    with pytest.raises(
        AccountError, match=r"not answer as DigitalOcean's API does \(/v2/kubernetes/options: "
    ):
        account.read(TOKEN, api.url)


def test_lasting_server_error_names_the_status_page(api: FakeApi) -> None:
    api.answer("/v2/registry", (503, {}), Retry_After="0")
    with pytest.raises(AccountError, match="answers 503") as refusal:
        account.read(TOKEN, api.url)
    assert "https://status.digitalocean.com" in str(refusal.value)


@pytest.mark.parametrize("url", ["http://api.example.com", "http://10.0.0.1:80", "ftp://x"])
def test_token_is_never_sent_unprotected(url: str) -> None:
    with pytest.raises(AccountError, match="others could read the account's token"):
        account.read(TOKEN, url)


INTEGRATION = "/v2/kubernetes/registries"


def test_pulls_are_allowed_for_one_cluster_from_one_registry_after_a_retry(
    api: FakeApi,
) -> None:
    error = (503, {"id": "trouble", "message": "later"})
    api.answer(INTEGRATION, error, (204, ""), Retry_After="0")
    DigitalOceanClient(TOKEN, api.url).allow_pulls("id-1", "shop")
    assert api.bodies == [{"cluster_uuids": ["id-1"], "registries": ["shop"]}] * 2
    assert api.requests == [(INTEGRATION, f"Bearer {TOKEN}")] * 2


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (401, "refused the API token"),
        (403, "lacks the scope kubernetes:create, kubernetes:update"),
        (404, r"does not let the cluster id-1 pull from the registry shop \(404 "),
        (302, r"does not let the cluster id-1 pull from the registry shop \(302 "),
    ],
)
def test_error_for_a_refused_integration_has_its_reason(
    api: FakeApi, status: int, reason: str
) -> None:
    api.answer(INTEGRATION, (status, {"id": "no", "message": "no"}), Location="/v2/registry")
    with pytest.raises(AccountError, match=reason):
        DigitalOceanClient(TOKEN, api.url).allow_pulls("id-1", "shop")


def answer_prices(api: FakeApi) -> None:
    tiers = [{"slug": "starter", "monthly_price_in_cents": 0}]
    tiers += [{"slug": "basic", "monthly_price_in_cents": 550}]
    more = {"pages": {"next": "https://attacker.example.com/v2/sizes?page=2"}}
    small, large = ({"slug": slug, "price_monthly": cost} for slug, cost in (("s", 4.8), ("l", 96)))
    api.answer("/v2/sizes#1", (200, {"sizes": [small], "links": more}))
    api.answer("/v2/sizes#2", (200, {"sizes": [large], "links": {}}))
    api.answer("/v2/registries/options", (200, {"options": {"subscription_tiers": tiers}}))
    api.answer("/v2/registries/subscription", (200, {"subscription": {"tier": tiers[1]}}))


def test_prices_are_read_to_the_cent(api: FakeApi) -> None:
    answer_prices(api)
    prices = account.read_prices(TOKEN, api.url)
    assert prices.sizes == {"s": Decimal("4.8"), "l": Decimal(96)}
    assert prices.tiers == {"starter": Decimal(0), "basic": Decimal("5.5")}
    assert prices.tier == "basic"


def test_account_without_a_registry_subscribes_to_no_tier(api: FakeApi) -> None:
    answer_prices(api)
    api.answer("/v2/registries/subscription", (404, {"id": "not_found", "message": "none"}))
    assert account.read_prices(TOKEN, api.url).tier is None


def test_error_for_prices_names_the_missing_scope(api: FakeApi) -> None:
    answer_prices(api)
    api.answer("/v2/sizes#1", (403, {"id": "Forbidden", "message": "not authorized"}))
    with pytest.raises(AccountError, match="lacks the scope sizes:read"):
        account.read_prices(TOKEN, api.url)


def test_state_and_certificate_authority_of_one_cluster_are_read(api: FakeApi) -> None:
    path = "/v2/kubernetes/clusters/id-1"
    api.answer(path, (200, {"kubernetes_cluster": cluster("shop", "provisioning")}))
    pem = b"-----BEGIN CERTIFICATE-----"
    credentials = {"certificate_authority_data": b64encode(pem).decode(), "token": "unused"}
    api.answer(f"{path}/credentials", (200, credentials))
    client = DigitalOceanClient(TOKEN, api.url)
    assert client.cluster_state("id-1") == "provisioning"
    assert client.certificate_authority("id-1") == pem
    assert api.requests[-1][0] == f"{path}/credentials?expiry_seconds=600"


def test_vpcs_are_read_from_every_page_and_only_if_they_are_needed(api: FakeApi) -> None:
    vpcs = [
        {"id": f"id-{name}", "name": name, "region": "nyc1", "ip_range": "10.1.0.0/20",
         "default": name == "shop"}
        for name in ("other", "shop", "last")
    ]  # fmt: skip
    more = {"pages": {"next": "https://attacker.example.com/v2/vpcs?page=2"}}
    api.answer("/v2/vpcs#1", (200, {"vpcs": vpcs[:1], "links": more}))
    api.answer("/v2/vpcs#2", (200, {"vpcs": vpcs[1:], "links": {}}))
    assert account.read(TOKEN, api.url).vpcs == ()
    read = account.read(TOKEN, api.url, vpcs=True)
    assert [vpc.id for vpc in read.vpcs] == ["id-other", "id-shop", "id-last"]
    assert read.vpc_named("shop") == Vpc("id-shop", "shop", "nyc1", "10.1.0.0/20", True)
    assert read.vpc_named("none") is None


def test_tags_of_a_repository_are_read_and_an_unknown_repository_has_none(api: FakeApi) -> None:
    path = "/v2/registries/team/repositories/shop%2Fcart/tags"
    api.answer(path, (200, {"tags": [{"tag": "v1"}, {"tag": "v2"}]}))
    client = DigitalOceanClient(TOKEN, api.url)
    assert client.tags("team", "shop/cart") == {"v1", "v2"}
    api.answer(path, (404, {"id": "not_found", "message": "none"}))
    assert client.tags("team", "shop/cart") == frozenset()
