"""Emulated registries and their integration with clusters, tested with DigitalOcean's client."""

import base64

import pytest

from sandbox.digitalocean.models import Registry, Repository, RepositoryTag
from tests.contract.digitalocean_api import Emulator, error_of


def create(do: Emulator, name: str = "microservices-demo", tier: str = "basic") -> None:
    do.pydo().registries.create(
        body={"name": name, "subscription_tier_slug": tier, "region": "fra1"}
    )


def registry_enabled(do: Emulator, cluster_id: str) -> bool:
    return bool(do.cluster(cluster_id)["registry_enabled"])


def test_an_account_without_a_registry_answers_not_found(do: Emulator) -> None:
    with do.http() as http:
        absent = (404, "not_found", "registry does not exist")
        assert error_of(http.get("/v2/registry")) == absent
        assert error_of(http.get("/v2/registries/microservices-demo")) == absent
        assert error_of(http.get("/v2/registries/subscription"))[0] == 404
        assert http.get("/v2/registries").json()["registries"] == []


def test_a_registry_can_be_read_by_name_and_as_the_only_one(do: Emulator) -> None:
    create(do)
    named = do.pydo().registries.get("microservices-demo")["registry"]
    assert (named["name"], named["region"]) == ("microservices-demo", "fra1")
    assert named["storage_usage_bytes"] == 0
    only = do.pydo().registry.get()["registry"]
    assert only["name"] == "microservices-demo"
    assert only["subscription"]["tier"]["slug"] == "basic"
    subscription = do.pydo().registries.get_subscription()["subscription"]
    assert subscription["tier"]["included_repositories"] == 5


def test_a_registry_can_be_created_and_deleted_with_the_older_paths(do: Emulator) -> None:
    do.pydo().registry.create(
        body={"name": "microservices-demo", "subscription_tier_slug": "starter"}
    )
    assert do.pydo().registry.get_subscription()["subscription"]["tier"]["slug"] == "starter"
    do.pydo().registry.delete()
    assert do.http().get("/v2/registry").status_code == 404


@pytest.mark.parametrize(
    ("invalid", "error"),
    [
        ({"name": "Upper"}, (422, "unprocessable_entity")),
        ({"name": "a" * 64}, (422, "unprocessable_entity")),
        ({"name": "example"}, (409, "conflict")),
        ({"subscription_tier_slug": "gold"}, (422, "unprocessable_entity")),
        ({"subscription_tier_slug": None}, (422, "unprocessable_entity")),
        ({"region": "nyc1"}, (422, "unprocessable_entity")),
    ],
)
def test_an_invalid_registry_is_refused(
    do: Emulator, invalid: dict[str, str | None], error: tuple[int, str]
) -> None:
    body = {"name": "new", "subscription_tier_slug": "basic", "region": "nyc3"} | invalid
    for route in ("/v2/registries", "/v2/registry"):
        assert error_of(do.http().post(route, json=body))[:2] == error
    assert do.http().get("/v2/registries").json()["registries"] == []


def test_a_name_can_be_validated(do: Emulator) -> None:
    create(do)
    statuses = {
        name: do.http().post("/v2/registries/validate-name", json={"name": name}).status_code
        for name in ("free", "microservices-demo", "example", "Upper")
    }
    assert statuses == {"free": 204, "microservices-demo": 409, "example": 409, "Upper": 422}


def test_only_the_professional_tier_allows_several_registries(do: Emulator) -> None:
    create(do)
    body = {"name": "second", "subscription_tier_slug": "basic"}
    refused = error_of(do.http().post("/v2/registries", json=body))
    assert refused == (422, "unprocessable_entity", "user already has a registry")

    do.pydo().registries.update_subscription(body={"tier_slug": "professional"})
    create(do, "second", "professional")
    names = [registry["name"] for registry in do.pydo().registries.list()["registries"]]
    assert names == ["microservices-demo", "second"]
    with do.http() as http:
        assert error_of(http.get("/v2/registry"))[:2] == (412, "precondition_failed")
        assert error_of(http.delete("/v2/registry"))[:2] == (412, "precondition_failed")
        assert error_of(http.post("/v2/registry/subscription", json={"tier_slug": "basic"})) == (
            412,
            "precondition_failed",
            "registry is not eligible for tier because: [OverRegistryLimit]",
        )


def test_options_have_the_tiers_that_the_account_is_eligible_for(do: Emulator) -> None:
    options = do.pydo().registries.get_options()["options"]
    assert "fra1" in options["available_regions"]
    assert {tier["slug"]: tier["eligible"] for tier in options["subscription_tiers"]} == {
        "starter": True,
        "basic": True,
        "professional": True,
    }
    create(do)
    add_repositories(do, "frontend", "cart")
    starter = do.pydo().registries.get_options()["options"]["subscription_tiers"][0]
    assert (starter["eligible"], starter["eligibility_reasons"]) == (False, ["OverRepositoryLimit"])


def add_repositories(do: Emulator, *names: str) -> None:
    """Add repositories, each with two tags of one image."""

    def add() -> None:
        now = do.account.clock.now()
        with do.account.changing() as data:
            registry: Registry = data.registries["microservices-demo"]
            registry.repositories = [
                Repository(
                    name=name,
                    tags=[
                        RepositoryTag(
                            tag=tag,
                            manifest_digest="sha256:" + "0" * 64,
                            compressed_size_bytes=100,
                            size_bytes=200,
                            updated_at=now,
                        )
                        for tag in ("v1", "latest")
                    ],
                )
                for name in names
            ]

    do.in_server(add)


