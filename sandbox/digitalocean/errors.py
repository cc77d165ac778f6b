"""Error responses in DigitalOcean's form: `{"id": ..., "message": ..., "request_id": ...}`.

docs.digitalocean.com/reference/api/intro (HTTP statuses)
"""

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

_IDS = {
    400: "bad_request",
    401: "Unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    409: "conflict",
    412: "precondition_failed",
    422: "unprocessable_entity",
    429: "too_many_requests",
    500: "server_error",
    502: "bad_gateway",
    503: "service_unavailable",
    504: "gateway_timeout",
}


class ApiError(Exception):
    """Ends a request with this HTTP status and message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def not_found(message: str = "The resource you requested could not be found.") -> ApiError:
    return ApiError(404, message)


def invalid(message: str) -> ApiError:
    """A well-formed request that can't be carried out."""
    return ApiError(422, message)


def error_response(status: int, message: str, request_id: str) -> JSONResponse:
    body = {"id": _IDS.get(status, "error"), "message": message, "request_id": request_id}
    return JSONResponse(body, status)


async def on_api_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ApiError)
    return error_response(error.status, error.message, request.state.request_id)


async def on_http_exception(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    message = not_found().message if error.status_code == 404 else error.detail
    return error_response(error.status_code, message, request.state.request_id)


async def on_server_error(request: Request, error: Exception) -> JSONResponse:
    return error_response(500, "Unexpected server-side error", request.state.request_id)
