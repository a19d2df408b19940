"""Turns errors into responses of one shape."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from markbook.contract import ErrorBody
from markbook.scoring.errors import ServiceError
from markbook.scoring.observability.logs import current


def handle_errors(app: FastAPI) -> None:
    app.add_exception_handler(ServiceError, _domain_error)
    app.add_exception_handler(RequestValidationError, _invalid_query)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _defect)


def render(error: ServiceError) -> JSONResponse:
    return _answer(
        error.status,
        ErrorBody(error=error.code, detail=error.detail, field=error.field),
        error.headers,
    )


def _answer(status: int, body: ErrorBody, headers: Mapping[str, str] | None = None) -> JSONResponse:
    current().error = body.error
    return JSONResponse(body.model_dump(exclude_none=True), status, headers)


async def _domain_error(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ServiceError)
    return render(error)


async def _invalid_query(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"][1:])
    return _answer(
        422, ErrorBody(error="invalid_request", detail=f"{field}: {first['msg']}", field=field)
    )


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    code = "not_found" if error.status_code == 404 else "http_error"
    detail = f"{request.method} {request.url.path}: {error.detail}; the routes are listed at /docs"
    return _answer(
        error.status_code, ErrorBody(error=code, detail=detail), dict(error.headers or {})
    )


async def _defect(_request: Request, _error: Exception) -> JSONResponse:
    # the server logs the traceback; the client learns only that it is not at fault
    return _answer(
        500,
        ErrorBody(
            error="internal_error", detail="a defect in the service; its log has the traceback"
        ),
    )
