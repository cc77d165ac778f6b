"""Deploy keys, which can't be changed (https://docs.github.com/en/rest/deploy-keys)."""

import base64
import binascii
from typing import Any

from starlette.responses import Response

from sandbox.emulator import Body, no_content
from sandbox.github.errors import invalid
from sandbox.github.models import DeployKey
from sandbox.github.operations import Call, Operation, first, iso
from sandbox.github.routes import REPOSITORY
from sandbox.github.state import now

_KEYS = f"{REPOSITORY}/keys"
_KEY = f"{_KEYS}/{{id:int}}"


class _CreateBody(Body):
    key: str
    title: str = ""
    read_only: bool = False


def _describe(key: DeployKey) -> dict[str, Any]:
    return {
        "id": key.id,
        "key": key.key,
        "title": key.title,
        "read_only": key.read_only,
        "verified": True,
        "added_by": key.added_by,
        "created_at": iso(key.created_at),
    }


def _without_comment(text: str) -> str:
    """The type and key of an OpenSSH public key. Ends the request with 422 if it is invalid."""
    kind, _, rest = text.strip().partition(" ")
    key = rest.partition(" ")[0]
    try:
        content = base64.b64decode(key, validate=True)
    except binascii.Error:
        content = b""
    if not content.startswith(len(kind).to_bytes(4, "big") + kind.encode()):
        raise invalid(
            "PublicKey", "key is invalid. You must supply a key in OpenSSH public key format", "key"
        )
    return f"{kind} {key}"


async def _list(call: Call) -> Response:
    return call.page([_describe(key) for key in call.repository.keys])


async def _create(call: Call) -> Response:
    body, repository = await call.body(_CreateBody), call.repository
    key = _without_comment(body.key)
    repositories = call.state.data.repositories.values()
    if any(existing.key == key for record in repositories for existing in record.keys):
        raise invalid("PublicKey", "key is already in use", "key")
    with call.state.changing():
        deploy_key = DeployKey(
            id=call.state.new_id(),
            title=body.title,
            key=key,
            read_only=body.read_only,
            added_by=call.user.login,
            created_at=now(),
        )
        repository.keys.append(deploy_key)
    return call.response(_describe(deploy_key), 201)


def _key(call: Call) -> DeployKey:
    return first(key for key in call.repository.keys if key.id == call.path["id"])


async def _get(call: Call) -> Response:
    return call.response(_describe(_key(call)))


async def _delete(call: Call) -> Response:
    key = _key(call)
    with call.state.changing():
        call.repository.keys.remove(key)
    return no_content()


OPERATIONS = (
    Operation("GET", _KEYS, _list, ("administration:read",)),
    Operation("POST", _KEYS, _create, ("administration:write",)),
    Operation("GET", _KEY, _get, ("administration:read",)),
    Operation("DELETE", _KEY, _delete, ("administration:write",)),
)
