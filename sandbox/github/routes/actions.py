"""Actions secrets and variables of repositories and environments
(https://docs.github.com/en/rest/actions/secrets, .../actions/variables)."""

import re
from collections.abc import Callable
from typing import Any

from starlette.responses import Response

from sandbox.emulator import Body, no_content
from sandbox.github import sealing
from sandbox.github.errors import ApiError, not_found
from sandbox.github.models import Secret, Variable, Vault
from sandbox.github.operations import Call, Handler, Operation, iso
from sandbox.github.routes import REPOSITORY
from sandbox.github.routes.environments import ENVIRONMENT, ENVIRONMENT_BY_ID
from sandbox.github.state import now

_NAME = re.compile(r"[A-Z_][A-Z0-9_]*")


class _Sealed(Body):
    encrypted_value: str
    key_id: str


class _NewVariable(Body):
    name: str
    value: str


class _ChangedVariable(Body):
    value: str


def _valid_name(name: str) -> str:
    """The name in capitals. Ends the request with 422 if it is invalid."""
    name = name.upper()
    if not _NAME.fullmatch(name) or name.startswith("GITHUB_"):
        raise ApiError(
            422,
            f"{name}: a name has only letters, digits and underscores, starts with no digit, and"
            " not with GITHUB_",
        )
    return name


def _describe(name: str, entry: Secret | Variable) -> dict[str, Any]:
    description = {
        "name": name,
        "created_at": iso(entry.created_at),
        "updated_at": iso(entry.updated_at),
    }
    return description | {"value": entry.value} if isinstance(entry, Variable) else description


def _operations(
    path: str, vault_of: Callable[[Call], Vault], secrets: str, variables: str
) -> tuple[Operation, ...]:
    """The operations of the vault at `path`. `secrets` and `variables` name the permissions."""

    async def get_public_key(call: Call) -> Response:
        private = vault_of(call).private_key
        return call.response(
            {"key_id": sealing.key_id(private), "key": sealing.public_key(private)}
        )

    def list_all(kind: str) -> Handler:
        async def handler(call: Call) -> Response:
            entries = getattr(vault_of(call), kind)
            page, _ = call.slice(sorted(entries.items()))
            descriptions = [_describe(name, entry) for name, entry in page]
            return call.response({"total_count": len(entries), kind: descriptions})

        return handler

    def get(kind: str) -> Handler:
        async def handler(call: Call) -> Response:
            name = call.path["name"].upper()
            entry = getattr(vault_of(call), kind).get(name)
            if entry is None:
                raise not_found()
            return call.response(_describe(name, entry))

        return handler

    def delete(kind: str) -> Handler:
        async def handler(call: Call) -> Response:
            with call.state.changing():
                if getattr(vault_of(call), kind).pop(call.path["name"].upper(), None) is None:
                    raise not_found()
            return no_content()

        return handler

    async def put_secret(call: Call) -> Response:
        vault, name = vault_of(call), _valid_name(call.path["name"])
        body = await call.body(_Sealed)
        if body.key_id != sealing.key_id(vault.private_key):
            raise ApiError(422, "key_id is not that of the current public key")
        try:
            value = sealing.decrypt(body.encrypted_value, vault.private_key)
        except ValueError as error:
            raise ApiError(422, f"encrypted_value can't be read: {error}") from error
        existing = vault.secrets.get(name)
        with call.state.changing():
            created = existing.created_at if existing else now()
            vault.secrets[name] = Secret(value=value, created_at=created, updated_at=now())
        return no_content() if existing else Response("{}", 201, media_type="application/json")

    async def create_variable(call: Call) -> Response:
        vault, body = vault_of(call), await call.body(_NewVariable)
        name = _valid_name(body.name)
        if name in vault.variables:
            raise ApiError(409, "Already exists - Variable already exists")
        with call.state.changing():
            vault.variables[name] = Variable(value=body.value, created_at=now(), updated_at=now())
        return Response("{}", 201, media_type="application/json")

    async def change_variable(call: Call) -> Response:
        vault, body = vault_of(call), await call.body(_ChangedVariable)
        variable = vault.variables.get(call.path["name"].upper())
        if variable is None:
            raise not_found()
        with call.state.changing():
            variable.value, variable.updated_at = body.value, now()
        return no_content()

    read_secret, write_secret = (f"{secrets}:read",), (f"{secrets}:write",)
    read_variable, write_variable = (f"{variables}:read",), (f"{variables}:write",)
    return (
        Operation("GET", f"{path}/secrets/public-key", get_public_key, read_secret),
        Operation("GET", f"{path}/secrets", list_all("secrets"), read_secret),
        Operation("GET", f"{path}/secrets/{{name}}", get("secrets"), read_secret),
        Operation("PUT", f"{path}/secrets/{{name}}", put_secret, write_secret),
        Operation("DELETE", f"{path}/secrets/{{name}}", delete("secrets"), write_secret),
        Operation("GET", f"{path}/variables", list_all("variables"), read_variable),
        Operation("POST", f"{path}/variables", create_variable, write_variable),
        Operation("GET", f"{path}/variables/{{name}}", get("variables"), read_variable),
        Operation("PATCH", f"{path}/variables/{{name}}", change_variable, write_variable),
        Operation("DELETE", f"{path}/variables/{{name}}", delete("variables"), write_variable),
    )


OPERATIONS = (
    *_operations(
        f"{REPOSITORY}/actions",
        lambda call: call.repository.vault,
        secrets="secrets",
        variables="actions_variables",
    ),
    *(
        operation
        for path in (ENVIRONMENT, ENVIRONMENT_BY_ID)
        for operation in _operations(
            path,
            lambda call: call.environment.vault,
            secrets="environments",
            variables="environments",
        )
    ),
)
