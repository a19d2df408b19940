"""The routes, thin: read, hand to the pipeline or the store, answer."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated

from fastapi import Query, Request
from fastapi.responses import PlainTextResponse, Response
from pydantic import BeforeValidator, Field

from markbook.contract import (
    Bucket,
    KeptMarks,
    ProfileId,
    RunName,
    ScoreResponse,
    Series,
    Stats,
    WireModel,
)
from markbook.scoring.api.auth import check_all_runs, check_run
from markbook.scoring.api.auth_middleware import get_api_key
from markbook.scoring.api.batch_routes import accepted
from markbook.scoring.api.budget_stats import named_budgets
from markbook.scoring.api.dependencies import get_state
from markbook.scoring.api.error_responses import error_responses
from markbook.scoring.api.request_body import is_batch, read_score_request
from markbook.scoring.api.routers import create_router
from markbook.scoring.api.stats import build_series, build_stats
from markbook.scoring.errors import MarkNotFoundError
from markbook.scoring.fingerprint import KEY
from markbook.scoring.observability.logs import current
from markbook.scoring.observability.metrics import CONTENT_TYPE
from markbook.scoring.store import Viewer
from markbook.scoring.store.export_import import to_wire

router = create_router()


def _date(text: object) -> object:
    if isinstance(text, str) and not re.match(
        r"\d{4}-\d\d-\d\d", text
    ):  # a bare number would be Unix seconds
        raise ValueError("not ISO 8601, which looks like 2026-11-22T18:00:00Z")
    return text


OneRun = Annotated[
    RunName | None,
    Query(
        description="Only this run; one that has asked for nothing yet has zeros, and is no error."
    ),
]
Since = Annotated[
    datetime | None,
    BeforeValidator(_date),
    Query(description="ISO 8601: only what came from then on; UTC if no zone is named."),
]


class ProbeStatus(WireModel):
    """What a probe answers where all is well."""

    status: str = Field(description="`ok` or `ready`.")


@router.post(
    "/score",
    tags=["scoring"],
    response_model=ScoreResponse,
    responses={202: accepted(), **error_responses(403, 408, 413, 415, 429, 503)},
)
async def score(request: Request) -> Response:
    """Mark samples.

    A sample that could not be marked comes back `unscored` with a reason, never with a number.

    With `batch` the answer is 202 and the id of a batch, whose results `GET /batches/ID` has once
    it has ended.
    """
    state = get_state(request)
    asked = await read_score_request(request, state.config)
    current().set_request(asked.run, asked.request_id)
    key = get_api_key(request)
    check_run(key, asked.run)
    if is_batch(asked, state.config):
        state.pipeline.check_rate(key, len(asked.samples))
        batch = await state.batches.submit(asked, key)
        headers = {"Location": f"/batches/{batch.id}"}
        return Response(
            batch.model_dump_json(), status_code=202, media_type="application/json", headers=headers
        )
    answer = await state.pipeline.score(asked, key)
    return Response(answer.model_dump_json(), media_type="application/json")


@router.get("/stats", tags=["statistics"], responses=error_responses(403, 503))
async def get_stats(request: Request, run: OneRun = None, since: Since = None) -> Stats:
    """What was asked, where the marks came from, and what they cost: in all and by run.

    With an API key, of the runs that it may use.
    """
    state, key = get_state(request), get_api_key(request)
    if run is not None:
        check_run(key, run)
    return await build_stats(state, key, run, since)


@router.get("/stats/series", tags=["statistics"], responses=error_responses(403, 503))
async def get_stats_series(
    request: Request,
    run: OneRun = None,
    since: Since = None,
    bucket: Annotated[Bucket, Query(description="Time span of one point.")] = Bucket.HOUR,
) -> Series:
    """The counts of `/stats` over time, by bucket and run: the last hundred buckets, or those from
    `since` on.

    With an API key, of the runs that it may use.
    """
    state, key = get_state(request), get_api_key(request)
    if run is not None:
        check_run(key, run)
    return await build_series(state, key, run, since, bucket)


@router.get("/marks", tags=["scoring"], responses=error_responses(404, 503))
async def get_mark(
    request: Request,
    key: Annotated[str, Query(description="The `key` of a result.", pattern=KEY, max_length=256)],
    profile: Annotated[
        ProfileId | None, Query(description="The `profile` of a result; the service's own.")
    ] = None,
) -> KeptMarks:
    """The stored mark of a sample: criteria, reasons, time, group, and its texts where they are
    stored.
    """
    state = get_state(request)
    asked = profile or state.pipeline.profile
    found = await state.store.records.find_by_key(Viewer(get_api_key(request)), asked, key)
    if not found:
        detail = (
            f"no mark of {key} is stored under profile {asked}; samples that the heuristic "
            "tier rejects are not stored"
        )
        raise MarkNotFoundError(detail)
    return KeptMarks(marks=[to_wire(record, state.pipeline.rubric) for record in found])


@router.get(
    "/metrics",
    tags=["operations"],
    response_class=PlainTextResponse,
    responses=error_responses(403, 503),
)
async def get_metrics(request: Request) -> Response:
    """What this process has done, for Prometheus; a key must be one for all runs."""
    check_all_runs(get_api_key(request))
    state = get_state(request)
    budgets = await named_budgets(state)
    return Response(state.metrics.exposition(budgets), media_type=CONTENT_TYPE)


@router.get("/healthz", tags=["operations"])
async def get_health() -> ProbeStatus:
    """The process is up."""
    return ProbeStatus(status="ok")


@router.get("/readyz", tags=["operations"], responses=error_responses(503))
async def get_readiness(request: Request) -> ProbeStatus:
    """The store answers, so marks can be looked up and kept."""
    await get_state(request).store.ping()
    return ProbeStatus(status="ready")
