"""Pages of a collection: `page`, `per_page`, `links.pages`, `meta.total`.

docs.digitalocean.com/reference/api/intro (Links & Pagination)
"""

from collections.abc import Sequence
from typing import Any

from starlette.requests import Request

from sandbox.digitalocean.errors import invalid

_DEFAULT_PER_PAGE = 20
_MAX_PER_PAGE = 200


def _number(request: Request, name: str, default: int, most: int | None = None) -> int:
    text = request.query_params.get(name, str(default))
    if not text.isdecimal() or int(text) < 1 or (most is not None and int(text) > most):
        limit = f" and at most {most}" if most is not None else ""
        raise invalid(f"{name} must be a number of at least 1{limit}")
    return int(text)


def page_of(request: Request, key: str, items: Sequence[Any]) -> dict[str, Any]:
    """The requested page of `items`, under `key`, with links to the other pages."""
    per_page = _number(request, "per_page", _DEFAULT_PER_PAGE, _MAX_PER_PAGE)
    page = _number(request, "page", 1)
    last = max(1, -(-len(items) // per_page))

    def link(to: int) -> str:
        return str(request.url.include_query_params(page=to, per_page=per_page))

    pages: dict[str, str] = {}
    if page > 1:
        pages |= {"first": link(1), "prev": link(min(page - 1, last))}
    if page < last:
        pages |= {"next": link(page + 1), "last": link(last)}
    start = (page - 1) * per_page
    return {
        key: list(items[start : start + per_page]),
        "links": {"pages": pages} if pages else {},
        "meta": {"total": len(items)},
    }
