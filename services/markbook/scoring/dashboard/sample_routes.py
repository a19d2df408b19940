"""The pages of samples: the list of all that are kept, and one sample, which the teacher can be
asked to explain.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import cache
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request
from fastapi.responses import HTMLResponse, Response

from markbook.scoring.api.auth import check_run
from markbook.scoring.api.auth_middleware import get_api_key
from markbook.scoring.api.dependencies import AppState, get_state
from markbook.scoring.api.routers import create_router
from markbook.scoring.budgets.limiter import BillingContext
from markbook.scoring.dashboard import marks_table
from markbook.scoring.dashboard.rendering import redirect, render, render_error
from markbook.scoring.dashboard.sample_context import build_sample, payer
from markbook.scoring.dashboard.samples_context import build_list
from markbook.scoring.dashboard.samples_query import SamplesQuery, read_samples_query
from markbook.scoring.errors import MarkNotFoundError, ServiceError
from markbook.scoring.store import ApiKey, Viewer, WholeSample
from markbook.scoring.types import ScoringFailure

Asked = Annotated[SamplesQuery, Depends(read_samples_query)]
RowId = Annotated[str, Path(pattern=marks_table.ROW_PATTERN)]
PENDING_S = 5
"""Seconds until a page that waits for an explanation is loaded again."""
_UP = "../"
"""From a sample's page to the dashboard: relative, so that the service can run below a path
prefix.
"""


@cache
def create_samples_router() -> APIRouter:
    """Not part of the OpenAPI schema.

    One per process, however many applications it has: it holds no state.
    """
    router = create_router(include_in_schema=False, default_response_class=HTMLResponse)

    @router.get("/samples")
    async def list_samples(request: Request, query: Asked) -> Response:
        key = get_api_key(request)
        try:
            if query.run:
                check_run(key, query.run)
            view = await build_list(get_state(request), key, query)
        except ServiceError as error:
            return render_error(error)
        return await asyncio.to_thread(render, "samples.jinja", view=view)

    @router.get("/samples/{row}")
    async def show_sample(request: Request, row: RowId, query: Asked) -> Response:
        return await _show(request, row, query)

    @router.post("/samples/{row}")
    async def explain_sample(request: Request, row: RowId, query: Asked) -> Response:
        """Ask the teacher to explain the mark, then redirect to the page: reloading that costs
        nothing.
        """
        state, key = get_state(request), get_api_key(request)
        try:
            failure = await _explain(state, key, await _find(state, key, row))
        except ServiceError as error:
            return render_error(error, _UP)
        if failure is not None:
            return await _show(request, row, query, failure.detail)
        return redirect(f"{row}{query.link()}#why")

    return router


async def _show(
    request: Request, row: str, query: SamplesQuery, problem: str | None = None
) -> Response:
    """`problem`: why there is no explanation; then the status is 503, since asking again may
    help.
    """
    state, key = get_state(request), get_api_key(request)
    try:
        if query.run:
            check_run(key, query.run)
        view = await build_sample(state, key, query, await _find(state, key, row), problem)
    except ServiceError as error:
        return render_error(error, _UP)
    status = 200 if problem is None else 503
    is_pending = view.answer is not None and view.answer.is_pending
    reload_s = PENDING_S if is_pending else None
    return await asyncio.to_thread(
        render, "sample.jinja", status, reload_s=reload_s, view=view, root=_UP
    )


async def _find(state: AppState, key: ApiKey | None, row: str) -> WholeSample:
    """Raises MarkNotFoundError, for a sample of others as for one that does not exist."""
    await state.pipeline.ledger.flush()
    await state.pipeline.responses.rejects.flush()
    found = await state.store.whole_samples.get(Viewer(key), bytes.fromhex(row))
    if found is None:
        raise MarkNotFoundError(
            "This sample is no longer stored, or belongs to a run that your key may not use."
        )
    pending = found.explanation
    if (
        pending
        and pending.reasons is None
        and pending.at_ms < state.clock_ms() - state.explainer.stale_ms
    ):
        return replace(found, explanation=None)  # its process died: it can be requested again
    return found


async def _explain(
    state: AppState, key: ApiKey | None, sample: WholeSample
) -> ScoringFailure | None:
    if sample.texts is None:
        raise MarkNotFoundError(
            "The text of this sample is not stored, so that the teacher cannot be asked about it."
        )
    state.pipeline.check_rate(key, 1)
    billing = BillingContext(payer(Viewer(key), sample), key)
    return await state.explainer.explain(billing, sample.name, sample.texts)
