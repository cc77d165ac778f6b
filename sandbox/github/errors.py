"""Error responses in GitHub's form (https://docs.github.com/en/rest/using-the-rest-api/troubleshooting-the-rest-api)."""

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

DOCUMENTATION = "https://docs.github.com/rest"


class ApiError(Exception):
    """Ends a request with this HTTP status and message; `errors` are its details."""

    def __init__(
        self,
        status: int,
        message: str,
        errors: Sequence[object] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.errors = errors
        self.headers = headers


def not_found() -> ApiError:
    return ApiError(404, "Not Found")


def invalid(resource: str, message: str, field: str | None = None) -> ApiError:
    """A well-formed request that can't be carried out."""
    error = {"resource": resource, "code": "custom", "message": message}
    return ApiError(422, "Validation Failed", [error | ({"field": field} if field else {})])


async def on_api_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ApiError)
    body: dict[str, Any] = {
        "message": error.message,
        "documentation_url": DOCUMENTATION,
        "status": str(error.status),
    }
    if error.errors:
        body["errors"] = list(error.errors)
    return JSONResponse(body, error.status, headers=error.headers)


async def on_http_exception(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    message = "Not Found" if error.status_code == 404 else error.detail
    return await on_api_error(request, ApiError(error.status_code, message))
