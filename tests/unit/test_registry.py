"""ContainerRegistry: created by the stack that owns it, named by the others."""

from collections.abc import Callable, Mapping
from typing import Any

from pulumi import ResourceOptions

from components.registry import ContainerRegistry, ContainerRegistryArgs
from tests.unit.mocked import digitalocean_provider, run


def program(**changes: Any) -> Callable[[], Mapping[str, Any]]:
    def body() -> Mapping[str, Any]:
        registry = ContainerRegistry(
            "registry",
            ContainerRegistryArgs("team", **changes),
            ResourceOptions(providers=[digitalocean_provider()]),
        )
        return {"endpoint": registry.endpoint, "name": registry.registry_name}

    return body


def test_registry_of_another_stack_needs_no_lookup_by_the_provider() -> None:
    """The mocked provider has no lookup; that of the real one returns no values."""
    result = run(program())
    assert result.outputs["name"].value == "team"
    assert result.outputs["endpoint"].value == "registry.digitalocean.com/team"
    # Only the component, without a resource of DigitalOcean.
    assert result.one("ContainerRegistry").type == "doks-gitops:index:ContainerRegistry"


def test_own_registry_is_created_and_protected() -> None:
    result = run(program(create=True, tier="professional", region="nyc3"))
    owned = result.one("digitalocean:index/containerRegistry:ContainerRegistry")
    assert owned.inputs == {
        "name": "team",
        "subscriptionTierSlug": "professional",
        "region": "nyc3",
    }
    assert owned.protect
    assert owned.provider.startswith(result.one("digitalocean").urn)
    assert result.outputs["endpoint"].value == "registry.digitalocean.com/team"


def test_registry_can_be_previewed_before_it_exists() -> None:
    assert run(program(create=True), preview=True).outputs["name"].value == "team"
