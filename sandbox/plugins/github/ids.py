"""Ids in the state that are made of several names."""

from sandbox.plugins.common import Failure

_SEPARATOR, _ESCAPED = ":", "??"


def join(*parts: str) -> str:
    """One id of them; a part may have the separator in it."""
    return _SEPARATOR.join(part.replace(_SEPARATOR, _ESCAPED) for part in parts)


def split(id: str, count: int) -> list[str]:
    """That many parts of an id. Raises Failure if it has not so many."""
    parts = id.split(_SEPARATOR, count - 1)
    if len(parts) != count:
        raise Failure(f'unexpected ID format ("{id}"); expected {count} parts separated by ":"')
    return [part.replace(_ESCAPED, _SEPARATOR) for part in parts]
