"""The emulated API as a Starlette application."""

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import Mount

from sandbox.digitalocean.errors import (
    ApiError,
    on_api_error,
    on_http_exception,
    on_server_error,
)
from sandbox.digitalocean.lifecycle import Clusters
from sandbox.digitalocean.operations import Operation
from sandbox.digitalocean.routes import (
    account,
    associated_resources,
    kubernetes,
    node_pools,
    registries,
    sizes,
    tags,
    volumes,
    vpcs,
)
from sandbox.digitalocean.state import AccountState
from sandbox.digitalocean.traffic import Traffic

OPERATIONS: tuple[Operation, ...] = (
    *account.OPERATIONS,
    *kubernetes.OPERATIONS,
    *node_pools.OPERATIONS,
    *associated_resources.OPERATIONS,
    *registries.OPERATIONS,
    *sizes.OPERATIONS,
    *tags.OPERATIONS,
    *volumes.OPERATIONS,
    *vpcs.OPERATIONS,
)
"""The emulated operations."""


def create_app(state: AccountState, clusters: Clusters) -> Starlette:
    """The API of one account, under `/v2`, at the root of the server.

    The caller calls `clusters.reconcile_all()` at the start and `clusters.close()` at the end.
    """
    routes = [operation.route(state, clusters) for operation in OPERATIONS]
    return Starlette(
        routes=[Mount("/v2", routes=routes)],
        middleware=[Middleware(Traffic, account=state)],
        exception_handlers={
            ApiError: on_api_error,
            HTTPException: on_http_exception,
            Exception: on_server_error,
        },
    )
