"""The container registry (https://docs.digitalocean.com/reference/api/digitalocean/#tag/Container-Registry)."""

from typing import ClassVar

from sandbox.plugins.bridge.resource import go_time, present
from sandbox.plugins.bridge.schema import (
    Fields,
    Properties,
    integer,
    not_empty,
    one_of,
    string,
)
from sandbox.plugins.digitalocean.api import Api, failing

HOST = "registry.digitalocean.com"

_REGISTRIES = "/v2/registries"
_SUBSCRIPTION = f"{_REGISTRIES}/subscription"


class ContainerRegistry:
    type = "digitalocean:index/containerRegistry:ContainerRegistry"
    fields: ClassVar[Fields] = {
        "name": string(required=True, autonamed=True, replaces=True, rule=not_empty),
        "subscriptionTierSlug": string(
            required=True, rule=one_of("starter", "basic", "professional")
        ),
        "region": string(computed=True, replaces=True, rule=not_empty),
        "endpoint": string(output=True),
        "serverUrl": string(output=True),
        "storageUsageBytes": integer(output=True),
        "createdAt": string(output=True),
    }

    async def create(self, api: Api, desired: Properties, seconds: float | None) -> str:
        body = {
            "name": desired["name"],
            "subscription_tier_slug": desired["subscriptionTierSlug"],
            "region": desired.get("region"),
        }
        with failing("Error creating container registry"):
            response = await api.post("/v2/registry", present(body))
        return str(response["registry"]["name"])

    async def read(self, api: Api, id: str, state: Properties) -> Properties | None:
        with failing("Error retrieving container registry"):
            response = await api.find(f"{_REGISTRIES}/{id}")
        if response is None:
            return None
        registry = response["registry"]
        with failing("Error retrieving container registry subscription"):
            subscription = (await api.get(_SUBSCRIPTION))["subscription"]
        return {
            "name": registry["name"],
            "region": registry.get("region") or "",
            "endpoint": f"{HOST}/{registry['name']}",
            "serverUrl": HOST,
            "createdAt": go_time(registry.get("created_at")),
            "storageUsageBytes": registry.get("storage_usage_bytes", 0),
            "subscriptionTierSlug": subscription["tier"]["slug"],
        }

    async def adopt(self, api: Api, id: str) -> Properties:
        return {}

    async def update(
        self, api: Api, id: str, old: Properties, desired: Properties, changed: set[str]
    ) -> None:
        if "subscriptionTierSlug" in changed:
            with failing("Error updating container registry subscription"):
                await api.post(_SUBSCRIPTION, {"tier_slug": desired["subscriptionTierSlug"]})

    async def delete(self, api: Api, id: str, state: Properties, seconds: float | None) -> None:
        with failing("Error deleting container registry"):
            await api.delete(f"{_REGISTRIES}/{id}")
