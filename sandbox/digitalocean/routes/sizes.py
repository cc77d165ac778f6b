"""docs.digitalocean.com/reference/api/reference/droplets (sizes), with what a node costs; without
a size's traffic and its words of description."""

from starlette.responses import Response

from sandbox.digitalocean.catalogue import REGIONS, SIZES
from sandbox.digitalocean.operations import Call, Operation

_HOURS = 672
"""The most of a month that is billed."""


async def list_sizes(call: Call) -> Response:
    return call.page(
        "sizes",
        [
            {
                **vars(size),
                "price_monthly": float(size.price_monthly),
                "price_hourly": round(size.price_monthly / _HOURS, 5),
                "regions": list(REGIONS),
                "available": True,
            }
            for size in SIZES.values()
        ],
    )


OPERATIONS = (Operation("GET", "/sizes", list_sizes, ("sizes:read",)),)
