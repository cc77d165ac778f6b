"""The emulated API as a Starlette application."""

from starlette.applications import Starlette
from starlette.exceptions import HTTPException

from sandbox.github.errors import ApiError, on_api_error, on_http_exception
from sandbox.github.host import GitHub
from sandbox.github.operations import Operation
from sandbox.github.routes import (
    actions,
    checks,
    environments,
    hooks,
    issues,
    keys,
    owners,
    pulls,
    repositories,
    rulesets,
    statuses,
)

OPERATIONS: tuple[Operation, ...] = (
    *owners.OPERATIONS,
    *repositories.OPERATIONS,
    *keys.OPERATIONS,
    *hooks.OPERATIONS,
    *rulesets.OPERATIONS,
    *environments.OPERATIONS,
    *actions.OPERATIONS,
    *issues.OPERATIONS,
    *pulls.OPERATIONS,
    *statuses.OPERATIONS,
    *checks.OPERATIONS,
)
"""The emulated operations."""

PERMISSIONS = tuple(
    sorted({name.partition(":")[0] for operation in OPERATIONS for name in operation.permissions})
)
"""The permissions that a token can have."""


def create_app(github: GitHub) -> Starlette:
    """The API of one organization, to be mounted at `sandbox.github.host.PREFIX`."""
    return Starlette(
        routes=[operation.route(github) for operation in OPERATIONS],
        exception_handlers={ApiError: on_api_error, HTTPException: on_http_exception},
    )
