"""Whether the public chart can be had, so that the stand-in is not needed."""

import httpx


async def can_be_reached(repository: str, *, seconds: float = 5) -> bool:
    """Whether a Helm repository answers at that address within `seconds`."""
    try:
        async with httpx.AsyncClient(timeout=seconds, follow_redirects=True) as web:
            answer = await web.head(f"{repository}/index.yaml")
    except httpx.HTTPError:
        return False
    return answer.is_success
