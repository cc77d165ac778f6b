"""ContainerRegistry: looked up by the stacks that share it, made by the one that owns it."""

from collections.abc import Callable, Mapping
from typing import Any

from pulumi import ResourceOptions

from components.registry import ContainerRegistry, ContainerRegistryArgs
from tests.unit.mocked import digitalocean_provider, run


def program(**given: Any) -> Callable[[], Mapping[str, Any]]:
    def body() -> Mapping[str, Any]:
        registry = ContainerRegistry(
            "registry",
            ContainerRegistryArgs("team", **given),
            ResourceOptions(providers=[digitalocean_provider()]),
        )
        return {"endpoint": registry.endpoint, "name": registry.registry_name}

    return body


def test_shared_registry_is_looked_up_and_not_touched() -> None:
    made = run(program())
    assert made.outputs["endpoint"].value == "registry.digitalocean.com/team"
    # The component itself, and no registry of DigitalOcean's below it.
    assert made.one("ContainerRegistry").type == "doks-gitops:index:ContainerRegistry"


def test_owned_registry_is_made_and_protected_as_others_keep_images_in_it() -> None:
    made = run(program(create=True, tier="professional", region="nyc3"))
    owned = made.one("digitalocean:index/containerRegistry:ContainerRegistry")
    assert owned.inputs == {
        "name": "team",
        "subscriptionTierSlug": "professional",
        "region": "nyc3",
    }
    assert owned.protect
    assert owned.provider.startswith(made.one("digitalocean").urn)
    assert made.outputs["endpoint"].value == "registry.digitalocean.com/team"


def test_registry_can_be_previewed_before_it_exists() -> None:
    assert run(program(create=True), preview=True).outputs["name"].value == "team"
