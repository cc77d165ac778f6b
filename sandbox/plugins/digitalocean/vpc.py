"""VPCs (https://docs.digitalocean.com/reference/api/digitalocean/#tag/VPCs)."""

import asyncio
from collections import defaultdict
from typing import ClassVar

from tenacity import AsyncRetrying, retry_if_exception, stop_after_delay, wait_exponential

from sandbox.plugins.bridge.resource import go_time, present
from sandbox.plugins.bridge.schema import (
    Fields,
    Properties,
    at_most_long,
    boolean,
    cidr,
    not_empty,
    string,
)
from sandbox.plugins.digitalocean.api import Api, ApiError, failing

PATH = "/v2/vpcs"

_DELETE_TIMEOUT = 2 * 60.0


class Vpc:
    type = "digitalocean:index/vpc:Vpc"
    fields: ClassVar[Fields] = {
        "name": string(required=True, autonamed=True, rule=not_empty),
        "region": string(required=True, replaces=True, rule=not_empty),
        "description": string(rule=at_most_long(255)),
        "ipRange": string(computed=True, replaces=True, rule=cidr),
        "vpcUrn": string(output=True),
        "default": boolean(output=True),
        "createdAt": string(output=True),
    }

    def __init__(self) -> None:
        self._region_locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def create(self, api: Api, desired: Properties, seconds: float | None) -> str:
        body = {
            "name": desired["name"],
            "region": desired["region"],
            "description": desired.get("description"),
            "ip_range": desired.get("ipRange"),
        }
        # Two concurrent requests could get the same range of addresses.
        async with self._region_locks[desired["region"]]:
            with failing("Error creating VPC"):
                response = await api.post(PATH, present(body))
        return str(response["vpc"]["id"])

    async def read(self, api: Api, id: str, state: Properties) -> Properties | None:
        with failing("Error reading VPC"):
            response = await api.find(f"{PATH}/{id}")
        if response is None:
            return None
        outputs = describe(response["vpc"])
        outputs["vpcUrn"] = outputs.pop("urn")
        return outputs

    async def adopt(self, api: Api, id: str) -> Properties:
        return {}

    async def update(
        self, api: Api, id: str, old: Properties, desired: Properties, changed: set[str]
    ) -> None:
        if changed & {"name", "description"}:
            body = {
                **present({"name": desired["name"], "description": desired.get("description")}),
                "default": desired.get("default", False),
            }
            with failing("Error updating VPC"):
                await api.put(f"{PATH}/{id}", body)

    async def delete(self, api: Api, id: str, state: Properties, seconds: float | None) -> None:
        # Members that are being deleted still count for a while.
        retrying = AsyncRetrying(
            retry=retry_if_exception(
                lambda error: isinstance(error, ApiError) and error.status in (403, 409)
            ),
            wait=wait_exponential(multiplier=0.5, max=10),
            stop=stop_after_delay(seconds or _DELETE_TIMEOUT),
            reraise=True,
        )
        with failing("Error deleting VPC"):
            await retrying(api.delete, f"{PATH}/{id}")


def describe(vpc: Properties) -> Properties:
    """The API's `vpc` as the outputs of a lookup."""
    return {
        "name": vpc["name"],
        "region": vpc["region"],
        "description": vpc.get("description") or "",
        "ipRange": vpc.get("ip_range") or "",
        "urn": vpc["urn"],
        "default": vpc.get("default", False),
        "createdAt": go_time(vpc.get("created_at")),
    }