def test_repositories_and_their_tags_are_listed(do: Emulator) -> None:
    create(do)
    add_repositories(do, "frontend", "shop/cart")
    repositories = do.pydo().registries.list_repositories_v2("microservices-demo")["repositories"]
    assert [(r["name"], r["tag_count"], r["manifest_count"]) for r in repositories] == [
        ("frontend", 2, 1),
        ("shop/cart", 2, 1),
    ]
    assert repositories[0]["latest_manifest"]["tags"] == ["v1", "latest"]
    tags = do.pydo().registry.list_repository_tags("microservices-demo", "shop/cart")["tags"]
    assert [(tag["repository"], tag["tag"]) for tag in tags] == [
        ("shop/cart", "v1"),
        ("shop/cart", "latest"),
    ]
    missing = do.http().get("/v2/registries/microservices-demo/repositories/none/tags")
    assert missing.status_code == 404


def test_docker_credentials_are_a_docker_config(do: Emulator) -> None:
    create(do)
    for config in (
        do.pydo().registries.get_docker_credentials("microservices-demo"),
        do.pydo().registry.get_docker_credentials(read_write=True, expiry_seconds=3600),
    ):
        auth = config["auths"]["registry.digitalocean.com"]["auth"]
        user, _, password = base64.b64decode(auth).decode().partition(":")
        assert user == password
        assert len(user) == 64


def test_a_cluster_is_integrated_with_the_registry_and_the_integration_removed(
    do: Emulator,
) -> None:
    create(do)
    cluster, other = do.create_cluster(), do.create_cluster(name="other")
    body = {"cluster_uuids": [cluster["id"]]}
    do.pydo().kubernetes.add_registry(body=body)
    assert registry_enabled(do, cluster["id"])
    assert not registry_enabled(do, other["id"])
    assert do.cluster(cluster["id"])["registries"] == ["microservices-demo"]

    do.pydo().kubernetes.add_registry(body=body)
    assert do.cluster(cluster["id"])["registries"] == ["microservices-demo"]
    do.pydo().kubernetes.remove_registry(body=body)
    assert not registry_enabled(do, cluster["id"])


def test_an_integration_is_all_or_nothing(do: Emulator) -> None:
    cluster = do.create_cluster()
    with do.http() as http:
        body = {"cluster_uuids": [cluster["id"]]}
        assert http.post("/v2/kubernetes/registry", json=body).status_code == 404
        create(do)
        body = {"cluster_uuids": [cluster["id"], "another"]}
        assert error_of(http.post("/v2/kubernetes/registry", json=body)) == (
            404,
            "not_found",
            "cluster not found",
        )
    assert not registry_enabled(do, cluster["id"])


def test_clusters_are_integrated_with_registries_by_name(do: Emulator) -> None:
    create(do, tier="professional")
    create(do, "second", "professional")
    cluster = do.create_cluster()
    body = {"cluster_uuids": [cluster["id"]], "registries": ["second"]}
    with do.http() as http:
        assert http.post("/v2/kubernetes/registries", json=body).status_code == 204
        assert do.cluster(cluster["id"])["registries"] == ["second"]
        unknown = body | {"registries": ["unknown"]}
        assert http.post("/v2/kubernetes/registries", json=unknown).status_code == 404
        removal = http.request("DELETE", "/v2/kubernetes/registries", json=body)
        assert removal.status_code == 204
    assert not registry_enabled(do, cluster["id"])


def test_deleting_a_registry_ends_its_integrations(do: Emulator) -> None:
    create(do)
    cluster = do.create_cluster()
    do.pydo().kubernetes.add_registry(body={"cluster_uuids": [cluster["id"]]})
    do.pydo().registries.delete("microservices-demo")
    assert not registry_enabled(do, cluster["id"])


def push(do: Emulator, tag: str) -> str:
    return do.in_server(lambda: do.account.push_image("shop/cart", tag))


def pull_error(do: Emulator, cluster_id: str, image: str) -> str | None:
    return do.in_server(lambda: do.account.pull_error(cluster_id, image))


def test_a_pushed_image_is_a_tag_of_its_repository(do: Emulator) -> None:
    create(do)
    pushed = [push(do, tag) for tag in ("v1", "v2", "v1")]
    assert pushed[0] == "registry.digitalocean.com/microservices-demo/shop/cart:v1"
    tags = do.pydo().registries.list_repository_tags("microservices-demo", "shop/cart")["tags"]
    assert [tag["tag"] for tag in tags] == ["v1", "v2"]
    assert tags[0]["manifest_digest"] != tags[1]["manifest_digest"]


def test_only_an_integrated_cluster_can_pull_an_image_and_only_by_its_tag(do: Emulator) -> None:
    create(do)
    cluster, other = do.create_cluster(), do.create_cluster(name="other")
    image = push(do, "v1")
    do.pydo().kubernetes.add_registry(body={"cluster_uuids": [cluster["id"]]})

    assert pull_error(do, cluster["id"], image) is None
    assert "not found" in str(pull_error(do, cluster["id"], image.replace(":v1", ":v2")))
    assert "not found" in str(pull_error(do, cluster["id"], image.removesuffix(":v1")))
    assert "not found" in str(pull_error(do, cluster["id"], image.replace("cart", "carts")))
    assert "401 Unauthorized" in str(pull_error(do, other["id"], image))
    foreign_image = image.replace("microservices-demo", "example")
    assert "401 Unauthorized" in str(pull_error(do, cluster["id"], foreign_image))


def test_a_cluster_whose_integration_was_removed_can_not_pull(do: Emulator) -> None:
    create(do)
    cluster = do.create_cluster()
    image = push(do, "v1")
    body = {"cluster_uuids": [cluster["id"]]}
    do.pydo().kubernetes.add_registry(body=body)
    do.pydo().kubernetes.remove_registry(body=body)
    assert "401 Unauthorized" in str(pull_error(do, cluster["id"], image))
