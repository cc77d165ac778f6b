"""Tags of a resource."""

import re

from sandbox.plugins.bridge.schema import Field, set_of, string

_TAG = re.compile(r"[a-zA-Z0-9:\-_]{1,255}")


def tags() -> Field:
    """Tags of a resource, whose case has no meaning (docs.digitalocean.com/reference/api)."""

    def rule(value: str) -> str | None:
        if _TAG.fullmatch(value):
            return None
        return "letters, digits, colons, dashes and underscores, at most 255"

    return set_of(string(rule=rule, normal=str.lower))
