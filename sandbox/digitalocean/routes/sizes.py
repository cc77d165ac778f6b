"""Droplet sizes and their prices: docs.digitalocean.com/reference/api/reference/droplets (sizes).
The emulator leaves out a size's transfer and description."""

from starlette.responses import Response

from sandbox.digitalocean.catalogue import REGIONS, SIZES
from sandbox.digitalocean.operations import Call, Operation

_HOURS = 672
"""Hours of a month that are billed at most."""


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
