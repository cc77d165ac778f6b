"""Pages of a collection, for the requests of `recovery` until they use the client."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from doks_gitops.account.client import PER_PAGE


def pages(page_of: Callable[[str], Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Every page of a collection; `page_of` requests one by its query."""
    page = 1
    while True:
        content = page_of(f"page={page}&per_page={PER_PAGE}")
        yield content
        if not (content.get("links") or {}).get("pages", {}).get("next"):
            return
        page += 1
