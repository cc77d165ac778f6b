"""Secrets and variables of Actions, of a repository and of each of its environments
(https://docs.github.com/en/rest/actions/secrets, .../actions/variables)."""

import re
from collections.abc import Callable
from typing import Any

from starlette.responses import Response

from sandbox.github import sealing
from sandbox.github.errors import ApiError, not_found
from sandbox.github.models import Secret, Variable, Vault
from sandbox.github.operations import Body, Call, Handler, Operation, iso, no_content
from sandbox.github.routes import REPOSITORY
from sandbox.github.routes.environments import ENVIRONMENT
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


def _checked(name: str) -> str:
    name = name.upper()
    if not _NAME.fullmatch(name) or name.startswith("GITHUB_"):
        raise ApiError(
            422,
            f"{name}: a name has only letters, digits and underscores, starts with no digit, and"
            " not with GITHUB_",
        )
    return name


def _describe(name: str, kept: Secret | Variable) -> dict[str, Any]:
    described = {
        "name": name,
        "created_at": iso(kept.created_at),
        "updated_at": iso(kept.updated_at),
    }
    return described | {"value": kept.value} if isinstance(kept, Variable) else described


def _operations(
    path: str, vault_of: Callable[[Call], Vault], secrets: str, variables: str
) -> tuple[Operation, ...]:
    """All that is done to the vault behind `path`; tokens need the two named permissions."""

    async def get_public_key(call: Call) -> Response:
        private = vault_of(call).private_key
        return call.answer({"key_id": sealing.key_id(private), "key": sealing.public_key(private)})

    def list_of(kind: str) -> Handler:
        async def answer(call: Call) -> Response:
            kept = getattr(vault_of(call), kind)
            shown, _ = call.page_of(sorted(kept.items()))
            return call.answer(
                {"total_count": len(kept), kind: [_describe(*each) for each in shown]}
            )

        return answer

    def one_of(kind: str) -> Handler:
        async def answer(call: Call) -> Response:
            name = call.path["name"].upper()
            kept = getattr(vault_of(call), kind).get(name)
            if kept is None:
                raise not_found()
            return call.answer(_describe(name, kept))

        return answer

    def delete_of(kind: str) -> Handler:
        async def answer(call: Call) -> Response:
            kept, name = getattr(vault_of(call), kind), call.path["name"].upper()
            if name not in kept:
                raise not_found()
            with call.state.changing():
                del kept[name]
            return no_content()

        return answer

    async def put_secret(call: Call) -> Response:
        vault, name = vault_of(call), _checked(call.path["name"])
        body = await call.body(_Sealed)
        if body.key_id != sealing.key_id(vault.private_key):
            raise ApiError(422, "key_id is not that of the current public key")
        try:
            value = sealing.opened(body.encrypted_value, vault.private_key)
        except ValueError as error:
            raise ApiError(422, f"encrypted_value can't be read: {error}") from error
        before = vault.secrets.get(name)
        with call.state.changing():
            created = before.created_at if before else now()
            vault.secrets[name] = Secret(value=value, created_at=created, updated_at=now())
        return no_content() if before else Response("{}", 201, media_type="application/json")

    async def create_variable(call: Call) -> Response:
        vault, body = vault_of(call), await call.body(_NewVariable)
        name = _checked(body.name)
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
        Operation("GET", f"{path}/secrets", list_of("secrets"), read_secret),
        Operation("GET", f"{path}/secrets/{{name}}", one_of("secrets"), read_secret),
        Operation("PUT", f"{path}/secrets/{{name}}", put_secret, write_secret),
        Operation("DELETE", f"{path}/secrets/{{name}}", delete_of("secrets"), write_secret),
        Operation("GET", f"{path}/variables", list_of("variables"), read_variable),
        Operation("POST", f"{path}/variables", create_variable, write_variable),
        Operation("GET", f"{path}/variables/{{name}}", one_of("variables"), read_variable),
        Operation("PATCH", f"{path}/variables/{{name}}", change_variable, write_variable),
        Operation("DELETE", f"{path}/variables/{{name}}", delete_of("variables"), write_variable),
    )


OPERATIONS = (
    *_operations(
        f"{REPOSITORY}/actions",
        lambda call: call.repository.vault,
        secrets="secrets",
        variables="actions_variables",
    ),
    *_operations(
        ENVIRONMENT,
        lambda call: call.environment.vault,
        secrets="environments",
        variables="environments",
    ),
)
