"""The routes, thin: read, hand to the pipeline or the store, answer."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from services.scoring.body import read_score_request
from services.scoring.ledger import sum_counters
from services.scoring.purse import budget_states
from services.scoring.state import State
from shared.contract import (
    CacheStats,
    Counters,
    ErrorBody,
    RunName,
    ScoreResponse,
    Stats,
    TeacherStats,
)
from shared.settings import SERVICE_OWNED

router = APIRouter()

_ERRORS = {
    413: {"model": ErrorBody, "description": "Over one of the service's limits."},
    422: {"model": ErrorBody, "description": "Not what the contract asks for; `field` names the place."},
    503: {"model": ErrorBody, "description": "The database cannot be reached, or the service is stopping: ask again."},
}


def _state(request: Request) -> State:
    state = request.app.state.markbook
    assert isinstance(state, State)
    return state


@router.post(
    "/score",
    response_model=ScoreResponse,
    responses={code: _ERRORS[code] for code in (413, 422, 503)},
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/ScoreRequest"}}},
        }
    },
)
async def score(request: Request) -> Response:
    """Mark samples. A sample that could not be marked comes back `unscored` with a reason, never with a number."""
    state = _state(request)
    asked = await read_score_request(request, state.config.service)
    answer = await state.pipeline.score(asked)
    return Response(answer.model_dump_json(), media_type="application/json")


@router.get("/stats", responses={code: _ERRORS[code] for code in (422, 503)})
async def stats(request: Request, run: Annotated[RunName | None, Query(description="Only this run.")] = None) -> Stats:
    """What was asked, where the marks came from, and what they cost: in all and by run, since the book was opened."""
    state = _state(request)
    totals, runs, since_ms = sum_counters(await state.store.ledger.sums())
    if run is not None:
        runs = {run: runs.get(run, Counters())}
    entries, size = await state.store.marks.size()
    teacher = state.teacher
    since = datetime.now(UTC) if since_ms is None else datetime.fromtimestamp(since_ms / 1000, UTC)
    return Stats(
        totals=totals,
        runs=runs,
        budgets=budget_states(await state.store.money.spent(), state.config.budgets, run),
        cache=CacheStats(entries=entries, bytes=size),
        teacher=TeacherStats(name=teacher.name, model=teacher.model, stand_in=teacher.stand_in, note=teacher.note),
        profile=state.pipeline.profile,
        policy={key: getattr(state.config.rlaif, key) for key in SERVICE_OWNED},
        since=since.isoformat(timespec="milliseconds"),
    )


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """The process is up."""
    return {"status": "ok"}


@router.get("/readyz", responses={503: _ERRORS[503]})
async def readyz(request: Request) -> dict[str, str]:
    """The store answers, so marks can be looked up and kept."""
    await _state(request).store.ping()
    return {"status": "ready"}
