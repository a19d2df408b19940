"""The application: its parts put together, opened and closed in order, and its errors rendered in one place."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException

from services.scoring.api import router
from services.scoring.errors import MarkbookError
from services.scoring.heuristics import Tier
from services.scoring.pipeline import Pipeline
from services.scoring.rubric import load_rubric
from services.scoring.state import State
from services.scoring.store import Store
from services.scoring.teachers import make_teacher
from services.scoring.teachers.base import Teacher
from shared.contract import ErrorBody, ScoreRequest
from shared.settings import Config

log = logging.getLogger("markbook")

STOP_SECONDS = 8
"""Seconds that teacher calls in progress have to finish once the service is told to stop."""


def unix_ms() -> int:
    return time.time_ns() // 1_000_000


def create_app(config: Config, teacher: Teacher | None = None, clock_ms: Callable[[], int] = unix_ms) -> FastAPI:
    """The service for `config`. `teacher` and `clock_ms` stand in for the real ones in tests.

    Opens the book before it returns. Raises ConfigError or StoreUnavailable when teacher or database cannot be used.
    """
    rubric = load_rubric(config.teacher.rubric)
    marker = teacher or make_teacher(config, rubric)
    store = Store(config.store.database_url, lease_ms=round(config.store.claim_lease_s * 1000))
    tier = Tier()
    pipeline = Pipeline(config, marker, store, tier, rubric, clock_ms)
    store.open(pipeline.profile, pipeline.identity, clock_ms())

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        log.info("teacher: %s", marker.note)
        log.info("book: %s, profile %s", store.where, pipeline.profile)
        leases = asyncio.create_task(pipeline.keep_leases(config.store.claim_lease_s))
        yield
        leases.cancel()
        await pipeline.close(STOP_SECONDS)
        await tier.close()
        await marker.close()
        await store.close()

    app = FastAPI(
        title="Markbook",
        version=version("markbook"),
        description="Asks a teacher to mark code that students write, keeps every mark, pays for none twice.",
        lifespan=lifespan,
    )
    app.state.markbook = State(config, marker, store, pipeline)
    app.include_router(router)
    app.add_exception_handler(MarkbookError, _domain_error)
    app.add_exception_handler(RequestValidationError, _invalid_query)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _defect)
    _describe_body(app)
    return app


def _render(status: int, body: ErrorBody, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse(body.model_dump(exclude_none=True), status, headers)


async def _domain_error(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, MarkbookError)
    headers = {"Retry-After": "1"} if error.status == 503 else None
    return _render(error.status, ErrorBody(error=error.code, detail=error.detail, field=error.field), headers)


async def _invalid_query(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"][1:])
    return _render(422, ErrorBody(error="invalid_request", detail=f"{field}: {first['msg']}", field=field))


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    code = "not_found" if error.status_code == 404 else "http_error"
    detail = f"{request.method} {request.url.path}: {error.detail}; the routes are listed at /docs"
    return _render(error.status_code, ErrorBody(error=code, detail=detail), dict(error.headers or {}))


async def _defect(_request: Request, _error: Exception) -> JSONResponse:
    # the server logs the traceback; the client learns only that it is not at fault
    return _render(500, ErrorBody(error="internal_error", detail="a defect in the service; its log has the traceback"))


def _describe_body(app: FastAPI) -> None:
    """/score reads its body itself, so its schema is put into OpenAPI by hand."""
    generated = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            template = "#/components/schemas/{model}"
            _, models = models_json_schema([(ScoreRequest, "validation")], ref_template=template)
            generated()["components"]["schemas"].update(models["$defs"])
        return generated()

    app.openapi = openapi  # type: ignore[method-assign]
