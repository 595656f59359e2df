"""Error responses: one sentence in OpenAI's shape, never a trace.

An error of the gateway's own shows only its request id; the log has the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

CLIENT_CLOSED_REQUEST = 499  # nobody reads it; the log does
TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}


class Refusal(HTTPException):
    """A refusal: `param` names the field at fault, `code` is for programs, `retry_after` in seconds."""

    def __init__(
        self, status: int, message: str, *, param: str | None = None, code: str = "", retry_after: int = 0
    ) -> None:
        super().__init__(status, message, {"retry-after": str(retry_after)} if retry_after else None)
        self.param, self.code = param, code


def body(status: int, message: str, param: str | None = None, code: str = "") -> dict[str, Any]:
    """OpenAI's error object, which every official client turns into its own exception."""
    kind = TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code or None}}


def response(error: HTTPException) -> JSONResponse:
    message, param, code = fields_of(error)
    return JSONResponse(body(error.status_code, message, param, code), error.status_code, error.headers)


def fields_of(error: HTTPException) -> tuple[str, str | None, str]:
    """Message, field and code; Starlette's own errors say their status in words."""
    if isinstance(error, Refusal):
        return error.detail, error.param, error.code
    plain = error.detail == HTTPStatus(error.status_code).phrase
    known = {404: "there is nothing at this address", 405: "this address does not take that method"}
    return (known.get(error.status_code, error.detail) if plain else error.detail), None, ""


def internal(request_id: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """What an error of ours looks like from outside: the log has the rest under this id."""
    message = f"something went wrong here; the log says what, under the request id {request_id}"
    return JSONResponse(body(500, message, code="internal"), 500, headers)
