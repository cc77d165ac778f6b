"""Ids in the state that consist of several names."""

from sandbox.plugins.common import Failure

_SEPARATOR, _ESCAPED = ":", "??"


def join(*parts: str) -> str:
    """The id made of `parts`, which may contain the separator."""
    return _SEPARATOR.join(part.replace(_SEPARATOR, _ESCAPED) for part in parts)


def split(id: str, count: int) -> list[str]:
    """The parts of an id. Raises Failure unless there are `count` of them."""
    parts = id.split(_SEPARATOR, count - 1)
    if len(parts) != count:
        raise Failure(f'unexpected ID format ("{id}"); expected {count} parts separated by ":"')
    return [part.replace(_ESCAPED, _SEPARATOR) for part in parts]
