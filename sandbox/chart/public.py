"""Whether the public chart is reachable, so that the stand-in is not needed."""

import httpx


async def can_be_reached(repository: str) -> bool:
    """True if a Helm repository responds at that address within five seconds."""
    try:
        async with httpx.AsyncClient(timeout=5, follow_redirects=True) as client:
            response = await client.head(f"{repository}/index.yaml")
    except httpx.HTTPError:
        return False
    return response.is_success
